"""Disk space: what is free, what the next refresh needs, what is left over."""

from collections.abc import Iterator, Sequence

from batch_jobs.doctor.diagnosis import Diagnosis, judged
from batch_jobs.upkeep.leftovers import leftovers
from batch_jobs.upkeep.retention import GB, DiskUse, text_vectors_problem
from feature_repo.common.config import Config
from feature_repo.common.paths import HOSTS_FOLDER, ShopPaths

_GROUP = "disk"
CLEAN = "tawsiya doctor --clean"
MIN_FREE_GB = 2  # less may not hold what a first refresh writes
# What a refresh writes anew before it deletes the old: what is left grows with time and is not written again.
_KEPT = (
    "releases", "event_log", HOSTS_FOLDER, "redis", "search_log", "refreshes", "runs", "search", "validation",
)  # fmt: skip


def disk_checks(config: Config, paths: ShopPaths, uses: Sequence[DiskUse], free: int) -> Iterator[Diagnosis]:
    """Free space against the next refresh, the budget, the cache of text vectors, leftovers."""
    taken = sum(use.bytes for use in uses if "/" not in use.place)
    need = max(needed_bytes(uses, config.release.keep), MIN_FREE_GB * GB)
    text = f"{free / GB:.1f} GB; the next refresh may take {need / GB:.1f}"
    yield judged(_GROUP, "free disk", text, f"{CLEAN}, then lower release.keep" if free < need else None)
    if config.disk.budget_gb:
        over = taken > config.disk.budget_gb * GB
        text = f"{taken / GB:.1f} GB of disk.budget_gb={config.disk.budget_gb:g}"
        yield judged(_GROUP, "disk budget", text, f"{CLEAN}, then lower release.keep" if over else None)
    for problem in text_vectors_problem(config):
        yield judged(_GROUP, "text vectors", problem, "raise disk.max_text_vectors_gb")
    left = len(list(leftovers(paths)))
    if left:
        yield judged(_GROUP, "leftovers", f"{left} of killed or running jobs", CLEAN)


def needed_bytes(uses: Sequence[DiskUse], kept_releases: int) -> int:
    """What the next refresh writes beside the old: one more of what it replaces, and one more release."""
    replaced = sum(use.bytes for use in uses if "/" not in use.place and use.place not in _KEPT)
    releases = sum(use.bytes for use in uses if use.place == "releases")
    return replaced + max(releases // kept_releases, replaced)
