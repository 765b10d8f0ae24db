"""Characters that mean the same: digits of other scripts, invisible marks, spellings of a word."""

import re
import unicodedata

# Soft hyphen, zero-width characters, bidirectional marks, byte order mark.
_INVISIBLE = "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff"
INVISIBLE_CHARACTERS = re.compile(f"[{_INVISIBLE}]")
# What may stand around a value and is no part of it. No white space of Unicode lies above U+3000.
_SURROUNDING = "".join(
    char for char in map(chr, (*range(0x3001), 0xFEFF)) if char.isspace() or INVISIBLE_CHARACTERS.match(char)
)
# How Excel and shop systems keep a number as text: ="0012", and an apostrophe before it.
_TEXT_FORMULA = re.compile(r'="([^"]*)"')
_TEXT_MARK = re.compile(r"'([0-9=+@-][^']*)")
_DIGITS = str.maketrans("٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹", "01234567890123456789")
_LETTERS = str.maketrans({"ى": "ي", "ی": "ي", "ة": "ه", "ک": "ك", "ء": None, "ـ": None, "ı": "i"})


def trim(text: str) -> str:
    """The text without blanks, line breaks, invisible characters and Excel's marks of a text (="0012", '0012)."""
    text = text.strip(_SURROUNDING)
    marked = (_TEXT_FORMULA.fullmatch(text) or _TEXT_MARK.fullmatch(text)) if text[:1] in ("=", "'") else None
    return marked[1].strip(_SURROUNDING) if marked else text


def latin_digits(text: str) -> str:
    """The text with 0 to 9 in place of Arabic-Indic and Persian digits."""
    return text if text.isascii() else text.translate(_DIGITS)


def word_key(text: str) -> str:
    """What the spellings of a word share: its letters and digits, without case, accents, hamza and vowel signs.

    "In Stock", "in_stock" and "InStock" have one key, and so have "إضافة إلى السلة" and "اضافه الى السله".
    """
    plain = unicodedata.normalize("NFKD", latin_digits(text).casefold()).translate(_LETTERS)
    return "".join(filter(str.isalnum, plain))
