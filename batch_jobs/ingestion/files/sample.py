"""A sample of a shop's tables: the first events, their products and photos, so that ids match as in the whole shop."""

import duckdb

from feature_repo import columns as c
from feature_repo.common.sql import quoted_identifier

HARDLY_REPEATING = 0.8  # share of distinct values in a column of ids; the count is approximate


def keep_first_rows(db: duckdb.DuckDBPyConnection, view: str, n_rows: int) -> bool:
    """Removes all rows of `{view}_rows` but the first ones; returns whether there were more."""
    return _delete(db, view, n_rows, "true")


def keep_matching_products(db: duckdb.DuckDBPyConnection, n_rows: int) -> bool:
    """Removes products but the first ones and those with an id among the values of the events' sample.

    Which columns hold ids need not be known: all are tried whose values hardly repeat.

    Returns:
        Whether any row was removed.
    """
    ids = _hardly_repeating(db, "product_source")
    return _delete(db, "product_source", n_rows, _matches_nothing("event_source", _columns(db, "event_source"), ids))


def keep_matching_photos(db: duckdb.DuckDBPyConnection) -> bool:
    """Removes photos of no product of the sample; returns whether there were any."""
    ids, columns = _hardly_repeating(db, "product_source"), _columns(db, "photo_source")
    return _delete(db, "photo_source", 0, _matches_nothing("product_source", ids, columns))


def _delete(db: duckdb.DuckDBPyConnection, view: str, n_rows: int, condition: str) -> bool:
    db.execute(f"DELETE FROM {view}_unreadable WHERE source_line > {n_rows}")
    row = db.execute(f"DELETE FROM {view}_rows WHERE source_line > {n_rows} AND {condition}").fetchone()
    return row is not None and row[0] > 0


def _matches_nothing(other: str, other_columns: list[str], columns: list[str]) -> str:
    """The condition that none of the columns has a value that the other table's columns have."""
    if not columns or not other_columns:
        return "true"
    values = f"SELECT unnest([{', '.join(map(_comparable, other_columns))}]) FROM {other}_rows"
    return f"NOT ({' OR '.join(f'coalesce({_comparable(column)} IN ({values}), false)' for column in columns)})"


def _comparable(column: str) -> str:
    # Programs that make floats of numbers write the id 17 as 17.0.
    return f"regexp_replace(trim({column}::VARCHAR), '\\.0$', '')"


def _columns(db: duckdb.DuckDBPyConnection, view: str) -> list[str]:
    names = [name for name, *_ in db.execute(f"DESCRIBE {view}_rows").fetchall()]
    return [quoted_identifier(name) for name in names if name != c.SOURCE_LINE]


def _hardly_repeating(db: duckdb.DuckDBPyConnection, view: str) -> list[str]:
    columns = _columns(db, view)
    counts = ", ".join(f"approx_count_distinct({column}) >= {HARDLY_REPEATING} * count({column})" for column in columns)
    row = db.execute(f"SELECT {counts} FROM {view}_rows").fetchone() if columns else ()
    return [column for column, is_id in zip(columns, row or (), strict=True) if is_id]
