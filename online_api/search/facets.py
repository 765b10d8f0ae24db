"""Facets: how many products of a list have each category, each brand, and a price in each range.

The counts of a facet keep all conditions but its own. So a shop page shows what another choice within the facet would
give, as shop pages do whose choices add up.

Legend: N products, M matching ones, V values of a facet.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from feature_repo.common.arrays import BoolArray, Float64Array
from online_api.lists.live_catalogue import LiveCatalogue
from online_api.lists.product_conditions import CodedNames
from online_api.schemas.requests import Filters

MOST_VALUES = 50  # of categories and of brands
MOST_PRICE_RANGES = 5  # at most, of one currency
_STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)

Facet = list[dict[str, Any]]


def facets_of(
    catalogue: LiveCatalogue,
    filters: Filters,
    matching_N: BoolArray | None,
    allowed: Callable[[Filters], BoolArray | None],
) -> dict[str, Facet]:
    """The facets of a list (responses.Facets).

    Args:
        catalogue: The products.
        filters: The filters of the list.
        matching_N: (N,) the products that match its query; None for a list without a query.
        allowed: The products, (N,), that are allowed under other filters than those of the list; None for all.
    """

    def counted(**without: object) -> BoolArray:
        allowed_N = allowed(filters.model_copy(update=without))
        masks = [mask_N for mask_N in (allowed_N, matching_N) if mask_N is not None]
        return np.logical_and.reduce(masks) if masks else np.ones(len(catalogue), dtype=np.bool_)

    conditions = catalogue.conditions
    return {
        "categories": _names(conditions.categories, counted(categories=()), filters.categories),
        "brands": _names(conditions.brands, counted(brands=()), filters.brands),
        "prices": list(_price_ranges(catalogue, counted(min_price=None, max_price=None))),
    }


def _names(names: CodedNames, counted_N: BoolArray, selected: Sequence[str]) -> Facet:
    """The most frequent names, and all selected ones of the catalogue."""
    codes_M = names.codes_N[counted_N]
    counts_V = np.bincount(codes_M[codes_M >= 0], minlength=len(names.code_of))
    order = np.argsort(-counts_V, kind="stable")
    shown = [int(code) for code in order[:MOST_VALUES] if counts_V[code]]
    shown += [names.code_of[name] for name in selected if name in names.code_of and names.code_of[name] not in shown]
    values = list(names.code_of)
    return [
        {"value": values[code], "count": int(counts_V[code]), "selected": values[code] in selected} for code in shown
    ]


def _price_ranges(catalogue: LiveCatalogue, counted_N: BoolArray) -> Iterator[dict[str, Any]]:
    prices_N = catalogue.conditions.prices_N
    priced_N = counted_N & ~np.isnan(prices_N)
    currencies_M, prices_M = catalogue.currencies_N[priced_N], prices_N[priced_N]
    for currency in np.unique(currencies_M).tolist():
        prices = np.sort(prices_M[currencies_M == currency])
        bounds = _bounds(prices)
        edges = np.searchsorted(prices, bounds)  # a price at a bound belongs to the range above it
        for start, end in zip([0, *edges], [*edges, len(prices)], strict=True):
            if end > start:
                low, high = float(prices[start]), float(prices[end - 1])
                yield {"currency": currency or None, "min_price": low, "max_price": high, "count": int(end - start)}


def _bounds(prices: Float64Array) -> Float64Array:
    """Round bounds between sorted prices, near those that would give ranges of equal counts."""
    quantiles = np.quantile(prices, np.linspace(0, 1, MOST_PRICE_RANGES + 1)[1:-1]) if len(prices) else prices
    return np.unique([_rounded(quantile) for quantile in quantiles.tolist()])


def _rounded(price: float) -> float:
    """The nearest one of _STEPS times a power of ten."""
    if price <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(price))
    return min((step * power for step in _STEPS), key=lambda bound: abs(bound - price))
