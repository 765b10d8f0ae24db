"""Builds features from canonical events and products: the tables that Feast serves, and the contexts of training.

buyer_purchases  all purchases of each buyer, as of the build
buyer_sequences  each buyer's newest events before each context, and as of the build (for materialize)
contexts         buyer, moment, number of earlier events, targets and part of the time split
products         the product columns that pages and towers read

The data end with the last event of the source, not with the clock: an export of last month must not be split as of
today. Later events of the event log belong to sequences, but make no contexts and are no targets; so do a few stray
events after a long gap. If the source has no events, the events of the log define the end.
"""

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table, Value

from batch_jobs.split_time import UTC_MICROSECONDS, require_targets, split_time
from expectations.gate import require_passed
from expectations.records import CANONICAL
from feature_repo import columns as c
from feature_repo.common.config import Config, EvaluationUnit
from feature_repo.common.files import glob_literal, replacing, sha256, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.common.sql import sql_string
from feature_repo.time_split import TimeSplit
from feature_repo.transforms.events import EVENT_TYPE_CODES, PURCHASE
from feature_repo.transforms.sequences import POSITION, rolling_sequences, with_positions

# Parquet and Feast store microseconds, so this is the smallest step before a moment.
ONE_MICROSECOND = ibis.interval(microseconds=1)
# DuckDB spills to disk beyond it.
BUILD_MEMORY_LIMIT = "4GB"


def build_validated_features(config: Config) -> dict[str, Any]:
    """Builds features from canonical data, if the data gate has passed them and a model can be trained on them.

    Raises:
        GateRefusedError: The canonical data have not passed the gate.
        ValueError: There is nothing to train on or to validate with; the message has the dates.
    """
    require_passed(shop_paths(config), CANONICAL)
    report = build_features(config)
    require_targets(config)
    return report


