"""A map of a release's products in two dimensions: similar products lie near each other.

    product_map.arrow     position (int32), x, y (float32, from -1 to 1): a sample of the products

The sample has the same share of each category, to the nearest product. t-SNE (van der Maaten and Hinton 2008) places
it, because it keeps neighbours together: docs/inspector.md has the measurement.

Legend: N products, M products of the map, P products to place, D dimensions.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from training.artifacts.product_table import map_arrow, write_arrow

PRODUCT_MAP = "product_map.arrow"
MOST_PRODUCTS = 2_000  # of a map; more take longer to place and draw, and show no more of its regions
FEWEST_PRODUCTS = 4  # fewer have no neighbourhoods
PERPLEXITY = 30.0  # about how many neighbours each product should stay near to
STEPS = 500  # twice as many keep .685 instead of .681 of the ten nearest products near, and take twice as long
SEED = 1


class ProductMap:
    """The places of a sample of products; read-only."""

    def __init__(self, positions_M: Int32Array, places_M2: Float32Array) -> None:
        """Takes positions in the release, ascending, and places on the map."""
        self.positions_M, self.places_M2 = positions_M, places_M2

    @classmethod
    def build(cls, vectors_ND: Float32Array, category_codes_N: Int32Array) -> "ProductMap":
        """Places a sample of products by their unit vectors; the same vectors make the same map."""
        positions_M = sample(category_codes_N)
        return cls(positions_M, _placed(np.array(vectors_ND[positions_M])))

    def save(self, path: Path) -> None:
        """Writes one file."""
        x_M, y_M = self.places_M2.T
        write_arrow(path, pa.table({"position": self.positions_M, "x": x_M, "y": y_M}))

    @classmethod
    def load(cls, release: Path) -> "ProductMap | None":
        """The map of a release; None for one that was made before there were any."""
        if not (release / PRODUCT_MAP).is_file():
            return None
        table = map_arrow(release / PRODUCT_MAP)
        return cls(table["position"].to_numpy(), np.stack([table["x"].to_numpy(), table["y"].to_numpy()], axis=1))

    def __len__(self) -> int:
        """M."""
        return len(self.positions_M)

    def places(self, vectors_PD: Float32Array, sampled_MD: Float32Array) -> Float32Array:
        """The places of any P products, (P, 2): of a sampled product its own, of another that of the nearest one.

        Args:
            vectors_PD: Their vectors.
            sampled_MD: The vectors of the map's products.
        """
        nearest_P: Int64Array = (vectors_PD @ sampled_MD.T).argmax(axis=1)
        places_P2: Float32Array = self.places_M2[nearest_P]
        return places_P2


def sample(category_codes_N: Int32Array) -> Int32Array:
    """The positions of up to MOST_PRODUCTS products, ascending: as many of each category as its share says."""
    n_products = len(category_codes_N)
    shuffled = np.random.default_rng(SEED).permutation(n_products)
    by_category = shuffled[np.argsort(category_codes_N[shuffled], kind="stable")]
    n_sampled = min(n_products, MOST_PRODUCTS)
    # Evenly spaced along the categories, one after the other.
    steps = np.arange(n_sampled) * n_products // max(n_sampled, 1)
    return np.sort(by_category[steps]).astype(np.int32)


def _placed(vectors_MD: Float32Array) -> Float32Array:
    """The places of unit vectors, (M, 2), from -1 to 1."""
    n_products = len(vectors_MD)
    if n_products < FEWEST_PRODUCTS or not np.ptp(vectors_MD, axis=0).any():  # equal ones have no neighbours either
        return np.stack([np.linspace(-1, 1, n_products), np.zeros(n_products)], axis=1).astype(np.float32)
    from sklearn.manifold import TSNE  # imports more of scikit-learn than the API needs

    # In one thread: several add up numbers in an order of their own, and t-SNE makes another map of that.
    with threadpool_limits(1):
        tsne = TSNE(perplexity=min(PERPLEXITY, (n_products - 1) / 3), init="pca", max_iter=STEPS, random_state=SEED)
        placed_M2: Float32Array = tsne.fit_transform(vectors_MD)
    placed_M2 -= (placed_M2.max(axis=0) + placed_M2.min(axis=0)) / 2
    places_M2: Float32Array = placed_M2 / np.abs(placed_M2).max()
    return places_M2
