"""What the lists of a shop's pages need of all buyers: computed in batch, stored in the release, mapped by the API.

    shop_lists/
        basket_positions.npy, basket_scores.npy     CoPurchases of the same basket
        days_positions.npy, days_scores.npy         CoPurchases of the same days
        repeats.npy, buyer_days.npy                 Repurchases
        trending.npy                                (N,) float32 recent buyers, those of long ago counting less
        first_seen.npy                              (N,) int64 ms at which the product first appeared; 0 if unknown

Legend: N products of the release.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.common.files import replacing
from training.artifacts.lists.co_purchases import NO_NEIGHBOUR, CoPurchases
from training.artifacts.lists.repurchases import Repurchases

FILES = (
    "basket_positions", "basket_scores", "days_positions", "days_scores", "repeats", "buyer_days", "trending",
    "first_seen",
)  # fmt: skip


class ListTables(NamedTuple):
    """The tables of all lists.

    Attributes:
        basket: What is bought in the same basket.
        days: What is bought within the same `lists.together_days`.
        repurchases: How often products are bought again.
        trending_N: (N,) float32 recent buyers; 0 for a product that nobody chose lately.
        first_seen_N: (N,) int64 milliseconds since 1970; 0 if nothing says when the product came.
    """

    basket: CoPurchases
    days: CoPurchases
    repurchases: Repurchases
    trending_N: Float32Array
    first_seen_N: Int64Array

    def save(self, folder: Path) -> None:
        """Writes the tables into a folder."""
        arrays = (*self.basket, *self.days, *self.repurchases, self.trending_N, self.first_seen_N)
        named: zip[tuple[str, npt.NDArray[Any]]] = zip(FILES, arrays, strict=True)
        for name, array in named:
            # Through a file object: np.save adds .npy to the name of a path that lacks it.
            with replacing(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)

    @classmethod
    def empty(cls, n_products: int) -> "ListTables":
        """The tables of N products of which no event is known."""
        zeros_N = np.zeros(n_products, dtype=np.float32)
        nothing = CoPurchases(
            np.full((n_products, 1), NO_NEIGHBOUR, dtype=np.int32), np.zeros((n_products, 1), dtype=np.float32)
        )
        repurchases = Repurchases(np.zeros(n_products, dtype=np.int32), zeros_N)
        return cls(nothing, nothing, repurchases, zeros_N, np.zeros(n_products, dtype=np.int64))

    @classmethod
    def load(cls, folder: Path, n_products: int) -> "ListTables | None":
        """Maps the tables of a release into memory; None for one that was made before there were any.

        Raises:
            ValueError: They are of other products.
        """
        if not folder.is_dir():
            return None
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in FILES]
        if any(len(array) != n_products for array in arrays):
            raise ValueError(f"{folder} has tables of {len(arrays[0])} products, the release has {n_products}")
        basket, days, repurchases = CoPurchases(*arrays[:2]), CoPurchases(*arrays[2:4]), Repurchases(*arrays[4:6])
        return cls(basket, days, repurchases, *arrays[6:])
