"""Prices and stocks as shops write them."""

from typing import Literal, NamedTuple

DecimalMark = Literal[".", ","]


class Amount(NamedTuple):
    """An amount of money.

    Attributes:
        value: The amount; may be negative.
        currency: ISO 4217 code, or None if the text names none.
    """

    value: float
    currency: str | None


def read_amount(text: str, decimal_mark: DecimalMark | None = None) -> Amount | None:
    """Reads "EGP 2,099.00", "١٬٢٩٩٫٠٠ ر.س", "1.299,00", "12,50"; None if the text is no amount.

    Args:
        text: The text.
        decimal_mark: The mark that the source declares. None: told from the text; a single comma before exactly three
            last digits separates thousands ("1,299"), a single point is always the decimal mark.
    """
    raise NotImplementedError


def read_stock(text: str) -> int | None:
    """Reads a number of pieces ("3", "3.0", "٣") or a word: out of stock, sold out, backorder, preorder, نفد are 0.

    Returns:
        The number, which may be negative (backorders); None if the text is none of these. See also read_availability
        for words that say "in stock" without a number.
    """
    raise NotImplementedError
