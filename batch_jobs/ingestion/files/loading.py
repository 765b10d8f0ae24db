"""Loads text files into DuckDB: the rows into `{view}_file`, the lines that are no rows into `{view}_unreadable`.

DuckDB reads a clean file by itself. A file that it refuses is split by dirty_rows, and DuckDB reads the good rows.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import duckdb

from batch_jobs.ingestion.files.csv_header import AROUND_HEADINGS, CsvHeader
from batch_jobs.ingestion.files.encodings import UTF8
from batch_jobs.ingestion.files.records import CutShortError, FileRow, RowFormat, dirty_rows
from batch_jobs.ingestion.files.utf8 import TextFile, check_utf8
from feature_repo import columns as c
from feature_repo.common.files import glob_literal
from feature_repo.common.sql import quoted_identifier, sql_string

LINE_COLUMN = "line"
REPEATED_HEADER = "repeated_header"  # a reason of quarantine
MAX_LINE_BYTES, BUFFER_BYTES = 2_000_000, 32_000_000  # DuckDB's defaults
LINES_PER_BUFFER = 4
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class LoadedFile:
    """A text file whose rows are in DuckDB.

    Attributes:
        file: The file.
        form: How its rows are written.
        first_row: Number of rows of the table before those of the file.
        rows: Number of its rows, unreadable lines included.
        may_be_cut: Whether the last row is unreadable and has no line end, as if the file were cut short.
    """

    file: TextFile
    form: RowFormat
    first_row: int
    rows: int
    may_be_cut: bool = False

    def lines_of(self, source_lines: Collection[int]) -> dict[int, int]:
        """The lines of the file in which rows of the table begin, by source_line; reads the file up to the last one."""
        places = {line - self.first_row for line in source_lines if 0 < line - self.first_row <= self.rows}
        if places and _count_lines(self.file.plain) == self.form.skipped_lines + self.rows:
            return {place + self.first_row: self.form.skipped_lines + place for place in places}
        # Some rows have several lines, or some lines are blank.
        rows = islice(dirty_rows(self.file.plain, self.form), max(places, default=0))
        return {place + self.first_row: row.line for place, row in enumerate(rows, start=1) if place in places}


def create_tables(db: duckdb.DuckDBPyConnection, view: str, names: Sequence[str]) -> None:
    """Creates `{view}_file`, all columns but source_line as text: a typed reader would turn the code 0012 into 12."""
    columns = "".join(f", {quoted_identifier(name)} VARCHAR" for name in names)
    db.execute(f"CREATE TEMP TABLE {view}_file (source_line BIGINT{columns})")


def create_unreadable(db: duckdb.DuckDBPyConnection, view: str) -> None:
    """Creates `{view}_unreadable`; `raw` is the content as JSON."""
    db.execute(f"CREATE TEMP TABLE {view}_unreadable (source_line BIGINT, reason VARCHAR, raw VARCHAR)")


def load_csv(
    db: duckdb.DuckDBPyConnection,
    view: str,
    file: TextFile,
    header: CsvHeader,
    first_row: int,
    scratch: Path,
    max_rows: int | None,
) -> LoadedFile:
    """Appends the rows of a CSV file, `max_rows` at most.

    Its columns may stand in another order than those of `{view}_file`.

    Raises:
        ValueError: The file is not UTF-8 as a whole, or it ends within a row.
    """
    form = RowFormat(header.delimiter, len(header.names), header.lines)
    # Only a file of one column has such rows: its blank lines.
    condition = "true" if len(header.names) > 1 else f"{quoted_identifier(header.names[0])} IS NOT NULL"
    reader = (
        f"read_csv({_path_literal(file.plain)}, auto_detect = false, header = true, "
        f"columns = {_text_columns(header.names)}, delim = {sql_string(header.delimiter)}, quote = '\"', "
        "escape = '\"', hive_partitioning = false)"
    )
    # Where lines before the header end otherwise than the others, DuckDB's `skip` loses all rows without an error.
    clean = None if header.records_before else f"{reader} WHERE {condition}"
    loaded = _load(db, view, file, header.names, form, clean, first_row, scratch, max_rows)
    _move_repeated_headers(db, view, header, first_row)
    return loaded


def load_lines(
    db: duckdb.DuckDBPyConnection, view: str, file: TextFile, first_row: int, scratch: Path, max_rows: int | None
) -> LoadedFile:
    """Appends the lines of a text file that are not blank, `max_rows` at most, as the column `line`."""
    form = RowFormat(None, 1, 0)
    # The delimiter is a control character that text does not contain, so that each line is one column.
    reader = (
        f"read_csv({_path_literal(file.plain)}, auto_detect = false, header = false, delim = '\x01', quote = '', "
        f"escape = '', columns = {_text_columns([LINE_COLUMN])}, hive_partitioning = false) "
        f"WHERE trim({LINE_COLUMN}) <> ''"
    )
    return _load(db, view, file, [LINE_COLUMN], form, reader, first_row, scratch, max_rows)


def _load(
    db: duckdb.DuckDBPyConnection,
    view: str,
    file: TextFile,
    names: Sequence[str],
    form: RowFormat,
    reader: str | None,
    first_row: int,
    scratch: Path,
    max_rows: int | None,
) -> LoadedFile:
    """Appends a file's rows and unreadable lines; `reader` reads a clean file, and is None if it cannot."""
    if reader is not None and max_rows is not None:
        reader = f"(SELECT * FROM {reader} LIMIT {max_rows})"
    columns = ", ".join(map(quoted_identifier, names))
    insert = f"INSERT INTO {view}_file (source_line, {columns})"
    if reader is not None and not _ends_in_long_line(file.plain):
        try:
            read = _count(db.execute(f"{insert} SELECT {first_row} + row_number() OVER (), {columns} FROM {reader}"))
            return LoadedFile(file, form, first_row, read)
        # The file is not clean. Others, such as a full disk, are no fault of the file.
        except (duckdb.InvalidInputException, duckdb.NotSupportedError, duckdb.DataError):
            pass
    if not file.ours:
        check_utf8(file)
    clean = _CleanFile(scratch, form, first_row)
    try:
        read, last = clean.write(file, max_rows)
    except CutShortError as error:
        raise ValueError(f"{file.path} is cut short: {error}; export it again") from None
    db.execute(f"{insert} SELECT source_line, {columns} FROM {clean.reader(names)}")
    db.execute(f"INSERT INTO {view}_unreadable SELECT * REPLACE (to_json(raw)::VARCHAR AS raw) FROM {clean.unreadable}")
    clean.remove()
    at_end = max_rows is None or read < max_rows
    may_be_cut = at_end and last is not None and last.reason is not None and not _ends_with_line_end(file.plain)
    return LoadedFile(file, form, first_row, read, may_be_cut)


