"""TIFU-kNN by hand and against its definition, written out in loops."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.baselines.tifu_knn import TifuKNN
from tests.baseline_cases import CUTOFF, all_rows, as_events, as_histories, ranked, ten_purchases

FIRST = np.array([0], dtype=np.int32)


def test_own_frequencies_fade_within_and_between_groups() -> None:
    # Baskets {0}, {0 1}, {2}. In groups of two from the latest back: {0} | {0 1}, {2}; each group a mean, then the mean
    # of both: 2 has 1/2/2, the second basket .5/2/2, and the first, alone in an older group, .5/1/2.
    histories = as_histories([[0, 0, 1, 1, 2]], [[1, 2, 2, 2, 3]])
    scores = TifuKNN(
        ten_purchases(), histories, CUTOFF, within_decay=0.5, between_decay=0.5, group_size=2, alpha=1
    ).scores(FIRST)

    assert_allclose(scores[0, :3], [0.375, 0.125, 0.25], rtol=1e-6)


def test_neighbours_add_what_they_took() -> None:
    events = as_events([(0, 0), (1, 1), (3, 0), (3, 2)], 4, 4)  # buyer 2 took nothing and is nobody's neighbour
    histories = as_histories([[0]])
    nearest, two, all_three = (
        TifuKNN(events, histories, CUTOFF, alpha=0.5, neighbours=neighbours).scores(FIRST)[0]
        for neighbours in (1, 2, 9)
    )

    # Squared distances: buyer 0 at 0, buyer 3 at 1 (the product 2 that they have more), buyer 1 at 2.
    assert_allclose(nearest[:1], [1], rtol=1e-6)
    assert (nearest[1:] < 0).all()
    assert_allclose(two[[0, 2]], [1, 0.25], rtol=1e-6)
    assert_allclose(all_three[:3], [1 / 2 + 1 / 3, 1 / 6, 1 / 6], rtol=1e-6)


def test_what_nobody_near_took_follows_by_recent_popularity() -> None:
    ranker = TifuKNN(ten_purchases(), as_histories([[0]]), CUTOFF, neighbours=1)

    # The nearest is buyer 0, with products 0 and 1; of the others 3 was taken twice lately, 2 and 4 once, 5 never.
    assert ranked(ranker, row=0) == [0, 1, 3, 2, 4, 5]


def test_without_any_training_buyer_the_own_history_remains() -> None:
    ranker = TifuKNN(as_events([], 4, 3), as_histories([[2]]), CUTOFF)

    assert ranked(ranker, row=0) == [2, 0, 1]


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("within_decay", 0), ("between_decay", 1.5), ("alpha", -0.1), ("group_size", 0), ("neighbours", 0)],
)
def test_parameters_out_of_range_are_refused(parameter: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{parameter} {value}"):
        TifuKNN(ten_purchases(), as_histories([[0]]), CUTOFF, **{parameter: value})


def vector(events: list[tuple[int, int]], within: float, between: float, group_size: int) -> npt.NDArray[np.float64]:
    """One buyer's (product, day) pairs as the paper's two means."""
    baskets = [{product for product, day in events if day == wanted} for wanted in sorted({day for _, day in events})]
    groups = []
    while baskets:
        groups.append(baskets[-group_size:])
        baskets = baskets[:-group_size]
    total = np.zeros(5)
    for newer_groups, group in enumerate(groups):
        mean = np.zeros(5)
        for newer, basket in enumerate(reversed(group)):
            mean[list(basket)] += within**newer / len(group)
        total += between**newer_groups * mean / len(groups)
    return total


buyer_events = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=15)


@settings(max_examples=150)
@given(
    st.lists(buyer_events, min_size=1, max_size=6),
    st.lists(buyer_events, min_size=1, max_size=3),
    st.sampled_from([0.6, 1.0]),
    st.sampled_from([0.5, 0.8]),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.3, 1.0]),
)
def test_it_is_its_definition(
    buyers: list[list[tuple[int, int]]],
    own_events: list[list[tuple[int, int]]],
    within: float,
    between: float,
    group_size: int,
    alpha: float,
) -> None:
    flat = [(buyer, product, day) for buyer, events in enumerate(buyers) for product, day in events]
    events = as_events([(buyer, product) for buyer, product, _ in flat], len(buyers), 5, [day for *_, day in flat])
    in_order = [sorted(events, key=lambda event: event[1]) for events in own_events]
    histories = as_histories(
        [[product for product, _ in history] for history in in_order],
        [[day for _, day in history] for history in in_order],
    )
    # With as many neighbours as buyers no tie of distances decides.
    scores = TifuKNN(
        events,
        histories,
        CUTOFF,
        within_decay=within,
        between_decay=between,
        group_size=group_size,
        alpha=alpha,
        neighbours=6,
    ).scores(all_rows(histories))

    others = [vector(history, within, between, group_size) for history in buyers if history]
    mean = np.mean(others, axis=0) if others else np.zeros(5)
    own = np.array([vector(history, within, between, group_size) for history in own_events])
    expected = alpha * own + (1 - alpha) * mean
    assert_array_equal(scores > 0, expected > 0)
    assert_allclose(np.maximum(scores, 0), expected, rtol=1e-5)
