"""Builds the features that are served, from canonical events and products: the tables that Feast materializes.

buyer_sequences  each buyer's newest events, as of the build
buyer_purchases  all purchases of each buyer, as of the build
products         the product columns that pages and towers read

Contexts, which only training reads, are built by build_contexts.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from batch_jobs.feature_build.spark_tasks import run_by_bucket
from batch_jobs.feature_build.split_time import UTC_MICROSECONDS, require_targets, split_time
from batch_jobs.feature_build.tables import encode_events, write_table
from expectations.gate import require_passed
from expectations.records import CANONICAL
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.files import glob_literal, replacing, sha256, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.spark_session import spark_conf, spark_session
from feature_repo.transforms.events import PURCHASE
from feature_repo.transforms.sequences import POSITION, rolling_sequences, with_positions

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
        `validation_from`, `test_from` and `data_end`; all times in ISO 8601, UTC; `products_sha256`, the checksum of
        the canonical products; and `warnings`, a line each.

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
    for folder in (paths.sequence_features, paths.purchase_features):
        for old in folder.glob("2*.parquet"):
            old.unlink()
    build = _BuyerParts(as_of, config.model.buyer_tower.max_interaction_history, paths)
    parts: Mapping[str, int]
    if config.feature_store.offline == "spark":
        parts = run_by_bucket(spark_session(spark_conf(config.spark)), paths.events, build)
    else:
        parts = build(0, con, events)
    counts = {
        **parts,
        "products": write_table(con, _product_features(con, paths, as_of), paths.product_features),
        "buyers": int(events[c.BUYER_ID].nunique().execute()),
    }
    _write_empty_recent(paths.recent_features)
    report = {
        "rows": counts,
        "as_of": as_of.isoformat(),
        **split.as_json(),
        "products_sha256": sha256(paths.products),
        "warnings": warnings,
    }
    write_json(paths.feature_report, report)
    return report


# ---- tables that Feast serves ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _BuyerParts:
    """Writes the parts of one bucket of buyers."""

    as_of: dt.datetime
    max_length: int
    paths: ShopPaths

    def __call__(self, bucket: int, con: Backend, events: Table) -> dict[str, int]:
        # As a table: two queries read the numbered events, and each would number them again.
        positioned = con.create_table("positioned", with_positions(encode_events(events)), temp=True)
        part = f"{self.as_of:%Y%m%dT%H%M%S%f}-{bucket:03}.parquet"
        tables = {
            self.paths.sequence_features: _latest_sequences(positioned, self.as_of, self.max_length),
            self.paths.purchase_features: _purchases(positioned, self.as_of),
        }
        return {
            folder.name: write_table(con, table.order_by(c.BUYER_ID), folder / part) for folder, table in tables.items()
        }


def _latest_sequences(positioned: Table, as_of: dt.datetime, max_length: int) -> Table:
    """Feast's rows of buyer sequences: one per buyer at `as_of`.

    A row carries the build time, not the time of the buyer's last event: Feast drops an online write that is not newer
    than the stored row, so an event that arrives late would never reach the online store.
    """
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    latest = positioned.group_by(c.BUYER_ID).agg(**{POSITION: positioned[POSITION].max()})
    anchors = latest.mutate(**{c.EVENT_TIMESTAMP: stamp, c.CREATED_TIMESTAMP: stamp})
    return rolling_sequences(positioned, anchors, max_length)


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
