"""Splits a dirty text file into rows, so that a broken row costs only itself.

DuckDB reads clean files, and refuses others: with its option `ignore_errors`, an unclosed quote in a large file lost
82,589 of 1,200,000 rows without a word, and lines that end in CRLF and LF in one file are an error.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TextIO

from batch_jobs.ingestion.files.encodings import UTF8

MAX_ROW_CHARS = 32_000_000  # longer rows are no rows of a shop: bounds the memory
SHOWN_ROW_CHARS = 10_000  # so much of an unreadable line is kept
UNREADABLE_ROW, LINE_TOO_LONG = "unreadable_row", "line_too_long"  # reasons of quarantine


class FileRow(NamedTuple):
    """A row, or a line that cannot be read as one.

    Attributes:
        line: Its first line in the file, from 1.
        text: The line as it stands there, if it needs no parsing, or if it cannot be read.
        fields: Its values, if it has quotes.
        reason: Why the line cannot be read; None for a row.
    """

    line: int
    text: str
    fields: list[str] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class RowFormat:
    """How the rows of a file are written.

    Attributes:
        delimiter: Character between the values; None if each line is one value.
        columns: Number of values of a row.
        skipped_lines: Number of lines before the first row.
    """

    delimiter: str | None
    columns: int
    skipped_lines: int


class CutShortError(ValueError):
    """A file ends within a row."""


def dirty_rows(path: Path, form: RowFormat) -> Iterator[FileRow]:
    """The rows of a UTF-8 file and its unreadable lines, in order; blank lines are neither.

    A record whose quotes are wrong costs its first line; reading goes on with the next line. A record whose number of
    values is wrong costs all its lines.

    Raises:
        CutShortError: The file ends within a quoted value, without a line end.
    """
    # Bytes that are not UTF-8 become surrogates, by which their lines are found. All kinds of line ends are read.
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=None) as file:
        lines = _Lines(file)
        parser = _Parser(form.delimiter or ",")
        for number, text in lines:
            if number <= form.skipped_lines or not text or (form.delimiter is None and not text.strip(" ")):
                continue
            if len(text) > MAX_ROW_CHARS:
                yield FileRow(number, text[:SHOWN_ROW_CHARS], reason=LINE_TOO_LONG)
            elif form.delimiter is None or '"' not in text:
                yield _plain_row(number, text, form)
            else:
                yield from _quoted_rows(number, text, lines, form, parser)


class _Lines:
    """The numbered lines of a file, without line ends; lines can be given back."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._number = 0
        self._given_back: deque[tuple[int, str]] = deque()
        self.ends_with_line_end = True

    def __iter__(self) -> Iterator[tuple[int, str]]:
        while (line := self.next()) is not None:
            yield line

    def next(self) -> tuple[int, str] | None:
        if self._given_back:
            return self._given_back.popleft()
        text = self._file.readline(MAX_ROW_CHARS + 2)
        if not text:
            return None
        self._number += 1
        self.ends_with_line_end = text.endswith("\n")
        if not self.ends_with_line_end and len(text) > MAX_ROW_CHARS:
            # The rest of a line that is too long.
            while (rest := self._file.readline(MAX_ROW_CHARS)) and not rest.endswith("\n"):
                pass
            return self._number, text
        return self._number, text.removesuffix("\n")

    def give_back(self, lines: list[tuple[int, str]]) -> None:
        self._given_back.extendleft(reversed(lines))


class _Parser:
    """Parses records as DuckDB does: quoted values may hold delimiters, line ends and doubled quotes.

    Blanks may follow a quoted value, and one may stand before it.
    """

    def __init__(self, delimiter: str) -> None:
        end = f"(?={re.escape(delimiter)}|\\Z)"
        self._delimiter = delimiter
        self._quoted = re.compile(f' ?"([^"]*(?:""[^"]*)*)" *{end}')
        self._open = re.compile(' ?"[^"]*(?:""[^"]*)*\\Z')
        self._plain = re.compile(f'(?! ?")[^{re.escape(delimiter)}]*')

    def parse(self, record: str) -> tuple[list[str] | None, bool]:
        """The values, or None if the quotes are wrong; and whether the record ends within quotes."""
        values: list[str] = []
        position = 0
        while True:
            if match := self._quoted.match(record, position):
                values.append(match[1].replace('""', '"'))
            elif match := self._plain.match(record, position):
                values.append(match[0])
            else:
                return None, self._open.match(record, position) is not None
            position = match.end()
            if position == len(record):
                return values, False
            position += 1


def _plain_row(number: int, text: str, form: RowFormat) -> FileRow:
    """A line without quotes as a row; empty values beyond the last column are no values, as in exports of Excel."""
    if form.delimiter is not None:
        surplus = text.count(form.delimiter) - form.columns + 1
        if surplus < 0 or not text.endswith(form.delimiter * surplus):
            return _unreadable(number, text)
        text = text.removesuffix(form.delimiter * surplus)
    return FileRow(number, text) if _is_text(text) else _unreadable(number, text)


def _quoted_rows(number: int, text: str, lines: _Lines, form: RowFormat, parser: _Parser) -> Iterator[FileRow]:
    """The record that begins with the line `text`, which has quotes, as a row or as unreadable lines."""
    taken = [(number, text)]
    values, is_open = parser.parse(text)
    size = len(text)
    while is_open and size <= MAX_ROW_CHARS:
        following = lines.next()
        if following is None:
            _refuse_cut_file(taken, lines, form, parser)
            break
        taken.append(following)
        size += len(following[1]) + 1
        # Quotes inside quotes are doubled, so a line with an even number of them only does not end the value.
        if not re.fullmatch('[^"]*(?:""[^"]*)*', following[1]):
            values, is_open = parser.parse("\n".join(line for _, line in taken))
    if values is None:
        lines.give_back(taken[1:])
        yield _unreadable(number, text)
    elif len(values) >= form.columns and not any(values[form.columns :]) and all(map(_is_text, values)):
        yield FileRow(number, text, values[: form.columns])
    else:
        yield from (_unreadable(*line) for line in taken)


def _refuse_cut_file(taken: list[tuple[int, str]], lines: _Lines, form: RowFormat, parser: _Parser) -> None:
    """Raises a CutShortError if the file ends within a record, rather than after one with a stray quote."""
    following_rows = any(len(parser.parse(line)[0] or ()) == form.columns for _, line in taken[1:])
    if not lines.ends_with_line_end and not following_rows:
        raise CutShortError(f"it ends within the quoted value of line {taken[0][0]}")


def _unreadable(number: int, text: str) -> FileRow:
    shown = text[:SHOWN_ROW_CHARS].encode(UTF8, "surrogateescape").decode(UTF8, "replace")
    return FileRow(number, shown, reason=UNREADABLE_ROW)


def _is_text(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode(UTF8)
    except UnicodeEncodeError:
        return False
    return True
