"""Prices: the one that a buyer pays now, its currency, and the decimal mark of the file."""

import re
from collections.abc import Callable, Collection, Iterable
from functools import cache, partial
from typing import NamedTuple

import pandas as pd

from batch_jobs.ingestion.column_names import (
    SALE_PRICE,
    SALE_PRICE_DATES,
    SALE_PRICE_FROM,
    SALE_PRICE_TO,
)
from batch_jobs.ingestion.product_rules.findings import Findings
from feature_repo import columns as c
from feature_repo.transforms.values.amounts import Amount, DecimalMark, read_amount, with_decimals
from feature_repo.transforms.values.characters import latin_digits
from feature_repo.transforms.values.currencies import read_currency
from feature_repo.transforms.values.times import TimeReader, UnreadableTimeError

PRICE_FIELDS = (c.PRICE, c.REGULAR_PRICE, SALE_PRICE)
READ_COLUMNS = [c.PRICE, c.REGULAR_PRICE, c.CURRENCY]  # what read_prices makes of them
SALE_DATE_FIELDS = (SALE_PRICE_DATES, SALE_PRICE_FROM, SALE_PRICE_TO)
UNREADABLE_PRICE, UNREADABLE_CURRENCY = "unreadable_price", "unreadable_currency"
AMBIGUOUS_PRICE = "ambiguous_price"
ONE_DAY_MS = 86_400_000
_NUMBER = re.compile(r"[0-9][0-9.,]*")
_ONE_MARK_BEFORE_THREE_DIGITS = re.compile(r"[1-9][0-9]{0,2}[.,][0-9]{3}")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

AmountReader = Callable[[str], Amount | None]


class PriceRules(NamedTuple):
    """How the prices of a file are read.

    Attributes:
        numeric: Price fields whose column holds numbers, not text.
        decimal_mark: The mark that the mapping declares, if any.
        times: Reads the dates of sales.
        now_ms: The present, milliseconds since 1970.
    """

    numeric: Collection[str]
    decimal_mark: DecimalMark | None
    times: TimeReader
    now_ms: int


def read_prices(frame: pd.DataFrame, rules: PriceRules, findings: Findings) -> pd.DataFrame:
    """The READ_COLUMNS of each product, null where unknown, from the texts in PRICE_FIELDS and SALE_DATE_FIELDS.

    The price is the sale price if it counts: above zero, below the other one, and in effect now. Otherwise it is
    `price`, else `regular_price`. A negative price is none. The regular price is the highest of the others, if that is
    above the price; otherwise nothing is reduced, and it is null.
    """
    texts = pd.concat(
        [frame[field] for field in PRICE_FIELDS if field not in rules.numeric] or [pd.Series(dtype=object)]
    )
    mark = rules.decimal_mark or proven_mark(texts.dropna().unique())
    _warn_of_ambiguous(texts.dropna() if mark is None else texts.iloc[:0], findings)
    # A column of numbers has the point, whatever columns of text have.
    readers = [_reader("." if field in rules.numeric else mark) for field in PRICE_FIELDS]
    in_effect = _sales_in_effect(frame, rules, findings)
    rows = zip(*(frame[field] for field in PRICE_FIELDS), in_effect, strict=True)
    prices = [
        _price(*(_Offer.read(text, reader) for text, reader in zip(row, readers, strict=True)), sale_is_on=sale_is_on)
        for *row, sale_is_on in rows
    ]
    result = pd.DataFrame(prices, index=frame.index, columns=list(_Price._fields), dtype=object)
    findings.count(UNREADABLE_PRICE, result["unreadable"])
    declared = frame[c.CURRENCY].map(read_currency, na_action="ignore")
    findings.count(UNREADABLE_CURRENCY, frame[c.CURRENCY][declared.isna()])
    findings.warn_of(UNREADABLE_PRICE, "it is left out; write one number from 0 up, such as 12.50 or 12.50 SAR")
    findings.warn_of(UNREADABLE_CURRENCY, "it is left empty; write a code such as SAR")
    # What the price itself says wins.
    currency = result["currency"].where(result["currency"].notna(), declared)
    values = (result["value"].astype(float), result["regular"].astype(float), currency)
    return pd.DataFrame(dict(zip(READ_COLUMNS, values, strict=True)))


# ---- one product -----------------------------------------------------------------------------------------------------


