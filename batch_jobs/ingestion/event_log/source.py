"""The event log as a table of ingest: the archive of its finished days, and the lines of the others."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import duckdb

from batch_jobs.ingestion.event_log.archive import archive_folder
from batch_jobs.ingestion.event_log.lines import LINE_COLUMNS, parsed_lines_query
from batch_jobs.ingestion.events import EVENT_LOG_TABLE
from batch_jobs.ingestion.files.loading import create_unreadable
from batch_jobs.ingestion.files.parquet_files import parquet_row_count
from batch_jobs.ingestion.files.tables import OpenedTable, SourceFile, open_lines
from batch_jobs.ingestion.files.utf8 import TextFile
from batch_jobs.ingestion.open_sources import SourceTables
from feature_repo.common.files import glob_literal
from feature_repo.common.sql import sql_string

_VIEW = "event_log_source"
_LINES = "event_log_lines"


def open_event_log(
    db: duckdb.DuckDBPyConnection, tables: SourceTables, event_logs: Sequence[Path], scratch: Path
) -> None:
    """Creates the view `event_log_source` of the events of the logs, one folder per host, which may have no file.

    A line that is no event goes to `event_log_source_unreadable`.
    """
    archived = [
        _archived_day(path) for folder in event_logs for path in sorted(archive_folder(folder).glob("*.parquet"))
    ]
    archived_rows = sum(file.rows for file in archived)
    # Read as lines, so that a line that a crash cut off is one bad row and does not end the file. JSON escapes the
    # control character at which lines are split (as \u0001), so no id in the log can contain it.
    files = [TextFile(path, path, ours=True) for folder in event_logs for path in sorted(folder.glob("*.jsonl"))]
    create_unreadable(db, _LINES)
    opened = open_lines(db, _LINES, files, scratch)
    names = ", ".join(LINE_COLUMNS)
    lines = f"SELECT source_line + {archived_rows} AS source_line, {names} FROM ({parsed_lines_query(_LINES)})"
    db.execute(f"CREATE TEMP TABLE {_LINES} AS {lines}")
    days = _archived_rows(archived, names)
    db.execute(f"CREATE TEMP VIEW {_LINES}_all AS SELECT * FROM {_LINES} UNION ALL {days}")
    db.execute(f"""
        CREATE TEMP VIEW {_VIEW}_rows AS SELECT * EXCLUDE (reason) FROM {_LINES}_all WHERE reason IS NULL;
        CREATE TEMP VIEW {_VIEW} AS SELECT * FROM {_VIEW}_rows
    """)
    create_unreadable(db, _VIEW)
    db.execute(f"""
        INSERT INTO {_VIEW}_unreadable
        SELECT source_line, reason, to_json(line)::VARCHAR FROM {_LINES}_all WHERE reason IS NOT NULL
    """)
    texts = [replace(text, first_row=text.first_row + archived_rows) for text in opened.texts]
    table = OpenedTable(opened.rows, [*archived, *opened.files], texts)
    tables.add(db, EVENT_LOG_TABLE, table, table.files)


def _archived_day(path: Path) -> SourceFile:
    return SourceFile(str(path), path.stat().st_size, parquet_row_count(path), None)


def _archived_rows(files: Sequence[SourceFile], names: str) -> str:
    """The query of the archive; a source_line counts the rows of all its files."""
    if not files:
        return f"SELECT * FROM {_LINES} WHERE false"
    paths = ", ".join(sql_string(glob_literal(Path(file.path))) for file in files)
    starts, rows_before = [], 0
    for file in files:
        starts.append(f"({sql_string(file.path)}, {rows_before})")
        rows_before += file.rows
    return f"""
        SELECT rows_before + file_row_number + 1, {names}
        FROM read_parquet([{paths}], filename = true, file_row_number = true)
        JOIN (VALUES {", ".join(starts)}) starts(filename, rows_before) USING (filename)
    """
