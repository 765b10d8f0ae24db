"""Refresh: the whole pipeline from raw files to a live release, for a scheduler.

Each stage writes its result atomically. A killed run leaves the results of the finished stages, and the next run ends
in the same state as if nothing had happened.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from batch_jobs.build_index import index_job, search_index_job
from batch_jobs.embed_products import embed_job
from batch_jobs.evaluate_model import evaluate_job
from batch_jobs.feature_build.build_features import build_validated_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.product_rules.duplicates import DUPLICATE_CONTENT
from batch_jobs.materialize import materialize
from batch_jobs.publish import publish
from batch_jobs.train_model import train_job
from batch_jobs.upkeep.retention import clean
from expectations.gate import enforce_gate, validate_canonical, validate_features
from feature_repo.common.config import Config
from feature_repo.common.lock import shop_lock
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store

log = logging.getLogger(__name__)
StageResult = TypeVar("StageResult")

DEFAULT_K_VALUES = (1, 5, 10, 20)


def refresh(config: Config) -> dict[str, Any]:
    """Runs the whole pipeline under the shop's lock.

    Returns:
        {"release", "dataset", "seconds": {stage: s, ..., "total": s}, "counts", "quarantine", "report", "shadow",
        "warnings", "gate", "evaluation"}, where quarantine, report and shadow are the paths of these files, and gate is
        the judgement on the release (see publish).

    Raises:
        BusyError: Another job is running on the shop.
        GateRefusedError: A gate refused the data or the release; the live release stays live.
    """
    paths = shop_paths(config)
    seconds: dict[str, float] = {}
    warnings: list[str] = []

    def stage(name: str, job: Callable[[], StageResult]) -> StageResult:
        log.info("%s ...", name)
        start = time.monotonic()
        result = job()
        seconds[name] = round(time.monotonic() - start, 2)
        log.info("%s: %.1f s", name, seconds[name])
        return result

    # One lock for the whole run: another job between two stages would change their inputs.
    with shop_lock(config), _logged_on_failure(warnings):
        ingested = stage("ingest", lambda: ingest(config))
        warnings += ingested["warnings"]
        warnings += enforce_gate(stage("validate", lambda: validate_canonical(paths, config)))
        features = stage("build_features", lambda: build_validated_features(config))
        warnings += features["warnings"]
        warnings += enforce_gate(stage("validate_features", lambda: validate_features(paths, config)))
        # Opened once: an embedded server starts and stops with it.
        with feature_store(config) as store:
            stage("materialize", lambda: materialize(config, store, full=False))
            stage("train", lambda: train_job(config, store))
            stage("embed", lambda: embed_job(config))
            stage("index", lambda: index_job(config, store))
            stage("search_index", lambda: search_index_job(config))
            # Before the release, which contains its metrics.
            evaluation = stage("evaluate", lambda: evaluate_job(config, store, DEFAULT_K_VALUES))
            published = stage("release", lambda: publish(config, store))
        clean(config)
    return {
        "release": published["release"],
        "dataset": paths.root.name,
        "seconds": seconds | {"total": round(sum(seconds.values()), 2)},
        "counts": _counts(ingested, features),
        "quarantine": str(paths.quarantine),
        "report": str(paths.evaluation_report),
        "shadow": published["shadow"],
        "warnings": warnings,
        "gate": published["gate"],
        "evaluation": evaluation,
    }


@contextmanager
def _logged_on_failure(warnings: list[str]) -> Iterator[None]:
    """Logs the warnings so far if the block fails: then no result has them."""
    try:
        yield
    except BaseException:
        for warning in warnings:
            log.warning("%s", warning)
        raise


def _counts(ingested: dict[str, Any], features: dict[str, Any]) -> dict[str, int]:
    """The counts of a run, from the reports of ingest and of the feature build."""
    # The events of the API's log are counted apart from those of the source.
    logged = ingested["events"].get("event_log", {})
    return {
        "events": ingested["events"]["kept"] + logged.get("kept", 0),
        "products": ingested["products"]["kept"],
        "buyers": features["rows"]["buyers"],
        "quarantined": ingested["events"]["bad"] + logged.get("bad", 0) + ingested["products"]["bad"],
        "merged": ingested["products"]["reasons"].get(DUPLICATE_CONTENT, 0),
    }
