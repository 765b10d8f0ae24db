"""A loaded release: encodes buyers, finds products, looks them up. What the API and `tawsiya recommend` run on.

Legend: K results, L events, N products, D dimensions.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
import torch.nn.functional as F

from feature_repo import columns as c
from feature_repo.transforms.keys import product_key, product_keys
from feature_repo.transforms.sequences import Sequence
from training.artifacts.embeddings import load_embeddings
from training.artifacts.index import FlatIndex
from training.artifacts.model import load_model
from training.artifacts.release import ALIASES, MODEL_FOLDER, POPULARITY, PRODUCTS, current_release, verify_release
from training.catalogue import KeyIndex

PRODUCT_COLUMNS = (c.PRODUCT_ID, c.PRODUCT_KEY, c.TITLE, c.DESCRIPTION, c.BRAND, c.CATEGORY, c.PRICE, c.PHOTO)


class SchemaMismatchError(RuntimeError):
    """The release was made for other features than this code and configuration make; serving it would be wrong."""


class Ranked(NamedTuple):
    """Products of one answer, best first.

    Attributes:
        positions: (K,) int64.
        scores: (K,) float32, inner products.
    """

    positions: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]


class Recommender:
    """The live parts of a release, read-only and safe to use from several threads."""

    def __init__(self, folder: Path, *, schema_hash: str) -> None:
        """Checks and loads a release.

        Raises:
            ValueError: The release is damaged.
            SchemaMismatchError: It was made for another feature schema.
        """
        self.manifest = verify_release(folder)
        if self.manifest["schema_hash"] != schema_hash:
            raise SchemaMismatchError(
                f"release {folder.name} was made for feature schema {self.manifest['schema_hash']}, this code and "
                f"configuration make {schema_hash}; run `tawsiya refresh`, or go back to those of that release"
            )
        self.name: str = self.manifest["name"]
        model, _, self.card = load_model(folder / MODEL_FOLDER)
        self._buyer_tower = model.buyer_tower
        self._vectors_ND = load_embeddings(folder).vectors_ND
        self._index = FlatIndex.load(folder)
        self._products = _map_arrow(folder / PRODUCTS)
        self._kept_keys = _kept_keys(folder / ALIASES)
        self._keys = KeyIndex(self._products[c.PRODUCT_KEY].to_numpy())
        self.popular: npt.NDArray[np.int32] = np.load(folder / POPULARITY, allow_pickle=False)

    def __len__(self) -> int:
        """The number of products, N."""
        return len(self._vectors_ND)

    @property
    def dim(self) -> int:
        """The length of a vector, D."""
        return int(self._vectors_ND.shape[1])

    def product_key(self, product_id: str) -> int:
        """The key under which sequences hold a product: its own, or that of the product it was merged into.

        Whether the release knows the product is for `positions` to say.
        """
        kept = self._kept_keys.get(product_id)
        return product_key(product_id) if kept is None else kept

    def positions(self, product_keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Positions of product keys; -1 for a product that the release does not have."""
        return self._keys.positions(product_keys)

    def encode_buyer(self, events: Sequence) -> npt.NDArray[np.float32] | None:
        """The buyer's unit vector, (D,), from events oldest first; None where none of their products is known."""
        positions_L = self.positions(events.product_keys)
        known_L = positions_L >= 0
        if not known_L.any():
            return None
        items_1LD = torch.from_numpy(self._vectors_ND[positions_L[known_L]]).unsqueeze(0)
        types_1L = torch.from_numpy(events.event_types[known_L].astype(np.int64)).unsqueeze(0)
        with torch.inference_mode():
            buyer_1D: torch.Tensor = self._buyer_tower(items_1LD, types_1L, torch.ones_like(types_1L, dtype=torch.bool))
        vector: npt.NDArray[np.float32] = buyer_1D[0].numpy()
        return vector

    def empty_buyer(self) -> npt.NDArray[np.float32]:
        """The unit vector learned for a buyer without history, (D,)."""
        with torch.inference_mode():
            vector: npt.NDArray[np.float32] = F.normalize(self._buyer_tower.empty, dim=0).numpy()
        return vector

    def nearest(self, vector_D: npt.NDArray[np.float32], k: int) -> Ranked:
        """The K products with the highest inner product."""
        scores_1K, positions_1K = self._index.search(vector_D[None, :], k)
        return Ranked(positions_1K[0], scores_1K[0])

    def most_popular(self, k: int) -> Ranked:
        """The K most popular products; scores fall from 1 by rank, since counts are no similarity."""
        positions = self.popular[:k].astype(np.int64)
        return Ranked(positions, (1 / np.arange(1, len(positions) + 1)).astype(np.float32))

    def product(self, position: int) -> dict[str, Any]:
        """The product's columns (PRODUCT_COLUMNS)."""
        row: dict[str, Any] = self._products.slice(position, 1).to_pylist()[0]
        return row


def _map_arrow(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _kept_keys(path: Path) -> dict[str, int]:
    """For each id of a merged product the key of the product that stands for it."""
    if not path.is_file():
        return {}  # the shop merges no products, or the release is older than aliases
    aliases = _map_arrow(path)
    keys = product_keys(aliases[c.DUPLICATE_OF].to_pylist()).tolist()
    return dict(zip(aliases[c.PRODUCT_ID].to_pylist(), keys, strict=True))


def open_current(releases: Path, *, schema_hash: str) -> Recommender:
    """Loads the live release; FileNotFoundError where none was promoted yet. Further errors: see Recommender."""
    folder = current_release(releases)
    if folder is None:
        raise FileNotFoundError(f"no release is live in {releases}; run `tawsiya refresh` first")
    return Recommender(folder, schema_hash=schema_hash)
