"""The files of the event log as one table of lines."""

import glob
from pathlib import Path

import duckdb

from batch_jobs.ingestion.csv_files import add_unreadable_to_source_line, line_rows
from batch_jobs.ingestion.quarantine import add_source_files
from feature_repo import columns as c

_CHUNK_BYTES = 1 << 20


EVENT_LOG_TABLE = c.Origin.EVENT_LOG.value


def open_event_log(db: duckdb.DuckDBPyConnection, event_log: Path) -> bool:
    """Creates the view `event_log_source` of the log's lines; False if the log has no file.

    source_line numbers the lines of all files together.
    """
    files = sorted(event_log.glob("*.jsonl"))
    if not files:
        return False
    # The files are read as lines, so that a line that a crash cut off is one bad row and does not end the file. JSON
    # escapes the control character at which line_rows splits (as \u0001), so no id in the log can contain it.
    pattern = Path(glob.escape(str(event_log))) / "*.jsonl"
    db.execute(f"""
        CREATE TEMP TABLE event_log_source_rows AS
        SELECT row_number() OVER () AS source_line, line FROM {line_rows(pattern, "event_log_source")}
    """)
    located = _with_lines_before(files)
    add_source_files(db, EVENT_LOG_TABLE, located)
    _number_rejects_together(db, located)
    add_unreadable_to_source_line(db, "event_log_source", header=False)
    db.execute("CREATE TEMP VIEW event_log_source AS SELECT * FROM event_log_source_rows")
    return True


def _with_lines_before(files: list[Path]) -> list[tuple[Path, int]]:
    located, before = [], 0
    for file in files:
        located.append((file, before))
        before += _line_count(file)
    return located


def _line_count(file: Path) -> int:
    """The number of lines; the last one may lack its line end."""
    lines, last = 0, b"\n"
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    return lines + (last != b"\n")


def _number_rejects_together(db: duckdb.DuckDBPyConnection, files: list[tuple[Path, int]]) -> None:
    """Numbers the unreadable lines as if the files were one, as the readable ones are."""
    paths, before = [str(path) for path, _ in files], [lines for _, lines in files]
    db.execute(
        """
        UPDATE event_log_source_rejects AS r SET file_id = 0, line = r.line + file.lines_before
        FROM (SELECT unnest(?::VARCHAR[]) AS path, unnest(?::BIGINT[]) AS lines_before) file
        JOIN event_log_source_scan scan ON scan.file_path = file.path
        WHERE r.scan_id = scan.scan_id AND r.file_id = scan.file_id
        """,
        [paths, before],
    )
