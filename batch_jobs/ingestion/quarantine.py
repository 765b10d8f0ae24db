"""The quarantine: the rows that ingest left out, each with its table, file, source line, reason, value and content."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from batch_jobs.ingestion.csv_files import unreadable_lines_query

UNREADABLE = "unreadable_row"

SHOWN_VALUE_LENGTH = 200  # characters of an example's value

# ---- rows left out ---------------------------------------------------------------------------------------------------


def quarantine_rows(db: duckdb.DuckDBPyConnection, table: str, view: str, rejected: str) -> None:
    """Adds the rows of `view` that the query `rejected` (source_line, reason, optionally value) selects."""
    _ensure_tables(db)
    db.execute(f"""
        INSERT INTO quarantine
        SELECT '{table}', source_line, reason, value, to_json(source_row)::VARCHAR
        FROM (SELECT NULL::VARCHAR AS value WHERE false UNION ALL BY NAME {rejected})
        JOIN (SELECT source_line, s AS source_row FROM {view}_rows s) USING (source_line)
    """)


def quarantine_unreadable_lines(db: duckdb.DuckDBPyConnection, table: str, view: str, *, header: bool) -> int:
    """Adds the lines of `view`'s file that could not be read as rows, and returns their number.

    `header` says whether the file has a header, which is not a data row.
    """
    _ensure_tables(db)
    query = unreadable_lines_query(db, view, header=header)
    if query is None:
        return 0
    db.execute(f"""
        INSERT INTO quarantine
        SELECT '{table}', data_row, '{UNREADABLE}', line, to_json(line)::VARCHAR FROM ({query})
    """)
    row = db.execute(f"SELECT count(*) FROM ({query})").fetchone()
    assert row is not None
    return int(row[0])


def add_source_files(db: duckdb.DuckDBPyConnection, table: str, files: Sequence[tuple[Path, int]]) -> None:
    """Says which files a table has, each with the number of lines in those before it, which source_line counts too."""
    _ensure_tables(db)
    for path, lines_before in files:
        db.execute("INSERT INTO source_files VALUES (?, ?, ?)", [table, str(path), lines_before])


def _ensure_tables(db: duckdb.DuckDBPyConnection) -> None:
    db.execute("""
        CREATE TEMP TABLE IF NOT EXISTS quarantine (
            "table" VARCHAR, source_line BIGINT, reason VARCHAR, value VARCHAR, raw VARCHAR);
        CREATE TEMP TABLE IF NOT EXISTS source_files ("table" VARCHAR, file VARCHAR, lines_before BIGINT);
    """)


# ---- what the report says of them ------------------------------------------------------------------------------------


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


def located_rows(rows: str = "quarantine") -> str:
    """A query of rows in quarantine, each with its file and the number of its line in this file.

    `rows` is the table, or a query in brackets that has its columns.
    """
    return f"""
        SELECT q."table", f.file, q.source_line - coalesce(f.lines_before, 0) AS source_line, q.reason, q.value, q.raw
        FROM {rows} q ASOF LEFT JOIN source_files f ON q."table" = f."table" AND q.source_line > f.lines_before
    """


def examples(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, dict[str, Any]]:
    """The first row left out for each reason: {reason: {"file", "line", "value"}}.

    A line is the number of the data row in its file, from 1. The value of a row that no single value spoils is its
    content.
    """
    first_rows = f"""(
        SELECT "table", reason, min(source_line) AS source_line, NULL AS raw,
               arg_min(left(coalesce(value, raw), {SHOWN_VALUE_LENGTH}), source_line) AS value
        FROM quarantine WHERE "table" = '{table}' GROUP BY ALL)"""
    query = f"SELECT reason, file, source_line, value FROM ({located_rows(first_rows)}) ORDER BY reason"
    rows = db.execute(query).fetchall()
    return {reason: {"file": file, "line": line, "value": value} for reason, file, line, value in rows}


def left_out_warnings(table: str, counts: Mapping[str, Any]) -> list[str]:
    """One line per reason that has a remedy: how many rows, where the first one lies, its value, and the remedy.

    Args:
        table: Name of the table, for the text.
        counts: Counts of the table, with its examples.
    """
    lines = []
    for reason, count in counts["reasons"].items():
        if reason in REMEDIES:
            example = counts["examples"][reason]
            first = f"{example['file']}, line {example['line']}: {example['value']!r}"
            rows = "1 row" if count == 1 else f"{count:,} rows"
            lines.append(f"{table}: {rows} left out as {reason}, the first in {first}; {REMEDIES[reason]}")
    return lines


# What to do about rows that are left out, by reason.
REMEDIES = {
    UNREADABLE: "each row needs as many columns as the header, closed quotes and UTF-8",
    "missing_buyer_id": "events of nobody are of no use; if it is the wrong column, name the right one in the mapping "
    "(columns: {buyer_id: ...})",
    "invalid_buyer_id": "ids have at most 256 characters and no control characters",
    "missing_product_id": "name the column of the product in the mapping (columns: {product_id: ...})",
    "invalid_product_id": "ids have at most 256 characters and no control characters",
    "unknown_event_type": "map the name to view, add_to_cart, purchase or refund in the mapping "
    "(sql: {event_type: ...}), or name it there under exclude",
    "other_event": "nothing to do: it is no view, cart event, purchase or refund",
    "unreadable_timestamp": "write times as ISO 8601 (2025-06-01T10:00:00+03:00) or as seconds since 1970",
    "ambiguous_date": "say whether the day or the month comes first: data.date_order=day_first or month_first",
    "timestamp_before_2000": "correct the time, or the clock that wrote it",
    "timestamp_in_future": "correct the time, or set data.timezone to the zone of times without one",
    "unknown_product": "add the product to the products file, with hidden = 1 if it is no longer sold",
    "refund_without_purchase": "export events from before the return's purchase; until then it takes nothing back",
    "duplicate_product_id": "give each row of the products file an id of its own",
}
