"""The header of a CSV file: where it is, its delimiter and the names of the columns.

They come from the header alone. DuckDB's own sniffer also reads rows, and one unclosed quote or surplus comma makes it
read the whole file as one column or shift the columns of every row.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from batch_jobs.ingestion.files.encodings import UTF8

DELIMITERS = (",", ";", "\t", "|")
# A file without line ends, such as a binary one, is not read into memory as a whole.
MAX_HEADER_CHARS = 1_000_000
MAX_TITLE_LINES = 10  # lines before the header, such as the name of a report
# Blanks and invisible marks around a heading: of Excel, of copied web pages, and of the direction of Arabic text.
AROUND_HEADINGS = (
    " \t\r\n\v\f\xa0\xad\ufeff\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
SEPARATOR_LINE = re.compile(r'^"?sep=(.)"?$', re.IGNORECASE)  # Excel's own first line
VALUE_NOT_NAME = re.compile(r"[-+]?[\d\u0660-\u0669][\d\u0660-\u0669.,:/ TZ+-]*|https?://.*")

# How many fields of a table a list of headings names.
KnownHeadings = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class CsvHeader:
    """The header of a CSV file.

    Attributes:
        delimiter: The delimiter.
        names: Names of the columns, unique regardless of case, as DuckDB requires.
        headings: The headings as the file has them.
        records_before: Number of records before the header.
        lines: Number of lines of the file up to the first row.
        warnings: What was unusual, one line each.
    """

    delimiter: str
    names: tuple[str, ...]
    headings: tuple[str, ...]
    records_before: int
    lines: int
    warnings: tuple[str, ...]


def read_header(path: Path, shown: Path, known: KnownHeadings) -> CsvHeader:
    """Reads the header of a CSV file.

    Args:
        path: The file, as UTF-8.
        shown: Its name in messages.
        known: Counts the fields that headings name; a first line without any is no header if a later line has two.

    Raises:
        ValueError: There is no header, or the first line holds values.
        UnicodeDecodeError: It is not UTF-8.
    """
    records = _first_records(path)
    if not records:
        raise ValueError(f"{shown} cannot be read: its first line must be a header with the names of the columns")
    delimiter = None
    first = 0
    if separator := SEPARATOR_LINE.match(records[0].strip(AROUND_HEADINGS)):
        delimiter = separator[1]
        first = 1
    if first == len(records):
        raise ValueError(f"{shown} cannot be read: it has no header after the line {records[0]!r}")
    place = _header_place(records, first, delimiter, known)
    record = records[place]
    if "\0" in record:
        raise ValueError(f"{shown} is no text file: its first line holds zero bytes; save it as CSV UTF-8")
    delimiter = delimiter or _delimiter(record)
    headings = _headings(record, delimiter)
    _refuse_values(shown, record, headings, known)
    names, warnings = _unique_names(headings)
    if _are_numbered(headings):
        warnings.append(f"the columns have numbers instead of names: {', '.join(headings)}")
    if place > first:
        warnings.insert(0, f"the lines before the header {record!r} were skipped")
    return CsvHeader(
        delimiter,
        tuple(names),
        tuple(headings),
        place,
        sum(1 + line.count("\n") for line in records[: place + 1]),
        tuple(f"{shown}: {warning}" for warning in warnings),
    )


def _first_records(path: Path) -> list[str]:
    """The first records, without line ends; one with an odd number of quotes goes on in the next line."""
    records: list[str] = []
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=None) as file:
        rest = MAX_HEADER_CHARS
        while rest > 0 and len(records) <= MAX_TITLE_LINES and (line := file.readline(rest)):
            rest -= len(line)
            if records and records[-1].count('"') % 2 == 1:
                records[-1] += "\n" + line.removesuffix("\n")
            else:
                records.append(line.removesuffix("\n"))
    if not any(record.strip(AROUND_HEADINGS) for record in records):
        return []
    # Only the header must be UTF-8 already: broken rows are found later.
    next(record for record in records if record.strip(AROUND_HEADINGS)).encode(UTF8, "surrogateescape").decode(UTF8)
    return records


def _header_place(records: list[str], first: int, delimiter: str | None, known: KnownHeadings) -> int:
    """The index of the header: the first record that is not blank, or a later one that names at least two fields."""

    def n_known(record: str) -> int:
        return known(_headings(record, delimiter or _delimiter(record)))

    filled = [place for place in range(first, len(records)) if records[place].strip(AROUND_HEADINGS)]
    if not filled or n_known(records[filled[0]]):
        return filled[0] if filled else first
    return next((place for place in filled if n_known(records[place]) > 1), filled[0])


def _delimiter(record: str) -> str:
    """The most frequent delimiter outside quotes; the comma if there is none, as in a file of one column."""
    outside = re.sub(r'"[^"]*"', "", record)
    return max(DELIMITERS, key=outside.count)


def _headings(record: str, delimiter: str) -> list[str]:
    cells = next(csv.reader([record], delimiter=delimiter, skipinitialspace=True), [])
    return [" ".join(cell.strip(AROUND_HEADINGS).split()) for cell in cells]


def _are_numbered(headings: list[str]) -> bool:
    """Whether the headings are 0, 1, 2, ... or 1, 2, 3, ..."""
    return len(headings) > 1 and any(
        headings == [str(number) for number in range(first, first + len(headings))] for first in (0, 1)
    )


def _refuse_values(shown: Path, record: str, headings: list[str], known: KnownHeadings) -> None:
    if _are_numbered(headings):
        return
    if not known(headings) and any(VALUE_NOT_NAME.fullmatch(heading) for heading in headings):
        raise ValueError(
            f"{shown} has no header: its first line must name the columns, but holds values ({record[:200]!r}); "
            "export it with the column names"
        )


def _unique_names(headings: list[str]) -> tuple[list[str], list[str]]:
    """The names of the columns, and what to warn about; the first of several equal headings keeps its name."""
    names: list[str] = []
    warnings: list[str] = []
    used: set[str] = set()
    for position, heading in enumerate(headings):
        name = heading or f"column{position}"
        while name.casefold() in used:
            name += "_1"
        if heading and name != heading:
            warnings.append(f"the heading {heading!r} is there more than once; column {position + 1} is called {name}")
        used.add(name.casefold())
        names.append(name)
    return names, warnings
