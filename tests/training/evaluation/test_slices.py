"""Slices of a small example, and their metrics against the definition."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.metrics import Targets, accuracy_metrics
from training.evaluation.slices import slice_metrics, slice_targets

# Six products: two make up half of the 20 events, the last two were never taken.
COUNTS = np.array([3, 7, 4, 6, 0, 0])
LANGUAGES = np.array(["ar", "latin", "ar", "latin", "latin", "other"])
# Five buyers with 0, 1, 4, 5 and 20 events.
LENGTHS = np.array([0, 1, 4, 5, 20])
TARGETS = Targets(np.array([0, 2, 3, 5, 6, 7]), np.array([1, 4, 0, 3, 5, 2, 1], dtype=np.int32))


def test_each_slice_holds_its_targets() -> None:
    chosen = slice_targets(TARGETS, LENGTHS, COUNTS, LANGUAGES)

    positions = {name: TARGETS.positions[chosen_T].tolist() for name, chosen_T in chosen.items()}
    assert positions == {
        "cold_products": [4, 5],
        "head": [1, 3, 1],
        "tail": [4, 0, 5, 2],
        "language_ar": [0, 2],
        "language_latin": [1, 4, 3, 1],
        "language_other": [5],
        "new_buyers": [1, 4],
        "short_history": [0, 3, 5],
        "medium_history": [2],
        "long_history": [1],
    }


@pytest.mark.parametrize(
    ("counts", "head"),
    [
        ([5, 3, 2], [0]),  # exactly half is enough
        ([4, 3, 3], [0, 1]),
        ([2, 2, 2, 2], [0, 1]),  # equal counts by position
        ([0, 9, 0], [1]),
        ([0, 0, 0], []),  # nothing was bought: nothing is popular
    ],
)
def test_the_head_is_the_fewest_products_with_half_of_the_events(counts: list[int], head: list[int]) -> None:
    every = Targets(np.array([0, len(counts)]), np.arange(len(counts)))

    chosen = slice_targets(every, np.array([3]), np.array(counts), np.array(["ar"] * len(counts)))

    assert np.flatnonzero(chosen["head"]).tolist() == head
    assert (chosen["tail"] == ~chosen["head"]).all()


def test_metrics_by_hand() -> None:
    ranked = np.array([[4, 1], [1, 3], [5, 3], [0, 1], [2, 0]])

    slices = slice_metrics(ranked, TARGETS, slice_targets(TARGETS, LENGTHS, COUNTS, LANGUAGES), [1, 2])

    # Cold products: buyer 0 took 4 and buyer 2 took 5, both found at the first place.
    assert slices["cold_products"]["n"] == 2
    assert slices["cold_products"]["recall@1"] == 1
    assert slices["cold_products"]["precision@2"] == 1 / 2
    # Head: buyers 0 and 2 find theirs at the second place, buyer 4 does not; 4 and 5 above are misses here.
    assert slices["head"]["n"] == 3
    assert slices["head"]["recall@1"] == 0
    assert slices["head"]["recall@2"] == pytest.approx(2 / 3)
    assert slices["head"]["mrr@2"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    # Buyers keep all their targets.
    assert slices["new_buyers"] == pytest.approx({"n": 1, **accuracy_metrics(ranked[:1], TARGETS_OF_BUYER_0, [1, 2])})
    assert slices["new_buyers"]["recall@1"] == 1 / 2


TARGETS_OF_BUYER_0 = Targets(np.array([0, 2]), np.array([1, 4]))


def test_a_slice_without_buyers_is_left_out() -> None:
    warm = Targets(np.array([0, 1]), np.array([1]))

    slices = slice_metrics(np.array([[1]]), warm, slice_targets(warm, np.array([2]), COUNTS, LANGUAGES), [1])

    assert list(slices) == ["head", "language_latin", "short_history"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((LENGTHS[1:], COUNTS, LANGUAGES), "history_lengths_B has 4 buyers, the targets are of 5"),
        ((LENGTHS, COUNTS[1:], LANGUAGES), r"counts_N \(5\) and languages_N \(6\)"),
        ((LENGTHS, COUNTS[:5], LANGUAGES[:5]), "go up to position 5"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[Any, Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slice_targets(TARGETS, *arrays)


N_PRODUCTS = 6


@st.composite
def cases(draw: st.DrawFn) -> tuple[npt.NDArray[np.int32], list[list[int]], list[list[bool]]]:
    n_buyers = draw(st.integers(1, 5))
    ranked = [draw(st.permutations(range(N_PRODUCTS)))[:3] for _ in range(n_buyers)]
    wanted = [draw(st.lists(st.integers(0, N_PRODUCTS - 1), min_size=1, unique=True)) for _ in range(n_buyers)]
    chosen = [draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row))) for row in wanted]
    return np.array(ranked, dtype=np.int32), wanted, chosen


@settings(max_examples=200)
@given(case=cases())
def test_a_slice_is_judged_as_if_its_targets_were_all(
    case: tuple[npt.NDArray[np.int32], list[list[int]], list[list[bool]]],
) -> None:
    ranked, wanted, chosen = case[0].astype(np.int32), *case[1:]
    left = [[target for target, kept in zip(*row, strict=True) if kept] for row in zip(wanted, chosen, strict=True)]
    rows = [row for row, targets in enumerate(left) if targets]

    slices = slice_metrics(ranked, as_targets(wanted), {"chosen": np.concatenate(chosen)}, [1, 3])

    if not rows:
        assert slices == {}
    else:
        expected = accuracy_metrics(ranked[rows], as_targets([left[row] for row in rows]), [1, 3])
        assert slices == {"chosen": {"n": len(rows), **expected}}


def as_targets(wanted: list[list[int]]) -> Targets:
    return Targets(np.cumsum([0, *map(len, wanted)]), np.concatenate(wanted).astype(np.int32))
