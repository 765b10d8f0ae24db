"""The input of the item tower: text vectors, and each product's indices in the vocabularies.

Legend: N products, T text dimensions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from feature_repo.common.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from training.data.catalogue import Catalogue, KeyIndex
from training.model.spec import VocabularySizes
from training.model.towers import UNKNOWN, ItemTower

UNKNOWN_NAME = "<UNK>"
PRICE_RANGES = 16


@dataclass(frozen=True)
class Vocabularies:
    """The names and products that have a learned vector; index 0 is <UNK>.

    Attributes:
        brands, categories: Names by index.
        price_edges: Bounds between price ranges, ascending; empty if no price is known. Range r, from 0, has index
            r + 1.
        product_keys: (n,) keys of the products with an id embedding; key i has index i + 1. Keys and not positions,
            because positions change with the catalogue.
    """

    brands: tuple[str, ...]
    categories: tuple[str, ...]
    price_edges: tuple[float, ...]
    product_keys: Int64Array

    @property
    def sizes(self) -> VocabularySizes:
        """The number of indices of each vocabulary, <UNK> included."""
        n_prices = len(self.price_edges) + 2 if self.price_edges else 1
        return VocabularySizes(len(self.brands), len(self.categories), n_prices, len(self.product_keys) + 1)


def build_vocabularies(catalogue: Catalogue, trained_positions: Int32Array) -> Vocabularies:
    """Vocabularies of a catalogue, most frequent names first; `trained_positions` get an id embedding."""
    return Vocabularies(
        brands=_names(catalogue.brands),
        categories=_names(catalogue.categories),
        price_edges=_price_edges(catalogue.prices),
        product_keys=catalogue.product_keys[np.unique(trained_positions)],
    )


def _names(values: Sequence[str | None]) -> tuple[str, ...]:
    # A brand that is called "<UNK>" shares index 0, because a vocabulary holds a name once.
    counts = Counter(value for value in values if value is not None and value != UNKNOWN_NAME)
    # Ties by name, so that the indices do not depend on the order of the products.
    return (UNKNOWN_NAME, *(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _price_edges(prices_N: Float64Array) -> tuple[float, ...]:
    """Quantiles of the known prices; they suit any currency, unlike fixed price ranges."""
    known = prices_N[np.isfinite(prices_N)]
    if len(known) == 0:
        return ()
    # Many products of one price make several quantiles equal. Equal edges would make ranges that no price falls into.
    edges = np.unique(np.quantile(known, np.arange(1, PRICE_RANGES) / PRICE_RANGES))
    return tuple(edges.tolist())


@dataclass(frozen=True)
class ItemFeatures:
    """The inputs of the item tower for N products.

    Attributes:
        text_NT: (N, T) float32 text vectors.
        brand_N, category_N, price_N, id_N: (N,) int64 vocabulary indices, 0 for unknown.
    """

    text_NT: torch.Tensor
    brand_N: torch.Tensor
    category_N: torch.Tensor
    price_N: torch.Tensor
    id_N: torch.Tensor

    def __len__(self) -> int:
        """The number of products."""
        return len(self.text_NT)

    def to(self, device: torch.device) -> "ItemFeatures":
        """The features on a device."""
        return ItemFeatures(*(tensor.to(device) for tensor in self._tensors))

    def take(self, chosen_N: torch.Tensor) -> "ItemFeatures":
        """The products where `chosen_N`, (N,), is True."""
        return ItemFeatures(*(tensor[chosen_N] for tensor in self._tensors))

    def without_ids(self) -> "ItemFeatures":
        """The same products, of which none has an id embedding."""
        return replace(self, id_N=torch.full_like(self.id_N, UNKNOWN))

    @property
    def _tensors(self) -> tuple[torch.Tensor, ...]:
        return self.text_NT, self.brand_N, self.category_N, self.price_N, self.id_N

    def encode(
        self, tower: ItemTower, positions: torch.Tensor | slice, text: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The tower's vectors of the products at `positions`; `text` replaces their text vectors."""
        vectors: torch.Tensor = tower(
            self.text_NT[positions] if text is None else text,
            self.brand_N[positions],
            self.category_N[positions],
            self.price_N[positions],
            self.id_N[positions],
        )
        return vectors


def item_features(catalogue: Catalogue, text_NT: Float32Array, vocabularies: Vocabularies) -> ItemFeatures:
    """Looks up the catalogue's names and keys in the vocabularies."""
    brand_index = {name: index for index, name in enumerate(vocabularies.brands)}
    category_index = {name: index for index, name in enumerate(vocabularies.categories)}
    # UNKNOWN_PRODUCT is -1, so a product without an id embedding gets index 0, UNKNOWN.
    ids = KeyIndex(vocabularies.product_keys).positions(catalogue.product_keys).astype(np.int64) + 1
    return ItemFeatures(
        text_NT=torch.from_numpy(np.ascontiguousarray(text_NT)),
        brand_N=torch.tensor([brand_index.get(name or UNKNOWN_NAME, UNKNOWN) for name in catalogue.brands]),
        category_N=torch.tensor([category_index.get(name or UNKNOWN_NAME, UNKNOWN) for name in catalogue.categories]),
        price_N=torch.from_numpy(_price_indices(catalogue.prices, vocabularies.price_edges)),
        id_N=torch.from_numpy(ids),
    )


def _price_indices(prices_N: Float64Array, edges: tuple[float, ...]) -> Int64Array:
    ranges_N = np.searchsorted(np.asarray(edges), prices_N, side="right").astype(np.int64) + 1
    # searchsorted puts NaN, the unknown price, behind every edge: into the range of the dearest products.
    return np.where(np.isfinite(prices_N) & bool(edges), ranges_N, UNKNOWN)
