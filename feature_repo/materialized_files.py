"""The feature files that materialize reads, and how many of their rows the online store lacks."""

import datetime as dt
from pathlib import Path

import duckdb

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal
from feature_repo.common.paths import ShopPaths
from feature_repo.common.sql import first_row
from feature_repo.definitions import source_path
from feature_repo.feature_report import PARTS
from feature_repo.schema import HISTORY_VIEW, PRODUCT_VIEW, PURCHASES_VIEW


def paths_of_sources(shop: ShopPaths) -> list[str]:
    """The paths of the sources of the materialized views, in a fixed order."""
    return [source_path(path) for path in (shop.product_features, shop.sequence_features, shop.purchase_features)]


def count_new_rows(config: Config, shop: ShopPaths, start: dt.datetime) -> dict[str, int]:
    """The number of buyers or products with rows stamped at `start` or later, by the name of the view."""
    with duckdb_session(config, "materialize") as db:
        return {
            HISTORY_VIEW: _count(db, sorted(shop.sequence_features.glob(PARTS)), c.BUYER_ID, start),
            PURCHASES_VIEW: _count(db, sorted(shop.purchase_features.glob(PARTS)), c.BUYER_ID, start),
            PRODUCT_VIEW: _count(db, [shop.product_features], c.PRODUCT_ID, start),
        }


def _count(db: duckdb.DuckDBPyConnection, files: list[Path], key: str, start: dt.datetime) -> int:
    if not files:
        return 0
    rows = db.execute(
        f"SELECT count(DISTINCT {key}) FROM read_parquet($files) WHERE {c.EVENT_TIMESTAMP} >= $start",
        {"files": [glob_literal(path) for path in files], "start": start},
    )
    (count,) = first_row(rows)
    return int(count)
