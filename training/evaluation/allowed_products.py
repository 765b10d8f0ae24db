"""The products that a buyer may get, of many buyers at once.

Legend: N products of a release, P some of them, K results.
"""

from dataclasses import dataclass

import numpy as np

from feature_repo.common.arrays import BoolArray, Int64Array
from training.artifacts.search.filtered_search import first_fetch


@dataclass(frozen=True)
class AllowedProducts:
    """The products that one buyer may get.

    Attributes:
        n_products: N.
        visible_N: (N,) which products are shown to anybody; None if all are.
        n_visible: Their number.
        bought: Positions of products that the buyer does not get again, each once.
    """

    n_products: int
    visible_N: BoolArray | None
    n_visible: int
    bought: Int64Array

    def mask(self) -> BoolArray | None:
        """(N,) which products are allowed; None if all are. Of thousands of buyers, they would not fit in memory."""
        if not len(self.bought):
            return self.visible_N
        allowed_N = np.ones(self.n_products, dtype=np.bool_) if self.visible_N is None else self.visible_N.copy()
        allowed_N[self.bought] = False
        return allowed_N

    def among(self, positions: Int64Array) -> BoolArray:
        """(P,) which of some products are allowed."""
        allowed_P: BoolArray = np.isin(positions, self.bought, invert=True)
        return allowed_P if self.visible_N is None else allowed_P & self.visible_N[positions]

    def count(self) -> int:
        """The number of allowed products."""
        return self.n_visible - int(len(self.bought) if self.visible_N is None else self.visible_N[self.bought].sum())

    def first_fetch(self, k: int) -> int:
        """How many products the index returns at first; 0 if an exact comparison is cheaper."""
        if self.count() == self.n_products:
            return k
        return first_fetch(min(k, self.count()), self.n_products, self.count())
