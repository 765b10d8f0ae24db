"""The products of a release, memory-mapped: look-ups by position and by id, and columns for filters and rules.

Legend: N products.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo import columns as c
from feature_repo.transforms.keys import product_key, product_keys
from training.data.catalogue import KeyIndex

SHOWN_COLUMNS = (c.PRODUCT_ID, c.TITLE, c.DESCRIPTION, c.BRAND, c.CATEGORY, c.PHOTO)
PRODUCT_COLUMNS = (*SHOWN_COLUMNS, c.PRODUCT_KEY, c.PRICE, c.STOCK, c.HIDDEN)
NO_CODE = -1


# What an answer shows of a product, but for what changes by the minute: SHOWN_COLUMNS and their values.
ProductRow = dict[str, Any]


class ProductTable:
    """Product columns by position; read-only and safe to use from several threads.

    Attributes:
        product_ids: (N,) ids.
        brands, categories: Names by code.
        brand_codes_N, category_codes_N: (N,) int32, NO_CODE for none.
        prices_N: (N,) float64 as of the release, NaN where unknown.
        stock_N: (N,) int64 as of the release, -1 where unknown.
        hidden_N: (N,) bool as of the release.
    """

    def __init__(self, products: Path, aliases: Path) -> None:
        """Maps a release's tables.

        Args:
            products: Product columns (PRODUCT_COLUMNS).
            aliases: Ids of merged products; missing where the shop merges none.
        """
        table = map_arrow(products)
        self._shown = [table[name].combine_chunks() for name in SHOWN_COLUMNS]
        self.product_ids = self._shown[0]
        self.brand_codes_N, self.brands = _coded(table[c.BRAND])
        self.category_codes_N, self.categories = _coded(table[c.CATEGORY])
        self.prices_N: npt.NDArray[np.float64] = table[c.PRICE].to_numpy()
        self.stock_N: npt.NDArray[np.int64] = _filled(table[c.STOCK], -1)
        self.hidden_N: npt.NDArray[np.bool_] = _filled(table[c.HIDDEN], False)
        self._keys = KeyIndex(table[c.PRODUCT_KEY].to_numpy())
        self._kept_keys = _kept_keys(aliases)

    def __len__(self) -> int:
        """N."""
        return len(self.product_ids)

    def row(self, position: int) -> ProductRow:
        """What is shown of a product; most of a microsecond for each value that comes out of Arrow."""
        return {name: column[position].as_py() for name, column in zip(SHOWN_COLUMNS, self._shown, strict=True)}

    def product_key(self, product_id: str) -> int:
        """The key under which sequences hold a product: its own, or that of the product it was merged into.

        Whether the release knows the product is for `positions` to say.
        """
        kept = self._kept_keys.get(product_id)
        return product_key(product_id) if kept is None else kept

    def positions(self, keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """Positions of product keys; -1 for a product that the release does not have."""
        return self._keys.positions(keys)

    def position_of(self, product_id: str) -> int:
        """The position of a product, or of the one that it was merged into; -1 where the release has neither."""
        return int(self.positions(np.array([self.product_key(product_id)]))[0])

    def known_positions(self, product_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Positions of those of the products that the release has, each once, ascending."""
        keys = np.fromiter((self.product_key(product_id) for product_id in product_ids), np.int64, len(product_ids))
        positions = np.unique(self.positions(keys)).astype(np.int64)
        return positions[positions >= 0]


def map_arrow(path: Path) -> pa.Table:
    """An Arrow file as a table that stays on the disk until it is read."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _coded(column: pa.ChunkedArray) -> tuple[npt.NDArray[np.int32], list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    codes: npt.NDArray[np.int32] = pc.fill_null(encoded.indices, NO_CODE).to_numpy().astype(np.int32)
    return codes, encoded.dictionary.to_pylist()


def _filled(column: pa.ChunkedArray, value: int | bool) -> npt.NDArray[Any]:
    filled: npt.NDArray[Any] = pc.fill_null(column.combine_chunks(), value).to_numpy(zero_copy_only=False)
    return filled


def _kept_keys(path: Path) -> dict[str, int]:
    """For each id of a merged product the key of the product that stands for it."""
    if not path.is_file():
        return {}  # the shop merges no products, or the release is older than aliases
    aliases = map_arrow(path)
    keys = product_keys(aliases[c.DUPLICATE_OF].to_pylist()).tolist()
    return dict(zip(aliases[c.PRODUCT_ID].to_pylist(), keys, strict=True))
