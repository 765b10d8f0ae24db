"""Rows of dirty files: each row is read, or costs only itself."""

import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.files import records
from batch_jobs.ingestion.files.records import UNREADABLE_ROW, CutShortError, RowFormat, dirty_rows

TWO = RowFormat(",", 2, 1)


def split(folder: Path, content: bytes, form: RowFormat = TWO) -> list[tuple[int, list[str] | str]]:
    """The line of each row with its values, or of each unreadable line with its text in angle brackets."""
    path = folder / "rows.csv"
    path.write_bytes(content)
    result: list[tuple[int, list[str] | str]] = []
    for row in dirty_rows(path, form):
        values = row.fields if row.fields is not None else row.text.split(form.delimiter)
        result.append((row.line, f"<{row.text}>" if row.reason else values))
    return result


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"h,t\n1,a\n2\n3,b\n", [(2, ["1", "a"]), (3, "<2>"), (4, ["3", "b"])]),
        (b"h,t\n1,a,x\n", [(2, "<1,a,x>")]),
        (b"h,t\n\n1,a\n\n", [(3, ["1", "a"])]),
        (b"h,t\r\n1,a\n2,b\r3,c\r\n", [(2, ["1", "a"]), (3, ["2", "b"]), (4, ["3", "c"])]),
        (b'h,t\n1,"a\nb ""c"", d"\n2,e\n', [(2, ["1", 'a\nb "c", d']), (4, ["2", "e"])]),
        (b'h,t\n1, "a" \n2,b"c\n', [(2, ["1", "a"]), (3, ["2", 'b"c'])]),
        (b'h,t\n1,"a"b\n2,c\n', [(2, '<1,"a"b>'), (3, ["2", "c"])]),
        (b'h,t\n1,"a\n2,b\n3,c\n', [(2, '<1,"a>'), (3, ["2", "b"]), (4, ["3", "c"])]),
        (b'h,t\n1,"a\nb"\n"2,c"\n3,d\n', [(2, ["1", "a\nb"]), (4, '<"2,c">'), (5, ["3", "d"])]),
        (b"h,t\n1,\xff\n2,\xd8\xb9\n", [(2, "<1,\ufffd>"), (3, ["2", "ع"])]),
        (b'h,t\n1,"\xff"\n', [(2, '<1,"\ufffd">')]),
        (b'h,t\n1,"a\n\nb\n",x\n2,c\n', [(2, '<1,"a>'), (3, "<>"), (4, "<b>"), (5, '<",x>'), (6, ["2", "c"])]),
    ],
)
def test_rows_and_unreadable_lines(tmp_path: Path, content: bytes, expected: list[tuple[int, object]]) -> None:
    assert split(tmp_path, content) == expected


def test_a_line_of_blanks_is_no_line(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b"a\n   \n\xff\n b \n")
    found = [(row.line, row.text, row.reason) for row in dirty_rows(path, RowFormat(None, 1, 0))]
    assert found == [(1, "a", None), (3, "\ufffd", UNREADABLE_ROW), (4, " b ", None)]


def test_a_file_that_ends_within_quotes_is_cut_short(tmp_path: Path) -> None:
    with pytest.raises(CutShortError, match="it ends within the quoted value of line 3"):
        split(tmp_path, b'h,t\n1,a\n2,"abc\ndef')


def test_a_stray_quote_before_whole_rows_is_no_cut(tmp_path: Path) -> None:
    assert split(tmp_path, b'h,t\n1,"abc\n2,b') == [(2, '<1,"abc>'), (3, ["2", "b"])]


def test_lines_that_are_too_long_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ROW_CHARS", 20)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"h,t\n1,a\n2," + b"x" * 50 + b"\n3,b\n")
    assert [(row.line, row.reason) for row in dirty_rows(path, TWO)] == [(2, None), (3, "line_too_long"), (4, None)]


values = st.text(st.sampled_from(["a", "ع", ",", '"', "\n", " ", ";"]), max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(values, values, values), max_size=8))
def test_what_a_csv_writer_writes_is_read_as_it_was(table: list[tuple[str, str, str]]) -> None:
    output = io.StringIO()
    csv.writer(output, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("x", "y", "z"), *table])
    with tempfile.TemporaryDirectory() as folder:
        rows = split(Path(folder), output.getvalue().encode(), RowFormat(",", 3, 1))
    assert [tuple(row) for _, row in rows] == table


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(st.sampled_from(["a", "ع", ",", '"', " "]), min_size=1, max_size=8), max_size=8))
def test_each_line_is_in_one_row_or_unreadable(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = split(Path(folder), "".join(line + "\n" for line in ["x,y", *lines]).encode())
    of_rows = [1 if isinstance(row, str) else 1 + sum(value.count("\n") for value in row) for _, row in rows]
    assert sum(of_rows) == len(lines)
