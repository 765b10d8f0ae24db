"""What a file is, told by its first bytes: names of exports often lie."""

import re
from pathlib import Path
from typing import Literal

Compression = Literal["gzip", "zstd"]

GZIP_MAGIC, ZSTD_MAGIC, PARQUET_MAGIC = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"PAR1"
COMPRESSED_SUFFIXES: dict[str, Compression] = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
SAVE_AS_CSV = "save it as CSV UTF-8"
# First bytes -> what the file is, and what to do.
FOREIGN = {
    b"\xd0\xcf\x11\xe0": f"an old Excel workbook (.xls); {SAVE_AS_CSV}",
    b"%PDF": "a PDF; export it as CSV UTF-8",
    b"BZh": "compressed with bzip2; compress it with gzip or zstd, or not at all",
    b"\xfd7zXZ": "compressed with xz; compress it with gzip or zstd, or not at all",
    b"7z\xbc\xaf": "a 7-Zip archive; unpack it",
    b"Rar!": "a RAR archive; unpack it",
    GZIP_MAGIC: "compressed twice; unpack it once",
    ZSTD_MAGIC: "compressed twice; unpack it once",
    b"SQLite format 3": "an SQLite database; export its tables as CSV UTF-8",
    b"{\\rtf": f"a text document (RTF); {SAVE_AS_CSV}",
}


def compression_of(path: Path) -> Compression | None:
    """The compression of a file, told by its first bytes.

    Raises:
        ValueError: The name says that the file is compressed, but it is not.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(GZIP_MAGIC):
        return "gzip"
    if start == ZSTD_MAGIC:
        return "zstd"
    claimed = COMPRESSED_SUFFIXES.get(path.suffix.lower())
    if claimed and start:
        raise ValueError(f"{path} cannot be read: it is no {claimed} file, as its name says; export it again")
    return None


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet.

    Raises:
        ValueError: The file is named .parquet, but it is not.
    """
    with path.open("rb") as file:
        found = file.read(4) == PARQUET_MAGIC
    if not found and path.suffix.lower() == ".parquet":
        raise ValueError(f"{path} cannot be read: it is no Parquet file, as its name says; export it again")
    return found


def refuse_foreign(path: Path, start: bytes, *, lines: bool) -> None:
    """Raises a ValueError that says what a file is that should be CSV, or text lines.

    Args:
        path: The file.
        start: Its first bytes, uncompressed.
        lines: Whether any text is fine, such as JSON.
    """
    what = _foreign_kind(start) or (None if lines else _foreign_text(start))
    if what:
        raise ValueError(f"{path} is {what}")


def _foreign_kind(start: bytes) -> str | None:
    if start.startswith(b"PK\x03\x04"):
        names = (b"[Content_Types].xml", b"_rels/", b"xl/")
        return f"an Excel workbook; {SAVE_AS_CSV}" if any(name in start for name in names) else "a ZIP file; unpack it"
    return next((what for magic, what in FOREIGN.items() if start.startswith(magic)), None)


def _foreign_text(start: bytes) -> str | None:
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb"<(!doctype\s+html|html|table|head|body|meta)\b", text, re.IGNORECASE):
        return "an HTML page, such as an error page or a table that is named .xls; download the export again as CSV"
    if re.match(rb"<(\?xml|rss|feed|!--)", text, re.IGNORECASE):
        return "XML; export it as CSV UTF-8"
    if re.match(rb'(\{\s*("|\}|$)|\[\s*(\{|\]|"|\[))', text):
        return "JSON; export it as CSV, or write one object per line and set lines: true in the mapping"
    return None
