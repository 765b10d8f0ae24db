"""Ranks and ages of events in their prefixes, by definition and by hand."""

import itertools
from bisect import bisect_right

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.tiny_model import prefixes
from training.data.histories import Histories
from training.model.prefixes import HOUR_MS, N_BUCKETS, Prefixes, event_places, half_octave, prefixes_of

# Where each bucket begins: 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, ..., two for each doubling.
EDGES = sorted([0, 1, *(factor << doubling for doubling in range(N_BUCKETS) for factor in (2, 3))])[:N_BUCKETS]


def bucket(value: int) -> int:
    return bisect_right(EDGES, value) - 1


# ---- buckets ---------------------------------------------------------------------------------------------------------


def test_buckets_by_hand() -> None:
    values = [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 2**60]
    assert half_octave(np.array(values)).tolist() == [0, 1, 2, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 39]


def test_every_small_value_and_every_edge_is_in_its_bucket() -> None:
    near_edges = [edge + step for edge in EDGES for step in (-1, 0, 1) if edge + step >= 0]
    values = np.array([*range(2000), *near_edges])
    assert half_octave(values).tolist() == [bucket(value) for value in values.tolist()]


@given(values=st.lists(st.integers(0, 2**52), max_size=20))
def test_buckets_by_definition(values: list[int]) -> None:
    assert half_octave(np.array(values, dtype=np.int64)).tolist() == [bucket(value) for value in values]


# ---- places ----------------------------------------------------------------------------------------------------------


def test_places_count_from_the_last_event() -> None:
    hours = np.array([0, 30, 36, 36])
    ranks, gaps = event_places(hours * HOUR_MS + 5, np.full(4, 4))
    assert ranks.tolist() == [3, 2, 1, 0]
    assert gaps.tolist() == [bucket(36), bucket(6), 0, 0]


def test_an_hour_counts_when_it_is_over() -> None:
    ranks, gaps = event_places(np.array([0, 1, HOUR_MS, 7]), np.array([3, 3, 3, 4]))
    assert (ranks.tolist(), gaps.tolist()) == ([2, 1, 0, 0], [1, 0, 0, 0])


def test_actual_timeline() -> None:
    timelines = Histories(
        np.array([0, 3, 4]),
        np.array([7, 8, 9, 7], dtype=np.int32),
        np.array([0, 1, 2, 0], dtype=np.int32),
        np.array([0, 1, 3, 0]) * HOUR_MS,
    )
    actual = prefixes_of(timelines, np.array([0, 0, 1, 3]), np.array([0, 2, 3, 4]))
    assert actual.offsets_P1.tolist() == [0, 0, 2, 4, 5]
    assert actual.items_Z.tolist() == [7, 8, 8, 9, 7]
    assert actual.types_Z.tolist() == [0, 1, 1, 2, 0]
    assert actual.ranks_Z.tolist() == [1, 0, 1, 0, 0]
    assert actual.gaps_Z.tolist() == [1, 0, 2, 0, 0]
    assert actual.starts_P.tolist() == [0, 0, 1, 3]
    assert (actual.lengths.tolist(), actual.owners.tolist()) == ([0, 2, 2, 1], [1, 1, 2, 2, 3])


# ---- against plain Python --------------------------------------------------------------------------------------------

Event = tuple[int, int, int]  # product, type, milliseconds
events = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.integers(0, 10**12)), max_size=6).map(
    lambda drawn: sorted(drawn, key=lambda event: event[2])
)
Windows = list[tuple[int, int]]


@st.composite
def events_and_windows(draw: st.DrawFn) -> tuple[list[Event], Windows]:
    """The events of some timelines back to back, and windows of them that overlap, repeat and may be empty."""
    timelines = draw(st.lists(events, max_size=4))
    windows: Windows = []
    for start, stop in itertools.pairwise([0, *itertools.accumulate(map(len, timelines))]):
        edges = st.tuples(st.integers(start, stop), st.integers(start, stop)).map(lambda pair: (min(pair), max(pair)))
        windows += draw(st.lists(edges, max_size=4))
    return [event for timeline in timelines for event in timeline], windows


def read(flat: list[Event], windows: Windows) -> Prefixes:
    columns = np.array(flat, dtype=np.int64).reshape(-1, 3)
    products, types, times = columns[:, 0].astype(np.int32), columns[:, 1].astype(np.int32), columns[:, 2]
    edges = np.array(windows, dtype=np.int64).reshape(-1, 2)
    return prefixes_of(Histories(np.array([0, len(flat)]), products, types, times), edges[:, 0], edges[:, 1])


def by_prefix(values_Z: Tensor, prefixes: Prefixes) -> list[list[int]]:
    return [values_Z[start:stop].tolist() for start, stop in itertools.pairwise(prefixes.offsets_P1.tolist())]


@settings(max_examples=150)
@given(case=events_and_windows())
def test_prefixes_hold_the_events_of_their_windows_and_their_places(case: tuple[list[Event], Windows]) -> None:
    flat, windows = case
    actual = read(flat, windows)
    rows = [flat[start:end] for start, end in windows]
    assert {part.dtype for part in actual} == {torch.int64}
    assert by_prefix(actual.items_Z, actual) == [[product for product, _, _ in row] for row in rows]
    assert by_prefix(actual.types_Z, actual) == [[kind for _, kind, _ in row] for row in rows]
    assert by_prefix(actual.ranks_Z, actual) == [[bucket(len(row) - 1 - n) for n in range(len(row))] for row in rows]
    hours = [[(row[-1][2] - time) // HOUR_MS for _, _, time in row] for row in rows]
    assert by_prefix(actual.gaps_Z, actual) == [[bucket(gap) for gap in row] for row in hours]
    assert actual.starts_P.tolist() == [start for start, _ in windows]
    assert actual.lengths.tolist() == [len(row) for row in rows]
    assert actual.owners.tolist() == [owner for owner, row in enumerate(rows) for _ in row]


@settings(max_examples=150)
@given(case=events_and_windows(), data=st.data())
def test_where_leaves_the_kept_events_in_their_prefixes(case: tuple[list[Event], Windows], data: st.DataObject) -> None:
    before = read(*case)
    n_events = len(before.items_Z)
    kept = data.draw(st.lists(st.booleans(), min_size=n_events, max_size=n_events))
    after = before.where(torch.tensor(kept, dtype=torch.bool))
    expected = [[place for place in row if kept[place]] for row in by_prefix(torch.arange(n_events), before)]
    for before_Z, after_Z in zip(before[1:5], after[1:5], strict=True):
        assert by_prefix(after_Z, after) == [[int(before_Z[place]) for place in row] for row in expected]
    assert torch.equal(after.starts_P, before.starts_P)


def test_where_keeps_places_as_they_were() -> None:
    actual = prefixes([[(1, 0, 0), (2, 2, 4), (3, 0, 6)], [(4, 0, 0)], [(5, 2, 0)]])
    kept = actual.where(actual.types_Z == 2)
    assert kept.offsets_P1.tolist() == [0, 1, 1, 2]
    assert (kept.items_Z.tolist(), kept.ranks_Z.tolist(), kept.gaps_Z.tolist()) == ([2, 5], [1, 0], [2, 0])
    assert torch.equal(kept.starts_P, actual.starts_P)


@pytest.mark.parametrize("histories", [[], [[]], [[], []]])
def test_nothing_is_no_prefix_or_an_empty_one(histories: list[list[Event]]) -> None:
    actual = prefixes(histories)
    assert actual.lengths.tolist() == [0] * len(histories)
    assert actual.owners.tolist() == actual.items_Z.tolist() == []
