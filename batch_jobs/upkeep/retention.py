"""Retention: what every folder of a shop takes, what limits it, and the deletion of what is over a limit.

Most jobs limit what they write by themselves. Left are leftovers of killed jobs, and the cache of text vectors.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batch_jobs.upkeep.leftovers import leftovers, remove_leftovers
from expectations.runner import MAX_DOCS_RUNS
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import SPILL_PREFIX
from feature_repo.common.paths import shop_paths, text_vectors_dir
from training.runs.tracking import MAX_RUNS
from training.text.vector_cache import delete_cache

GB = 10**9
REPLACED = "replaced by the next run"


@dataclass(frozen=True)
class DiskUse:
    """What one place takes on the disk.

    Attributes:
        place: Name in the shop's folder, or of a folder beside it.
        bytes: Its size.
        limit: The setting or the rule that limits it.
        deletable: Bytes that `clean` would delete.
    """

    place: str
    bytes: int
    limit: str
    deletable: int = 0


def disk_use(config: Config) -> list[DiskUse]:
    """What the shop's folders take, and the cache of text vectors, which it shares with other shops."""
    paths, limits = shop_paths(config), _limits(config)
    left = list(leftovers(paths)) if paths.root.is_dir() else []
    uses = []
    for place in sorted(paths.root.iterdir()) if paths.root.is_dir() else ():
        deletable = sum(_size(path) for path in left if path == place or place in path.parents)
        uses.append(DiskUse(place.name, _size(place), limits.get(place.name, REPLACED), deletable))
    size = _size(text_vectors_dir(config))
    deletable = size if size > config.disk.max_text_vectors_gb * GB else 0
    limit = f"disk.max_text_vectors_gb={config.disk.max_text_vectors_gb:g}"
    return [*uses, DiskUse("../text_vectors", size, limit, deletable), *_spilled(config)]


def _spilled(config: Config) -> Iterator[DiskUse]:
    """What DuckDB spilled outside the shop's folder, for this shop or another one."""
    if config.resources.spill_folder:
        pattern = config.resources.spill_folder / f"{SPILL_PREFIX}*"
        size = sum(map(_size, pattern.parent.glob(pattern.name)))
        yield DiskUse(str(pattern), size, "deleted by its job, or by the next one if that is killed")


def _limits(config: Config) -> dict[str, str]:
    """What limits a place, by its name in the shop's folder; others are replaced by the next run of their job."""
    return {
        "event_log": f"data.event_log_days={config.data.event_log_days}",
        "validation": f"the newest {MAX_DOCS_RUNS} results of each table",
        "runs": f"the newest {MAX_RUNS} runs",
        "search": "one database of all studies",
        "releases": f"release.keep={config.release.keep}",
        "redis": f"feature_store.buyer_ttl_days={config.feature_store.buyer_ttl_days}",
    }


def clean(config: Config) -> int:
    """Deletes what `disk_use` calls deletable, and returns its bytes; the caller holds the shop's lock."""
    before = sum(use.deletable for use in disk_use(config))
    remove_leftovers(shop_paths(config))
    vectors = text_vectors_dir(config)
    if _size(vectors) > config.disk.max_text_vectors_gb * GB:
        for folder in sorted(path for path in vectors.iterdir() if path.is_dir()):
            delete_cache(folder)
    return before - sum(use.deletable for use in disk_use(config))


def _size(path: Path) -> int:
    return sum(_file_sizes(path))


def _file_sizes(path: Path) -> Iterator[int]:
    for file in (path, *path.rglob("*")):
        try:
            status = file.lstat()  # not of what a link points to
        except FileNotFoundError:  # deleted meanwhile
            continue
        if not file.is_dir():
            yield status.st_size
