"""What explains a release and is not needed to answer: its map and the parts of its product vectors, loaded when asked.

Legend: M products of the map, P some products, D dimensions.
"""

from functools import cached_property
from pathlib import Path

import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.inspection.product_map import ProductMap
from training.artifacts.inspection.product_parts import ProductParts
from training.artifacts.recommender import Recommender

MapPlace = list[float]  # x and y, from -1 to 1


class ReleaseFacts:
    """The facts of one release; for one thread.

    It refers to no object of the release itself, so it does not keep one in memory that another has replaced.
    """

    def __init__(self, release: Path) -> None:
        """Loads nothing yet; `release` is the folder."""
        self._release = release
        self._sampled_MD: Float32Array | None = None

    @cached_property
    def map(self) -> ProductMap | None:
        """Its map; None if it was made before there were any."""
        return ProductMap.load(self._release)

    @cached_property
    def parts(self) -> ProductParts:
        """What its product vectors rest on."""
        return ProductParts(self._release)

    def places(self, recommender: Recommender, positions: Int64Array) -> list[MapPlace | None]:
        """The places of P products on the map; None for a product that the release does not have, or without a map."""
        places: list[MapPlace | None] = [None] * len(positions)
        known_P = np.flatnonzero(positions >= 0)
        if self.map is None or not len(self.map) or not len(known_P):
            return places
        if self._sampled_MD is None:
            self._sampled_MD = recommender.product_vectors(self.map.positions_M.astype(np.int64))
        vectors_PD = recommender.product_vectors(positions[known_P])
        found_P2 = self.map.places(vectors_PD, self._sampled_MD)
        for row, place in zip(known_P.tolist(), rounded(found_P2), strict=True):
            places[row] = place
        return places


def rounded(places_P2: Float32Array) -> list[MapPlace]:
    """Places for an answer: with four decimals, a fifth of a pixel of a large screen."""
    rows: list[MapPlace] = places_P2.astype(np.float64).round(4).tolist()
    return rows
