"""Features from canonical events and products: what Feast serves, and what training has to predict.

buyer_purchases  all that a buyer ever bought, as of now
buyer_sequences  a buyer's last events at each moment that training asks for, and now (for materialize)
contexts         those moments: buyer, time, how many events came before, the products chosen then, and the split
products         the product columns that pages and the towers read

The clock of the data is the last event of the source. Events that the API logged after it belong to sequences, but are
too new to be judged: an export of last month would otherwise be split, and called popular, as of today. They make no
contexts and are no targets. Where the source has no events at all, all events count.
"""

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table, Value

from feature_repo import columns as c
from feature_repo.common.config import Config, EvaluationUnit
from feature_repo.common.files import replacing, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.transforms.events import EVENT_TYPE_CODES, PURCHASE
from feature_repo.transforms.sequences import POSITION, rolling_sequences, with_positions
from training.artifacts.lineage import sha256
from training.data.contexts import TimeSplit

ONE_TICK = ibis.interval(microseconds=1)
UTC_MICROSECONDS = "timestamp('UTC', 6)"
MEMORY_LIMIT = "4GB"


def build_features(config: Config) -> dict[str, Any]:
    """Writes the feature tables of the canonical data.

    Returns:
        The report: rows per table, `as_of` (the cut-off that online rows carry), `validation_from` and `test_from`
        (start of these splits), `data_end` (the end of the test, the last event of the source), all four ISO 8601 UTC,
        and `data_version`: a hash of what training depends on, the same for two builds of the same data.

    Raises:
        FileNotFoundError: There are no canonical data yet.
        ValueError: There are no events, or none before the test days.
    """
    paths = shop_paths(config)
    for path in (paths.events, paths.products):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya ingest` first")
    as_of = dt.datetime.now(dt.UTC)
    con = ibis.duckdb.connect(memory_limit=MEMORY_LIMIT, temp_directory=str(paths.root / "tmp"))
    con.raw_sql("SET TimeZone = 'UTC'")
    events = con.read_parquet(paths.events)
    data_end = _data_end(events)
    split = _time_split(events, data_end, config.data.test_days)
    positioned = con.create_table("positioned", with_positions(_coded(events)), temp=True)
    contexts = con.create_table("contexts", _contexts(positioned, split, config.data.evaluation_unit), temp=True)
    sequences = _sequences(positioned, contexts, as_of, config.model.buyer_tower.max_interaction_history)
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
    }
    write_json(paths.feature_report, report)
    return report


def _data_end(events: Table) -> dt.datetime:
    """The time of the source's last event; of the last event at all where the source has none."""
    of_source = events[c.ORIGIN] == c.Origin.SOURCE.value
    last = events[c.EVENT_TIME].max(where=of_source).coalesce(events[c.EVENT_TIME].max()).execute()
    if pd.isna(last):
        raise ValueError("there are no events to build features from; see the quarantine of `tawsiya ingest`")
    data_end: dt.datetime = last.to_pydatetime()
    return data_end


def _time_split(events: Table, data_end: dt.datetime, test_days: int) -> TimeSplit:
    """The test from midnight (UTC) `test_days` whole days before the day of `data_end`, the validation as long before.

    Of data so short that the validation would leave nothing to train on, it gets the latter half before the test.
    """
    midnight = data_end.replace(hour=0, minute=0, second=0, microsecond=0)
    test_from = midnight - dt.timedelta(days=test_days)
    first = events[c.EVENT_TIME].min().execute().to_pydatetime()
    if test_from <= first:
        raise ValueError(
            f"all events lie within the last {test_days} days, so none is left to train on; lower data.test_days"
        )
    validation_from = test_from - min(dt.timedelta(days=test_days), (test_from - first) / 2)
    return TimeSplit(validation_from, test_from, data_end)


def _coded(events: Table) -> Table:
    """Events with the type as its code and the time in milliseconds, as sequences store them."""
    code = events[c.EVENT_TYPE].cases(*EVENT_TYPE_CODES.items())
    # Whole seconds first: DuckDB's epoch has a fraction, and the cast to an integer would round it up.
    seconds = events[c.EVENT_TIME].truncate("s").epoch_seconds()
    time_ms = (seconds * 1000 + events[c.EVENT_TIME].millisecond()).cast("int64")
    return events.select(
        c.BUYER_ID,
        c.PRODUCT_KEY,
        **{c.EVENT_TYPE: code.cast("int32"), c.EVENT_TIME: time_ms, c.EVENT_TIMESTAMP: events[c.EVENT_TIME]},
    )


def _contexts(positioned: Table, split: TimeSplit, unit: EvaluationUnit) -> Table:
    """The moments up to the end of the data to predict, each asked one tick before it, since Feast joins with <=.

    Training has one context per buyer and moment of events (a basket), those of the validation days included, which a
    model that is chosen by them may learn from afterwards. Validation and test ask as `data.evaluation_unit` says: per
    buyer, at the start of the days with all that follows as the answer, or at each moment within them.
    """
    validation, test, end = (
        ibis.literal(moment).cast(UTC_MICROSECONDS)
        for moment in (split.validation_from, split.test_from, split.data_end)
    )
    positioned = positioned.filter(positioned[c.EVENT_TIMESTAMP] <= end)
    before_test = positioned.filter(positioned[c.EVENT_TIMESTAMP] < test)
    validated = before_test.filter(before_test[c.EVENT_TIMESTAMP] >= validation)
    tested = positioned.filter(positioned[c.EVENT_TIMESTAMP] >= test)
    per_buyer = unit == "per_buyer"
    return ibis.union(
        _asked(before_test, c.TRAIN),
        _asked(validated, c.VALIDATION, at=validation if per_buyer else None),
        _asked(tested, c.TEST, at=test if per_buyer else None),
    )


def _asked(events: Table, split: str, at: Value | None = None) -> Table:
    """One row per buyer and moment: how many events came before, and the products chosen.

    The moment is `at`, with all the events as its choices, or each moment of the events.
    """
    moment = (events[c.EVENT_TIMESTAMP] if at is None else at) - ONE_TICK
    events = events.mutate(**{c.EVENT_TIMESTAMP: moment.cast(UTC_MICROSECONDS), c.SPLIT: ibis.literal(split)})
    return events.group_by([c.BUYER_ID, c.EVENT_TIMESTAMP, c.SPLIT]).agg(
        **{
            c.EVENTS_BEFORE: events[POSITION].min(),
            c.PRODUCT_KEYS: events[c.PRODUCT_KEY].collect(order_by=events[POSITION]),
            c.EVENT_TYPES: events[c.EVENT_TYPE].collect(order_by=events[POSITION]),
            c.EVENT_TIMES: events[c.EVENT_TIME].collect(order_by=events[POSITION]),
        }
    )


def _sequences(positioned: Table, contexts: Table, as_of: dt.datetime, max_length: int) -> Table:
    """Feast's buyer-history rows: one at the last event before each context, one per buyer at the cut-off `as_of`.

    The cut-off row is stamped with the time of this build and not with the buyer's last event: Feast drops an online
    write that is not newer than what it holds, and an event that arrives late would never be seen.
    """
    last = contexts.mutate(**{POSITION: contexts[c.EVENTS_BEFORE] - 1})
    asked = last.filter(last[POSITION] >= 0).select(c.BUYER_ID, POSITION).distinct()
    asked = asked.inner_join(positioned.select(c.BUYER_ID, POSITION, c.EVENT_TIMESTAMP), [c.BUYER_ID, POSITION])
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    latest = positioned.group_by(c.BUYER_ID).agg(**{POSITION: positioned[POSITION].max()})
    anchors = asked.select(c.BUYER_ID, POSITION, c.EVENT_TIMESTAMP).union(
        latest.select(c.BUYER_ID, POSITION, **{c.EVENT_TIMESTAMP: stamp})
    )
    return rolling_sequences(positioned, anchors.mutate(**{c.CREATED_TIMESTAMP: stamp}), max_length)


def _purchases(positioned: Table, as_of: dt.datetime) -> Table:
    """Feast's buyer-purchases rows: one per buyer who ever bought, stamped as the cut-off rows are."""
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    bought = positioned.filter(positioned[c.EVENT_TYPE] == PURCHASE)
    distinct = bought.select(c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TIME).distinct()
    order = [distinct[c.EVENT_TIME], distinct[c.PRODUCT_KEY]]
    by_buyer = distinct.group_by(c.BUYER_ID).agg(
        **{
            c.PURCHASED_KEYS: distinct[c.PRODUCT_KEY].collect(order_by=order),
            c.PURCHASED_TIMES: distinct[c.EVENT_TIME].collect(order_by=order),
        }
    )
    return by_buyer.mutate(**{c.EVENT_TIMESTAMP: stamp, c.CREATED_TIMESTAMP: stamp})


def _product_features(con: Backend, paths: ShopPaths, as_of: dt.datetime) -> Table:
    """Products are known as they are at this build; a shop's export does not say since when."""
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    return con.read_parquet(paths.products).mutate(**{c.EVENT_TIMESTAMP: stamp, c.CREATED_TIMESTAMP: stamp})


def _data_version(paths: ShopPaths, config: Config) -> str:
    """A hash of what training depends on, for a killed run to go on with.

    The contexts hold every event up to the end of the data, with which all histories that training reads are given.
    The file of events does not serve: it grows with every click while a shop is open.
    """
    content = {
        "contexts": sha256(paths.contexts),
        "products": sha256(paths.products),
        "test_days": config.data.test_days,
        "evaluation_unit": config.data.evaluation_unit,
        "max_interaction_history": config.model.buyer_tower.max_interaction_history,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write(con: Backend, table: Table, path: Path) -> int:
    """Writes a table in one step; returns its number of rows."""
    with replacing(path) as temporary:
        con.to_parquet(table, temporary, compression="zstd")
        return int(pq.read_metadata(temporary).num_rows)


def _write_empty_recent(path: Path) -> None:
    """Feast wants a batch source behind a pushed view; only pushes write this one, so its file stays empty."""
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
