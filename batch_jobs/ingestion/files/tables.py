"""Opens the files of one table: which they are, what they are, and their rows as a DuckDB query."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from batch_jobs.ingestion.files.csv_header import CsvHeader, KnownHeadings, read_header
from batch_jobs.ingestion.files.formats import is_parquet
from batch_jobs.ingestion.files.loading import (
    LINE_COLUMN,
    LoadedFile,
    create_tables,
    create_unreadable,
    load_csv,
    load_lines,
)
from batch_jobs.ingestion.files.parquet_files import check_columns, parquet_row_count, parquet_rows
from batch_jobs.ingestion.files.parts import table_parts
from batch_jobs.ingestion.files.utf8 import TextFile, check_utf8, text_file


@dataclass(frozen=True)
class SourceFile:
    """A file as the ingest report describes it: its size, its rows with the unreadable ones, its encoding if text."""

    path: str
    bytes: int
    rows: int
    encoding: str | None

    def as_json(self) -> dict[str, Any]:
        """The entry of the report."""
        return asdict(self)


@dataclass(frozen=True)
class OpenedTable:
    """A table whose files can be read.

    Attributes:
        rows: Query of the rows, in the order of the files.
        files: The files.
        texts: Those that are text.
        warnings: What was unusual, one line each.
    """

    rows: str
    files: list[SourceFile]
    texts: list[LoadedFile] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines_of(self, source_lines: Collection[int]) -> dict[int, int]:
        """The lines of text files in which rows begin, by source_line; reads the files up to the last of these rows."""
        found: dict[int, int] = {}
        for file in self.texts:
            found |= file.lines_of(source_lines)
        return found


def open_table_files(
    db: duckdb.DuckDBPyConnection,
    view: str,
    path: Path,
    scratch: Path,
    *,
    lines: bool,
    encoding: str | None,
    known: KnownHeadings,
    max_rows: int | None = None,
) -> OpenedTable:
    """Checks the files of a table to their end, and creates `{view}_file` and `{view}_unreadable`.

    Args:
        db: The connection.
        view: Prefix of the tables.
        path: A file, a folder of parts, or a pattern.
        scratch: Folder of temporary copies, which must stay as long as the table is read.
        lines: Read the lines of text files as rows.
        encoding: The encoding that the mapping declares.
        known: Counts the fields of the table that headings name.
        max_rows: Read no more rows than these.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file is cut short, damaged or of another kind, or a part is missing or differs from the others.
    """
    parts = table_parts(path)
    empty = next((part for part in parts if len(parts) > 1 and not part.stat().st_size), None)
    if empty is not None:
        raise ValueError(f"part {empty} is empty; export all parts again")
    create_unreadable(db, view)
    kinds = [not lines and is_parquet(part) for part in parts]
    if all(kinds):
        return _open_parquet(db, parts, max_rows)
    if any(kinds):
        first, other = parts[kinds.index(True)], parts[kinds.index(False)]
        raise ValueError(f"{first} is Parquet but {other} is not; all parts of a table have one format")
    texts = [text_file(part, encoding, scratch, lines=lines) for part in parts]
    if lines:
        return open_lines(db, view, texts, scratch, max_rows)
    return _open_csv(db, view, texts, scratch, known, max_rows)


def open_lines(
    db: duckdb.DuckDBPyConnection, view: str, files: Sequence[TextFile], scratch: Path, max_rows: int | None = None
) -> OpenedTable:
    """Opens text files whose lines are the rows; needs `{view}_unreadable`."""
    create_tables(db, view, [LINE_COLUMN])
    loaded: list[LoadedFile] = []
    for file in files:
        n_read = sum(one.rows for one in loaded)
        loaded.append(load_lines(db, view, file, n_read, scratch, _rest(max_rows, n_read)))
    return _opened_texts(view, loaded, [])


def _open_csv(
    db: duckdb.DuckDBPyConnection,
    view: str,
    files: Sequence[TextFile],
    scratch: Path,
    known: KnownHeadings,
    max_rows: int | None,
) -> OpenedTable:
    headers = [_header(file, known) for file in files]
    for file, header in zip(files, headers, strict=True):
        check_columns(file.path, header.names, files[0].path, headers[0].names)
    create_tables(db, view, headers[0].names)
    loaded: list[LoadedFile] = []
    for file, header in zip(files, headers, strict=True):
        n_read = sum(one.rows for one in loaded)
        loaded.append(load_csv(db, view, file, header, n_read, scratch, _rest(max_rows, n_read)))
    warnings = [warning for header in headers for warning in header.warnings]
    warnings += [
        f"{one.file.path} may be cut short: its last row is unreadable and has no line end; compare it with the shop"
        for one in loaded
        if one.may_be_cut
    ]
    return _opened_texts(view, loaded, warnings)


def _rest(max_rows: int | None, n_read: int) -> int | None:
    return None if max_rows is None else max_rows - n_read


def _header(file: TextFile, known: KnownHeadings) -> CsvHeader:
    try:
        return read_header(file.plain, file.path, known)
    except UnicodeDecodeError as error:
        check_utf8(file, header_is_other=True)
        raise ValueError(f"{file.path} cannot be read: its header is not UTF-8 ({error}); save it as UTF-8") from None


def _opened_texts(view: str, loaded: list[LoadedFile], warnings: list[str]) -> OpenedTable:
    files = [
        SourceFile(str(one.file.path), one.file.path.stat().st_size, one.rows, one.file.encoding) for one in loaded
    ]
    return OpenedTable(f"SELECT * EXCLUDE (source_line) FROM {view}_file", files, loaded, warnings)


def _open_parquet(db: duckdb.DuckDBPyConnection, parts: Sequence[Path], max_rows: int | None) -> OpenedTable:
    rows = parquet_rows(db, parts) + ("" if max_rows is None else f" LIMIT {max_rows}")
    return OpenedTable(
        rows, [SourceFile(str(part), part.stat().st_size, parquet_row_count(part), None) for part in parts]
    )
