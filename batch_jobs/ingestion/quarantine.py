"""The quarantine: the rows that ingest left out, each with its place in the source, reason, kind, value and content."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb

from batch_jobs.ingestion.files.loading import REPEATED_HEADER
from batch_jobs.ingestion.files.records import LINE_TOO_LONG, MAX_ROW_CHARS, UNREADABLE_ROW
from batch_jobs.ingestion.files.tables import OpenedTable, SourceFile
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.sql import first_row
from feature_repo.ingest_report import (
    BAD,
    DUPLICATE,
    DUPLICATE_PRODUCT_ID,
    EXAMPLE_LENGTH,
    EXCLUDED,
    FORGOTTEN_BUYER,
    UNKNOWN_PRODUCT_REASON,
)
from feature_repo.transforms.values.ids import MAX_ID_LENGTH
from feature_repo.transforms.values.times import EXPECTED_TIME, time_problem

SHOWN_ROWS = 3  # rows of each reason whose lines are found; `tawsiya validate --explain` shows these

# ---- rows left out ---------------------------------------------------------------------------------------------------


def quarantine_rows(db: duckdb.DuckDBPyConnection, table: str, view: str, rejected: str) -> None:
    """Adds the rows of `view` that the query `rejected` (source_line, reason, optionally value) selects."""
    _ensure_tables(db)
    db.execute(f"""
        INSERT INTO quarantine
        SELECT '{table}', source_line, reason, value,
               CASE WHEN reason <> '{FORGOTTEN_BUYER}' THEN to_json(source_row)::VARCHAR END
        FROM (SELECT NULL::VARCHAR AS value WHERE false UNION ALL BY NAME {rejected})
        JOIN (SELECT source_line, s AS source_row FROM {view}_rows s) USING (source_line)
    """)


def quarantine_unreadable_lines(db: duckdb.DuckDBPyConnection, table: str, view: str) -> int:
    """Adds the lines of `view`'s files that could not be read as rows, and returns their number."""
    _ensure_tables(db)
    added = db.execute(
        f"INSERT INTO quarantine SELECT '{table}', source_line, reason, raw ->> '$', raw FROM {view}_unreadable"
    )
    return int(first_row(added)[0])


def empty_lines_that_mention(db: duckdb.DuckDBPyConnection, forgotten: ForgottenBuyers) -> None:
    """Empties the unreadable lines that have the id of a forgotten buyer as one of their cells."""
    db.create_function("mentions_forgotten", forgotten.are_in, ["VARCHAR"], "BOOLEAN")
    db.execute(f"""
        UPDATE quarantine SET value = NULL, raw = NULL
        WHERE reason = '{UNREADABLE_ROW}' AND value IS NOT NULL AND mentions_forgotten(value)
    """)


def add_source_files(db: duckdb.DuckDBPyConnection, table: str, files: Sequence[SourceFile]) -> None:
    """Says which files a table has; source_line counts the rows of all of them."""
    _ensure_tables(db)
    rows_before = 0
    for file in files:
        # A file without rows begins where the next one does; only that one can be meant.
        if file.rows or len(files) == 1:
            db.execute("INSERT INTO source_files VALUES (?, ?, ?)", [table, file.path, rows_before])
        rows_before += file.rows


def _ensure_tables(db: duckdb.DuckDBPyConnection) -> None:
    db.execute("""
        CREATE TEMP TABLE IF NOT EXISTS quarantine (
            "table" VARCHAR, source_line BIGINT, reason VARCHAR, value VARCHAR, raw VARCHAR);
        CREATE TEMP TABLE IF NOT EXISTS source_files ("table" VARCHAR, file VARCHAR, rows_before BIGINT);
        CREATE TEMP TABLE IF NOT EXISTS shown_lines ("table" VARCHAR, source_line BIGINT, line BIGINT);
        CREATE TEMP TABLE IF NOT EXISTS reason_kinds ("table" VARCHAR, reason VARCHAR, kind VARCHAR);
    """)


# ---- what the report says of them ------------------------------------------------------------------------------------


def row_counts(
    db: duckdb.DuckDBPyConnection, table: str, *, read: int, excluded: Collection[str], duplicates: Collection[str]
) -> dict[str, Any]:
    """The row counts of one table: read = kept + excluded + duplicates + bad. Also records the kind of each reason.

    Args:
        db: The connection.
        table: Name of the table in the quarantine.
        read: Number of rows read.
        excluded: Reasons that count as excluded.
        duplicates: Reasons that count as duplicates; all other reasons count as bad.
    """
    query = 'SELECT reason, count(*) FROM quarantine WHERE "table" = ? GROUP BY reason ORDER BY count(*) DESC, reason'
    reasons = {reason: int(n) for reason, n in db.execute(query, [table]).fetchall()}
    rows_of_kind = dict.fromkeys((EXCLUDED, DUPLICATE, BAD), 0)
    for reason, n in reasons.items():
        kind = EXCLUDED if reason in excluded else DUPLICATE if reason in duplicates else BAD
        rows_of_kind[kind] += n
        db.execute("INSERT INTO reason_kinds VALUES (?, ?, ?)", [table, reason, kind])
    return {
        "read": read, "kept": read - sum(reasons.values()), "excluded": rows_of_kind[EXCLUDED],
        "duplicates": rows_of_kind[DUPLICATE], "bad": rows_of_kind[BAD], "reasons": reasons,
    }  # fmt: skip