class _Price(NamedTuple):
    value: float | None
    regular: float | None
    currency: str | None
    unreadable: str | None


class _Offer(NamedTuple):
    """A price field of a product."""

    amount: Amount | None
    unreadable: str | None

    @classmethod
    def read(cls, text: str | None, reader: AmountReader) -> "_Offer":
        amount = None if text is None else reader(text)
        return cls(None, text) if amount is None or amount.value < 0 else cls(amount, None)


def _price(price: _Offer, regular: _Offer, sale: _Offer, *, sale_is_on: bool) -> _Price:
    base, reduced = price.amount or regular.amount, sale.amount
    counts = reduced is not None and sale_is_on and 0 < reduced.value < (base.value if base else float("inf"))
    chosen = reduced if counts else base
    before = max((amount.value for amount in (price.amount, regular.amount) if amount), default=0)
    named = (amount.currency for amount in (chosen, base, reduced) if amount)
    return _Price(
        value=chosen.value if chosen else None,
        regular=before if chosen and before > chosen.value else None,
        currency=next(filter(None, named), None),
        unreadable=price.unreadable or regular.unreadable or sale.unreadable,
    )


def _reader(mark: DecimalMark | None) -> AmountReader:
    # A catalogue has few distinct prices.
    return cache(partial(read_amount, decimal_mark=mark))


# ---- sales -----------------------------------------------------------------------------------------------------------


def _sales_in_effect(frame: pd.DataFrame, rules: PriceRules, findings: Findings) -> list[bool]:
    """Whether the sale price of each product counts now. It does not if its dates cannot be read: the safe price."""
    in_effect: list[bool] = []
    unreadable: list[str | None] = []
    for dates, first, last in zip(*(frame[field] for field in SALE_DATE_FIELDS), strict=True):
        # Google's feed has both in one column: 2025-06-01T00:00+03:00/2025-06-08T00:00+03:00.
        start, _, end = (part.strip() for part in (dates or "").partition("/"))
        start, end = start or first or "", end or last or ""
        try:
            begun = not start or rules.times.milliseconds(start) <= rules.now_ms
            # A sale that ends on a date includes this day.
            last_ms = rules.times.milliseconds(end) + ONE_DAY_MS * bool(_DATE.fullmatch(end)) if end else rules.now_ms
            in_effect.append(begun and last_ms >= rules.now_ms)
            unreadable.append(None)
        except UnreadableTimeError:
            in_effect.append(False)
            unreadable.append(f"{start}/{end}")
    findings.count(UNREADABLE_PRICE, pd.Series(unreadable, index=frame.index, dtype=object))
    return in_effect


# ---- the decimal mark ------------------------------------------------------------------------------------------------


def proven_mark(texts: Iterable[str]) -> DecimalMark | None:
    """The decimal mark that prices prove: "12,50" and "1.299,00" prove the comma, "1,299.00" the point.

    None if no price proves one, or some prove the one and some the other.
    """
    proofs = {mark for mark in map(_proof, texts) if mark}
    return proofs.pop() if len(proofs) == 1 else None


def _proof(text: str) -> DecimalMark | None:
    number = _number(text)
    last: DecimalMark = "." if number.rfind(".") > number.rfind(",") else ","
    other: DecimalMark = "," if last == "." else "."
    if last not in number or _ONE_MARK_BEFORE_THREE_DIGITS.fullmatch(number):
        return None
    # A mark that occurs more than once separates thousands.
    return other if number.count(last) > 1 else last


def _number(text: str) -> str:
    found = _NUMBER.search(with_decimals(latin_digits(text)))
    return found[0].rstrip(".,") if found else ""


def _warn_of_ambiguous(texts: "pd.Series[str]", findings: Findings) -> None:
    ambiguous = texts[texts.map(lambda text: bool(_ONE_MARK_BEFORE_THREE_DIGITS.fullmatch(_number(text))))]
    findings.count(AMBIGUOUS_PRICE, ambiguous)
    if not ambiguous.empty and (amount := read_amount(ambiguous.iloc[0])):
        findings.warn_of(
            AMBIGUOUS_PRICE,
            f"read as {amount.value:.2f}; the prices do not prove one decimal mark, so declare it in the mapping: "
            'products: {decimal_mark: ","} or "."',
        )
