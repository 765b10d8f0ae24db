"""Duplicate products: which row stands for several, and what it takes over from the others."""

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd

from feature_repo import columns as c
from feature_repo.transforms.text import deduplication_key

DUPLICATE_CONTENT = "duplicate_content"
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

    Of such rows, the one that sells is kept: visible before hidden, in stock (or of unknown stock) before sold out, else
    the first. A product kept for others of its content gets the stock of all, and a photo and a category if it has
    none. Stock is not added over rows of one id: they are one thing listed twice.

    Args:
        frame: Products with ids, in file order; `stock`, `photo` and `category` of kept rows may change.
        by_content: Whether products of one content are merged.
    """
    reasons = pd.Series(None, index=frame.index, dtype=object)
    sold_out = frame[c.STOCK].eq(0).fillna(False)
    # A stable sort: rows that sell alike stay in file order.
    ordered = frame.assign(sold_out=sold_out).sort_values([c.HIDDEN, "sold_out"], kind="stable")
    repeated = ordered[c.PRODUCT_ID].duplicated()
    reasons[repeated.index[repeated]] = c.DUPLICATE_PRODUCT_ID
    aliases: list[tuple[str, str]] = []
    for kept, *others in _groups_of_content(ordered[~repeated]) if by_content else ():
        if others:
            reasons[others] = DUPLICATE_CONTENT
            aliases += ((product_id, frame.at[kept, c.PRODUCT_ID]) for product_id in frame.loc[others, c.PRODUCT_ID])
            _complete(frame, kept, [kept, *others])
    return Duplicates(reasons, pd.DataFrame(aliases, columns=[c.PRODUCT_ID, c.DUPLICATE_OF], dtype="string"))


def _groups_of_content(ordered: pd.DataFrame) -> Iterable[list[int]]:
    """The rows of each content, in the order given."""
    groups: dict[object, list[int]] = {}
    columns = (c.TITLE, c.DESCRIPTION, c.BRAND, c.TITLES)
    for row, title, description, brand, titles in ordered[list(columns)].itertuples(name=None):
        key = deduplication_key(title, description, brand)
        # Products without a text are never merged. Titles in other languages tell products apart, too.
        groups.setdefault(row if key is None else (key, titles), []).append(row)
    return groups.values()


def _complete(frame: pd.DataFrame, kept: int, rows: list[int]) -> None:
    """Gives the kept row what the rows of its content have together."""
    members = frame.loc[rows]
    for column in _TAKEN_OVER:
        values = members[column].dropna()
        if len(values) and pd.isna(frame.at[kept, column]):
            frame.at[kept, column] = values.iloc[0]
    # Of a visible product, what hidden rows have cannot be bought.
    stocks = members[c.STOCK][members[c.HIDDEN] == frame.at[kept, c.HIDDEN]]
    total = int(stocks.sum())
    # Nothing counted, but a variant of unknown stock may be sold.
    frame.at[kept, c.STOCK] = pd.NA if total == 0 and stocks.isna().any() else total
