"""CSV exports as shops write them, and files of lines: one broken row must cost that row and not the file.

The delimiter and the columns of a CSV come from its header line alone. DuckDB's own sniffer looks at the rows too, and
a single unclosed quote or surplus comma there makes it read the whole file as one column, or shift the columns of every
row.
"""

import csv
import gzip
import re
from pathlib import Path

import duckdb

DELIMITERS = (",", ";", "\t", "|")
MAX_HEADER_BYTES = 1_000_000
SQL_TEXT = "VARCHAR"


def csv_rows(path: Path, view: str) -> str:
    """The DuckDB table expression of a CSV file: text columns as the header names them.

    Rows that do not fit (unclosed quote, wrong number of columns, not UTF-8) go to the temporary table
    `{view}_rejects`.

    Raises:
        ValueError: There is no header, or it is not UTF-8.
    """
    header = _header_line(path)
    delimiter = max(DELIMITERS, key=header.count)
    # Everything in a CSV is text at first: a typed reader would turn the product code 0012 into 12.
    columns = ", ".join(f"{sql_string(name)}: '{SQL_TEXT}'" for name in _column_names(header, delimiter))
    return (
        f"read_csv({sql_string(str(path))}, auto_detect = false, header = true, columns = {{{columns}}}, "
        f"delim = '{delimiter}', quote = '\"', escape = '\"', {_keep_rejects(view)})"
    )


def line_rows(path: Path, view: str) -> str:
    """The DuckDB table expression of a text file's lines, in the text column `line`; blank lines are left out.

    Lines that are not UTF-8 go to the temporary table `{view}_rejects`.

    Args:
        path: The file, or a pattern of several.
        view: Names the rejects.
    """
    # The delimiter is a control character that text does not hold, so that a line is one column whatever it says.
    return (
        f"(SELECT line FROM read_csv({sql_string(str(path))}, auto_detect = false, header = false, delim = '\x01', "
        f"quote = '', escape = '', columns = {{'line': '{SQL_TEXT}'}}, {_keep_rejects(view)}) WHERE line IS NOT NULL)"
    )


def _keep_rejects(view: str) -> str:
    """The options of read_csv that send unreadable rows to the temporary table `{view}_rejects`."""
    return f"ignore_errors = true, store_rejects = true, rejects_table = '{view}_rejects', rejects_scan = '{view}_scan'"


def rejects(db: duckdb.DuckDBPyConnection, view: str, *, header: bool = True) -> str | None:
    """A query of `view`'s unreadable lines (file_id, data_row, line), or None where the reader has none.

    An unclosed quote runs to the next quote or to the end of the file; each line that it swallowed counts as one, so
    that a quality gate sees how much is gone. data_row counts the file's rows, these lines included, from 1.
    """
    tables = {name for (name,) in db.execute("SELECT table_name FROM duckdb_tables() WHERE temporary").fetchall()}
    if f"{view}_rejects" not in tables:
        return None
    return f"""
        SELECT file_id, gap + unnest(range(before, before + len(lines))) AS data_row, unnest(lines) AS line
        FROM ({_gaps(view, header=header)})
    """


def renumber(db: duckdb.DuckDBPyConnection, view: str, *, header: bool) -> None:
    """Lets the source_line of `{view}_rows`, which counts readable rows, count the unreadable ones before it too."""
    rows = f"{view}_rows"
    db.execute(f"""
        UPDATE {rows} SET source_line = {rows}.source_line + moved.shift
        FROM (
            SELECT r.rowid AS id, gaps.shift FROM {rows} r
            ASOF JOIN (
                SELECT gap, max(before + len(lines)) AS shift FROM ({_gaps(view, header=header)}) GROUP BY gap
            ) gaps ON r.source_line >= gaps.gap
        ) moved
        WHERE {rows}.rowid = moved.id
    """)


def _gaps(view: str, *, header: bool) -> str:
    """Per refused record: its lines, the number of the readable row that follows, and the refused lines before it."""
    return f"""
        SELECT *, line - {int(header)} - (row_number() OVER by_line - 1) AS gap,
               (sum(len(lines)) OVER by_line - len(lines))::BIGINT AS before
        FROM (SELECT file_id, line,
                     regexp_split_to_array(trim(any_value(csv_line), chr(10) || chr(13)), '\\r?\\n') AS lines
              FROM {view}_rejects GROUP BY file_id, line)
        WINDOW by_line AS (PARTITION BY file_id ORDER BY line)
    """


def sql_string(text: str) -> str:
    """`text` as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def _header_line(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            line = re.split(rb"[\r\n]", file.readline(MAX_HEADER_BYTES), maxsplit=1)[0].decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be read: its header is not UTF-8 ({error}); save the file as UTF-8") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not line.strip():
        raise ValueError(f"{path} cannot be read: its first line must be a header with the names of the columns")
    return line


def _column_names(header: str, delimiter: str) -> list[str]:
    """The header's names; DuckDB wants them distinct, whatever their case, and not empty."""
    names: list[str] = []
    taken: set[str] = set()
    for position, found in enumerate(next(csv.reader([header], delimiter=delimiter))):
        name = found.strip() or f"column{position}"
        while name.casefold() in taken:
            name += "_1"
        taken.add(name.casefold())
        names.append(name)
    return names
