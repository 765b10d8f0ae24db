"""What killed jobs leave in a shop's folder: temporary files, copies, unfinished releases, parts that do not count."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from feature_repo.common.paths import ShopPaths
from feature_repo.feature_report import PARTS, live_parts, read_feature_report
from training.artifacts.replication.release_copies import PARTIAL


def leftovers(paths: ShopPaths) -> Iterator[Path]:
    """Files and folders that no running job needs; only while the caller holds the shop's lock, none is running."""
    # A new job of the same kind deletes its own; these are of jobs that do not run again.
    folders = (paths.root / "tmp", paths.passed_features, paths.validation / "spill")
    yield from (folder for folder in folders if folder.is_dir())
    yield from paths.releases.glob(".release-*")
    yield from paths.releases.glob(f"{PARTIAL}*")
    yield from paths.root.glob(".backup-*")
    # As feature_repo.common.files.replacing names them. Those of the event log may be the serving API's.
    others = {paths.redis, *(host.event_log for host in paths.hosts())}
    yield from (path for path in paths.root.rglob(".*.tmp") if path.is_file() and others.isdisjoint(path.parents))
    yield from _dead_parts(paths)


def _dead_parts(paths: ShopPaths) -> Iterator[Path]:
    """Parts of features that the report of the build does not list."""
    try:
        report = read_feature_report(paths)
    except (FileNotFoundError, ValueError):
        return
    for folder in (paths.sequence_features, paths.purchase_features):
        yield from set(folder.glob(PARTS)).difference(live_parts(folder, report))


def remove_leftovers(paths: ShopPaths) -> int:
    """Deletes them, and returns their number; the caller holds the shop's lock."""
    found = list(leftovers(paths))
    for path in found:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(found)
