"""The products of the live release with their current prices, stock and visibility; selects the products of a request.

Legend: N products of the release, P those that live values were read for (the same products).
"""

import math
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np

from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Float64Array, Int64Array, TextArray
from feature_repo.online.features import LiveProducts
from online_api.lists.languages import MAIN_TITLE, Languages
from online_api.lists.product_conditions import CodedNames, ProductConditions
from online_api.schemas.requests import NO_FILTERS, Filters
from online_api.schemas.responses import DroppedReason
from training.artifacts.lists.ranked_products import RankedProducts
from training.artifacts.product_table import CACHED_PRODUCTS, ProductTable

CACHED_SELECTIONS = 128  # of N bytes each; a shop's pages repeat a few filters


class Selection(NamedTuple):
    """The products that a request may return.

    Attributes:
        allowed_N: (N,) which products are allowed; None allows all.
        n_allowed: Number of allowed products.
        dropped: Number of other products, by the first reason that applies.
    """

    allowed_N: BoolArray | None
    n_allowed: int
    dropped: dict[DroppedReason, int]

    def without(self, positions: Int64Array, reason: DroppedReason, n_products: int) -> "Selection":
        """Drops distinct products; counts those among them that were allowed."""
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

    def among(self, positions: Int64Array) -> Int64Array:
        """The allowed ones of some products."""
        return positions if self.allowed_N is None else positions[self.allowed_N[positions]]


class RenderedProduct(NamedTuple):
    """The fields of a product in a response.

    Attributes:
        main: With its main title.
        by_language: With its title in a language, by tag in lower case.
    """

    main: dict[str, Any]
    by_language: dict[str, dict[str, Any]]


class LiveCatalogue:
    """The products of a release with prices, stock and visibility at one moment; safe to use from several threads.

    Attributes:
        products: The product columns of the release.
        hidden_N: (N,) bool.
        conditions: Evaluates conditions on brand, category and current price.
        currencies_N: (N,) the currency of each current price; empty if unknown.
        currencies: These currencies, each once, sorted.
        on_sale: The products that cost less than usual, scored by their reduction as a share of the regular price.
    """

    def __init__(self, products: ProductTable, live: LiveProducts | None) -> None:
        """Combines a release with live values.

        Args:
            products: The product columns of the release.
            live: Current values in the feature store. Products that it does not have, or all of them if this is None,
                keep the values of the release.
        """
        self.products = products
        prices_N, currencies_N = products.prices_N, products.currencies_N
        stock_N, self.hidden_N = products.stock_N, products.hidden_N
        regular_N = products.regular_prices_N
        if live is not None:
            prices_N = np.where(live.known_P, live.price_P, prices_N)
            currencies_N = np.where(live.known_P, live.currency_P, currencies_N)
            regular_N = np.where(live.known_P, live.regular_price_P, regular_N)
            stock_N = np.where(live.known_P, live.stock_P, stock_N)
            self.hidden_N = np.where(live.known_P, live.hidden_P, self.hidden_N)
        self.conditions = ProductConditions(
            CodedNames.of(products.brand_codes_N, products.brands),
            CodedNames.of(products.category_codes_N, products.categories),
            prices_N,
        )
        self.currencies_N = currencies_N
        # Without a regular price it is NaN, which is not above 0. One of 0 reduces nothing, and must not divide.
        reduction_N = 1 - prices_N / np.where(regular_N > 0, regular_N, np.nan)
        self.on_sale = RankedProducts.above_zero(reduction_N.astype(np.float32))
        self.currencies = tuple(filter(None, np.unique(currencies_N).tolist()))
        # The caches wrap functions, not methods of this object. A cached method would refer back to the catalogue, so
        # that only the garbage collector could free it, and catalogues are replaced often.
        select = partial(_select, self.conditions, currencies_N, stock_N, self.hidden_N)
        self._cached_selection = lru_cache(CACHED_SELECTIONS)(select)
        self._rendered = lru_cache(CACHED_PRODUCTS)(
            partial(_rendered, products, prices_N, regular_N, currencies_N, stock_N)
        )
        self._visible = select(NO_FILTERS)

    def __len__(self) -> int:
        """The number of products, N."""
        return len(self.products)

    def rendered(self, position: int, languages: Languages = MAIN_TITLE) -> dict[str, Any]:
        """The fields of a product in a response, with current price and stock; callers must not change the dict.

        The title is in the first of `languages` that the product has one in, else it is the main title.
        """
        product = self._rendered(position)
        for language in languages:
            if language in product.by_language:
                return product.by_language[language]
        return product.main

    def select(self, filters: Filters) -> Selection:
        """The visible products that meet the filters."""
        return self._visible if filters is NO_FILTERS else self._cached_selection(filters)


def _select(
    conditions: ProductConditions, currencies_N: TextArray, stock_N: Int64Array, hidden_N: BoolArray, filters: Filters
) -> Selection:
    # A product is counted under the first reason, in the order that responses.RecommendationResponse.dropped documents.
    masks: dict[DroppedReason, BoolArray] = {"hidden": ~hidden_N}
    if filters.in_stock:
        masks["out_of_stock"] = stock_N != 0  # -1, an unknown stock, counts as in stock
    if filters.currency is not None:
        masks["currency"] = currencies_N == filters.currency
    masks |= conditions.masks(filters)
    n_products = len(hidden_N)
    allowed_N = np.ones(n_products, dtype=np.bool_)
    n_allowed, dropped = n_products, {}
    for reason, mask_N in masks.items():
        allowed_N &= mask_N
        n_left = int(allowed_N.sum())
        if n_left < n_allowed:
            dropped[reason] = n_allowed - n_left
            n_allowed = n_left
    # None and not all True: then one index search for K products is enough, without a mask (see service._search).
    return Selection(None if n_allowed == n_products else allowed_N, n_allowed, dropped)


def _rendered(
    products: ProductTable,
    prices_N: Float64Array,
    regular_N: Float64Array,
    currencies_N: TextArray,
    stock_N: Int64Array,
    position: int,
) -> RenderedProduct:
    price, regular, stock = prices_N.item(position), regular_N.item(position), stock_N.item(position)
    titles = products.titles(position)
    main = {
        **products.row(position),
        # JSON has no NaN.
        c.PRICE: None if math.isnan(price) else price,
        c.REGULAR_PRICE: None if math.isnan(regular) or not price < regular else regular,
        c.CURRENCY: currencies_N.item(position) or None,
        c.STOCK: None if stock < 0 else stock,
    }
    # The first language, if titles are equal.
    main[c.TITLE_LANGUAGE] = next((language for language, title in titles.items() if title == main[c.TITLE]), None)
    by_language = {
        language.lower(): {**main, c.TITLE: title, c.TITLE_LANGUAGE: language} for language, title in titles.items()
    }
    return RenderedProduct(main, by_language)
