"""What is bought together: literal baskets, and counts by brute force."""

import itertools
import math
from collections import Counter, defaultdict

import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.shop_lists.co_purchase_counts import MIN_SUPPORT, co_purchases
from training.artifacts.lists.co_purchases import MOST_NEIGHBOURS, CoPurchases

pytestmark = pytest.mark.fast

N = 6
Purchase = tuple[str, int, int]  # buyer, position, time


def counted(purchases: list[Purchase], pairs_per_pass: int = 1_000, max_products: int = 100) -> CoPurchases:
    frame = pd.DataFrame(purchases, columns=["buyer_id", "position", "time_ms"])
    with duckdb.connect() as db:
        db.register("purchase_frame", frame)
        db.execute(
            "CREATE TABLE purchases AS SELECT buyer_id::VARCHAR AS buyer_id, position::BIGINT AS position, "
            "time_ms::BIGINT AS time_ms FROM purchase_frame"
        )
        return co_purchases(db, "buyer_id, time_ms", N, max_products, pairs_per_pass)


def neighbours(table: CoPurchases, position: int) -> dict[int, float]:
    rows = zip(table.positions_NM[position].tolist(), table.scores_NM[position].tolist(), strict=True)
    return {other: score for other, score in rows if other >= 0}


def by_brute_force(purchases: list[Purchase]) -> dict[int, dict[int, float]]:
    baskets = defaultdict(set)
    for buyer, position, time in purchases:
        baskets[buyer, time].add(position)
    sizes = Counter(position for basket in baskets.values() for position in basket)
    joint = Counter(pair for basket in baskets.values() for pair in itertools.permutations(basket, 2))
    found: dict[int, dict[int, float]] = {position: {} for position in range(N)}
    for (a, b), count in joint.items():
        lift = count * len(baskets) / (sizes[a] * sizes[b])
        if count >= MIN_SUPPORT and lift > 1:
            found[a][b] = count * math.log(lift)
    return found


def test_a_score_is_the_number_times_the_logarithm_of_the_lift() -> None:
    # Products 0 and 1 in two baskets of three, 2 in all three: as often as by chance.
    baskets = [("u", 0), ("u", 1), ("u", 2), ("v", 0), ("v", 1), ("v", 2), ("w", 2)]
    table = counted([(buyer, position, 0) for buyer, position in baskets])
    assert neighbours(table, 0) == {1: pytest.approx(2 * math.log(2 * 3 / (2 * 2)))}
    assert neighbours(table, 2) == {}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, N - 1), st.integers(0, 6)), max_size=60),
    st.integers(1, 40),
)
def test_neighbours_are_those_of_brute_force_in_any_number_of_passes(
    purchases: list[Purchase], pairs_per_pass: int
) -> None:
    table = counted(purchases, pairs_per_pass)
    assert table.positions_NM.shape == table.scores_NM.shape == (N, MOST_NEIGHBOURS)
    for position, expected in by_brute_force(purchases).items():
        found = neighbours(table, position)
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
        assert list(found.values()) == sorted(found.values(), reverse=True)


def test_of_a_large_basket_some_products_count() -> None:
    baskets = [(f"u{buyer}", position, 0) for buyer in range(9) for position in range(5)]
    others = [(f"v{buyer}", 5, 0) for buyer in range(9)]
    assert len(neighbours(counted(baskets + others), 0)) == 4
    capped = counted(baskets + others, max_products=2)
    # Two of five by a hash: each pair is in a tenth of the baskets, at most.
    assert sum(len(neighbours(capped, position)) for position in range(5)) < 20
