"""Encodings of text files: which one is certain, and which one a file looks like."""

import codecs
from collections.abc import Iterable

UTF8 = "utf-8"
BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, UTF8),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is its beginning
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Name for people and for Python. All can be read as one another, so the one that gives the most Arabic words wins.
GUESSES = {
    "windows-1252": "Windows-1252",  # first: Windows-1256 reads accents just as well
    "windows-1256": "Windows-1256",
    "iso8859-6": "ISO-8859-6",
    "cp864": "code page 864",
    "cp720": "code page 720",
}
UTF16_SNIFFED_BYTES = 200
# Up to so many lines, or below this share of all lines, are broken lines of a UTF-8 file.
FEW_BROKEN_LINES = 5
BROKEN_SHARE = 1 / 3


def certain_encoding(start: bytes) -> str | None:
    """The encoding that a file's first bytes prove: a byte order mark, or UTF-16 by its zero bytes; else None."""
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            return encoding
    # Latin letters and commas have a zero in every second byte of UTF-16; text in other encodings has none.
    even, odd = start[0:UTF16_SNIFFED_BYTES:2].count(0), start[1:UTF16_SNIFFED_BYTES:2].count(0)
    if odd > 1 and not even:
        return "utf-16-le"
    return "utf-16-be" if even > 1 and not odd else None


def known_encoding(name: str) -> str:
    """The name of an encoding that Python knows.

    Raises:
        ValueError: There is no such encoding, or it is none of text.
    """
    try:
        "".encode(name)  # base64 and the like are codecs, but no encodings of text
    except LookupError:
        raise ValueError(f"unknown encoding {name!r}; use a name such as utf-8, windows-1256, iso-8859-6") from None
    return UTF8 if codecs.lookup(name).name in (UTF8, "utf-8-sig") else name.lower()


def is_other_encoding(lines: int, non_ascii: int, invalid: int) -> bool:
    """Whether a file is not UTF-8 as a whole, rather than UTF-8 with a few broken lines.

    Args:
        lines: Number of lines.
        non_ascii: Number of lines with other characters than ASCII.
        invalid: How many of these are not UTF-8.
    """
    # A single line proves nothing, unless it is all that there is.
    many = invalid > FEW_BROKEN_LINES or (invalid > 1 and invalid >= BROKEN_SHARE * lines) or invalid == lines
    return invalid > 0 and invalid > non_ascii / 2 and many


def guess_encoding(lines: Iterable[bytes]) -> str | None:
    """The encoding of GUESSES that reads these lines best; None if none of them gives words."""
    content = b"\n".join(lines)
    scores = {}
    for encoding in GUESSES:
        try:
            scores[encoding] = _plausibility(content.decode(encoding))
        except UnicodeDecodeError:
            continue
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] > 0 else None


def _plausibility(text: str) -> int:
    """Points for letters, minus points for what exports of shops do not hold; Arabic letters count most."""
    points = 0
    for before, char, after in zip(" " + text, text, text[1:] + " ", strict=False):
        if char < "\x80":
            continue
        if "\u0621" <= char <= "\u064a" or "\u0660" <= char <= "\u0669":
            # Letters of a word stand together; a wrong encoding mixes them with others.
            near = sum("\u0621" <= other <= "\u0652" for other in (before, after))
            points += 1 + 2 * near
        elif "\u064b" <= char <= "\u0652" or "\ufe70" <= char <= "\ufefc":
            points += 1
        elif char.isalpha() and char < "\u0180":
            points += 1 if before.isascii() and after.isascii() else -1  # single accents, as in café
        else:
            points -= 1
    return points
