"""How alike two lists are."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.evaluation.list_agreement import mean_overlap, overlap, rank_biased_overlap

LISTS = st.lists(st.integers(0, 30), unique=True, max_size=20)


def test_overlap_counts_common_products_wherever_they_stand() -> None:
    assert overlap(["a", "b", "c", "d"], ["d", "x", "a", "y"]) == 0.5
    assert overlap(["a", "b"], ["a", "b", "c", "d"]) == 0.5
    assert overlap([], []) == 1
    assert overlap(["a"], []) == 0


@given(st.lists(st.lists(st.integers(0, 8), unique=True, min_size=4, max_size=4), max_size=8))
def test_the_mean_overlap_is_that_of_all_pairs(lists: list[list[int]]) -> None:
    pairs = [overlap(*pair) for pair in combinations(lists, 2)]
    counts = Counter(product for one in lists for product in one)
    assert mean_overlap(list(counts.values()), len(lists), 4) == pytest.approx(sum(pairs) / len(pairs) if pairs else 0)


def test_rank_biased_overlap_is_the_weighted_mean_of_the_overlaps_at_each_depth() -> None:
    # Depths 1 to 3 have overlaps 0, 1/2 and 2/3; beyond the last one it is assumed to stay at 2/3.
    p = 0.9
    weights = [(1 - p) * p**depth for depth in range(1000)]
    expected = weights[0] * 0 + weights[1] * 1 / 2 + sum(weights[2:]) * 2 / 3
    assert rank_biased_overlap("abc", "bcx") == pytest.approx(expected, abs=1e-9)


def test_a_difference_at_the_top_counts_for_more() -> None:
    at_the_top = rank_biased_overlap([9, 1, 2, 3, 4], [0, 1, 2, 3, 4])
    at_the_end = rank_biased_overlap([0, 1, 2, 3, 9], [0, 1, 2, 3, 4])
    assert at_the_top < at_the_end < 1


@given(LISTS, LISTS)
def test_it_is_symmetric_and_between_none_and_all(first: list[int], second: list[int]) -> None:
    value = rank_biased_overlap(first, second)
    assert value == pytest.approx(rank_biased_overlap(second, first))
    assert -1e-9 <= value <= 1 + 1e-9
    if not set(first) & set(second) and (first or second):
        assert value == 0


@given(LISTS)
def test_equal_lists_agree_entirely(products: list[int]) -> None:
    assert rank_biased_overlap(products, products) == pytest.approx(1)
    assert overlap(products, products) == 1
