"""The lists job: what was bought together and again, what is trending, and since when products are there.

Events count up to the end of the data, as in the release's popularity.

Legend: N products of the release.
"""

import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq

from batch_jobs.event_counts import as_ms
from batch_jobs.shop_lists.co_purchase_counts import co_purchases
from expectations.gate import require_passed
from expectations.records import FEATURE_STAGE
from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.common.sql import first_row, sql_string
from feature_repo.time_split import read_time_split
from feature_repo.transforms.events import EVENT_TYPE_NAMES, PURCHASE
from training.artifacts.lineage import record_source
from training.artifacts.lists.list_tables import ListTables
from training.artifacts.lists.repurchases import Repurchases
from training.data.histories import DAY_MS

# A buyer's newest event with a product counts half for every so many days before the end of the data.
TRENDING_HALF_LIFE_DAYS, TRENDING_DAYS = 7, 30


def lists_job(config: Config) -> dict[str, Any]:
    """Computes the tables of the lists (training.artifacts.lists.list_tables).

    Returns:
        {"n_products", "bought_together", "bought_again", "trending": numbers of products with such an entry}

    Raises:
        FileNotFoundError: There are no features yet.
        GateRefusedError: They have not passed the data gate.
        OutOfResourcesError: Memory or disk space is insufficient.
    """
    paths = shop_paths(config)
    require_passed(paths, FEATURE_STAGE)
    tables = list_tables(config)
    tables.save(paths.shop_lists)
    record_source(paths.shop_lists, paths.product_features)
    return {
        "n_products": len(tables.trending_N),
        "bought_together": int((tables.basket.scores_NM[:, 0] > 0).sum()),
        "bought_again": int((tables.repurchases.repeats_N > 0).sum()),
        "trending": int((tables.trending_N > 0).sum()),
    }


def list_tables(config: Config) -> ListTables:
    """The tables of the lists, from the canonical events and the product features; for the errors, see lists_job."""
    paths, days = shop_paths(config), config.lists.together_days
    data_end = read_time_split(paths.feature_report).data_end
    with duckdb_session(config, "build-lists") as db:
        n_products = stage_purchases(db, paths, data_end)
        together = partial(co_purchases, db, n_products=n_products, max_products=config.lists.max_basket_products)
        return ListTables(
            # An order is what a buyer bought at one time: the canonical events have no order id.
            basket=together("buyer_id, time_ms"),
            days=together(f"buyer_id, time_ms // {days * DAY_MS}"),
            repurchases=repurchases(db, as_ms(data_end), n_products),
            trending_N=_trending(db, paths, data_end, n_products),
            first_seen_N=_first_seen(db, paths, data_end, n_products),
        )


def stage_purchases(db: duckdb.DuckDBPyConnection, paths: ShopPaths, until: dt.datetime) -> int:
    """Creates `positions` and `purchases` (buyer_id, position, time_ms) up to a moment; returns N."""
    products, events = (_parquet(path) for path in (paths.product_features, paths.events))
    # Features of a version before the column are read, too.
    dated = c.LISTED_AT in pq.read_schema(paths.product_features).names
    db.execute(f"""
        CREATE OR REPLACE TEMP TABLE positions AS
        SELECT product_key, file_row_number AS position, {c.LISTED_AT if dated else "NULL::TIMESTAMPTZ"} AS listed_at
        FROM read_parquet({products}, file_row_number = true)
    """)
    db.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE purchases AS
        SELECT DISTINCT buyer_id, position, epoch_ms(event_time) AS time_ms
        FROM read_parquet({events}) JOIN positions USING (product_key)
        WHERE event_type = '{EVENT_TYPE_NAMES[PURCHASE]}' AND event_time <= $until
        """,
        {"until": until},
    )
    return int(first_row(db.execute("SELECT count(*) FROM positions"))[0])


def repurchases(db: duckdb.DuckDBPyConnection, until_ms: int, n_products: int) -> Repurchases:
    """How often each product is bought again; reads the table `purchases`."""
    found = db.execute(
        f"""
        SELECT position, sum(days - 1)::INTEGER AS repeats, sum($until - first_ms) / {DAY_MS} AS buyer_days
        FROM (
            SELECT position, count(DISTINCT time_ms // {DAY_MS}) AS days, min(time_ms) AS first_ms
            FROM purchases GROUP BY buyer_id, position)
        GROUP BY position
        """,
        {"until": until_ms},
    ).fetchnumpy()
    repeats_N, buyer_days_N = np.zeros(n_products, dtype=np.int32), np.zeros(n_products, dtype=np.float32)
    repeats_N[found["position"]], buyer_days_N[found["position"]] = found["repeats"], found["buyer_days"]
    return Repurchases(repeats_N, buyer_days_N)


def _trending(db: duckdb.DuckDBPyConnection, paths: ShopPaths, data_end: dt.datetime, n_products: int) -> Float32Array:
    """(N,) the buyers of the last TRENDING_DAYS, each once, those of long ago counting less."""
    found = db.execute(
        f"""
        SELECT position, sum(pow(2, -age_ms / {TRENDING_HALF_LIFE_DAYS * DAY_MS})) AS buyers
        FROM (
            SELECT position, epoch_ms($until::TIMESTAMPTZ) - epoch_ms(max(event_time)) AS age_ms
            FROM read_parquet({_parquet(paths.events)}) JOIN positions USING (product_key)
            WHERE event_time <= $until AND event_time > $until::TIMESTAMPTZ - to_days({TRENDING_DAYS})
            GROUP BY buyer_id, position)
        GROUP BY position
        """,
        {"until": data_end},
    ).fetchnumpy()
    trending_N = np.zeros(n_products, dtype=np.float32)
    trending_N[found["position"]] = found["buyers"]
    return trending_N


def _first_seen(db: duckdb.DuckDBPyConnection, paths: ShopPaths, data_end: dt.datetime, n_products: int) -> Int64Array:
    """(N,) when each product first appeared, in milliseconds since 1970; 0 if nothing says so.

    That is when the catalogue says that the shop listed it, else its first event. A product that the catalogue gives no
    date and nobody has seen yet is not known to be new: it may as well be one that nobody wants.
    """
    found = db.execute(
        f"""
        SELECT position, epoch_ms(coalesce(listed_at, first_event)) AS first_ms
        FROM positions LEFT JOIN (
            SELECT product_key, min(event_time) AS first_event FROM read_parquet({_parquet(paths.events)})
            WHERE event_time <= $until GROUP BY product_key) USING (product_key)
        WHERE first_ms IS NOT NULL
        """,
        {"until": data_end},
    ).fetchnumpy()
    first_seen_N = np.zeros(n_products, dtype=np.int64)
    first_seen_N[found["position"]] = found["first_ms"]
    return first_seen_N


def _parquet(path: Path) -> str:
    return sql_string(glob_literal(path))
