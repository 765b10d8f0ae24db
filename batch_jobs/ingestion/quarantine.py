"""The quarantine: rows that ingest left out, each with its table, source line, reason and content."""

from collections.abc import Collection
from typing import Any

import duckdb

from batch_jobs.ingestion.csv_files import rejects

UNREADABLE = "unreadable_row"


def quarantine_rows(db: duckdb.DuckDBPyConnection, table: str, view: str, rejected: str) -> None:
    """Adds the rows of `view` that the query `rejected` (source_line, reason) names."""
    _ensure_table(db)
    db.execute(f"""
        INSERT INTO quarantine
        SELECT '{table}', source_line, reason, to_json(source_row)::VARCHAR
        FROM ({rejected}) JOIN (SELECT source_line, s AS source_row FROM {view}_rows s) USING (source_line)
    """)


def unreadable_rows(db: duckdb.DuckDBPyConnection, table: str, view: str, *, header: bool = True) -> int:
    """Adds the CSV lines of `view`'s file that were no rows at all (see csv_source.rejects); returns how many.

    `header` says whether the file has one, which is no row.
    """
    _ensure_table(db)
    query = rejects(db, view, header=header)
    if query is None:
        return 0
    db.execute(
        f"INSERT INTO quarantine SELECT '{table}', data_row, '{UNREADABLE}', to_json(line)::VARCHAR FROM ({query})"
    )
    row = db.execute(f"SELECT count(*) FROM ({query})").fetchone()
    assert row is not None
    return int(row[0])


def counts(
    db: duckdb.DuckDBPyConnection, table: str, *, read: int, excluded: Collection[str], duplicates: Collection[str]
) -> dict[str, Any]:
    """Counts of one table: read = kept + excluded + duplicates + bad."""
    query = 'SELECT reason, count(*) FROM quarantine WHERE "table" = ? GROUP BY reason ORDER BY count(*) DESC, reason'
    reasons = {reason: int(n) for reason, n in db.execute(query, [table]).fetchall()}
    n_excluded = sum(n for reason, n in reasons.items() if reason in excluded)
    n_duplicates = sum(n for reason, n in reasons.items() if reason in duplicates)
    n_out = sum(reasons.values())
    return {
        "read": read, "kept": read - n_out, "excluded": n_excluded, "duplicates": n_duplicates,
        "bad": n_out - n_excluded - n_duplicates, "reasons": reasons,
    }  # fmt: skip


def _ensure_table(db: duckdb.DuckDBPyConnection) -> None:
    db.execute(
        'CREATE TEMP TABLE IF NOT EXISTS quarantine ("table" VARCHAR, source_line BIGINT, reason VARCHAR, raw VARCHAR)'
    )
