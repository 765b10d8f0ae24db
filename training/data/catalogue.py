"""The product catalogue as the towers read it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from feature_repo import columns as c
from feature_repo.transforms.text import product_text
from training.data.histories import UNKNOWN_PRODUCT
from training.model.towers import UNKNOWN, ItemTower

UNKNOWN_NAME = "<UNK>"
PRICE_RANGES = 16


class KeyIndex:
    """Finds the position of product keys in a fixed order, all at once and without a Python dictionary."""

    def __init__(self, keys: npt.NDArray[np.int64]) -> None:
        """Args: keys, (N,), distinct; their order defines the positions."""
        order = np.argsort(keys)
        self._order: npt.NDArray[np.int32] = order.astype(np.int32)
        self._sorted = keys[order]

    def positions(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Positions, same shape as `keys`; UNKNOWN_PRODUCT for a key that is not there."""
        if len(self._sorted) == 0:
            return np.full(keys.shape, UNKNOWN_PRODUCT, dtype=np.int32)
        place = np.searchsorted(self._sorted, keys)
        place[place == len(self._sorted)] = 0
        positions = self._order[place]
        positions[self._sorted[place] != keys] = UNKNOWN_PRODUCT
        return positions


@dataclass(frozen=True)
class Catalogue:
    """Products in a fixed order; `positions` elsewhere count in this order."""

    product_ids: list[str]
    product_keys: npt.NDArray[np.int64]
    texts: list[str]
    brands: list[str | None]
    categories: list[str | None]
    prices: npt.NDArray[np.float64]  # NaN where it is not known

    def __len__(self) -> int:
        """The number of products."""
        return len(self.product_ids)

    def positions(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Positions of product keys, UNKNOWN_PRODUCT for those of other products."""
        return KeyIndex(self.product_keys).positions(keys)


def read_catalogue(path: Path) -> Catalogue:
    """Reads the product features; FileNotFoundError names the command that makes them."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya build-features` first")
    table = pq.read_table(path, columns=[c.PRODUCT_ID, c.PRODUCT_KEY, c.TEXT, c.BRAND, c.CATEGORY, c.PRICE])
    return Catalogue(
        product_ids=table[c.PRODUCT_ID].to_pylist(),
        product_keys=table[c.PRODUCT_KEY].to_numpy(),
        texts=table[c.TEXT].to_pylist(),
        brands=table[c.BRAND].to_pylist(),
        categories=table[c.CATEGORY].to_pylist(),
        prices=table[c.PRICE].cast(pa.float64()).to_pandas().to_numpy(),
    )


def read_title_languages(path: Path) -> npt.NDArray[np.str_]:
    """(N,) the language of each product's title, in the order of read_catalogue."""
    return np.array(pq.read_table(path, columns=[c.TITLE_LANGUAGE])[c.TITLE_LANGUAGE].to_pylist(), dtype=np.str_)


def read_search_texts(path: Path) -> list[str]:
    """What search compares the words of a query with, of N products in the order of read_catalogue.

    That is what the product's page says, and what the text encoder reads where the source gives it another text.
    """
    table = pq.read_table(path, columns=[c.TITLE, c.DESCRIPTION, c.TEXT])
    pages = map(product_text, table[c.TITLE].to_pylist(), table[c.DESCRIPTION].to_pylist())
    return [
        text if page == text else f"{page} {text}" for page, text in zip(pages, table[c.TEXT].to_pylist(), strict=True)
    ]


def require_same_products(embedded_ids: npt.NDArray[np.str_], product_ids: list[str]) -> None:
    """Checks that product embeddings are those of the catalogue, in its order; ValueError names the remedy."""
    if embedded_ids.tolist() != product_ids:
        raise ValueError(
            "the product embeddings are not those of the current products; run `tawsiya embed` and `tawsiya index`"
        )


@dataclass(frozen=True)
class Vocabularies:
    """Names that have a learned vector; index 0 is <UNK>.

    Attributes:
        brands, categories: Names by index.
        price_edges: Where one price range ends and the next begins, ascending; no edges where no price is known. Range
            r, from 0, has index r + 1.
        product_keys: Keys of the products with a vector of their own, (n,); key i has index i + 1.
    """

    brands: tuple[str, ...]
    categories: tuple[str, ...]
    price_edges: tuple[float, ...]
    product_keys: npt.NDArray[np.int64]

    @property
    def n_prices(self) -> int:
        """Price ranges and <UNK>."""
        return len(self.price_edges) + 2 if self.price_edges else 1


def build_vocabularies(catalogue: Catalogue, trained_positions: npt.NDArray[np.int32]) -> Vocabularies:
    """Vocabularies of a catalogue, names by falling count; `trained_positions` are the products seen in training."""
    return Vocabularies(
        brands=_names(catalogue.brands),
        categories=_names(catalogue.categories),
        price_edges=_price_edges(catalogue.prices),
        product_keys=catalogue.product_keys[np.unique(trained_positions)],
    )


def _names(values: Sequence[str | None]) -> tuple[str, ...]:
    # A shop's own "<UNK>" shares index 0: vocabularies hold a name once.
    counts = Counter(value for value in values if value is not None and value != UNKNOWN_NAME)
    return (UNKNOWN_NAME, *(name for name, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))))


def _price_edges(prices_N: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Edges of ranges that hold about as many products each: shops of any currency have cheap and dear products."""
    known = prices_N[np.isfinite(prices_N)]
    if len(known) == 0:
        return ()
    edges = np.unique(np.quantile(known, np.arange(1, PRICE_RANGES) / PRICE_RANGES))
    return tuple(edges.tolist())


@dataclass(frozen=True)
class ItemFeatures:
    """Inputs of the item tower for N products.

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
        """The same features on a device."""
        parts = (self.text_NT, self.brand_N, self.category_N, self.price_N, self.id_N)
        return ItemFeatures(*(part.to(device) for part in parts))

    def encode(
        self, tower: ItemTower, positions: torch.Tensor | slice, text: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The tower's vectors of the products at `positions`; from other text vectors, where they are given."""
        vectors: torch.Tensor = tower(
            self.text_NT[positions] if text is None else text,
            self.brand_N[positions],
            self.category_N[positions],
            self.price_N[positions],
            self.id_N[positions],
        )
        return vectors


def item_features(catalogue: Catalogue, text_NT: npt.NDArray[np.float32], vocabularies: Vocabularies) -> ItemFeatures:
    """Looks the catalogue's names and keys up in the vocabularies."""
    brand_index = {name: index for index, name in enumerate(vocabularies.brands)}
    category_index = {name: index for index, name in enumerate(vocabularies.categories)}
    ids = KeyIndex(vocabularies.product_keys).positions(catalogue.product_keys).astype(np.int64) + 1
    return ItemFeatures(
        text_NT=torch.from_numpy(np.ascontiguousarray(text_NT)),
        brand_N=torch.tensor([brand_index.get(name or UNKNOWN_NAME, UNKNOWN) for name in catalogue.brands]),
        category_N=torch.tensor([category_index.get(name or UNKNOWN_NAME, UNKNOWN) for name in catalogue.categories]),
        price_N=torch.from_numpy(_price_indices(catalogue.prices, vocabularies.price_edges)),
        id_N=torch.from_numpy(ids),
    )


def _price_indices(prices_N: npt.NDArray[np.float64], edges: tuple[float, ...]) -> npt.NDArray[np.int64]:
    ranges_N = np.searchsorted(np.asarray(edges), prices_N, side="right").astype(np.int64) + 1
    return np.where(np.isfinite(prices_N) & bool(edges), ranges_N, UNKNOWN)
