"""Search finds a product by its title in any language, not only by the main one."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.artifacts.search.ngram_index import NgramIndex
from training.data.catalogue import read_search_texts

PRODUCTS = {
    "title": ["Green tea", "Ground coffee", "Milk", "شاي بالنعناع"],
    "description": ["", "", "1 l", ""],
    "text": ["Green tea شاي أخضر", "Ground coffee قهوة مطحونة", "Milk 1 l", "شاي بالنعناع"],
    "titles": [
        '{"ar": "شاي أخضر", "en": "Green tea"}',
        '{"ar": "قهوة مطحونة", "en": "Ground coffee"}',
        None,
        None,
    ],
}


@pytest.mark.parametrize(
    ("query", "product"),
    [("شاي أخضر", 0), ("شاي اخضر", 0), ("green tea", 0), ("قهوه", 1), ("coffee", 1), ("milk", 2), ("نعناع", 3)],
)
def test_a_query_in_each_language_finds_the_product(query: str, product: int, tmp_path: Path) -> None:
    pq.write_table(pa.table(PRODUCTS), tmp_path / "products.parquet")
    assert NgramIndex.build(read_search_texts(tmp_path / "products.parquet")).scores(query).total().argmax() == product
