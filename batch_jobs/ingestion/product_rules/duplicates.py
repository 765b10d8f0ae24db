"""Duplicate products: which row stands for several, and what it takes over from the others."""

from functools import cache
from typing import NamedTuple

import pandas as pd

from feature_repo import columns as c
from feature_repo.ingest_report import DUPLICATE_PRODUCT_ID
from feature_repo.transforms.text import comparable_text, deduplication_key

DUPLICATE_CONTENT = "duplicate_content"
LARGEST_STOCK = 2**63 - 1
# Equal in all that tells products apart, so another row's photo or category is the product's. Prices may differ.
_TAKEN_OVER = (c.PHOTO, c.CATEGORY)


class Duplicates(NamedTuple):
    """What merging found.

    Attributes:
        reasons: Why each row is left out; null for the rows that are kept.
        aliases: Columns product_id and duplicate_of: each merged product with the one that is kept.
    """

    reasons: "pd.Series[str]"
    aliases: pd.DataFrame


def merge_duplicates(frame: pd.DataFrame, *, by_content: bool) -> Duplicates:
    """Finds rows that repeat an id or, with `by_content`, title, description and brand of another row.

    Of such rows, the one that sells is kept: visible before hidden, in stock (or of unknown stock) before sold out,
    else the first. A product kept for others of its content gets the stock of all, and a photo and a category if it has
    none. Stock is not added over rows of one id: they are one thing listed twice.

    Args:
        frame: Products with ids, in file order; `stock`, `photo` and `category` of kept rows may change.
        by_content: Whether products of one content are merged.
    """
    reasons = repeated_ids(frame)
    ordered = _best_first(frame[reasons.isna()])
    groups = _groups_of_content(ordered) if by_content else []
    _complete(frame, groups)
    product_ids = frame[c.PRODUCT_ID]
    aliases = [(product_ids[row], product_ids[kept]) for kept, *others in groups for row in others]
    reasons[[row for _, *others in groups for row in others]] = DUPLICATE_CONTENT
    return Duplicates(reasons, pd.DataFrame(aliases, columns=[c.PRODUCT_ID, c.DUPLICATE_OF], dtype="string"))


def repeated_ids(frame: pd.DataFrame) -> "pd.Series[str]":
    """DUPLICATE_PRODUCT_ID for each row that repeats the id of a row that sells better, or stands before it."""
    reasons = pd.Series(None, index=frame.index, dtype=object)
    ordered = _best_first(frame)
    repeated = ordered[c.PRODUCT_ID].duplicated()
    reasons[repeated.index[repeated]] = DUPLICATE_PRODUCT_ID
    return reasons


def _best_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows that sell first. A stable sort: rows that sell alike stay in file order."""
    sold_out = frame[c.STOCK].eq(0).fillna(False)
    return frame.assign(sold_out=sold_out).sort_values([c.HIDDEN, "sold_out"], kind="stable")


def _groups_of_content(ordered: pd.DataFrame) -> list[list[int]]:
    """The rows of each content that several rows have, in the order given."""
    titles = ordered[c.TITLE].map(cache(comparable_text))
    # Normalising is slow, so only what shares its title is compared as a whole.
    shared = ordered[titles.duplicated(keep=False)]
    key_of = cache(deduplication_key)
    groups: dict[tuple[str, str, str], list[int]] = {}
    for row, *content in shared[[c.TITLE, c.DESCRIPTION, c.BRAND]].itertuples(name=None):
        # None: a product without a text is never merged.
        if key := key_of(*content):
            groups.setdefault(key, []).append(row)
    return [group for group in groups.values() if len(group) > 1]


def _complete(frame: pd.DataFrame, groups: list[list[int]]) -> None:
    """Gives the first row of each group what its rows have together."""
    add_stocks(frame, groups)
    for column in _TAKEN_OVER:
        values = frame[column].to_dict()
        for group in groups:
            values[group[0]] = next((values[row] for row in group if not pd.isna(values[row])), None)
        frame[column] = pd.Series(values, index=frame.index, dtype=object)


def add_stocks(frame: pd.DataFrame, groups: list[list[int]]) -> None:
    """Gives the first row of each group the stock of all its rows."""
    stock, hidden = frame[c.STOCK].to_dict(), frame[c.HIDDEN].to_dict()
    for kept, *others in groups:
        # Of a visible product, what hidden rows have cannot be bought.
        stocks = [stock[row] for row in (kept, *others) if hidden[row] == hidden[kept]]
        counted = [pieces for pieces in stocks if not pd.isna(pieces)]
        # Nothing is left, but a variant of unknown stock may be sold.
        total = min(sum(counted), LARGEST_STOCK)
        stock[kept] = pd.NA if len(counted) < len(stocks) and not total else total
    frame[c.STOCK] = pd.Series(stock, index=frame.index, dtype=frame[c.STOCK].dtype)
