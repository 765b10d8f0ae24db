"""A term of the score that few products have.

Legend: R products with the term, P some products.
"""

from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array


class SparseTerm(NamedTuple):
    """The term of the products that have one; that of all others is 0.

    Attributes:
        positions: (R,) int64, ascending.
        terms: (R,) float32, not negative.
    """

    positions: Int64Array
    terms: Float32Array

    def of(self, positions: Int64Array) -> Float32Array:
        """The term of P products, (P,)."""
        terms = np.zeros(len(positions), dtype=np.float32)
        if len(self.positions):
            # Ascending. Beyond its end, clip gives its last product, which differs.
            places = self.positions.searchsorted(positions).clip(max=len(self.positions) - 1)
            has_term = self.positions[places] == positions
            terms[has_term] = self.terms[places[has_term]]
        return terms

    def of_ascending(self, positions: Int64Array) -> Float32Array:
        """The same for distinct products in ascending order, which takes a fifth of the time for a thousand."""
        terms = np.zeros(len(positions), dtype=np.float32)
        if len(positions) and len(self.positions):
            # As above, the other way round: there are fewer products with a term to look up.
            places = positions.searchsorted(self.positions)
            places[places == len(positions)] = 0
            is_there = positions[places] == self.positions
            terms[places[is_there]] = self.terms[is_there]
        return terms


NO_TERM = SparseTerm(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
