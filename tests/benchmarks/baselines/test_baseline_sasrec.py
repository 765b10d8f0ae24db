"""SASRec: what it is trained to predict, that it looks only back, and that it learns an order."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.baselines.sasrec import SASRec, _loss, _training_windows, _Transformer
from tests.baseline_cases import CUTOFF, all_rows, as_events, as_histories, ranked, ten_purchases

# ---- what is predicted -----------------------------------------------------------------------------------------------


def test_each_event_is_predicted_from_the_last_event_before_it() -> None:
    # Baskets {5 6}, {7}, {8 9} and two events of another buyer, in windows of two events.
    windows = _training_windows(as_histories([[5, 6, 7, 8, 9], [5, 7]], [[1, 1, 2, 3, 3], [1, 2]]), max_events=2)

    assert windows.events.offsets.tolist() == [0, 2, 4, 5, 7]
    # From 6 comes 7; from 7, the first event of its window, come 8 and 9; from 9 nothing; from 5 comes 7.
    assert windows.offsets.tolist() == [0, 1, 3, 3, 4]
    assert windows.positions.tolist() == [1, 0, 0, 0]
    assert windows.targets.tolist() == [7, 8, 9, 7]


histories = st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5)), max_size=12), min_size=1, max_size=4)


@given(histories, st.integers(1, 5))
def test_windows_predict_all_but_first_baskets_from_the_strict_past(
    events: list[list[tuple[int, int]]], max_events: int
) -> None:
    in_order = [sorted(history) for history in events]
    windows = _training_windows(
        as_histories(
            [[product for _, product in history] for history in in_order], [[day for day, _ in h] for h in in_order]
        ),
        max_events,
    )
    found = []
    for row in range(len(windows.events)):
        inside = windows.events.take(np.array([row]))
        assert 1 <= len(inside.products) <= max_events
        for place in range(windows.offsets[row], windows.offsets[row + 1]):
            position = windows.positions[place]
            found.append((inside.products[position], inside.event_times[position], windows.targets[place]))
    expected = []
    for history in in_order:
        for day, product in history:
            before = [event for event in history if event[0] < day]
            if before:
                expected.append((before[-1][1], before[-1][0] * 86_400_000, product))
    assert found == expected


def test_an_epoch_holds_every_prediction_once() -> None:
    windows = _training_windows(as_histories([[1, 2, 3, 4], [5], [6, 7], []]), max_events=3)
    batches = list(windows.batches(np.random.default_rng(0)))

    pairs = [
        (products[row, position].item(), target.item())
        for products, rows, positions, targets in batches
        for row, position, target in zip(rows, positions, targets, strict=True)
    ]
    assert sorted(pairs) == [(1, 2), (2, 3), (3, 4), (6, 7)]


def test_without_anything_to_predict_there_is_no_batch() -> None:
    assert (
        list(_training_windows(as_histories([[1], [2, 3], []], [[1], [1, 1], []]), 3).batches(np.random.default_rng(0)))
        == []
    )


# ---- the loss --------------------------------------------------------------------------------------------------------


def test_the_sampled_loss_estimates_that_over_all_products() -> None:
    torch.manual_seed(0)
    state, products = torch.randn(64, 8), torch.randn(20_001, 8) / 3
    target = torch.randint(20_001, (64,))

    full = F.cross_entropy(state @ products.T, target).item()
    assert _loss(state, products, target).item() == pytest.approx(full, abs=0.05)
    assert _loss(state, products[:20_000], target % 20_000).item() == pytest.approx(
        F.cross_entropy(state @ products[:20_000].T, target % 20_000).item()
    )


# ---- the model -------------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.lists(st.integers(0, 6), min_size=2, max_size=6), st.data())
def test_a_state_does_not_depend_on_later_events(products: list[int], data: st.DataObject) -> None:
    torch.manual_seed(0)
    model = _Transformer(n_products=7, dim=8, heads=2, max_events=6, dropout=0.5).eval()
    place = data.draw(st.integers(0, len(products) - 2))
    changed = products[: place + 1] + [(product + 1) % 7 for product in products[place + 1 :]]
    with torch.inference_mode():
        one, other = model(torch.tensor([products])), model(torch.tensor([changed]))
    assert_allclose(one[0, : place + 1], other[0, : place + 1], atol=1e-6)
    assert (one[0, place + 1 :] - other[0, place + 1 :]).abs().max() > 1e-3


def test_it_learns_an_order() -> None:
    # Every buyer goes round 0 1 2 3 4 0 ..., from a start of their own.
    pairs = [(buyer, (buyer + step) % 5) for buyer in range(40) for step in range(8)]
    events = as_events(pairs, 40, 7, [step for _ in range(40) for step in range(8)])
    histories = as_histories([[1, 2], [3, 4], [2], [4, 0, 1, 2, 3]])
    ranker = SASRec(events, histories, CUTOFF, dim=16, max_events=4, dropout=0.0, epochs=40)

    assert [ranked(ranker, row)[0] for row in range(4)] == [3, 0, 3, 4]
    assert ranked(ranker, 0)[-2:] == [5, 6]  # products nobody took stand last


def test_only_the_latest_events_are_read() -> None:
    histories = as_histories([[0, 1, 3], [4, 2, 1, 3]])
    scores = SASRec(ten_purchases(), histories, CUTOFF, max_events=2).scores(all_rows(histories))

    assert_allclose(scores[1], scores[0], rtol=1e-5)


def test_the_random_state_of_the_caller_stays() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    SASRec(ten_purchases(), as_histories([[0]]), CUTOFF, epochs=1)

    assert_array_equal(torch.get_rng_state(), before)


def test_another_seed_gives_another_model() -> None:
    histories = as_histories([[0]])
    one, other = (SASRec(ten_purchases(), histories, CUTOFF, seed=seed).scores(all_rows(histories)) for seed in (0, 1))

    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("parameters", [{"dim": 9}, {"heads": 0}, {"max_events": 0}, {"epochs": 0}, {"dropout": 1.0}])
def test_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    name, value = next(iter(parameters.items()))
    with pytest.raises(ValueError, match=f"{name} {value}"):
        SASRec(ten_purchases(), as_histories([[0]]), CUTOFF, **parameters)
