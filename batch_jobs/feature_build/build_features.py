"""Builds the features that are served, from canonical events and products: the tables that Feast materializes.

buyer_sequences  each buyer's newest events
buyer_purchases  all purchases of each buyer
products         the product columns that pages and towers read

A build writes only what changed since the last one: a delta part of the buyers whose events changed, and the products
if any did. If the canonical files are those of the last build, it ends at once. It builds all buyers anew if there is
nothing to compare with, or if so many changed that a delta would not be worth it. Either way it works bucket by bucket
(see buyer_buckets.Bucket), so that memory does not grow with the shop.

The report is written last and lists the parts that count. A build that is killed before leaves parts that do not count;
the next build removes them and, because their rows are stamped later than the report's `as_of`, writes their buyers and
products again. Feast's source is all parts of a folder, those included: training does not see their rows, which are
later than any context, and materialize reads only parts that count and that the gate passed.

Contexts, which only training reads, are built by build_contexts.
"""

import datetime as dt
from pathlib import Path
from typing import Any, NamedTuple

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from batch_jobs.feature_build.changed_buyers import (
    HASH_FUNCTION,
    NEVER,
    changed_share,
    compare_buyers,
    count_buyers,
    find_changed_buyers,
    is_readable,
    write_buyers,
)
from batch_jobs.feature_build.parts import (
    are_intact,
    compact_parts,
    describe_parts,
    needs_compaction,
    remove_dead_parts,
    write_parts,
)
from batch_jobs.feature_build.product_rows import write_products
from batch_jobs.feature_build.split_time import require_targets, split_time
from expectations.gate import require_passed
from expectations.records import CANONICAL
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal, replacing, sha256, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.feature_report import LAYOUT, live_parts, read_feature_report
from feature_repo.schema import schema_hash

# Beyond this share of changed buyers, all are built: a delta would soon be compacted, which costs as much.
MAX_CHANGED_SHARE = 0.3
# A store that missed more builds than this is filled anew.
KEPT_BUILDS = 100


class _LastBuild(NamedTuple):
    """What a build compares with.

    Attributes:
        known_until: When the last build began; NEVER if there is none to compare with, so that all is built.
        base: When the last build of all buyers or compaction began.
        builds: The builds whose rows the parts and products may hold, oldest first.
        parts: The parts that count.
        report: Its report; empty if there is none to compare with.
    """

    known_until: dt.datetime
    base: dt.datetime
    builds: list[str]
    parts: list[Path]
    report: dict[str, Any]


_NOTHING = _LastBuild(NEVER, NEVER, [], [], {})


def build_validated_features(config: Config, *, full: bool = False) -> dict[str, Any]:
    """Builds features from canonical data, if the data gate has passed them and a model can be trained on them.

    Args:
        config: The configuration.
        full: Build everything, not only what changed.

    Raises:
        GateRefusedError: The canonical data have not passed the gate.
        ValueError: There is nothing to train on or to validate with; the message has the dates.
    """
    require_passed(shop_paths(config), CANONICAL)
    report = build_features(config, full=full)
    require_targets(config)
    return report


