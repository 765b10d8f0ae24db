"""The rows of buyers in the parts of the features, which the report of the feature build lists with their checksums."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_jobs.feature_build.parts import remove_dead_parts
from batch_jobs.privacy.parquet_rows import copy_without, count_rows_of, remove_rows
from feature_repo import columns as c
from feature_repo.common.files import sha256, write_json
from feature_repo.common.paths import ShopPaths
from feature_repo.feature_report import PARTS, live_parts, part_name, part_time, read_feature_report


def remove_from_parts(paths: ShopPaths, buyer_ids: Collection[str]) -> dict[Path, int]:
    """Removes the rows of these buyers from the features; returns their number by file or folder.

    The next build finds nothing to do: the other buyers keep their rows and their fingerprints. A part is rewritten
    under a new name, which counts as soon as the report lists it. So a run that is killed leaves no part that looks
    damaged, and those that do not count go with the next run or build.
    """
    removed = {paths.buyer_fingerprints: 0}
    if paths.buyer_fingerprints.is_file():
        removed[paths.buyer_fingerprints] = remove_rows(paths.buyer_fingerprints, buyer_ids)
    try:
        report = read_feature_report(paths)
    except (FileNotFoundError, ValueError):  # none, of version 0.1.0, or damaged: the next build makes all parts anew
        return removed
    folders = (paths.sequence_features, paths.purchase_features)
    if not all(part.is_file() for folder in folders for part in live_parts(folder, report)):
        return removed
    before, after = report["parts"], {}
    for folder in folders:
        after[folder.name], removed[folder] = _rewritten(folder, before[folder.name], buyer_ids)
    if after != before:
        write_json(paths.feature_report, report | {"parts": after, "rows": report["rows"] | _counts(paths)})
    for folder in folders:
        remove_dead_parts(folder, [folder / name for name in after[folder.name]])
    return removed


def _rewritten(folder: Path, checksums: dict[str, str], buyer_ids: Collection[str]) -> tuple[dict[str, str], int]:
    """The checksums of the parts without these buyers, new ones where they had rows, and the number of these rows."""
    after, removed = {}, 0
    for name, checksum in checksums.items():
        part = folder / name
        rows = count_rows_of(part, buyer_ids)
        removed += rows
        if not rows:
            after[name] = checksum
        elif sha256(part) == checksum:
            written = copy_without(part, _unused_name(part), buyer_ids)
            after[written.name] = sha256(written)
        else:
            # A damaged part does not pass for a good one, so that the next build makes all anew.
            remove_rows(part, buyer_ids)
            after[name] = checksum
    return after, removed


def _unused_name(part: Path) -> Path:
    """A name for a part of the same build."""
    built_at = part_time(part)
    others = [other for other in part.parent.glob(PARTS) if part_time(other) == built_at]
    number = 1 + max(int(other.stem.rpartition("-")[2]) for other in others)
    return part.with_name(part_name(built_at, number))


def _counts(paths: ShopPaths) -> dict[str, Any]:
    """The numbers of rows that the report of a build has, from the buyers that it knows (changed_buyers)."""
    buyers = pq.read_table(paths.buyer_fingerprints, columns=[c.N_EVENTS, c.HAS_PURCHASES])
    return {
        "buyers": pc.sum(pc.greater(buyers[c.N_EVENTS], 0)).as_py() or 0,
        "buyer_sequences": len(buyers),
        "buyer_purchases": pc.sum(buyers[c.HAS_PURCHASES]).as_py() or 0,
    }
