"""Products bought together: for each product, the few that most often go with it.

Legend: N products of the release, M neighbours of a product, C products of a cart, P neighbours of all of them.
"""

from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array

MOST_NEIGHBOURS = 32  # M
NO_NEIGHBOUR = -1


class CoPurchases(NamedTuple):
    """The M neighbours of each product, best first.

    Attributes:
        positions_NM: (N, M) int32; NO_NEIGHBOUR after the last one.
        scores_NM: (N, M) float32 scores above 0; 0 after the last one.
    """

    positions_NM: Int32Array
    scores_NM: Float32Array

    def of(self, cart: Int64Array) -> "Neighbours":
        """The neighbours of C distinct products, without these products themselves."""
        rows_CM = self.positions_NM[cart]
        present = (rows_CM != NO_NEIGHBOUR) & ~np.isin(rows_CM, cart)
        positions, places = np.unique(rows_CM[present].astype(np.int64), return_inverse=True)
        scores_CP = np.zeros((len(cart), len(positions)), dtype=np.float32)
        scores_CP[np.nonzero(present)[0], places] = self.scores_NM[cart][present]
        return Neighbours(positions, scores_CP)


class Neighbours(NamedTuple):
    """The neighbours of the products of a cart.

    Attributes:
        positions: (P,) int64, ascending.
        scores_CP: (C, P) float32 what each product of the cart says for each neighbour.
    """

    positions: Int64Array
    scores_CP: Float32Array