class _CleanFile:
    """The good rows of a dirty file as a clean CSV file, each with its number, and the unreadable lines as another."""

    def __init__(self, scratch: Path, form: RowFormat, first_row: int) -> None:
        self._rows, self._lines = scratch / "clean.csv", scratch / "unreadable.csv"
        self._delimiter = form.delimiter or ","
        self._form = form
        self._first_row = first_row
        self._longest = 0  # bytes

    def write(self, file: TextFile, max_rows: int | None) -> tuple[int, FileRow | None]:
        """Writes both files; returns the number of rows and unreadable lines, and the last one."""
        number, row = self._first_row, None
        with (
            self._rows.open("w", encoding=UTF8, newline="") as rows,
            self._lines.open("w", encoding=UTF8, newline="") as lines,
        ):
            read = islice(dirty_rows(file.plain, self._form), max_rows)
            for number, row in enumerate(read, start=self._first_row + 1):
                if row.reason:
                    lines.write(f"{number},{row.reason},{_in_quotes(row.text)}\n")
                else:
                    text = self._clean(row)
                    if len(text) > MAX_LINE_BYTES // 10:  # cheaper than encoding each row
                        self._longest = max(self._longest, len(text.encode(UTF8)))
                    rows.write(f"{text}{self._delimiter}{number}\n")
        return number - self._first_row, row

    def reader(self, names: Sequence[str]) -> str:
        """The table expression of the rows, with source_line."""
        max_line = max(MAX_LINE_BYTES, self._longest + 100)
        columns = _text_columns(names, c.SOURCE_LINE)
        return (
            f"read_csv({_path_literal(self._rows)}, auto_detect = false, header = false, columns = {columns}, "
            f"delim = {sql_string(self._delimiter)}, quote = '\"', escape = '\"', max_line_size = {max_line}, "
            f"buffer_size = {max(BUFFER_BYTES, LINES_PER_BUFFER * max_line)}, hive_partitioning = false)"
        )

    @property
    def unreadable(self) -> str:
        """The table expression of the unreadable lines."""
        columns = "{'source_line': 'BIGINT', 'reason': 'VARCHAR', 'raw': 'VARCHAR'}"
        return (
            f"read_csv({_path_literal(self._lines)}, auto_detect = false, header = false, columns = {columns}, "
            "delim = ',', quote = '\"', escape = '\"', hive_partitioning = false)"
        )

    def remove(self) -> None:
        self._rows.unlink()
        self._lines.unlink()

    def _clean(self, row: FileRow) -> str:
        if row.fields is not None:
            return self._delimiter.join(map(_in_quotes, row.fields))
        return row.text if self._form.delimiter else _in_quotes(row.text)


