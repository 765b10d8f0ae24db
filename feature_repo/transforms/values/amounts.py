"""Prices and stocks as shops write them."""

import math
import re
from functools import lru_cache
from typing import Literal, NamedTuple

from feature_repo.transforms.values.characters import INVISIBLE_CHARACTERS, latin_digits, trim, word_key
from feature_repo.transforms.values.currencies import possible_currencies
from feature_repo.transforms.values.flags import read_availability

DecimalMark = Literal[".", ","]

_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?", re.IGNORECASE)
# A decimal mark may come first (".5"), but a point after a letter ends an abbreviation ("Rs.5").
_NUMBER = re.compile(r"((?<![^\W\d_])[.,٫])?[0-9]([0-9.,٬٫' ]*[0-9])?")
_WHOLE = re.compile(r"[0-9]*|[1-9][0-9]{0,2}([.,٬' ])[0-9]{3}(\1[0-9]{3})*")
_THOUSANDS_BY_COMMA = re.compile(r"[1-9][0-9]{0,2},[0-9]{3}")
# "12." and "12,-" have a decimal mark without decimals.
_NO_DECIMALS = re.compile(r"(?<=[0-9])([.,])-?(?=[^0-9]*$)")
_SIGNS = str.maketrans({"−": "-", "–": "-", "،": ",", "’": "'"})

# "10+", ">10", "3 pcs", "3 in stock"
_STOCK_NUMBER = re.compile(r"[>≥]?\s*(.*[0-9]-?)\s*\+?\s*(\D*)")
_PIECES = frozenset(map(word_key, ("in stock", "left", "available", "pcs", "pieces", "units", "قطعة", "قطع", "حبة")))
_INT64 = 2**63


class Amount(NamedTuple):
    """An amount of money.

    Attributes:
        value: The amount; may be negative.
        currency: ISO 4217 code, or None if the text names none.
    """

    value: float
    currency: str | None


@lru_cache(maxsize=4096)
def read_amount(text: str, decimal_mark: DecimalMark | None = None) -> Amount | None:
    """Reads "EGP 2,099.00", "١٬٢٩٩٫٠٠ ر.س", "1.299,00", "12,50"; None if the text is no amount, or a range of them.

    Args:
        text: The text.
        decimal_mark: The mark that the source declares. None: told from the text; a single comma before exactly three
            last digits separates thousands ("1,299"), a single point is always the decimal mark.
    """
    text = _plain(text)
    if decimal_mark != "," and _PLAIN_NUMBER.fullmatch(text):
        return _amount(float(text), None)
    text = with_decimals(text)
    found = _NUMBER.search(text)
    if found is None:
        return None
    value = _value(found.group(), decimal_mark)
    # Of a range ("10 - 20"), the second number is in what follows the first and is no name of a currency.
    sign, names = _sign(text[: found.start()], text[found.end() :])
    currency = _currency(names)
    return None if value is None or currency is None else _amount(sign * value, currency or None)


@lru_cache(maxsize=4096)
def read_stock(text: str) -> int | None:
    """Reads a number of pieces ("3", "3.0", "٣") or a word: out of stock, sold out, backorder, preorder, نفد are 0.

    Returns:
        The number, rounded down, which may be negative (backorders); None if the text is none of these. See also
        read_availability for words that say "in stock" without a number.
    """
    number = _STOCK_NUMBER.fullmatch(_plain(text))
    if number is None:
        return 0 if read_availability(text) is False else None
    amount, unit = read_amount(number[1]), number[2].strip()
    if amount is None or amount.currency or (unit and word_key(unit) not in _PIECES):
        return None
    return math.floor(amount.value) if abs(amount.value) < _INT64 else None


def with_decimals(text: str) -> str:
    """The text with "12.00" for "12." and "12,00" for "12,-"."""
    return _NO_DECIMALS.sub(r"\g<1>00", text)


def _plain(text: str) -> str:
    """Latin digits, one kind of minus, comma, apostrophe and blank; nothing invisible."""
    return " ".join(INVISIBLE_CHARACTERS.sub("", latin_digits(trim(text))).translate(_SIGNS).split())


def _amount(value: float, currency: str | None) -> Amount | None:
    return Amount(value or 0.0, currency) if math.isfinite(value) else None  # -0.0 is 0.0


def _value(number: str, declared: DecimalMark | None) -> float | None:
    mark = "٫" if "٫" in number else declared or _decimal_mark(number)
    whole, _, fraction = number.partition(mark) if mark else (number, "", "")
    if not _WHOLE.fullmatch(whole) or not (fraction.isdigit() or not fraction):
        return None
    return float(f"{re.sub('[^0-9]', '', whole) or '0'}.{fraction or '0'}")


def _decimal_mark(number: str) -> str:
    """The mark that separates the decimals, told from the number; empty if it has none."""
    points, commas = number.count("."), number.count(",")
    if points and commas:
        return max(".,", key=number.rfind)
    if points + commas != 1:  # none, or several of one kind, which separate thousands
        return ""
    return "." if points else "" if _THOUSANDS_BY_COMMA.fullmatch(number) else ","


def _sign(before: str, after: str) -> tuple[int, tuple[str, str]]:
    """The sign of an amount, and what is left of the texts before and after its digits."""
    if before.startswith("(") and after.endswith(")"):  # an accountant's minus
        return -1, (before[1:], after[:-1])
    # A sign stands first, last or beside the digits; "EGP - 5" may hold a dash.
    for sign, char in ((-1, "-"), (1, "+")):
        if before.startswith(char) or before.endswith(char):
            return sign, (before.replace(char, "", 1), after)
        if after.startswith(char) or after.endswith(char):
            return sign, (before, after.replace(char, "", 1))
    return 1, (before, after)


def _currency(names: tuple[str, str]) -> str | None:
    """The currency on which the names before and after the digits agree; empty if they name none, None if no name."""
    possible = [possible_currencies(name) for name in names if name.strip()]
    if not all(possible):
        return None
    shared = [code for code in possible[0] if code in possible[-1]] if possible else [""]
    return shared[0] if shared else None
