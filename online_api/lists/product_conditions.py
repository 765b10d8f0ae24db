"""Conditions on brand, category and price, as request filters and merchandising rules have them.

Legend: N products.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import BoolArray, Float64Array, Int32Array
from online_api.lists.rule_file import Match
from online_api.schemas.requests import Filters
from online_api.schemas.responses import DroppedReason


class CodedNames(NamedTuple):
    """The brands or the categories of all products.

    Attributes:
        codes_N: (N,) the code of each product's name; negative for a product without one.
        code_of: The code of each name.
    """

    codes_N: Int32Array
    code_of: dict[str, int]

    @classmethod
    def of(cls, codes_N: Int32Array, names: Sequence[str]) -> "CodedNames":
        """From the codes of products, which are places in `names`."""
        return cls(codes_N, {name: code for code, name in enumerate(names)})

    def unknown(self, names: Sequence[str]) -> list[str]:
        """The names that no product has."""
        return [name for name in names if name not in self.code_of]

    def any_of(self, names: Sequence[str]) -> BoolArray:
        """Which products have one of the names, (N,)."""
        codes = [self.code_of[name] for name in names if name in self.code_of]
        return self.codes_N == codes[0] if len(codes) == 1 else np.isin(self.codes_N, codes)


class ProductConditions(NamedTuple):
    """The columns of all products that conditions read; prices are (N,), NaN if unknown."""

    brands: CodedNames
    categories: CodedNames
    prices_N: Float64Array

    def masks(self, conditions: Filters | Match) -> dict[DroppedReason, BoolArray]:
        """Which products meet each of the given conditions, (N,) each; an unknown price meets no price condition."""
        # In the order in which responses count dropped products; see live_catalogue._select.
        masks: dict[DroppedReason, BoolArray] = {}
        if conditions.categories:
            masks["category"] = self.categories.any_of(conditions.categories)
        if conditions.brands:
            masks["brand"] = self.brands.any_of(conditions.brands)
        if conditions.min_price is not None or conditions.max_price is not None:
            low = -np.inf if conditions.min_price is None else conditions.min_price
            high = np.inf if conditions.max_price is None else conditions.max_price
            # An unknown price is NaN, which compares false with both bounds.
            masks["price"] = (low <= self.prices_N) & (self.prices_N <= high)
        return masks