def _move_repeated_headers(db: duckdb.DuckDBPyConnection, view: str, header: CsvHeader, first_row: int) -> None:
    """Moves rows that repeat the header, as in files that were joined, to the unreadable lines."""
    marks = sql_string(AROUND_HEADINGS)
    equal = " AND ".join(
        f"coalesce(trim({quoted_identifier(name)}, {marks}), '') = {sql_string(heading)}"
        for name, heading in zip(header.names, header.headings, strict=True)
    )
    # Trimming is slow, and DuckDB may reorder what AND joins, but not what CASE guards.
    name, heading = max(zip(header.names, header.headings, strict=True), key=lambda column: len(column[1]))
    likely = f"contains({quoted_identifier(name)}, {sql_string(heading)})"
    repeated = f"FROM {view}_file f WHERE source_line > {first_row} AND CASE WHEN {likely} THEN {equal} END"
    moved = f"SELECT source_line, '{REPEATED_HEADER}', to_json(f)::VARCHAR {repeated}"
    if _count(db.execute(f"INSERT INTO {view}_unreadable {moved}")):
        db.execute(f"DELETE {repeated}")


def _ends_in_long_line(path: Path) -> bool:
    """Whether the last line may be longer than DuckDB's buffer: DuckDB loses such a line without an error."""
    size = path.stat().st_size if path.exists() else 0  # DuckDB names a file that is gone
    if size < BUFFER_BYTES:
        return False
    with path.open("rb") as file:
        file.seek(size - MAX_LINE_BYTES)
        return b"\n" not in file.read()


def _ends_with_line_end(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(path.stat().st_size - 1)
        return file.read() in (b"\n", b"\r")


def _count_lines(path: Path) -> int:
    """The number of lines of a text file; the last one may lack its line end."""
    lines, last = 0, b"\n"
    with path.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            lines, last = lines + chunk.count(b"\n"), chunk[-1:]
    return lines + (last != b"\n")


def _count(cursor: duckdb.DuckDBPyConnection) -> int:
    row = cursor.fetchone()
    assert row is not None
    return int(row[0])


def _text_columns(names: Sequence[str], number: str | None = None) -> str:
    columns = [f"{sql_string(name)}: 'VARCHAR'" for name in names]
    return "{" + ", ".join([*columns, *([f"'{number}': 'BIGINT'"] if number else [])]) + "}"


def _path_literal(path: Path) -> str:
    return sql_string(glob_literal(path))


def _in_quotes(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
