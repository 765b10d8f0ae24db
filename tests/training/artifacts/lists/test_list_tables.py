"""The tables of the lists on the disk, and how a release loads them."""

from pathlib import Path

import numpy as np
import pytest

from training.artifacts.lists.co_purchases import CoPurchases
from training.artifacts.lists.list_tables import ListTables
from training.artifacts.lists.shop_lists import ShopLists

pytestmark = pytest.mark.fast

DAY = 86_400_000
TOGETHER = CoPurchases(
    np.array([[1, 2], [0, -1], [0, 3], [-1, -1]], dtype=np.int32),
    np.array([[9, 4], [9, 0], [4, 2], [0, 0]], dtype=np.float32),
)


def test_a_cart_has_the_neighbours_of_all_its_products_but_not_itself() -> None:
    neighbours = TOGETHER.of(np.array([0, 2]))
    assert neighbours.positions.tolist() == [1, 3]
    assert neighbours.scores_CP.tolist() == [[9, 0], [0, 2]]
    assert TOGETHER.of(np.array([3])).positions.tolist() == []


def test_tables_are_written_and_mapped(tmp_path: Path) -> None:
    tables = ListTables.empty(4)._replace(
        basket=TOGETHER,
        trending_N=np.array([0, 3, 6, 0], dtype=np.float32),
        first_seen_N=np.array([0, 100 * DAY, 41 * DAY, 85 * DAY]),
    )
    tables.save(tmp_path)
    lists = ShopLists.load(tmp_path, 4, as_of_ms=100 * DAY)
    assert lists is not None
    assert isinstance(lists.basket.positions_NM, np.memmap)
    assert lists.basket.positions_NM.tolist() == TOGETHER.positions_NM.tolist()
    assert lists.trending.best(4).scores.tolist() == [1, 0.5]
    # 60 days are new; of product 0 nothing says when it came.
    assert lists.new_arrivals.positions.tolist() == [1, 3, 2]
    assert lists.new_arrivals.best(3).scores.tolist() == pytest.approx([1, 45 / 60, 1 / 60])


def test_a_release_from_before_the_lists_has_none(tmp_path: Path) -> None:
    assert ShopLists.load(tmp_path / "shop_lists", 4, as_of_ms=0) is None


def test_tables_of_other_products_are_refused(tmp_path: Path) -> None:
    ListTables.empty(3).save(tmp_path)
    with pytest.raises(ValueError, match="has tables of 3 products, the release has 4"):
        ShopLists.load(tmp_path, 4, as_of_ms=0)
