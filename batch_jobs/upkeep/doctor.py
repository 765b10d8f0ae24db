"""Doctor: whether a shop can serve, and what it takes on the disk."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from batch_jobs.upkeep.leftovers import leftovers
from batch_jobs.upkeep.retention import GB, disk_use, text_vectors_problem
from expectations.gate import require_passed
from expectations.records import CANONICAL, FEATURE_STAGE
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import feature_store
from training.artifacts.release import check

GOOD, WARNING, PROBLEM = "ok", "warning", "problem"
MIN_FREE_GB = 2  # less may not hold what a refresh writes before it deletes the old


@dataclass(frozen=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        name: What was checked.
        state: GOOD, WARNING or PROBLEM.
        text: What was found, and what to do about it.
    """

    name: str
    state: str
    text: str


def doctor(config: Config) -> dict[str, Any]:
    """Examines the shop; changes nothing.

    Returns:
        {"healthy": no check found a problem, "checks": [Diagnosis], "disk": [DiskUse], "bytes": of the shop's folder,
        "free_bytes": on its disk}
    """
    paths = shop_paths(config)
    uses = disk_use(config)
    shop_bytes = sum(use.bytes for use in uses if "/" not in use.place)
    free = shutil.disk_usage(_existing(paths.root)).free
    checks = [
        _checked("online store", lambda: _ping(config, paths)),
        _checked("live release", lambda: f"{check(paths.releases, None)}, verified"),
        # Warnings: the features and the release of before go on serving.
        _checked("gate, canonical data", lambda: _passed(paths, CANONICAL), otherwise=WARNING),
        _checked("gate, features", lambda: _passed(paths, FEATURE_STAGE), otherwise=WARNING),
        _checked("forgotten buyers", lambda: _list_state(paths)),
        *_unfinished_erasure(paths),
        Diagnosis("retention", GOOD, _kept(config)),
        *_disk_checks(config, paths, shop_bytes, free),
    ]
    return {
        "healthy": all(item.state != PROBLEM for item in checks),
        "checks": [asdict(item) for item in checks],
        "disk": [asdict(use) for use in uses],
        "bytes": shop_bytes,
        "free_bytes": free,
    }


def doctor_text(result: dict[str, Any]) -> str:
    """The result for people."""
    places = max(len(use["place"]) for use in result["disk"])
    return "\n".join(
        [
            *(f"{item['state']:<8} {item['name']}: {item['text']}" for item in result["checks"]),
            "",
            f"{'folder':<{places}}  {'MB':>9}  limit",
            *(
                f"{use['place']:<{places}}  {use['bytes'] / 1e6:>9,.1f}  {use['limit']}"
                + (f"; --clean deletes {use['deletable'] / 1e6:,.1f} MB" if use["deletable"] else "")
                for use in result["disk"]
            ),
            f"{'shop':<{places}}  {result['bytes'] / 1e6:>9,.1f}  {result['free_bytes'] / GB:,.1f} GB are free",
        ]
    )


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _checked(name: str, find: Callable[[], str], otherwise: str = PROBLEM) -> Diagnosis:
    try:
        return Diagnosis(name, GOOD, find())
    # The types with messages for users, as in commands/job_runner.py.
    except (GateRefusedError, ValueError, RuntimeError, OSError, ImportError) as error:
        return Diagnosis(name, otherwise, str(error).partition("\n")[0])


def _ping(config: Config, paths: ShopPaths) -> str:
    if config.feature_store.online == "embedded" and not paths.redis.is_dir():
        return "has no data yet: `tawsiya materialize`"  # starting the server would make the folder
    with feature_store(config) as store:
        store.online.ping()
        at = store.online.materialized_at()
    return "answers" if at else "answers, and has no features yet: `tawsiya materialize`"


def _passed(paths: ShopPaths, stage: str) -> str:
    require_passed(paths, stage)
    return "passed"


def _list_state(paths: ShopPaths) -> str:
    return "none" if ForgottenBuyers(paths.forgotten).is_empty() else "kept out of ingest and API"


def _unfinished_erasure(paths: ShopPaths) -> Iterator[Diagnosis]:
    if paths.unfinished_erasure.is_file():
        yield Diagnosis("erasure", WARNING, "a `tawsiya forget` was killed or runs; repeat it with the same ids")


def _kept(config: Config) -> str:
    """How long data of buyers are kept, which are nowhere else on this machine or go on growing."""
    log, buyers = config.data.event_log_days, config.feature_store.buyer_ttl_days
    return (
        f"accepted events are kept {f'for {log:,} days' if log else 'for good'} (data.event_log_days), buyers in the "
        f"online store {f'for {buyers:,} days after their last event' if buyers else 'for good'} "
        "(feature_store.buyer_ttl_days)"
    )


def _disk_checks(config: Config, paths: ShopPaths, shop_bytes: int, free: int) -> Iterator[Diagnosis]:
    budget = config.disk.budget_gb
    if budget and shop_bytes > budget * GB:
        yield Diagnosis("disk budget", WARNING, f"{shop_bytes / GB:.1f} GB exceed disk.budget_gb={budget:g}")
    if free < MIN_FREE_GB * GB:
        yield Diagnosis("free disk", WARNING, f"{free / GB:.1f} GB may be too little for the next refresh")
    yield from (Diagnosis("text vectors", WARNING, problem) for problem in text_vectors_problem(config))
    left = len(list(leftovers(paths)))
    if left:
        yield Diagnosis(
            "leftovers", WARNING, f"{left} of killed or running jobs; `tawsiya doctor --clean` deletes them"
        )
