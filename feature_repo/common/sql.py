"""Literals and names in SQL, and results of queries."""

from typing import Any

import duckdb


def sql_string(text: str) -> str:
    """`text` as a SQL literal."""
    # Literals instead of parameters, which DuckDB does not take in CREATE VIEW.
    return "'" + text.replace("'", "''") + "'"


def quoted_identifier(name: str) -> str:
    """`name` as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def first_row(result: duckdb.DuckDBPyConnection) -> tuple[Any, ...]:
    """The first row of a query that always has one, such as a count."""
    row: tuple[Any, ...] | None = result.fetchone()
    assert row is not None
    return row
