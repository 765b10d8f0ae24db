"""The products of a release, memory-mapped: lookups by position and by id, and columns for filters and rules.

Legend: N products.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Float64Array, Int32Array, Int64Array, TextArray
from feature_repo.transforms.keys import product_key, product_keys
from training.data.catalogue import KeyIndex

SHOWN_COLUMNS = (c.PRODUCT_ID, c.TITLE, c.DESCRIPTION, c.BRAND, c.CATEGORY, c.GROUP_ID, c.PHOTO)
PRODUCT_COLUMNS = (*SHOWN_COLUMNS, c.TITLES, c.PRODUCT_KEY, c.PRICE, c.REGULAR_PRICE, c.CURRENCY, c.STOCK, c.HIDDEN)
NO_CODE = -1
CACHED_PRODUCTS = 20_000  # answers repeat popular ones
NO_TITLES: Mapping[str, str] = MappingProxyType({})

# SHOWN_COLUMNS of one product by name. Price, currency and stock are not among them: they change after the release.
ProductRow = dict[str, Any]


class ProductTable:
    """Product columns by position; read-only and safe to use from several threads.

    Attributes:
        product_ids: (N,) ids.
        keys_N: (N,) int64 product keys.
        brands, categories: Names by code.
        brand_codes_N, category_codes_N: (N,) int32 places in `brands` and `categories`; NO_CODE for none.
        group_codes_N: (N,) int32, equal for variants of one product; NO_CODE for a product without other variants.
        has_groups: Whether any product has other variants.
        prices_N: (N,) float64 as of the release, NaN where unknown.
        regular_prices_N: (N,) float64 prices before a reduction as of the release, NaN without one.
        currencies_N: (N,) ISO 4217 codes of the prices as of the release, empty where unknown.
        stock_N: (N,) int64 as of the release, -1 where unknown.
        hidden_N: (N,) bool as of the release.
    """

    def __init__(self, products: Path, aliases: Path) -> None:
        """Memory-maps a release's tables.

        Args:
            products: File of the product columns (PRODUCT_COLUMNS).
            aliases: File of the ids of merged products; it is missing if the shop merges none.
        """
        table = _with_later_columns(map_arrow(products))
        self._shown = [table[name].combine_chunks() for name in SHOWN_COLUMNS]
        self.product_ids = self._shown[0]
        # Reading one value from Arrow takes nearly a microsecond. These caches outlive the current prices, so that new
        # prices do not make answers slow. They wrap functions, not methods, which would keep the table alive.
        self._rows = lru_cache(CACHED_PRODUCTS)(partial(_row, self._shown))
        self._parsed_titles = lru_cache(CACHED_PRODUCTS)(partial(_titles, table[c.TITLES].combine_chunks()))
        # Codes, so that a filter or rule compares integers and not strings.
        self.brand_codes_N, self.brands = _coded(table[c.BRAND])
        self.category_codes_N, self.categories = _coded(table[c.CATEGORY])
        self.group_codes_N: Int32Array = table[c.GROUP_CODE].combine_chunks().to_numpy()
        self.has_groups = bool((self.group_codes_N != NO_CODE).any())
        self.prices_N: Float64Array = table[c.PRICE].to_numpy()
        self.regular_prices_N: Float64Array = table[c.REGULAR_PRICE].to_numpy()
        self.currencies_N: TextArray = _filled(table[c.CURRENCY], "").astype(np.str_)
        self.stock_N: Int64Array = _filled(table[c.STOCK], -1)
        self.hidden_N: BoolArray = _filled(table[c.HIDDEN], False)
        self.keys_N: Int64Array = table[c.PRODUCT_KEY].to_numpy()
        self._keys = KeyIndex(self.keys_N)
        self._kept_keys = _kept_keys(aliases)
        self._merged_keys = KeyIndex(product_keys(list(self._kept_keys)))
        self._kept_of_merged = np.array(list(self._kept_keys.values()), dtype=np.int64)

    def __len__(self) -> int:
        """N."""
        return len(self.product_ids)

    def row(self, position: int) -> ProductRow:
        """The columns of a product that answers show; callers must not change the dict."""
        return self._rows(position)

    def titles(self, position: int) -> Mapping[str, str]:
        """The titles of a product by language tag; empty if the shop gives none by language."""
        return self._parsed_titles(position)

    def product_key(self, product_id: str) -> int:
        """The product key in sequences: the product's own, or that of the product that it was merged into.

        The release need not have the product; see `positions`.
        """
        kept = self._kept_keys.get(product_id)
        return product_key(product_id) if kept is None else kept

    def current_keys(self, keys: Int64Array) -> Int64Array:
        """Product keys, (E,), where those of merged products are replaced by the key of the product that stands for it.

        For stored events: an event may be older than the merge.
        """
        if not len(self._kept_of_merged) or not len(keys):
            return keys
        places = self._merged_keys.positions(keys)
        return np.where(places >= 0, self._kept_of_merged[places], keys)

    def positions(self, keys: Int64Array) -> Int32Array:
        """The positions of product keys; -1 for a product that the release does not have."""
        return self._keys.positions(keys)

    def position_of(self, product_id: str) -> int:
        """The position of a product, or of the one that it was merged into; -1 if the release has neither."""
        return int(self.positions(np.array([self.product_key(product_id)]))[0])

    def known_positions(self, product_ids: Sequence[str]) -> Int64Array:
        """The positions of those products that the release has: distinct, ascending."""
        # An unknown id is hashed too. Its key is in no release, so positions() finds nothing.
        keys = np.fromiter((self.product_key(product_id) for product_id in product_ids), np.int64, len(product_ids))
        positions = np.unique(self.positions(keys)).astype(np.int64)
        return positions[positions >= 0]


def read_product_columns(features: Path) -> pa.Table:
    """The PRODUCT_COLUMNS of the product features, without those of LATER_PRODUCT_COLUMNS that an old file lacks."""
    present = set(pq.read_schema(features).names)
    names = [name for name in PRODUCT_COLUMNS if name in present or name not in c.LATER_PRODUCT_COLUMNS]
    return pq.read_table(features, columns=names)


def with_group_codes(products: pa.Table) -> pa.Table:
    """The product columns of a release with GROUP_CODE, from which the service maps it instead of computing it."""
    if c.GROUP_ID in products.column_names:
        codes_N, groups = _coded(products[c.GROUP_ID])
    else:
        codes_N, groups = np.full(len(products), NO_CODE, dtype=np.int32), []
    sizes = np.bincount(codes_N[codes_N != NO_CODE], minlength=len(groups))
    # A group of one is none: a list need not look at it. NO_CODE takes the last place, which is 0.
    codes_N = np.where(np.append(sizes, 0)[codes_N] > 1, codes_N, np.int32(NO_CODE))
    return products.append_column(c.GROUP_CODE, pa.array(codes_N, pa.int32()))


def category_codes(products: pa.Table) -> Int32Array:
    """(N,) a code for each product's category; NO_CODE for none."""
    codes_N, _ = _coded(products[c.CATEGORY])
    return codes_N


