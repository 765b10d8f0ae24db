"""Orders within a day: shuffled histories against the originals, and rising ids by hand."""

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shops.orders import N_SHUFFLED, file_order, rises, with_last_shuffled
from training.data.catalogue import Catalogue
from training.data.contexts import Contexts
from training.data.histories import Histories
from training.evaluation.held_out import NEXT, HeldOut
from training.evaluation.ranker import TrainingEvents

pytestmark = pytest.mark.fast

START = dt.datetime(2024, 6, 1, tzinfo=dt.UTC)
N_PRODUCTS = 100


def histories_of(rows: list[list[int]]) -> Histories:
    """Purchases of these products, one a millisecond."""
    lengths = [len(row) for row in rows]
    products = np.array([one for row in rows for one in row], dtype=np.int32)
    times = np.array([time for length in lengths for time in range(length)], dtype=np.int64)
    return Histories(
        np.cumsum([0, *lengths]).astype(np.int64), products, np.full(len(products), 2, dtype=np.int32), times
    )


def question_of(rows: list[list[int]], targets: list[list[int]], max_length: int = 100) -> HeldOut:
    """One context for each of the histories, with a window of at most `max_length` events."""
    histories = histories_of(rows)
    starts, ends = np.maximum(histories.offsets[1:] - max_length, histories.offsets[:-1]), histories.offsets[1:]
    contexts = Contexts(
        np.array([f"b{row}" for row in range(len(rows))], dtype=object),
        np.zeros(len(rows), dtype=np.int64),
        histories,
        starts,
        ends,
        histories_of(targets),
    )
    products = np.arange(N_PRODUCTS, dtype=np.int32)
    events = TrainingEvents(
        np.zeros(N_PRODUCTS, dtype=np.int32), products, np.zeros(N_PRODUCTS, dtype=np.int64), 1, N_PRODUCTS
    )
    return HeldOut(contexts, histories, events, START, START, np.array([0.1, 0.5, 1], dtype=np.float32))


def products_of(histories: Histories) -> list[list[int]]:
    return [part.tolist() for part in np.split(histories.products, histories.offsets[1:-1])]


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8), max_length=st.integers(N_SHUFFLED, 12))
def test_only_the_last_events_are_shuffled_in_windows_and_histories_alike(lengths: list[int], max_length: int) -> None:
    rng = np.random.default_rng(len(lengths))
    rows = [rng.integers(N_PRODUCTS, size=length).tolist() for length in lengths]
    question = question_of(rows, [[1]] * len(rows), max_length)
    shuffled = with_last_shuffled(question)
    after = products_of(shuffled.histories)
    for before, row in zip(rows, after, strict=True):
        assert row[:-N_SHUFFLED] == before[:-N_SHUFFLED]
        assert sorted(row[-N_SHUFFLED:]) == sorted(before[-N_SHUFFLED:])
    assert products_of(shuffled.contexts.histories) == [row[-max_length:] for row in after]
    for part, original in (
        (shuffled.histories, question.histories),
        (shuffled.contexts.histories, question.contexts.histories),
    ):
        assert part.offsets.tolist() == original.offsets.tolist()
        assert part.event_times.tolist() == original.event_times.tolist()
        assert part.event_types.tolist() == original.event_types.tolist()
    # The question itself stays as it is, and so do its targets.
    assert products_of(question.histories) == rows
    assert products_of(shuffled.contexts.targets) == [[1]] * len(rows)


def test_every_order_is_as_likely_and_a_seed_gives_one() -> None:
    rows = [[1, 2, 3]] * 600
    question = question_of(rows, [[9]] * len(rows))
    orders, counts = np.unique(products_of(with_last_shuffled(question).histories), axis=0, return_counts=True)
    assert len(orders) == 6
    assert counts.min() > 60
    again, another = (with_last_shuffled(question, seed=seed).histories.products for seed in (0, 1))
    assert again.tolist() == with_last_shuffled(question).histories.products.tolist()
    assert again.tolist() != another.tolist()


def test_contexts_of_one_timeline_are_shuffled_apart() -> None:
    """A second context that sees one event more overlaps the first one, whose window must not change with it."""
    timeline = histories_of([[1, 2, 3, 4, 5, 6, 7]])
    question = question_of([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]], [[8], [9]])
    contexts = Contexts(
        question.contexts.buyer_ids,
        question.contexts.times_us,
        timeline,
        np.array([0, 0]),
        np.array([6, 7]),
        question.contexts.targets,
    )
    shuffled = with_last_shuffled(HeldOut(**(vars(question) | {"contexts": contexts})))
    windows = products_of(shuffled.contexts.histories)
    assert windows == products_of(shuffled.histories)
    assert (windows[0][:1], windows[1][:2]) == ([1], [1, 2])
    assert [sorted(window) for window in windows] == [[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 6, 7]]


def test_ranks_are_those_of_the_ids_in_the_file(tmp_path: Path) -> None:
    items = tmp_path / "items.csv"
    items.write_text("item_id,asin,title\n1,B07,a\n2,0099,b\n3,B10,c\n4,A55,d\n")
    ids = ["3", "1", "4", "2"]
    nothing: list[str | None] = [None] * 4
    catalogue = Catalogue(ids, np.arange(4), ["t"] * 4, nothing, nothing, np.full(4, np.nan))
    # 0099, A55, B07, B10
    assert file_order(catalogue, items).tolist() == [4, 3, 2, 1]


def test_rises_by_hand() -> None:
    # Ranks are the reverse of the positions. Context 0 goes from 5 to 3, context 1 from 5 to 7; 2 has no new target.
    question = question_of([[1, 5], [9, 5], [4], [8, 2]], [[3], [7], [4], [2, 1]])
    rank_N = np.arange(N_PRODUCTS)[::-1]
    rows, targets = question.targets(NEXT)
    assert rows.tolist() == [0, 1, 3]
    assert rises(question, rows, targets, rank_N).tolist() == [True, False, True]
    # One product twice neither rises nor falls: it counts as falling.
    same = question_of([[1, 5]], [[5]])
    assert rises(same, np.zeros(1, np.int32), same.contexts.targets, rank_N).tolist() == [False]
