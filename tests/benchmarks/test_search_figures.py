"""What the search benchmark counts and reads, by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.search import figures, ranks, read


def test_ties_count_against_the_search() -> None:
    scores_QN = np.array([[0.5, 0.9, 0.1], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]], dtype=np.float32)
    assert ranks(scores_QN, np.array([1, 0, 0])).tolist() == [1, 3, 3]


def test_figures_of_ranks() -> None:
    found = figures(np.array([1, 2, 10, 11]))
    assert found == pytest.approx({"hit@1": 0.25, "mrr@10": (1 + 1 / 2 + 1 / 10) / 4, "hit@10": 0.75})


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def test_distinct_queries_of_known_products_are_searched(tmp_path: Path) -> None:
    products = write(tmp_path / "p.csv", "sku,product_name,product_name_ar\n7,Tea,شاي\n3,Coffee,\n")
    queries = write(tmp_path / "q.csv", "sku,seller_item_name\n3,cofee\n7,شاى\n3,cofee\n9,unknown\n7,\n")
    texts, titles, intended_Q = read(products, queries, None)
    assert texts == ["Tea شاي", "Coffee"]
    assert list(zip(titles, intended_Q.tolist(), strict=True)) == [("cofee", 1), ("شاى", 0)]
    assert len(read(products, queries, 1)[1]) == 1


def test_names_in_one_language_are_enough(tmp_path: Path) -> None:
    products = write(tmp_path / "p.csv", "sku,product_name_ar\n7,شاي\n")
    queries = write(tmp_path / "q.csv", "sku,seller_item_name\n7,شاى\n")
    assert read(products, queries, None)[0] == ["شاي"]


@pytest.mark.parametrize(
    ("products", "queries", "message"),
    [
        ("sku,title\n1,a\n", "sku,seller_item_name\n1,a\n", r"p\.csv needs the columns sku and product_name or"),
        ("sku,product_name\n1,a\n", "sku,title\n1,a\n", r"q\.csv lacks the columns seller_item_name"),
    ],
)
def test_files_of_another_shape_are_refused(tmp_path: Path, products: str, queries: str, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        read(write(tmp_path / "p.csv", products), write(tmp_path / "q.csv", queries), None)
