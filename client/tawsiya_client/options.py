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
    max_per_group: int
    rules: bool
    lang: str
    page: str


class BuyerListOptions(ListOptions, total=False):
    """The conditions on recommendations for one buyer."""

    new_only: bool


class SearchOptions(ListOptions, total=False):
    """The conditions on a list that facets can be counted of."""

    facets: bool


class ShopListOptions(SearchOptions, total=False):
    """The conditions on a list of the shop's pages."""

    fill: bool


class RecentOptions(ShopListOptions, total=False):
    """The conditions on the products of a buyer's newest events."""

    event_type: str


class CartOptions(BuyerListOptions, total=False):
    """The conditions on what goes with a cart."""

    fill: bool


AnyOptions = ListOptions | BuyerListOptions | SearchOptions | ShopListOptions | RecentOptions | CartOptions
