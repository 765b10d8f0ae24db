"""Results of SQL queries."""

from typing import Any

import duckdb


def first_row(result: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    """The first row of a query that always has one, such as a count."""
    row: tuple[Any, ...] | None = result.fetchone()
    assert row is not None
    return row
