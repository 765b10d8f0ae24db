"""Refresh: the whole chain from raw files to a live release, one at a time, for a scheduler to call.

Each stage writes its result in one step, so a run that was killed leaves what the last whole stage made, and the next
run ends in the same state as if nothing had happened.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from batch_jobs.build_features import build_features
from batch_jobs.ingest import ingest
from batch_jobs.materialize import materialize
from batch_jobs.model_jobs import embed_job, evaluate_job, index_job, train_job
from batch_jobs.publish import publish
from expectations.gate import CANONICAL, raise_if_refused, require_passed, validate_canonical, validate_sequences
from feature_repo.config import Config
from feature_repo.paths import shop_paths
from feature_repo.store import feature_store

log = logging.getLogger(__name__)
Result = TypeVar("Result")

DEFAULT_K_VALUES = (1, 5, 10, 20)


class BusyError(RuntimeError):
    """Another job works on the same shop."""


@contextmanager
def shop_lock(config: Config) -> Iterator[None]:
    """Holds the shop's batch lock; the kernel frees it when the process ends, however it ends.

    Raises:
        BusyError: Another process holds it.
    """
    path = shop_paths(config).lock
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"another job is at work on this shop ({path} is locked); try again when it is done") from None
    try:
        yield
    finally:
        lock.release()


def checked_features(config: Config) -> dict[str, Any]:
    """Builds features from canonical data that the gate has passed."""
    require_passed(shop_paths(config), CANONICAL)
    return build_features(config)


def refresh(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Runs the whole chain under the shop's lock.

    Returns:
        {"release", "dataset", "seconds": {stage: s, ..., "total": s}, "counts", "evaluation"}.

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
        raise_if_refused(stage("validate", lambda: validate_canonical(paths, config)))
        features = stage("build_features", lambda: build_features(config))
        raise_if_refused(stage("validate_sequences", lambda: validate_sequences(paths, config)))
        with feature_store(config) as store:
            stage("materialize", lambda: materialize(config, store, full=False))
            stage("train", lambda: train_job(config, store, show_progress=show_progress))
            stage("embed", lambda: embed_job(config, show_progress=show_progress))
            stage("index", lambda: index_job(config))
            evaluation = stage(
                "evaluate", lambda: evaluate_job(config, store, DEFAULT_K_VALUES, show_progress=show_progress)
            )
            published = stage("release", lambda: publish(config, store))
    return {
        "release": published["release"],
        "dataset": paths.root.name,
        "seconds": seconds | {"total": round(sum(seconds.values()), 2)},
        "counts": {
            "events": ingested["events"]["kept"],
            "products": ingested["products"]["kept"],
            "buyers": features["rows"]["buyers"],
            "quarantined": ingested["events"]["bad"] + ingested["products"]["bad"],
        },
        "evaluation": evaluation,
    }
