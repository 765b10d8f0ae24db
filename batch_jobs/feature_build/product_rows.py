"""The product features: the canonical products, each with the build in which it last changed."""

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_jobs.feature_build.tables import write_query
from feature_repo import columns as c
from feature_repo.common.files import glob_literal
from feature_repo.common.paths import ShopPaths
from feature_repo.common.sql import first_row, quoted_identifier, sql_string

_STAMPS = {c.EVENT_TIMESTAMP, c.CREATED_TIMESTAMP}


def write_products(
    db: duckdb.DuckDBPyConnection, paths: ShopPaths, known_until: dt.datetime, as_of: dt.datetime
) -> tuple[int, int]:
    """Writes Feast's source of product features, if any product is new, changed or gone.

    A row's time is the build in which the row last changed: an export does not say since when its products hold.

    Args:
        db: The database.
        paths: The shop.
        known_until: When the last build that counts began. A row with a later time is of a killed build, so it counts
            as changed.
        as_of: When this build began.

    Returns:
        The number of products, and the number of those that are new, changed or gone.
    """
    db.execute(
        f"CREATE OR REPLACE TABLE product_rows AS {_stamped_products(paths)}", {"as_of": as_of, "known": known_until}
    )
    rows, changed = first_row(
        db.execute(f"SELECT count(*), count_if({c.EVENT_TIMESTAMP} = ?) FROM product_rows", [as_of])
    )
    changed += _gone(db, paths.product_features)
    if changed:
        write_query(db, "SELECT * EXCLUDE (row) FROM product_rows ORDER BY row", paths.product_features)
    db.execute("DROP TABLE product_rows")
    return int(rows), int(changed)


def _stamped_products(paths: ShopPaths) -> str:
    """The query of the canonical products in their order, with the times of the equal rows of the last build."""
    products = f"(SELECT *, file_row_number AS row FROM {_parquet(paths.products, ', file_row_number = true')})"
    columns = _columns(paths.products)
    old = _columns(paths.product_features)
    if {name: kind for name, kind in old.items() if name not in _STAMPS} != columns:
        stamps = ", ".join(f"$as_of::TIMESTAMPTZ AS {name}" for name in sorted(_STAMPS))
        return f"SELECT * EXCLUDE (file_row_number), {stamps} FROM {products} WHERE $known IS NOT NULL"
    equal = " AND ".join(f"n.{name} IS NOT DISTINCT FROM o.{name}" for name in map(quoted_identifier, columns))
    return f"""
        SELECT n.* EXCLUDE (file_row_number),
               coalesce(o.{c.EVENT_TIMESTAMP}, $as_of) AS {c.EVENT_TIMESTAMP},
               coalesce(o.{c.CREATED_TIMESTAMP}, $as_of) AS {c.CREATED_TIMESTAMP}
        FROM {products} n
        LEFT JOIN (FROM {_parquet(paths.product_features)} WHERE {c.EVENT_TIMESTAMP} <= $known) o ON {equal}"""


def _gone(db: duckdb.DuckDBPyConnection, product_features: Path) -> int:
    """The number of products of the last build that are no more."""
    if c.PRODUCT_ID not in _columns(product_features):
        return 0
    query = f"SELECT count(*) FROM {_parquet(product_features)} ANTI JOIN product_rows USING ({c.PRODUCT_ID})"
    (gone,) = first_row(db.execute(query))
    return int(gone)


def _columns(path: Path) -> dict[str, str]:
    """Names and types of the columns; empty if there is no such file, or none that can be read."""
    try:
        return {field.name: str(field.type) for field in pq.read_schema(path)}
    except (FileNotFoundError, pa.ArrowInvalid):
        return {}


def _parquet(path: Path, options: str = "") -> str:
    return f"read_parquet({sql_string(glob_literal(path))}{options})"
