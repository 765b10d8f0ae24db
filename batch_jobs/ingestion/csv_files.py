"""Reads CSV exports and text files so that a broken row costs only itself, not the whole file.

Delimiter and columns of a CSV file come from its header line alone. DuckDB's own sniffer also reads rows, and one
unclosed quote or surplus comma makes it read the whole file as one column or shift the columns of every row.
"""

import csv
import gzip
import re
from pathlib import Path

import duckdb

DELIMITERS = (",", ";", "\t", "|")
# A file without line ends, such as a binary one, is not read into memory as a whole.
MAX_HEADER_BYTES = 1_000_000
SQL_TEXT = "VARCHAR"


# ---- tables of readable rows -----------------------------------------------------------------------------------------


def csv_rows(path: Path, view: str) -> str:
    """The DuckDB table expression of a CSV file; every column is text and has the name in the header.

    Unreadable rows (unclosed quote, wrong number of columns, not UTF-8) go to the temporary table `{view}_rejects`.

    Raises:
        ValueError: There is no header, or it is not UTF-8.
    """
    header = _header_line(path)
    # The most frequent one; the comma if the header has none, as in a file of one column.
    delimiter = max(DELIMITERS, key=header.count)
    # All columns are read as text: a typed reader would turn the product code 0012 into 12.
    columns = ", ".join(f"{sql_string(name)}: '{SQL_TEXT}'" for name in _column_names(header, delimiter))
    return (
        f"read_csv({sql_string(str(path))}, auto_detect = false, header = true, columns = {{{columns}}}, "
        f"delim = '{delimiter}', quote = '\"', escape = '\"', {_reject_options(view)})"
    )


def line_rows(path: Path, view: str) -> str:
    """The DuckDB table expression of a text file's lines, in the text column `line`, without blank lines.

    Lines that are not UTF-8 go to the temporary table `{view}_rejects`.

    Args:
        path: The file, or a glob pattern of several.
        view: Prefix of the table of rejects.
    """
    # The delimiter is a control character that text does not contain, so that each line is one column.
    return (
        f"(SELECT line FROM read_csv({sql_string(str(path))}, auto_detect = false, header = false, delim = '\x01', "
        f"quote = '', escape = '', columns = {{'line': '{SQL_TEXT}'}}, {_reject_options(view)}) WHERE line IS NOT NULL)"
    )


def _reject_options(view: str) -> str:
    """The options of read_csv that send unreadable rows to the temporary table `{view}_rejects`."""
    return f"ignore_errors = true, store_rejects = true, rejects_table = '{view}_rejects', rejects_scan = '{view}_scan'"


# ---- unreadable rows -------------------------------------------------------------------------------------------------


def unreadable_lines_query(db: duckdb.DuckDBPyConnection, view: str, *, header: bool) -> str | None:
    """A query of the unreadable lines of `view`'s file (file_id, data_row, line); None if its reader rejects none.

    An unclosed quote extends to the next quote or to the end of the file. Each line inside counts as unreadable, so
    that the data gate sees how much is lost. data_row is the number of the row in the file, from 1, these lines
    included. `header` says whether the file has a header, which is not a data row.
    """
    tables = {name for (name,) in db.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()}
    if f"{view}_rejects" not in tables:
        return None
    return f"""
        SELECT file_id, gap + unnest(range(before, before + len(lines))) AS data_row, unnest(lines) AS line
        FROM ({_rejected_records(view, header=header)})
    """


def add_unreadable_to_source_line(db: duckdb.DuckDBPyConnection, view: str, *, header: bool) -> None:
    """Adds the number of unreadable lines before each row to source_line of `{view}_rows`."""
    rows = f"{view}_rows"
    db.execute(f"""
        UPDATE {rows} SET source_line = {rows}.source_line + moved.shift
        FROM (
            SELECT r.rowid AS id, gaps.shift FROM {rows} r
            ASOF JOIN (
                SELECT gap, max(before + len(lines)) AS shift
                FROM ({_rejected_records(view, header=header)}) GROUP BY gap
            ) gaps ON r.source_line >= gaps.gap
        ) moved
        WHERE {rows}.rowid = moved.id
    """)


def _rejected_records(view: str, *, header: bool) -> str:
    """Per rejected record: its lines, the number of the next readable row (gap), and the rejected lines before it."""
    return f"""
        SELECT *, line - {int(header)} - (row_number() OVER by_line - 1) AS gap,
               (sum(len(lines)) OVER by_line - len(lines))::BIGINT AS before
        FROM (SELECT file_id, line,
                     regexp_split_to_array(trim(any_value(csv_line), chr(10) || chr(13)), '\\r?\\n') AS lines
              FROM {view}_rejects GROUP BY file_id, line)
        WINDOW by_line AS (PARTITION BY file_id ORDER BY line)
    """


# ---- headers and literals --------------------------------------------------------------------------------------------


def sql_string(text: str) -> str:
    """`text` as a SQL literal."""
    # Literals instead of parameters, which DuckDB does not take in CREATE VIEW.
    return "'" + text.replace("'", "''") + "'"


def _header_line(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            # Split again: readline does not end at a CR alone. utf-8-sig: Excel writes a byte order mark.
            line = re.split(rb"[\r\n]", file.readline(MAX_HEADER_BYTES), maxsplit=1)[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be read: its header is not UTF-8 ({error}); save the file as UTF-8") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not line.strip():
        raise ValueError(f"{path} cannot be read: its first line must be a header with the names of the columns")
    return line


def _column_names(header: str, delimiter: str) -> list[str]:
    """The column names in the header, made non-empty and unique regardless of case, as DuckDB requires."""
    names: list[str] = []
    used: set[str] = set()
    for position, cell in enumerate(next(csv.reader([header], delimiter=delimiter))):
        name = cell.strip() or f"column{position}"
        while name.casefold() in used:
            name += "_1"
        used.add(name.casefold())
        names.append(name)
    return names
