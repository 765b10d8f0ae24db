"""Refresh: the whole chain from raw files to a live release, one at a time, for a scheduler to call.

Each stage writes its result in one step, so a run that was killed leaves what the last whole stage made, and the next
run ends in the same state as if nothing had happened.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

from batch_jobs.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.products import DUPLICATE_CONTENT
from batch_jobs.materialize import materialize
from batch_jobs.model_jobs import embed_job, evaluate_job, index_job, search_index_job, train_job
from batch_jobs.publish import publish
from expectations.gate import (
    CANONICAL,
    GateResult,
    raise_if_refused,
    require_passed,
    validate_canonical,
    validate_sequences,
)
from feature_repo.common.config import Config
from feature_repo.common.lock import shop_lock
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store

log = logging.getLogger(__name__)
Result = TypeVar("Result")

DEFAULT_K_VALUES = (1, 5, 10, 20)


def checked_features(config: Config) -> dict[str, Any]:
    """Builds features from canonical data that the gate has passed."""
    require_passed(shop_paths(config), CANONICAL)
    return build_features(config)


def passed(result: GateResult) -> list[str]:
    """The warnings of a gate that passed, which are logged too; GateRefusedError where it did not pass."""
    raise_if_refused(result)
    failed = [finding for finding in result.findings if not finding.success]
    warnings = [f"{finding.table}: {finding.name}: {finding.observed}" for finding in failed]
    for warning in warnings:
        log.warning("warning: %s", warning)
    return warnings


def refresh(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Runs the whole chain under the shop's lock.

    Returns:
        {"release", "dataset", "seconds": {stage: s, ..., "total": s}, "counts", "quarantine", "report", "warnings",
        "evaluation"}, where quarantine and report are the paths of these files.

    Raises:
        BusyError: Another job is at work on the shop.
        GateRefusedError: The data or the release were refused; what is live stays live.
    """
    paths = shop_paths(config)
    seconds: dict[str, float] = {}

    def stage(name: str, job: Callable[[], Result]) -> Result:
        log.info("%s ...", name)
        start = time.monotonic()
        result = job()
        seconds[name] = round(time.monotonic() - start, 2)
        log.info("%s: %.1f s", name, seconds[name])
        return result

    with shop_lock(config):
        ingested = stage("ingest", lambda: ingest(config))
        warnings = passed(stage("validate", lambda: validate_canonical(paths, config)))
        features = stage("build_features", lambda: build_features(config))
        warnings += passed(stage("validate_sequences", lambda: validate_sequences(paths, config)))
        with feature_store(config) as store:
            stage("materialize", lambda: materialize(config, store, full=False))
            stage("train", lambda: train_job(config, store, show_progress=show_progress))
            stage("embed", lambda: embed_job(config, show_progress=show_progress))
            stage("index", lambda: index_job(config))
            stage("search_index", lambda: search_index_job(config, show_progress=show_progress))
            evaluation = stage(
                "evaluate", lambda: evaluate_job(config, store, DEFAULT_K_VALUES, show_progress=show_progress)
            )
            published = stage("release", lambda: publish(config, store))
    logged = ingested["events"].get("event_log", {})
    return {
        "release": published["release"],
        "dataset": paths.root.name,
        "seconds": seconds | {"total": round(sum(seconds.values()), 2)},
        "counts": {
            "events": ingested["events"]["kept"] + logged.get("kept", 0),
            "products": ingested["products"]["kept"],
            "buyers": features["rows"]["buyers"],
            "quarantined": ingested["events"]["bad"] + logged.get("bad", 0) + ingested["products"]["bad"],
            "merged": ingested["products"]["reasons"].get(DUPLICATE_CONTENT, 0),
        },
        "quarantine": str(paths.quarantine),
        "report": str(paths.evaluation_report),
        "warnings": warnings,
        "evaluation": evaluation,
    }
