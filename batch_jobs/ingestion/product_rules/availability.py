"""Whether a product can be bought: stock, and whether the shop hides it."""

import pandas as pd

from batch_jobs.ingestion.column_names import AVAILABILITY, PUBLISHED, STATUS, VISIBILITY
from batch_jobs.ingestion.product_rules.findings import Findings
from feature_repo import columns as c
from feature_repo.transforms.values.amounts import read_stock
from feature_repo.transforms.values.characters import word_key
from feature_repo.transforms.values.flags import read_availability, read_flag

UNREADABLE_STOCK, UNREADABLE_HIDDEN, BACKORDER = "unreadable_stock", "unreadable_hidden", "backorder"
STOCK_FIELDS = (c.STOCK, AVAILABILITY)
SHOWN_FIELDS = (PUBLISHED, STATUS, VISIBILITY)

# What `published`, `status` and `visibility` say, besides flags. -1 is a draft of WooCommerce, 2 what Magento disabled.
_SHOWN = (
    "visible, shown, public, publish, live, online, for sale, sale, approved, out, out of stock, catalog, search, "
    "catalog search, catalog and search, both, منشور, ظاهر, مرئي, نشط, معروض, متاح"
)
_HIDDEN = (
    "hidden, invisible, draft, archived, private, pending, offline, unpublished, unlisted, trash, deleted, future, "
    "not visible, not visible individually, nowhere, مخفي, مسودة, مؤرشف, غير نشط, غير منشور, محذوف, خاص"
)
_DRAFT, _DISABLED = "-1", "2"


def read_stock_levels(frame: pd.DataFrame, findings: Findings) -> "pd.Series[int]":
    """The stock of each product, null if unknown, from the texts in STOCK_FIELDS.

    A stock below zero is 0: the shop takes orders and has none. "Out of stock" wins over a number. "In stock" beside a
    stock of 0 leaves the number unknown: the shop does not count this product.
    """
    stocks: list[int | None] = []
    unreadable: list[str | None] = []
    backorders: list[str | None] = []
    for stock_text, availability_text in zip(*(frame[field] for field in STOCK_FIELDS), strict=True):
        number = None if stock_text is None else read_stock(stock_text)
        said = None if availability_text is None else read_availability(availability_text)
        # The column of the stock may say "in stock".
        stock_is_word = stock_text is not None and number is None and read_availability(stock_text) is not None
        backorders.append(stock_text if number is not None and number < 0 else None)
        unreadable.append(
            stock_text
            if stock_text is not None and number is None and not stock_is_word
            else availability_text
            if availability_text is not None and said is None
            else None
        )
        stocks.append(_stock(number, said))
    index = frame.index
    findings.count(UNREADABLE_STOCK, pd.Series(unreadable, index=index, dtype=object))
    findings.count(BACKORDER, pd.Series(backorders, index=index, dtype=object))
    findings.warn_of(UNREADABLE_STOCK, "it is left unknown; write a number, or words such as in stock, out of stock")
    findings.warn_of(BACKORDER, "a stock below 0 is read as 0: out of stock")
    return pd.Series(stocks, index=index, dtype="Int64")


def _stock(number: int | None, available: bool | None) -> int | None:
    if available is False:
        return 0
    if available and number == 0:
        return None
    return None if number is None else max(number, 0)


def read_hidden(frame: pd.DataFrame, findings: Findings) -> "pd.Series[bool]":
    """Whether each product is hidden: `hidden` says so, or one of SHOWN_FIELDS says that it is not shown.

    What cannot be read says nothing.
    """
    hidden = frame[c.HIDDEN].map(says_hidden, na_action="ignore")
    shown = {field: frame[field].map(says_shown, na_action="ignore") for field in SHOWN_FIELDS}
    unreadable = frame[c.HIDDEN].where(hidden.isna())
    for field, values in shown.items():
        unreadable = unreadable.where(unreadable.notna(), frame[field].where(values.isna()))
    findings.count(UNREADABLE_HIDDEN, unreadable)
    findings.warn_of(UNREADABLE_HIDDEN, "it says nothing, so the product is shown; write 0 or 1")
    result = hidden.eq(True)
    for values in shown.values():
        result |= values.eq(False)
    return result.astype(bool)


def says_hidden(text: str) -> bool | None:
    """Whether the text of `hidden` says yes; None if it says neither yes nor no."""
    flag = read_flag(text)
    if flag is not None:
        return flag
    shown = says_shown(text)
    return None if shown is None else not shown


def says_shown(text: str) -> bool | None:
    """Whether a publication, status or visibility lets buyers see the product; None if it says neither."""
    if text in (_DRAFT, _DISABLED):
        return False
    key = word_key(text)
    return True if key in _SHOWN_KEYS else False if key in _HIDDEN_KEYS else read_flag(text)


def _keys(words: str) -> frozenset[str]:
    return frozenset(map(word_key, words.split(", ")))


_SHOWN_KEYS, _HIDDEN_KEYS = _keys(_SHOWN), _keys(_HIDDEN)