def map_arrow(path: Path) -> pa.Table:
    """An Arrow file as a memory-mapped table."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def write_arrow(path: Path, table: pa.Table) -> None:
    """Writes an Arrow file for map_arrow."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def _with_later_columns(table: pa.Table) -> pa.Table:
    """The table with nulls for LATER_PRODUCT_COLUMNS that it lacks, and with the codes of groups."""
    for name in c.LATER_PRODUCT_COLUMNS:
        if name not in table.column_names:
            kind = pa.float64() if name == c.REGULAR_PRICE else pa.string()
            table = table.append_column(name, pa.nulls(len(table), kind))
    return table if c.GROUP_CODE in table.column_names else with_group_codes(table)


def _row(shown: Sequence[pa.Array], position: int) -> ProductRow:
    return {name: column[position].as_py() for name, column in zip(SHOWN_COLUMNS, shown, strict=True)}


def _titles(titles: pa.Array, position: int) -> Mapping[str, str]:
    content = titles[position].as_py()
    return NO_TITLES if content is None else json.loads(content)


def _coded(column: pa.ChunkedArray) -> tuple[Int32Array, list[str]]:
    encoded = column.combine_chunks().dictionary_encode()
    codes: Int32Array = pc.fill_null(encoded.indices, NO_CODE).to_numpy().astype(np.int32)
    return codes, encoded.dictionary.to_pylist()


def _filled(column: pa.ChunkedArray, value: str | int | bool) -> Any:
    return pc.fill_null(column.combine_chunks(), value).to_numpy(zero_copy_only=False)


def _kept_keys(path: Path) -> dict[str, int]:
    """For the id of each merged product, the key of the product that it was merged into."""
    if not path.is_file():
        return {}  # the shop merges no products
    aliases = map_arrow(path)
    keys = product_keys(aliases[c.DUPLICATE_OF].to_pylist()).tolist()
    return dict(zip(aliases[c.PRODUCT_ID].to_pylist(), keys, strict=True))
