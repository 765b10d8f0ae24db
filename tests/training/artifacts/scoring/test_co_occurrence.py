"""What the same buyers chose: by hand, and against brute force."""

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from training.artifacts.lists.co_purchases import NO_NEIGHBOUR
from training.artifacts.scoring.co_occurrence import (
    DECAY,
    N_NEIGHBOURS,
    SHRINKAGE,
    CoOccurrence,
)

Event = tuple[int, int, int]  # buyer, product, time


def counted(events: list[Event], n_products: int, **limits: int) -> CoOccurrence:
    buyers, products, times = np.array(events, dtype=np.int64).reshape(-1, 3).T
    return CoOccurrence.of_events(buyers, products, times, n_products, **limits)


def neighbours(table: CoOccurrence, product: int) -> dict[int, float]:
    """In their order."""
    pairs = zip(table.positions_NM[product].tolist(), table.similarities_NM[product].tolist(), strict=True)
    return {position: similarity for position, similarity in pairs if position != NO_NEIGHBOUR}


# Buyers 0 to 2 chose products 1 and 2, buyer 3 only 2, buyer 0 also 4. Product 1 has 3 buyers, 2 has 4, 4 has 1.
EVENTS = [(0, 1, 5), (0, 2, 5), (0, 4, 6), (1, 1, 7), (1, 2, 8), (1, 2, 9), (2, 2, 1), (2, 1, 2), (3, 2, 3)]
OF_1_AND_2, OF_1_AND_4, OF_2_AND_4 = 3 / (12**0.5 + 10), 1 / (3**0.5 + 10), 1 / (4**0.5 + 10)


def test_similarities_by_hand() -> None:
    table = counted(EVENTS, 6)
    assert table.positions_NM.shape == (6, N_NEIGHBOURS)
    assert table.positions_NM.dtype == np.int32
    assert neighbours(table, 1) == pytest.approx({2: OF_1_AND_2, 4: OF_1_AND_4})
    assert neighbours(table, 2) == pytest.approx({1: OF_1_AND_2, 4: OF_2_AND_4})
    assert list(neighbours(table, 4)) == [1, 2]
    assert [neighbours(table, one) for one in (0, 3, 5)] == [{}, {}, {}]


@pytest.mark.parametrize("n_products", [0, 3])
def test_no_events(n_products: int) -> None:
    table = counted([], n_products)
    assert table.positions_NM.shape == (n_products, N_NEIGHBOURS)
    assert (table.positions_NM == NO_NEIGHBOUR).all()
    own = np.arange(n_products)
    assert table.votes(own, own).positions.tolist() == []


def test_the_most_similar_neighbours_are_kept() -> None:
    """Product p was chosen with product 0 by p buyers, and by nobody else."""
    n_products = N_NEIGHBOURS + 5
    buyers = [(product, number) for product in range(1, n_products) for number in range(product)]
    events = [(buyer, one, 1) for buyer, (product, _) in enumerate(buyers) for one in (0, product)]
    assert list(neighbours(counted(events, n_products), 0)) == list(range(n_products - 1, 4, -1))


def test_of_a_buyer_with_many_products_the_newest_count() -> None:
    # Buyer 0 chose 0 first, and again last; of 1, 2 and 3 the later ones stay.
    events = [(0, 0, 1), (0, 1, 2), (0, 2, 3), (0, 3, 4), (0, 0, 5), (1, 1, 9), (1, 2, 9)]
    assert set(neighbours(counted(events, 4, most_products=2), 0)) == {3}
    assert set(neighbours(counted(events, 4, most_products=3), 0)) == {2, 3}
    assert set(neighbours(counted(events, 4, most_products=3), 1)) == {2}  # of the other buyer


def test_the_newest_of_the_history_votes_most() -> None:
    table = counted(EVENTS, 6)
    # Product 1 at an earlier moment than 4: weights .8 and 1.
    found = table.votes(np.array([1, 4]), np.array([10, 20]))
    norm = (1 + DECAY**2) ** 0.5
    expected = {1: OF_1_AND_4, 2: DECAY * OF_1_AND_2 + OF_2_AND_4, 4: DECAY * OF_1_AND_4}
    assert dict(zip(found.positions.tolist(), found.terms.tolist(), strict=True)) == pytest.approx(
        {position: votes / norm for position, votes in expected.items()}
    )


def test_lines_of_one_order_count_alike_and_an_old_event_of_the_same_product_not_at_all() -> None:
    table = counted(EVENTS, 6)
    together = table.votes(np.array([1, 4]), np.array([20, 20]))
    assert dict(zip(together.positions.tolist(), together.terms.tolist(), strict=True)) == pytest.approx(
        {1: OF_1_AND_4 / 2**0.5, 2: (OF_1_AND_2 + OF_2_AND_4) / 2**0.5, 4: OF_1_AND_4 / 2**0.5}
    )
    repeated = table.votes(np.array([4, 1, 4]), np.array([3, 20, 20]))
    for one, other in zip(together, repeated, strict=True):
        assert_array_equal(one, other)


def test_saved_and_mapped(tmp_path: Path) -> None:
    table = counted(EVENTS, 6)
    table.save(tmp_path)
    for part, loaded in zip(table, CoOccurrence.load(tmp_path), strict=True):
        assert_array_equal(part, loaded)


SOME_EVENTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 11), st.integers(0, 30)), max_size=80)


@settings(max_examples=150)
@given(events=SOME_EVENTS, most=st.integers(1, 12), seed=st.integers(0, 99))
def test_it_is_its_definition(events: list[Event], most: int, seed: int) -> None:
    newest: dict[int, dict[int, int]] = defaultdict(dict)
    for buyer, product, time in events:
        newest[buyer][product] = max(time, newest[buyer].get(product, -1))
    kept = {buyer: set(sorted(times, key=lambda one: (-times[one], one))[:most]) for buyer, times in newest.items()}
    n_buyers = [sum(product in chosen for chosen in kept.values()) for product in range(12)]

    def similarity(one: int, other: int) -> float:
        both = sum({one, other} <= chosen for chosen in kept.values())
        return 0.0 if one == other else both / ((n_buyers[one] * n_buyers[other]) ** 0.5 + SHRINKAGE)

    shuffled = [events[place] for place in np.random.default_rng(seed).permutation(len(events))]
    table = counted(shuffled, 12, most_products=most)
    for product in range(12):
        expected = {other: similarity(product, other) for other in range(12) if similarity(product, other)}
        assert neighbours(table, product) == pytest.approx(expected)
        assert list(neighbours(table, product).values()) == sorted(neighbours(table, product).values(), reverse=True)


@settings(max_examples=150)
@given(events=SOME_EVENTS, history=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 4)), max_size=20))
def test_votes_are_their_definition(events: list[Event], history: list[tuple[int, int]]) -> None:
    table = counted(events, 12)
    history = sorted(history, key=lambda event: event[1])
    moments = sorted({time for _, time in history}, reverse=True)
    weights = {product: DECAY ** moments.index(time) for product, time in history}  # the last one of each product stays
    expected: dict[int, float] = defaultdict(float)
    for product, weight in weights.items():
        for other, similarity in neighbours(table, product).items():
            expected[other] += weight * similarity / sum(one**2 for one in weights.values()) ** 0.5
    products, times = np.array(history, dtype=np.int64).reshape(-1, 2).T
    found = table.votes(products, times)
    assert found.positions.tolist() == sorted(expected)
    assert_allclose(found.terms, [expected[one] for one in sorted(expected)], rtol=1e-5)
