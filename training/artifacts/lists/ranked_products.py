"""Some products of a release in an order of their own, with scores.

Legend: K results, M products of the list, P some products, N products of the release.
"""

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from training.artifacts.search.filtered_search import Ranked


class RankedProducts:
    """M distinct products with scores above 0, best first; read-only.

    Attributes:
        positions: (M,) their positions, best first.
    """

    def __init__(self, positions: Int64Array, scores: Float32Array) -> None:
        """Sorts products, given in any order, by score; equal ones keep their order."""
        order = np.argsort(-scores, kind="stable")
        self.positions: Int64Array = positions[order]
        # By position, for look-ups: a list may have all products of the shop, or ten.
        by_position = np.argsort(positions)
        self._ascending, self._scores = positions[by_position], scores[by_position]

    @classmethod
    def above_zero(cls, scores_N: Float32Array) -> "RankedProducts":
        """All products whose score is above 0."""
        positions = np.flatnonzero(scores_N > 0)
        return cls(positions, np.asarray(scores_N[positions], dtype=np.float32))

    def __len__(self) -> int:
        """M."""
        return len(self.positions)

    def best(self, k: int, allowed_N: BoolArray | None = None) -> Ranked:
        """The K best (allowed) products; fewer if the list has fewer."""
        positions = self.positions if allowed_N is None else self.positions[allowed_N[self.positions]]
        return Ranked(positions[:k], self.scores(positions[:k]))

    def has(self, positions: Int64Array) -> BoolArray:
        """Which of P products are in the list, (P,)."""
        if not len(self):
            return np.zeros(len(positions), dtype=np.bool_)
        # Beyond the end, clip gives the last product, which differs.
        found: BoolArray = self._ascending[self._places(positions)] == positions
        return found

    def scores(self, positions: Int64Array) -> Float32Array:
        """The scores of P products, (P,); 0 for those that are not in the list."""
        scores = np.zeros(len(positions), dtype=np.float32)
        listed = self.has(positions)
        scores[listed] = self._scores[self._places(positions[listed])]
        return scores

    def without(self, other: "RankedProducts") -> "RankedProducts":
        """The products that the other list does not have."""
        positions = self.positions[~other.has(self.positions)]
        return RankedProducts(positions, self.scores(positions))

    def _places(self, positions: Int64Array) -> Int64Array:
        return np.searchsorted(self._ascending, positions).clip(max=len(self) - 1)


NOTHING_RANKED = RankedProducts(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
