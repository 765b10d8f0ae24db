"""Vocabularies of a catalogue."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.data.catalogue import Catalogue, read_search_texts, require_same_products
from training.model.item_features import UNKNOWN_NAME, build_vocabularies, item_features

BRANDS = ["b", UNKNOWN_NAME, "a", None, "b", UNKNOWN_NAME]


def catalogue() -> Catalogue:
    n = len(BRANDS)
    return Catalogue(
        [f"p{i}" for i in range(n)], np.arange(n, dtype=np.int64), ["text"] * n, BRANDS, [None] * n, np.full(n, np.nan)
    )


def test_a_brand_that_is_called_unknown_is_unknown() -> None:
    vocabularies = build_vocabularies(catalogue(), np.array([2, 4], dtype=np.int32))
    assert vocabularies.brands == (UNKNOWN_NAME, "b", "a")
    features = item_features(catalogue(), np.zeros((len(BRANDS), 2), dtype=np.float32), vocabularies)
    assert features.brand_N.tolist() == [1, 0, 2, 0, 1, 0]
    assert features.id_N.tolist() == [0, 0, 1, 0, 2, 0]


@pytest.mark.parametrize("ids", [["p2", "p1"], ["p1"], ["p1", "p2", "p3"], ["p1", "p4"]])
def test_embeddings_of_other_products_are_refused(ids: list[str]) -> None:
    require_same_products(np.array(["p1", "p2"]), ["p1", "p2"])
    with pytest.raises(ValueError, match="run `tawsiya embed` and `tawsiya index`"):
        require_same_products(np.array(ids), ["p1", "p2"])


def test_search_reads_the_page_and_what_the_encoder_reads_where_that_is_another_text(tmp_path: Path) -> None:
    columns = {"title": ["tea", "milk, 1 l"], "description": ["green", ""], "text": ["tea green", "fluid milk"]}
    pq.write_table(pa.table(columns), tmp_path / "products.parquet")
    assert read_search_texts(tmp_path / "products.parquet") == ["tea green", "milk, 1 l fluid milk"]


def test_search_reads_the_titles_in_all_languages_once(tmp_path: Path) -> None:
    columns = {
        "title": ["Green tea", "Coffee", "Milk", "سكر"],
        "description": ["200 g", "", "", ""],
        "text": ["Green tea شاي أخضر 200 g", "arabica beans", "Milk", "سكر أبيض"],
        "titles": ['{"en": "Green tea", "ar": "شاي أخضر"}', '{"en": "Coffee", "ar": "قهوة"}', None, '{"ar": "سكر"}'],
    }
    pq.write_table(pa.table(columns), tmp_path / "products.parquet")
    assert read_search_texts(tmp_path / "products.parquet") == [
        "Green tea شاي أخضر 200 g",
        "arabica beans Coffee قهوة",
        "Milk",
        "سكر سكر أبيض",  # one language: as for a product without titles by language
    ]
