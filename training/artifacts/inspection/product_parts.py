"""What a product's vector rests on: its text, what the model learned of text and attributes, its id, other products.

The item tower adds up three vectors and scales the sum to unit length (training.model.towers.ItemTower). A part's share
is its component along the product vector, divided by the length of the sum, so shares add up to 1; a part that points
away from the result has a negative one. A product without an id embedding has then borrowed from those that have one
(training.model.encoding.borrow).

The table of id embeddings is as large as all product vectors. One row of it is read, and no table is kept.

Legend: N products, T text dimensions, D dimensions.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import safe_open

from feature_repo.common.arrays import Float32Array
from feature_repo.common.files import read_json
from training.artifacts.model import CARD, KEYS, TRAIN_COMMAND, WEIGHTS
from training.artifacts.product_table import NO_CODE, ProductTable
from training.artifacts.release import MODEL_FOLDER, SEARCH_FOLDER
from training.artifacts.search.text_search import TEXT_VECTORS
from training.data.catalogue import Catalogue, KeyIndex
from training.model.item_features import Vocabularies, item_features
from training.model.spec import ModelSpec
from training.model.towers import BORROWED, UNKNOWN, ItemTower

TOWER, ID_EMBEDDINGS = "item_tower.", "item_tower.identity.weight"
SAME_VECTOR = 1e-4  # a cosine this close to 1 differs from it by rounding: nothing was there to borrow from


class PartShares(NamedTuple):
    """The shares of a product vector; they add up to 1.

    Attributes:
        text: The text vector itself.
        learned: What the model learned of text, brand, category and price.
        identity: The id embedding, which training learns from the product's events; 0 without one.
        borrowed: What a product without an id embedding takes from those that have one.
    """

    text: float
    learned: float
    identity: float
    borrowed: float


class ProductParts:
    """Explains the product vectors of one release; read-only and safe to use from several threads."""

    def __init__(self, release: Path) -> None:
        """Loads the item tower of a release without its id embeddings, a few megabytes."""
        self._weights = release / MODEL_FOLDER / WEIGHTS
        content = read_json(release / MODEL_FOLDER / CARD, TRAIN_COMMAND)
        spec = ModelSpec.from_json(content["spec"])
        keys = np.load(release / MODEL_FOLDER / KEYS, mmap_mode="r", allow_pickle=False)
        self._has_ids = bool(spec.n_ids)
        self._ids = KeyIndex(keys)
        # Without products: only the names and price ranges are looked up.
        self._vocabularies = Vocabularies(
            tuple(content["brands"]), tuple(content["categories"]), tuple(content["price_edges"]), keys[:0]
        )
        self._tower = ItemTower(dataclasses.replace(spec, n_ids=0)).eval()
        with safe_open(self._weights, "pt") as file:
            names = [name for name in file.keys() if name.startswith(TOWER) and name != ID_EMBEDDINGS]  # noqa: SIM118
            self._tower.load_state_dict({name.removeprefix(TOWER): file.get_tensor(name) for name in names})
        self._text_NT = np.load(release / SEARCH_FOLDER / TEXT_VECTORS, mmap_mode="r", allow_pickle=False)

    def has_identity(self, products: ProductTable, position: int) -> bool:
        """Whether a product has an id embedding, because training has seen events of it."""
        return self._has_ids and self._id_of(products, position) != UNKNOWN

    def shares(self, products: ProductTable, position: int, vector_D: Float32Array) -> PartShares:
        """What the vector of a product, (D,), rests on; `products` are those of the release."""
        text_D, learned_D = self._content(products, position)
        has_identity = self.has_identity(products, position)
        identity_D = self._identity(products, position) if has_identity else np.zeros_like(text_D)
        total_D = text_D + learned_D + identity_D
        length = float(np.linalg.norm(total_D))
        parts = [float(part_D @ vector_D) / length for part_D in (text_D, learned_D, identity_D)]
        cosine = float(total_D @ vector_D) / length
        if has_identity or not self._has_ids or 1 - cosine < SAME_VECTOR:
            text, learned, identity = (part / cosine for part in parts)
            return PartShares(text, learned, identity, 0.0)
        # vector * length = (1 - BORROWED) * total + BORROWED * lent, all three of unit length: solved for length.
        # There is one such length unless what is lent points away from the product (a cosine below -1/3; the lowest of
        # 1,217 on Amazon Beauty is .17).
        own = 1 - BORROWED
        moved_length = own * cosine + float(np.sqrt(max((own * cosine) ** 2 - own**2 + BORROWED**2, 0.0)))
        text, learned, identity = (own * part / moved_length for part in parts)
        return PartShares(text, learned, identity, 1 - text - learned - identity)

    @torch.inference_mode()
    def _content(self, products: ProductTable, position: int) -> tuple[Float32Array, Float32Array]:
        """The text vector, (D,), zeros if the tower adds none, and the projection of text and attributes, (D,)."""
        one = item_features(_one(products, position), np.array(self._text_NT[position][None]), self._vocabularies)
        learned_1D, text_1D = self._tower.content(one.text_NT, one.brand_N, one.category_N, one.price_N)
        return (torch.zeros_like(learned_1D) if text_1D is None else text_1D)[0].numpy(), learned_1D[0].numpy()

    def _identity(self, products: ProductTable, position: int) -> Float32Array:
        with safe_open(self._weights, "np") as file:
            row: Float32Array = file.get_slice(ID_EMBEDDINGS)[self._id_of(products, position)]
        return row

    def _id_of(self, products: ProductTable, position: int) -> int:
        # The place in the model's keys, plus 1 (Vocabularies); -1 for none, which makes UNKNOWN.
        return int(self._ids.positions(products.keys_N[position : position + 1])[0]) + 1


def _one(products: ProductTable, position: int) -> Catalogue:
    """The product as the model reads it."""

    def name(names: list[str], code: int) -> str | None:
        return None if code == NO_CODE else names[code]

    return Catalogue(
        [products.product_ids[position].as_py()],
        products.keys_N[position : position + 1],
        [""],  # its vector is known
        [name(products.brands, int(products.brand_codes_N[position]))],
        [name(products.categories, int(products.category_codes_N[position]))],
        products.prices_N[position : position + 1],
    )
