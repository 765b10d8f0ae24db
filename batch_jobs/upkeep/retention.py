"""Retention: what every folder of a shop takes, what limits it, and the deletion of what is over a limit.

Most jobs limit what they write by themselves. Left are leftovers of killed jobs, and the cache of text vectors.
"""

import datetime as dt
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from batch_jobs.runs.run_records import delete_old_records, old_records
from batch_jobs.upkeep.leftovers import leftovers, remove_leftovers
from expectations.runner import MAX_DOCS_RUNS
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import SPILL_PREFIX
from feature_repo.common.paths import HOSTS_FOLDER, ShopPaths, shop_paths, text_vectors_dir
from feature_repo.common.search_log import delete_searches
from training.artifacts.model import CARD
from training.runs.tracking import MAX_RUNS
from training.text.vector_cache import bytes_per_text, delete_cache, is_cache_of

log = logging.getLogger(__name__)

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
    old = old_records(paths, config.refresh.keep_records)
    uses = []
    for place in sorted(paths.root.iterdir()) if paths.root.is_dir() else ():
        deletable = sum(_size(path) for path in [*left, *old] if path == place or place in path.parents)
        uses.append(DiskUse(place.name, _size(place), limits.get(place.name, REPLACED), deletable))
    size = _size(text_vectors_dir(config))
    deletable = sum(map(_size, _deletable_caches(config)))
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
        HOSTS_FOLDER: f"data.event_log_days={config.data.event_log_days}, "
        f"api.search_log_days={config.api.search_log_days}",
        "validation": f"the newest {MAX_DOCS_RUNS} results of each table",
        "runs": f"the newest {MAX_RUNS} runs",
        "search": "one database of all studies",
        "releases": f"release.keep={config.release.keep}",
        "refreshes": f"refresh.keep_records={config.refresh.keep_records}",
        "search_log": f"api.search_log_days={config.api.search_log_days}",
        "redis": f"feature_store.buyer_ttl_days={config.feature_store.buyer_ttl_days}",
    }


def clean(config: Config) -> int:
    """Deletes what `disk_use` calls deletable, and returns its bytes; the caller holds the shop's lock."""
    before = sum(use.deletable for use in disk_use(config))
    remove_leftovers(shop_paths(config))
    _delete_searches_of_other_hosts(config)
    delete_old_records(shop_paths(config), config.refresh.keep_records)
    for folder in _deletable_caches(config):
        delete_cache(folder)
    for problem in text_vectors_problem(config):
        log.warning("%s", problem)
    return before - sum(use.deletable for use in disk_use(config))


def _delete_searches_of_other_hosts(config: Config) -> None:
    """As each API does with its own; of a host that is gone, nobody else would."""
    oldest = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=max(config.api.search_log_days - 1, 0))
    for host in shop_paths(config).hosts()[1:]:
        delete_searches(host.search_log, oldest)


# ---- text vectors ----------------------------------------------------------------------------------------------------


def text_vectors_problem(config: Config) -> Iterator[str]:
    """What to do if the products alone need a larger cache of text vectors than the limit allows; else nothing."""
    needed, limit = sum(_live_bytes(config).values()), config.disk.max_text_vectors_gb
    if needed > limit * GB:
        yield (
            f"the vectors of the products' texts take {needed / GB:.1f} GB, more than "
            f"disk.max_text_vectors_gb={limit:g}; they are kept, but so are those of old texts: raise the limit to "
            f"{2 * needed / GB:.1f} or more"
        )


def _deletable_caches(config: Config) -> list[Path]:
    """The caches to delete: all of them if their limit is exceeded, because the next run encodes the products again.

    Where the products alone exceed it, each run would encode all of them for nothing: their caches stay.
    """
    limit = config.disk.max_text_vectors_gb * GB
    if _size(text_vectors_dir(config)) <= limit:
        return []
    live = _live_bytes(config)
    kept = live if sum(live.values()) > limit else {}
    return [folder for folder in _caches(config) if folder not in kept]


def _live_bytes(config: Config) -> dict[Path, int]:
    """What the products of all shops of the data_dir need in the caches of the encoders that their models use."""
    live: Counter[Path] = Counter()
    for paths in map(ShopPaths, config.data_dir.iterdir() if config.data_dir.is_dir() else ()):
        try:
            encoder_id = json.loads((paths.model / CARD).read_text(encoding="utf-8"))["text_encoder"]
            n_products = pq.read_metadata(paths.product_features).num_rows
        except (OSError, ValueError, KeyError):  # no shop, or none with a model
            continue
        for folder in _caches(config):
            if is_cache_of(folder, encoder_id):
                live[folder] += n_products * bytes_per_text(folder)
    return {folder: min(size, _size(folder)) for folder, size in live.items()}


def _caches(config: Config) -> list[Path]:
    folder = text_vectors_dir(config)
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


# ---- sizes -----------------------------------------------------------------------------------------------------------


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
