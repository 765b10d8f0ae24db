"""The quarantine: the rows that ingest left out, each with its table, source line, reason and content."""

from collections.abc import Collection
from typing import Any

import duckdb


def quarantine_rows(db: duckdb.DuckDBPyConnection, table: str, view: str, rejected: str) -> None:
    """Adds the rows of `view` that the query `rejected` (source_line, reason) selects."""
    _ensure_table(db)
    db.execute(f"""
        INSERT INTO quarantine
        SELECT '{table}', source_line, reason, to_json(source_row)::VARCHAR
        FROM ({rejected}) JOIN (SELECT source_line, s AS source_row FROM {view}_rows s) USING (source_line)
    """)


def quarantine_unreadable_lines(db: duckdb.DuckDBPyConnection, table: str, view: str) -> int:
    """Adds the lines of `view`'s files that could not be read as rows, and returns their number."""
    _ensure_table(db)
    row = db.execute(
        f"INSERT INTO quarantine SELECT '{table}', source_line, reason, raw FROM {view}_unreadable"
    ).fetchone()
    assert row is not None
    return int(row[0])


def row_counts(
    db: duckdb.DuckDBPyConnection, table: str, *, read: int, excluded: Collection[str], duplicates: Collection[str]
) -> dict[str, Any]:
    """The row counts of one table: read = kept + excluded + duplicates + bad.

    Args:
        db: The connection.
        table: Name of the table in the quarantine.
        read: Number of rows read.
        excluded: Reasons that count as excluded.
        duplicates: Reasons that count as duplicates; all other reasons count as bad.
    """
    query = 'SELECT reason, count(*) FROM quarantine WHERE "table" = ? GROUP BY reason ORDER BY count(*) DESC, reason'
    reasons = {reason: int(n) for reason, n in db.execute(query, [table]).fetchall()}
    n_excluded = sum(n for reason, n in reasons.items() if reason in excluded)
    n_duplicates = sum(n for reason, n in reasons.items() if reason in duplicates)
    n_left_out = sum(reasons.values())
    return {
        "read": read, "kept": read - n_left_out, "excluded": n_excluded, "duplicates": n_duplicates,
        "bad": n_left_out - n_excluded - n_duplicates, "reasons": reasons,
    }  # fmt: skip


def _ensure_table(db: duckdb.DuckDBPyConnection) -> None:
    db.execute(
        'CREATE TEMP TABLE IF NOT EXISTS quarantine ("table" VARCHAR, source_line BIGINT, reason VARCHAR, raw VARCHAR)'
    )
