"""Headers: where they are, and what their headings are called."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from batch_jobs.ingestion.files.csv_header import CsvHeader, read_header


def known(headings: Sequence[str]) -> int:
    return len({"id", "title", "price"}.intersection(heading.lower() for heading in headings))


def header(folder: Path, content: str | bytes) -> CsvHeader:
    path = folder / "products.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_header(path, path, known)


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("id,title\n", ["id", "title"]),
        ("\ufeffid;title\r\n", ["id", "title"]),
        ("id\ttitle\r1\t2\r", ["id", "title"]),
        ("id|title", ["id", "title"]),
        ("id\n", ["id"]),
        ('id,"title, long"\n', ["id", "title, long"]),
        ('id;"a,b,c,d"\n', ["id", "a,b,c,d"]),
        ('id,"price\n(EGP)",title\n', ["id", "price (EGP)", "title"]),
        ("\u200f id\u00a0,\t title \u200b,\ufeffprice\n", ["id", "title", "price"]),
        ("id, title ,Title,,\n", ["id", "title", "Title_1", "column3", "column4"]),
        ("رقم المنتج;الاسم\n", ["رقم المنتج", "الاسم"]),
    ],
)
def test_headings(tmp_path: Path, content: str, names: list[str]) -> None:
    assert list(header(tmp_path, content).names) == names


def test_excels_separator_line_is_honoured(tmp_path: Path) -> None:
    found = header(tmp_path, "\ufeffsep=;\nid;title,long,x,y\n1;2\n")
    assert (found.delimiter, found.names, found.records_before, found.lines) == (";", ("id", "title,long,x,y"), 1, 2)
    assert found.warnings == ()


def test_lines_before_the_header_are_skipped_with_a_warning(tmp_path: Path) -> None:
    found = header(tmp_path, '"Products,\nMay"\n\nid,title\n1,2\n')
    assert (found.names, found.records_before, found.lines) == (("id", "title"), 2, 4)
    assert found.warnings == (f"{tmp_path / 'products.csv'}: the lines before the header 'id,title' were skipped",)


def test_a_row_that_holds_the_name_of_a_field_is_no_header(tmp_path: Path) -> None:
    assert header(tmp_path, "colour,size\nred,id\n").names == ("colour", "size")


def test_a_repeated_heading_is_a_warning(tmp_path: Path) -> None:
    assert header(tmp_path, "id,title,TITLE\n").warnings == (
        f"{tmp_path / 'products.csv'}: the heading 'TITLE' is there more than once; column 3 is called TITLE_1",
    )


@pytest.mark.parametrize("content", ["p1,قهوة,12.5\n", "p1;Mug;2024-03-01 10:00\n", "Mug,https://example.com/a.jpg\n"])
def test_a_first_line_of_values_is_no_header(tmp_path: Path, content: str) -> None:
    with pytest.raises(
        ValueError, match=r"products\.csv has no header: its first line must name the columns, but holds"
    ):
        header(tmp_path, content)


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff", "   \n"])
def test_a_file_without_a_header_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(ValueError, match="its first line must be a header with the names of the columns"):
        header(tmp_path, content)
