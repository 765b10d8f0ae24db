"""The archive of the event log: each finished day as one Parquet file, so that its lines are parsed once.

The API appends to `event_log/<day>.jsonl`; ingest moves the lines of finished days to
`event_log/archive/<day>.parquet`.
A row is a line, in the order of the lines. A crash between any two steps loses and doubles nothing: the Parquet file
names the content whose deletion completes the move, by length and hash.
"""

import datetime as dt
import hashlib
import json
import logging
import os
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from batch_jobs.ingestion.event_log.lines import LINE_COLUMNS, parsed_lines_query
from batch_jobs.ingestion.files.loading import create_unreadable
from batch_jobs.ingestion.files.tables import open_lines
from batch_jobs.ingestion.files.utf8 import TextFile
from feature_repo.common.files import glob_literal, locked, replacing, sync_folder
from feature_repo.common.sql import sql_string

log = logging.getLogger(__name__)

# A request takes its day's file before it writes to it, so a file may grow a little after midnight.
DAY_IS_FINISHED_AFTER = dt.timedelta(hours=1)
HASHED_BYTES = 1 << 20
_MOVED = b"moved_lines"  # key of the Parquet file's metadata
_VIEW = "archived_lines"


def archive_folder(event_log: Path) -> Path:
    """The folder of the archive, `<day>.parquet` per day."""
    return event_log / "archive"


def archive_event_log(
    db: duckdb.DuckDBPyConnection, event_log: Path, scratch: Path, *, keep_days: int, now: dt.datetime
) -> None:
    """Moves the finished days of the event log to its archive, and deletes days that are no longer kept.

    Args:
        db: A connection.
        event_log: Folder of the event log; it may be missing.
        scratch: Folder of temporary files.
        keep_days: Archived days older than so many days are deleted; 0 keeps all.
        now: The present, with a zone.
    """
    today = now.astimezone(dt.UTC)
    for path in sorted(event_log.glob("*.jsonl")):
        day = _day_of(path)
        if day is not None and day < (today - DAY_IS_FINISHED_AFTER).date():
            _archive_day(db, path, archive_folder(event_log) / f"{day}.parquet", scratch)
    for path in sorted(archive_folder(event_log).glob("*.parquet")) if keep_days else ():
        day = _day_of(path)
        if day is not None and day < today.date() - dt.timedelta(days=keep_days):
            log.info("deleting %s: data.event_log_days is %d", path, keep_days)
            path.unlink()


def _day_of(path: Path) -> dt.date | None:
    try:
        return dt.date.fromisoformat(path.stem)
    except ValueError:
        return None  # not a file of the API


def _archive_day(db: duckdb.DuckDBPyConnection, path: Path, archived: Path, scratch: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        # A late request waits for the lock, finds its file deleted, and makes a new one, which the next ingest moves.
        with locked(file):
            size = os.fstat(file).st_size
            moved = _moved_before(file, size, archived)
            if size > moved:
                log.info("archiving %s", path)
                _write(db, path, moved, archived, scratch, {"bytes": size, "sha256": _sha256(file, size)})
            path.unlink()
            sync_folder(path.parent)
    finally:
        os.close(file)


def _moved_before(file: int, size: int, archived: Path) -> int:
    """How many bytes of a file an ingest that was killed before it deleted the file has moved."""
    if not archived.is_file():
        return 0
    moved = json.loads((pq.read_metadata(archived).metadata or {}).get(_MOVED, b"null"))
    # A file that a late request made after the move has other content.
    if not moved or moved["bytes"] > size or _sha256(file, moved["bytes"]) != moved["sha256"]:
        return 0
    return int(moved["bytes"])


def _sha256(file: int, size: int) -> str:
    """The digest of the first `size` bytes."""
    digest = hashlib.sha256()
    for start in range(0, size, HASHED_BYTES):
        digest.update(os.pread(file, min(HASHED_BYTES, size - start), start))
    return digest.hexdigest()


def _write(
    db: duckdb.DuckDBPyConnection, path: Path, start: int, archived: Path, scratch: Path, moved: dict[str, int | str]
) -> None:
    """Adds the lines from byte `start` on to the day's archive."""
    plain = path
    if start:
        plain = scratch / "late.jsonl"
        with path.open("rb") as lines:
            lines.seek(start)
            plain.write_bytes(lines.read())
    create_unreadable(db, _VIEW)
    open_lines(db, _VIEW, [TextFile(path, plain, ours=True)], scratch)
    names = ", ".join(LINE_COLUMNS)
    rows = f"SELECT 1 AS part, source_line AS number, {names} FROM ({parsed_lines_query(_VIEW)})"
    if archived.is_file():
        reader = f"read_parquet({sql_string(glob_literal(archived))}, file_row_number = true)"
        rows += f" UNION ALL SELECT 0, file_row_number, {names} FROM {reader}"
    with replacing(archived) as temporary:
        db.execute(f"""
            COPY (SELECT {names} FROM ({rows}) ORDER BY part, number) TO {sql_string(str(temporary))}
            (FORMAT parquet, COMPRESSION zstd, KV_METADATA {{{_MOVED.decode()}: {sql_string(json.dumps(moved))}}})
        """)
        _finish(temporary)
    sync_folder(archived.parent)
    db.execute(f"DROP TABLE {_VIEW}_file; DROP TABLE {_VIEW}_unreadable")


def _finish(path: Path) -> None:
    """Writes a file to the disk, before the lines that it replaces are deleted."""
    path.chmod(0o640)  # as the log's own files: it has buyers' events
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)