def build_features(config: Config) -> dict[str, Any]:
    """Builds the feature tables from canonical data.

    Returns:
        The report: `rows` per table; `as_of`, the build time, which online rows carry; the time split
        `validation_from`, `test_from` and `data_end`; all times in ISO 8601, UTC; `data_version`, a hash of the data
        that training depends on, equal for two builds of the same data; `products_sha256`, the checksum of the
        canonical products; and `warnings`, a line each.

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
    con = ibis.duckdb.connect(memory_limit=BUILD_MEMORY_LIMIT, temp_directory=str(paths.root / "tmp"))
    # DuckDB returns times in the session's zone; days are days of UTC.
    con.raw_sql("SET TimeZone = 'UTC'")
    events = con.read_parquet(glob_literal(paths.events))
    split, warnings = split_time(events, config.data)
    # As tables: three queries read the numbered events, and two the contexts, and each would compute them again.
    positioned = con.create_table("positioned", with_positions(_encode_events(events)), temp=True)
    contexts = con.create_table("contexts", _contexts(positioned, split, config.data.evaluation_unit), temp=True)
    sequences = _sequences(positioned, contexts, as_of, config.model.buyer_tower.max_interaction_history)
    # Sorted, so that the same data give the same bytes: the data version hashes files.
    counts = {
        "buyer_sequences": _write(con, sequences.order_by([c.BUYER_ID, c.EVENT_TIMESTAMP]), paths.sequence_features),
        "buyer_purchases": _write(con, _purchases(positioned, as_of).order_by(c.BUYER_ID), paths.purchase_features),
        "contexts": _write(con, contexts.order_by([c.EVENT_TIMESTAMP, c.BUYER_ID]), paths.contexts),
        "products": _write(con, _product_features(con, paths, as_of), paths.product_features),
        "buyers": int(events[c.BUYER_ID].nunique().execute()),
    }
    _write_empty_recent(paths.recent_features)
    report = {
        "rows": counts,
        "as_of": as_of.isoformat(),
        **split.as_json(),
        "data_version": _data_version(paths, config),
        "products_sha256": sha256(paths.products),
        "warnings": warnings,
    }
    write_json(paths.feature_report, report)
    return report


# ---- contexts --------------------------------------------------------------------------------------------------------


def _encode_events(events: Table) -> Table:
    """Encodes events as sequences store them: the type as its code, the time in milliseconds."""
    code = events[c.EVENT_TYPE].cases(*EVENT_TYPE_CODES.items())
    # Truncated to seconds first: DuckDB's epoch has a fraction, which the cast to an integer would round up.
    seconds = events[c.EVENT_TIME].truncate("s").epoch_seconds()
    time_ms = (seconds * 1000 + events[c.EVENT_TIME].millisecond()).cast("int64")
    return events.select(
        c.BUYER_ID,
        c.PRODUCT_KEY,
        **{c.EVENT_TYPE: code.cast("int32"), c.EVENT_TIME: time_ms, c.EVENT_TIMESTAMP: events[c.EVENT_TIME]},
    )


def _contexts(positioned: Table, split: TimeSplit, unit: EvaluationUnit) -> Table:
    """The contexts of training, validation and test days. Each is stamped one microsecond early: Feast joins with <=.

    Training has one context per buyer and moment of events (a basket). Validation days are part of it for the refit
    after the best epoch is known. Validation and test depend on `data.evaluation_unit`: one context per buyer at the
    start of the days, with all following events as targets, or one per moment within the days.
    """
    validation, test, end = (
        ibis.literal(moment).cast(UTC_MICROSECONDS)
        for moment in (split.validation_from, split.test_from, split.data_end)
    )
    positioned = positioned.filter(positioned[c.EVENT_TIMESTAMP] <= end)
    before_test = positioned.filter(positioned[c.EVENT_TIMESTAMP] < test)
    validation_events = before_test.filter(before_test[c.EVENT_TIMESTAMP] >= validation)
    test_events = positioned.filter(positioned[c.EVENT_TIMESTAMP] >= test)
    per_buyer = unit == "per_buyer"
    return ibis.union(
        _group_contexts(before_test, c.TRAIN),
        _group_contexts(validation_events, c.VALIDATION, at=validation if per_buyer else None),
        _group_contexts(test_events, c.TEST, at=test if per_buyer else None),
    )


def _group_contexts(events: Table, split: str, at: Value | None = None) -> Table:
    """One row per buyer and moment: the number of earlier events, and the targets.

    The moment is `at`, with all events as targets; if None, each time of events is a moment of its own.
    """
    moment = (events[c.EVENT_TIMESTAMP] if at is None else at) - ONE_MICROSECOND
    events = events.mutate(**{c.EVENT_TIMESTAMP: moment.cast(UTC_MICROSECONDS), c.SPLIT: ibis.literal(split)})
    return events.group_by([c.BUYER_ID, c.EVENT_TIMESTAMP, c.SPLIT]).agg(
        **{
            c.EVENTS_BEFORE: events[POSITION].min(),
            c.PRODUCT_KEYS: events[c.PRODUCT_KEY].collect(order_by=events[POSITION]),
            c.EVENT_TYPES: events[c.EVENT_TYPE].collect(order_by=events[POSITION]),
            c.EVENT_TIMES: events[c.EVENT_TIME].collect(order_by=events[POSITION]),
        }
    )


# ---- tables that Feast serves ----------------------------------------------------------------------------------------


def _sequences(positioned: Table, contexts: Table, as_of: dt.datetime, max_length: int) -> Table:
    """Feast's rows of buyer sequences: one at the last event before each context, and one per buyer at `as_of`.

    The row at `as_of` carries the build time, not the time of the buyer's last event: Feast drops an online write that
    is not newer than the stored row, so an event that arrives late would never reach the online store.
    """
    last = contexts.mutate(**{POSITION: contexts[c.EVENTS_BEFORE] - 1})
    # A context without earlier events has no row: Feast then joins nulls, an empty history.
    before = last.filter(last[POSITION] >= 0).select(c.BUYER_ID, POSITION).distinct()
    before = before.inner_join(positioned.select(c.BUYER_ID, POSITION, c.EVENT_TIMESTAMP), [c.BUYER_ID, POSITION])
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    latest = positioned.group_by(c.BUYER_ID).agg(**{POSITION: positioned[POSITION].max()})
    anchors = before.select(c.BUYER_ID, POSITION, c.EVENT_TIMESTAMP).union(
        latest.select(c.BUYER_ID, POSITION, **{c.EVENT_TIMESTAMP: stamp})
    )
    return rolling_sequences(positioned, anchors.mutate(**{c.CREATED_TIMESTAMP: stamp}), max_length)


def _purchases(positioned: Table, as_of: dt.datetime) -> Table:
    """Feast's rows of buyer purchases: one per buyer with a purchase, with the build time as their time."""
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    purchases = positioned.filter(positioned[c.EVENT_TYPE] == PURCHASE)
    # Two units in one order are one purchase, online (merge_sequences) as well.
    distinct = purchases.select(c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TIME).distinct()
    order = [distinct[c.EVENT_TIME], distinct[c.PRODUCT_KEY]]
    by_buyer = distinct.group_by(c.BUYER_ID).agg(
        **{
            c.PURCHASED_KEYS: distinct[c.PRODUCT_KEY].collect(order_by=order),
            c.PURCHASED_TIMES: distinct[c.EVENT_TIME].collect(order_by=order),
        }
    )
    return by_buyer.mutate(**{c.EVENT_TIMESTAMP: stamp, c.CREATED_TIMESTAMP: stamp})


def _product_features(con: Backend, paths: ShopPaths, as_of: dt.datetime) -> Table:
    """Feast's rows of products, with the build time as their time: an export does not say since when they hold."""
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    return con.read_parquet(glob_literal(paths.products)).mutate(
        **{c.EVENT_TIMESTAMP: stamp, c.CREATED_TIMESTAMP: stamp}
    )


# ---- report and files ------------------------------------------------------------------------------------------------


def _data_version(paths: ShopPaths, config: Config) -> str:
    """A hash of the data that training depends on; a killed training run resumes only on the same data.

    The contexts contain every event up to the end of the data, so they determine all histories that training reads. A
    hash of the events file would not do: it changes with every event that the API accepts.
    """
    content = {
        "contexts": sha256(paths.contexts),
        "products": sha256(paths.products),
        "test_days": config.data.test_days,
        # The former name of the setting: another key would end the resumption of trainings in progress.
        "ask": config.data.evaluation_unit,
        "max_interaction_history": config.model.buyer_tower.max_interaction_history,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(con: Backend, table: Table, path: Path) -> int:
    """Writes a table atomically and returns its number of rows."""
    with replacing(path) as temporary:
        # Not to_parquet, which does not escape an apostrophe in the path.
        con.raw_sql(f"COPY ({con.compile(table)}) TO {sql_string(str(temporary))} (FORMAT parquet, COMPRESSION zstd)")
        # From the file: counting the query would run it again.
        return int(pq.read_metadata(temporary).num_rows)


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
