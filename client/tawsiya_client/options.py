"""The conditions that lists take; the service's `docs/api.md` explains them."""

from collections.abc import Sequence
from typing import TypedDict


class ListOptions(TypedDict, total=False):
    """The conditions that every list takes."""

    k: int
    category: Sequence[str]
    brand: Sequence[str]
    min_price: float
    max_price: float
    currency: str
    in_stock: bool
    exclude: Sequence[str]
    lambda_: float
    max_per_brand: int
    max_per_category: int
    rules: bool
    lang: str


class BuyerListOptions(ListOptions, total=False):
    """The conditions on a list for one buyer."""

    new_only: bool
