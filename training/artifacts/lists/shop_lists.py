"""The lists of a shop's pages as a loaded release has them.

Legend: N products of the release.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.lists.co_purchases import CoPurchases
from training.artifacts.lists.list_tables import ListTables
from training.artifacts.lists.ranked_products import RankedProducts
from training.artifacts.lists.repurchases import Repurchases
from training.data.histories import DAY_MS

NEW_DAYS = 60  # a product is new for so many days after it first appeared


class ShopLists(NamedTuple):
    """What the lists of one release are made from.

    Attributes:
        basket: What is bought in the same basket.
        days: What is bought within the same `lists.together_days`.
        repurchases: How often products are bought again.
        trending: The products with recent buyers, scores as shares of the first one's.
        new_arrivals: The products that appeared in the last NEW_DAYS, newest first.
    """

    basket: CoPurchases
    days: CoPurchases
    repurchases: Repurchases
    trending: RankedProducts
    new_arrivals: RankedProducts

    @classmethod
    def load(cls, folder: Path, n_products: int, as_of_ms: int) -> "ShopLists | None":
        """The lists of a release whose data end at `as_of_ms`; None for one that was made before there were any.

        Raises:
            ValueError: They are of other products.
        """
        tables = ListTables.load(folder, n_products)
        if tables is None:
            return None
        most = tables.trending_N.max(initial=0) or 1
        return cls(
            tables.basket,
            tables.days,
            tables.repurchases,
            RankedProducts.above_zero(tables.trending_N / most),
            RankedProducts.above_zero(_newness(tables.first_seen_N, as_of_ms)),
        )


def _newness(first_seen_N: Int64Array, as_of_ms: int) -> Float32Array:
    """(N,) from 1 for a product of the last moment to 0 for one of NEW_DAYS ago, and for one of no known time."""
    age_days = np.maximum(as_of_ms - first_seen_N, 0) / DAY_MS
    newness: Float32Array = np.where(first_seen_N > 0, np.maximum(1 - age_days / NEW_DAYS, 0), 0).astype(np.float32)
    return newness
