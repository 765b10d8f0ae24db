"""Encodings: what is certain, what is guessed, and what is a broken line of UTF-8."""

import pytest

from batch_jobs.ingestion.files.encodings import (
    certain_encoding,
    guess_encoding,
    is_other_encoding,
    known_encoding,
)

ARABIC = ["هاتف ذكي ١٢٨ جيجا", "قهوة عربية بالهيل", "حذاء رياضي للرجال", "شاشة كبيرة", "عطر نسائي من نور"]
FRENCH = ["Café moulu", "Crème brûlée", "Machine à café"]


@pytest.mark.parametrize("lines", [ARABIC, ARABIC[1:2], ARABIC[3:4]])
@pytest.mark.parametrize("encoding", ["windows-1256", "iso8859-6", "cp720"])
def test_arabic_is_guessed(encoding: str, lines: list[str]) -> None:
    western = [line.translate(dict(zip(range(0x660, 0x66A), "0123456789", strict=True))) for line in lines]
    assert guess_encoding([f"p1,{line},12.5".encode(encoding) for line in western]) == encoding


def test_accents_are_guessed() -> None:
    assert guess_encoding([line.encode("cp1252") for line in FRENCH]) == "windows-1252"


def test_without_words_there_is_no_guess() -> None:
    assert guess_encoding([b"1,2"]) is None


@pytest.mark.parametrize(
    ("start", "encoding"),
    [
        ("\ufeffid,t".encode(), "utf-8"),
        ("id,t".encode("utf-16"), "utf-16"),
        (b"\xfe\xff" + "id,t".encode("utf-16-be"), "utf-16"),
        ("id,title\n1,هاتف".encode("utf-16-le"), "utf-16-le"),
        ("id,title\n1,هاتف".encode("utf-16-be"), "utf-16-be"),
        ("id,t".encode("utf-32-le"), None),
        (b"id,t", None),
        (b"", None),
        ("مشتر,منتج".encode("cp1256"), None),
    ],
)
def test_what_the_first_bytes_prove(start: bytes, encoding: str | None) -> None:
    assert certain_encoding(start) == encoding


@pytest.mark.parametrize(
    ("lines", "non_ascii", "invalid", "other"),
    [
        (5, 1, 1, False),  # one broken line
        (3, 1, 1, False),
        (1, 1, 1, True),
        (1_000, 500, 200, False),
        (1_000, 20, 10, False),
        (1_000, 5, 5, False),
        (4, 3, 3, True),
        (1_000, 6, 6, True),
        (1_000, 900, 900, True),
        (3, 0, 0, False),
    ],
)
def test_a_few_broken_lines_are_no_other_encoding(lines: int, non_ascii: int, invalid: int, other: bool) -> None:
    assert is_other_encoding(lines, non_ascii, invalid) is other


@pytest.mark.parametrize(
    ("name", "known"), [("Windows-1256", "windows-1256"), ("UTF8", "utf-8"), ("utf-8-sig", "utf-8")]
)
def test_names_of_encodings(name: str, known: str) -> None:
    assert known_encoding(name) == known


@pytest.mark.parametrize("name", ["windows-125", "base64", ""])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"unknown encoding '{name}'; use a name such as"):
        known_encoding(name)