def build_features(config: Config, *, full: bool = False) -> dict[str, Any]:
    """Builds what changed since the last build; a build without news writes nothing.

    Args:
        config: The configuration.
        full: Build everything, not only what changed.

    Returns:
        The report: `changed`, the number of buyers and of products that were written; `rows` per table; `as_of`, when
        the last build with news began, which its rows carry; the time split `validation_from`, `test_from` and
        `data_end`; all times in ISO 8601, UTC; `parts`, the files that count with their checksums; `events_sha256` and
        `products_sha256`, the checksums of the canonical files; `schema_hash`; and `warnings`, a line each.

    Raises:
        FileNotFoundError: There are no canonical data yet; the message names the command that writes them.
        ValueError: There are no events, or none before the test days; nothing was written.
    """
    paths = shop_paths(config)
    for path in (paths.events, paths.products):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya ingest` first")
    # Not before any event, because ingest quarantines events of the future (ADR 0001).
    as_of = dt.datetime.now(dt.UTC)
    settings, inputs = _settings(config), _inputs(paths, config)
    last = _NOTHING if full else _last_build(paths, settings, as_of)
    if _is_of(last, inputs) and are_intact(paths.feature_report.parent, last.report["files"]):
        _remove_leftovers(paths, last.parts)
        return last.report | {"changed": {"buyers": 0, "products": 0}}
    with duckdb_session(config, "build-features") as db:
        con = ibis.duckdb.from_connection(db)
        split, warnings = split_time(con.read_parquet(glob_literal(paths.events)), config.data)
        if _has_products_of(last, paths, inputs):
            n_products, changed_products = last.report["rows"]["products"], 0
        else:
            n_products, changed_products = write_products(con.con, paths, last.known_until, as_of)
        changed_buyers, new = _build_buyers(con, paths, config, last, as_of)
        rows = {**count_buyers(con.con), "products": n_products}
    if not paths.recent_features.is_file():
        _write_empty_recent(paths.recent_features)
    changed = {"buyers": changed_buyers, "products": changed_products}
    if any(changed.values()):
        new = new._replace(known_until=as_of, builds=[*last.builds, as_of.isoformat()][-KEPT_BUILDS:])
    facts = {"changed": changed, "rows": rows, **split.as_json(), "warnings": warnings, **inputs, **settings}
    report = facts | _files_report(paths, last, new)
    _write_report(paths, report)
    _remove_leftovers(paths, new.parts)
    return report


def _files_report(paths: ShopPaths, last: _LastBuild, new: _LastBuild) -> dict[str, Any]:
    """What the report says of the files, and of the builds whose rows they hold."""
    return {
        "as_of": new.known_until.isoformat(),
        "base": new.base.isoformat(),
        "builds": new.builds,
        "parts": {
            folder.name: describe_parts(folder, new.parts, last.report.get("parts", {}).get(folder.name, {}))
            for folder in (paths.sequence_features, paths.purchase_features)
        },
        "files": {
            path.name: sha256(path)
            for path in (paths.buyer_fingerprints, paths.product_features, paths.recent_features)
        },
    }


def _build_buyers(
    con: Backend, paths: ShopPaths, config: Config, last: _LastBuild, as_of: dt.datetime
) -> tuple[int, _LastBuild]:
    """Writes the parts of changed buyers; returns their number, and the last build with its new parts."""
    db = con.con
    find_changed_buyers(db, paths.events, paths.buyer_fingerprints, last.known_until, as_of)
    changed, share = changed_share(db)
    if not changed:
        return 0, last
    if share > MAX_CHANGED_SHARE:
        compare_buyers(db, NEVER, as_of)
        changed, _ = changed_share(db)
        last = last._replace(base=as_of, parts=[])
    new = write_parts(con, paths, config, as_of)
    last = last._replace(parts=[*last.parts, *new])
    folders = (paths.sequence_features, paths.purchase_features)
    by_folder = {folder: [part for part in last.parts if part.parent == folder] for folder in folders}
    if any(needs_compaction(parts, last.base) for parts in by_folder.values()):
        compacted = [part for folder, parts in by_folder.items() for part in compact_parts(db, folder, parts, as_of)]
        last = last._replace(base=as_of, parts=compacted)
    write_buyers(db, paths.buyer_fingerprints)
    return changed, last


# ---- the last build --------------------------------------------------------------------------------------------------


def _settings(config: Config) -> dict[str, Any]:
    """What rows depend on besides the data: with others, everything is built anew."""
    return {
        "layout": LAYOUT,
        "schema_hash": schema_hash(config.model.buyer_tower.max_interaction_history),
        "hash_function": HASH_FUNCTION,
    }


def _inputs(paths: ShopPaths, config: Config) -> dict[str, Any]:
    """What the report depends on besides the settings; taken before anything is read, so that it is never newer."""
    return {
        "events_sha256": sha256(paths.events),
        "products_sha256": sha256(paths.products),
        "test_days": config.data.test_days,
    }


def _is_of(last: _LastBuild, inputs: dict[str, Any]) -> bool:
    """Whether the last build was of these inputs."""
    return all(last.report.get(name) == value for name, value in inputs.items())


def _has_products_of(last: _LastBuild, paths: ShopPaths, inputs: dict[str, Any]) -> bool:
    """Whether the product features are those of the last build, and it was of these products."""
    name = paths.product_features.name
    return last.report.get("products_sha256") == inputs["products_sha256"] and are_intact(
        paths.feature_report.parent, {name: last.report["files"][name]}
    )


def _last_build(paths: ShopPaths, settings: dict[str, Any], as_of: dt.datetime) -> _LastBuild:
    """The last build; _NOTHING if it cannot be built upon."""
    try:
        report = read_feature_report(paths)
    except (FileNotFoundError, ValueError):  # none yet, or damaged
        return _NOTHING
    known_until = dt.datetime.fromisoformat(report["as_of"])
    folders = (paths.sequence_features, paths.purchase_features)
    if (
        any(report[name] != value for name, value in settings.items())
        # A clock was ahead then: rows of today would be older than those of the last build, and not count.
        or known_until >= as_of
        or not is_readable(paths.buyer_fingerprints)
        or not all(are_intact(folder, report["parts"][folder.name]) for folder in folders)
    ):
        return _NOTHING
    parts = [part for folder in folders for part in live_parts(folder, report)]
    return _LastBuild(known_until, dt.datetime.fromisoformat(report["base"]), report["builds"], parts, report)


# ---- files -----------------------------------------------------------------------------------------------------------


def _write_report(paths: ShopPaths, report: dict[str, Any]) -> None:
    """Writes the report, which makes its parts count, unless nothing but the counts of the last changes differs."""
    try:
        before = read_feature_report(paths)
    except (FileNotFoundError, ValueError):
        before = {}
    if report | {"changed": None} != before | {"changed": None}:
        write_json(paths.feature_report, report)


def _remove_leftovers(paths: ShopPaths, parts: list[Path]) -> None:
    """Removes parts that do not count, and the files of version 0.1.0."""
    for folder in (paths.sequence_features, paths.purchase_features):
        remove_dead_parts(folder, parts)
        folder.with_suffix(".parquet").unlink(missing_ok=True)


def _write_empty_recent(path: Path) -> None:
    """Writes the batch source that Feast requires of a pushed view; empty, because only pushes write the view."""
    schema = pa.schema(
        [
            (c.BUYER_ID, pa.string()),
            (c.EVENT_TIMESTAMP, pa.timestamp("us", "UTC")),
            (c.PRODUCT_KEYS, pa.list_(pa.int64())),
            (c.EVENT_TYPES, pa.list_(pa.int32())),
            (c.EVENT_TIMES, pa.list_(pa.int64())),
            (c.PURCHASED_KEYS, pa.list_(pa.int64())),
            (c.PURCHASED_TIMES, pa.list_(pa.int64())),
        ]
    )
    with replacing(path) as temporary:
        pq.write_table(schema.empty_table(), temporary)
