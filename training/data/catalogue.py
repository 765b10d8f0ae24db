"""The product catalogue: products in a fixed order, and look-up of their positions."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.arrays import Float64Array, Int32Array, Int64Array
from feature_repo.transforms.text import product_text
from training.data.histories import UNKNOWN_PRODUCT


class KeyIndex:
    """Vectorised look-up of the positions of product keys; a dictionary would be slow for arrays of keys."""

    def __init__(self, keys: Int64Array) -> None:
        """Sorts N distinct product keys, (N,); their order defines the positions."""
        order = np.argsort(keys)
        self._order: Int32Array = order.astype(np.int32)
        self._sorted = keys[order]

    def positions(self, keys: Int64Array) -> Int32Array:
        """Positions, in the shape of `keys`; UNKNOWN_PRODUCT for an unknown key."""
        if len(self._sorted) == 0:
            return np.full(keys.shape, UNKNOWN_PRODUCT, dtype=np.int32)
        place = self._sorted.searchsorted(keys)
        # A key above all others has no place. Place 0 is valid and has another key, so the comparison below rejects it.
        place[place == len(self._sorted)] = 0
        positions = self._order[place]
        positions[self._sorted[place] != keys] = UNKNOWN_PRODUCT
        return positions


@dataclass(frozen=True)
class Catalogue:
    """Products in a fixed order; a product's position is its place in this order."""

    product_ids: list[str]
    product_keys: Int64Array
    texts: list[str]
    brands: list[str | None]
    categories: list[str | None]
    prices: Float64Array  # NaN if unknown

    def __len__(self) -> int:
        """The number of products."""
        return len(self.product_ids)

    def positions(self, keys: Int64Array) -> Int32Array:
        """Positions of product keys; UNKNOWN_PRODUCT for products outside the catalogue."""
        return KeyIndex(self.product_keys).positions(keys)


# What looks up positions of product keys.
ProductPositions: TypeAlias = Catalogue | KeyIndex

_COLUMNS = [c.PRODUCT_ID, c.PRODUCT_KEY, c.TEXT, c.BRAND, c.CATEGORY, c.PRICE]


def read_catalogue(path: Path) -> Catalogue:
    """Reads the product features; FileNotFoundError names the command that makes them."""
    _require_features(path)
    return _catalogue(pq.read_table(path, columns=_COLUMNS))


def read_catalogue_blocks(path: Path, n_rows: int) -> Iterator[Catalogue]:
    """The catalogue in parts of at most `n_rows` products, in order: one part at a time is in memory."""
    _require_features(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(n_rows, columns=_COLUMNS):
            yield _catalogue(pa.Table.from_batches([batch]))


@dataclass(frozen=True)
class CatalogueTexts:
    """The texts of all products, read from the product features each time that they are iterated over."""

    path: Path

    def __iter__(self) -> Iterator[str]:
        """The texts in the order of read_catalogue."""
        for block in self.blocks(65_536):
            yield from block

    def blocks(self, n_rows: int) -> Iterator[list[str]]:
        """The same in parts of at most `n_rows`."""
        _require_features(self.path)
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(n_rows, columns=[c.TEXT]):
                yield batch[c.TEXT].to_pylist()


def count_products(path: Path) -> int:
    """The number of products, N."""
    _require_features(path)
    n_products: int = pq.read_metadata(path).num_rows
    return n_products


def read_product_id_blocks(path: Path, n_rows: int) -> Iterator[npt.NDArray[np.str_]]:
    """The product ids in the order of read_catalogue, in parts of at most `n_rows`."""
    _require_features(path)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(n_rows, columns=[c.PRODUCT_ID]):
            yield np.array(batch[c.PRODUCT_ID].to_pylist(), dtype=np.str_)


def read_product_positions(path: Path) -> KeyIndex:
    """The positions of all products by their keys, in the order of read_catalogue, without the other columns."""
    _require_features(path)
    return KeyIndex(pq.read_table(path, columns=[c.PRODUCT_KEY])[c.PRODUCT_KEY].to_numpy())


def _require_features(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya build-features` first")


def _catalogue(table: pa.Table) -> Catalogue:
    return Catalogue(
        product_ids=table[c.PRODUCT_ID].to_pylist(),
        product_keys=table[c.PRODUCT_KEY].to_numpy(),
        texts=table[c.TEXT].to_pylist(),
        brands=table[c.BRAND].to_pylist(),
        categories=table[c.CATEGORY].to_pylist(),
        # pandas turns nulls into NaN.
        prices=table[c.PRICE].cast(pa.float64()).to_pandas().to_numpy(),
    )


def read_search_texts(path: Path) -> list[str]:
    """(N,) texts that search compares the words of a query with, in the order of read_catalogue.

    A text is title and description, the titles in all languages, and the text that the encoder reads if the source
    maps a different one.
    """
    table = pq.read_table(path, columns=[c.TITLE, c.DESCRIPTION, c.TEXT])
    rows = zip(*(column.to_pylist() for column in table.columns), _titles(path, len(table)), strict=True)
    return [_search_text(*row) for row in rows]


def _search_text(title: str, description: str, text: str, titles: str | None) -> str:
    other_titles = [other for other in json.loads(titles or "{}").values() if other != title]
    if not other_titles:
        page = product_text(title, description)
        return text if page == text else f"{page} {text}"
    # Unless the source maps it, the encoder's text has them all; a second time they would weigh more than other words.
    for part in (title, description, *other_titles):
        if part.strip() not in text:
            text = f"{text} {part.strip()}"
    return text


def _titles(path: Path, n_products: int) -> list[str | None]:
    """(N,) titles by language as JSON text; None for a product without them, and for all of an older file."""
    if c.TITLES not in pq.read_schema(path).names:
        return [None] * n_products
    titles: list[str | None] = pq.read_table(path, columns=[c.TITLES])[c.TITLES].to_pylist()
    return titles


def read_title_languages(path: Path) -> npt.NDArray[np.str_]:
    """(N,) language of each product's title, in the order of read_catalogue."""
    return np.array(pq.read_table(path, columns=[c.TITLE_LANGUAGE])[c.TITLE_LANGUAGE].to_pylist(), dtype=np.str_)


def require_same_products(embedded_ids: npt.NDArray[np.str_], product_ids: list[str]) -> None:
    """Raises ValueError, with the remedy, unless the embeddings are of these products in this order."""
    # In this order, because vectors and products are matched by position.
    if embedded_ids.tolist() != product_ids:
        raise ValueError(
            "the product embeddings are not those of the current products; run `tawsiya embed` and `tawsiya index`"
        )
