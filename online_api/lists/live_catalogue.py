"""The products of a release with what changes by the minute, and which of them a request allows.

Legend: N products.
"""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feature_repo import columns as c
from feature_repo.online.features import LiveProducts
from online_api.schemas.requests import NO_FILTERS, Filters
from online_api.schemas.responses import DroppedReason
from training.artifacts.product_table import ProductTable

CACHED_SELECTIONS = 128  # of N bytes each: the same pages ask for the same categories
CACHED_PRODUCTS = 20_000  # answers show the same products again and again

Booleans = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


class Selection(NamedTuple):
    """The products that a request allows.

    Attributes:
        allowed_N: (N,) which these are; None is all of them.
        n_allowed: How many these are.
        dropped: How many others there are, by the first reason that holds.
    """

    allowed_N: Booleans | None
    n_allowed: int
    dropped: dict[DroppedReason, int]

    def without(self, positions: Positions, reason: DroppedReason, n_products: int) -> "Selection":
        """Less these products, each given once; those that are not allowed anyway do not count."""
        if not len(positions):
            return self
        allowed_N = np.ones(n_products, dtype=np.bool_) if self.allowed_N is None else self.allowed_N.copy()
        n_dropped = int(allowed_N[positions].sum())
        if not n_dropped:
            return self
        allowed_N[positions] = False
        return Selection(
            allowed_N, self.n_allowed - n_dropped, {**self.dropped, reason: self.dropped.get(reason, 0) + n_dropped}
        )

    def among(self, positions: Positions) -> Positions:
        """The allowed ones of some products."""
        return positions if self.allowed_N is None else positions[self.allowed_N[positions]]


class LiveCatalogue:
    """A release's products with the prices, stock and visibility of one moment; safe to use from several threads.

    Attributes:
        table: The products.
        prices_N: (N,) float64, NaN where unknown.
        stock_N: (N,) int64, -1 where unknown.
        hidden_N: (N,) bool.
    """

    def __init__(self, table: ProductTable, live: LiveProducts | None) -> None:
        """Takes what the feature store says now; None, and for products that it does not know, leaves the release's."""
        self.table = table
        self.prices_N, self.stock_N, self.hidden_N = table.prices_N, table.stock_N, table.hidden_N
        if live is not None:
            self.prices_N = np.where(live.known_P, live.price_P, table.prices_N)
            self.stock_N = np.where(live.known_P, live.stock_P, table.stock_N)
            self.hidden_N = np.where(live.known_P, live.hidden_P, table.hidden_N)
        filtering = _Filtering(
            self.prices_N,
            self.stock_N,
            self.hidden_N,
            _Names(table.brand_codes_N, {name: code for code, name in enumerate(table.brands)}),
            _Names(table.category_codes_N, {name: code for code, name in enumerate(table.categories)}),
        )
        # A cache of an own method would keep the catalogue, which lives for seconds, until the garbage collector
        # comes round to the two.
        self._filtered = lru_cache(CACHED_SELECTIONS)(filtering.select)
        self._shown = lru_cache(CACHED_PRODUCTS)(partial(_shown, table, self.prices_N, self.stock_N))
        self._visible = filtering.select(NO_FILTERS)

    def __len__(self) -> int:
        """N."""
        return len(self.table)

    @property
    def brands(self) -> Sequence[str]:
        """Names of brands by code."""
        return self.table.brands

    @property
    def categories(self) -> Sequence[str]:
        """Names of categories by code."""
        return self.table.categories

    @property
    def brand_codes_N(self) -> npt.NDArray[np.int32]:  # noqa: N802 - a shape
        """(N,) places in `brands`; -1 for none."""
        return self.table.brand_codes_N

    @property
    def category_codes_N(self) -> npt.NDArray[np.int32]:  # noqa: N802 - a shape
        """(N,) places in `categories`; -1 for none."""
        return self.table.category_codes_N

    def position_of(self, product_id: str) -> int:
        """The position of a product, or of the one that it was merged into; -1 where there is neither."""
        return self.table.position_of(product_id)

    def shown(self, position: int) -> dict[str, Any]:
        """What an answer shows of a product, with price and stock as they are now; not to be changed."""
        return self._shown(position)

    def select(self, filters: Filters) -> Selection:
        """The visible products that the filters allow."""
        return self._visible if filters is NO_FILTERS else self._filtered(filters)


class _Names(NamedTuple):
    """The brands or categories of products."""

    codes_N: npt.NDArray[np.int32]
    code_of: dict[str, int]

    def one_of(self, names: Sequence[str]) -> Booleans:
        """Which products have one of the names."""
        wanted = [self.code_of[name] for name in names if name in self.code_of]
        return self.codes_N == wanted[0] if len(wanted) == 1 else np.isin(self.codes_N, wanted)


class _Filtering(NamedTuple):
    """What filters read."""

    prices_N: npt.NDArray[np.float64]
    stock_N: npt.NDArray[np.int64]
    hidden_N: Booleans
    brands: _Names
    categories: _Names

    def select(self, filters: Filters) -> Selection:
        """The visible products that the filters allow."""
        conditions: dict[DroppedReason, Booleans] = {"hidden": ~self.hidden_N}
        if filters.in_stock:
            conditions["out_of_stock"] = self.stock_N != 0
        if filters.categories:
            conditions["category"] = self.categories.one_of(filters.categories)
        if filters.brands:
            conditions["brand"] = self.brands.one_of(filters.brands)
        if filters.min_price is not None or filters.max_price is not None:
            low = -np.inf if filters.min_price is None else filters.min_price
            high = np.inf if filters.max_price is None else filters.max_price
            conditions["price"] = (low <= self.prices_N) & (self.prices_N <= high)  # false for an unknown one
        return _select(conditions, len(self.hidden_N))


def _select(conditions: dict[DroppedReason, Booleans], n_products: int) -> Selection:
    allowed_N = np.ones(n_products, dtype=np.bool_)
    n_allowed, dropped = n_products, {}
    for reason, holds_N in conditions.items():
        allowed_N &= holds_N
        n_left = int(allowed_N.sum())
        if n_left < n_allowed:
            dropped[reason] = n_allowed - n_left
            n_allowed = n_left
    return Selection(None if n_allowed == n_products else allowed_N, n_allowed, dropped)


def _shown(
    table: ProductTable, prices_N: npt.NDArray[np.float64], stock_N: npt.NDArray[np.int64], position: int
) -> dict[str, Any]:
    price, stock = prices_N.item(position), stock_N.item(position)
    return {
        **table.row(position),
        c.PRICE: None if math.isnan(price) else price,
        c.STOCK: None if stock < 0 else stock,
    }