# The rows left out, each with its file, the number of its row there, for the first rows of each reason the line, and
# the kind of its reason.
LOCATED_ROWS = """
    SELECT q."table", f.file, q.source_line - coalesce(f.rows_before, 0) AS source_line, s.line,
           q.reason, k.kind, q.value, q.raw
    FROM quarantine q
    LEFT JOIN reason_kinds k ON k."table" = q."table" AND k.reason = q.reason
    ASOF LEFT JOIN source_files f ON q."table" = f."table" AND q.source_line > f.rows_before
    LEFT JOIN shown_lines s ON s."table" = q."table" AND s.source_line = q.source_line
"""


def places(
    db: duckdb.DuckDBPyConnection, table: str, opened: OpenedTable, source_lines: Collection[int]
) -> dict[int, dict[str, Any]]:
    """Where rows stand, by source_line: {"file", "line"}.

    A line is that of the file, from 1; in Parquet, and for a table with a query, the number of the row.
    """
    rows = db.execute(
        """
        SELECT source_line, file, source_line - coalesce(rows_before, 0)
        FROM (SELECT unnest(?::BIGINT[]) AS source_line)
        ASOF LEFT JOIN (SELECT file, rows_before FROM source_files WHERE "table" = ?) ON source_line > rows_before
        """,
        [list(source_lines), table],
    ).fetchall()
    lines = opened.lines_of(source_lines)
    return {number: {"file": file, "line": lines.get(number, row)} for number, file, row in rows}


def examples(db: duckdb.DuckDBPyConnection, table: str, opened: OpenedTable) -> dict[str, dict[str, Any]]:
    """The first row left out for each reason: {reason: {"file", "line", "value"}}; see places.

    The value of a row that no single value spoils is its content. Also finds the lines of the rows that
    `tawsiya validate --explain` shows.
    """
    rows = db.execute(f"""
        SELECT reason, source_line, left(coalesce(value, raw), {EXAMPLE_LENGTH}) FROM quarantine
        WHERE "table" = '{table}'
        QUALIFY row_number() OVER (PARTITION BY reason ORDER BY source_line) <= {SHOWN_ROWS}
        ORDER BY reason, source_line DESC
    """).fetchall()
    found = places(db, table, opened, [source_line for _, source_line, _ in rows])
    for source_line, place in found.items():
        db.execute("INSERT INTO shown_lines VALUES (?, ?, ?)", [table, source_line, place["line"]])
    # The first row comes last, so it stays.
    return {reason: {**found[source_line], "value": value} for reason, source_line, value in rows}


def finding_line(table: str, rows: int, finding: str, example: Mapping[str, Any], advice: str, cause: str = "") -> str:
    """A warning about rows of a table: how many, what is the matter, the first one and its value, and what to do."""
    noun = "row" if rows == 1 else "rows"
    first = f"{example['file']}, line {example['line']}: {example['value']!r}{f' ({cause})' if cause else ''}"
    return f"{table}: {rows:,} {noun} {finding}, the first in {first}; {advice}"


def left_out_warnings(table: str, counts: Mapping[str, Any]) -> list[str]:
    """One line per reason that has a remedy.

    Args:
        table: Name of the table, for the text.
        counts: Counts of the table, with its examples.
    """
    lines = []
    for reason, rows in counts["reasons"].items():
        if reason in REMEDIES:
            example = counts["examples"][reason]
            cause = time_problem(example["value"]) if reason == "unreadable_timestamp" else ""
            lines.append(finding_line(table, rows, f"left out as {reason}", example, REMEDIES[reason], cause))
    return lines


# What to do about rows that are left out, by reason; the report and `tawsiya validate --explain` say it too.
_INVALID_ID = f"ids have at most {MAX_ID_LENGTH} characters and no control characters"
REMEDIES = {
    UNREADABLE_ROW: "each row needs as many columns as the header, closed quotes and UTF-8",
    LINE_TOO_LONG: f"a row has at most {MAX_ROW_CHARS:,} characters; leave out the column that holds a file",
    REPEATED_HEADER: "nothing to do: it is the header again, as in files that were joined",
    "missing_buyer_id": "events of nobody are of no use; if it is the wrong column, name the right one in the mapping "
    "(columns: {buyer_id: ...})",
    "invalid_buyer_id": _INVALID_ID,
    "missing_product_id": "name the column of the product in the mapping (columns: {product_id: ...})",
    "invalid_product_id": _INVALID_ID,
    "unknown_event_type": "map the name to view, add_to_cart, purchase or refund in the mapping "
    "(sql: {event_type: ...}), or name it there under exclude",
    "unreadable_timestamp": f"correct the times in the file; {EXPECTED_TIME}",
    "ambiguous_date": "say whether the day or the month comes first: data.date_order=day_first or month_first",
    "timestamp_before_2000": "correct the time, or the clock that wrote it",
    "timestamp_in_future": "correct the time, or set data.timezone to the zone of times without one",
    UNKNOWN_PRODUCT_REASON: "add the product to the products file, with hidden = 1 if it is no longer sold",
    "refund_without_purchase": "export events from before the return's purchase; until then it takes nothing back",
    DUPLICATE_PRODUCT_ID: "give each row of the products file an id of its own",
}
