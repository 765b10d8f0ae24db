"""Histories, the catalogue's look-ups and the batches of an epoch, on literal rows and against plain Python."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo.common.config import Config
from training.batches import Batch, EpochBatches, candidates_are_all, choice_weights, with_candidates
from training.data.catalogue import Catalogue, KeyIndex
from training.data.contexts import DAY_US, Contexts, _chosen, _covering, _require_past, distinct
from training.data.histories import UNKNOWN_PRODUCT, Histories
from training.model.item_features import UNKNOWN_NAME, Vocabularies, build_vocabularies, item_features

N_PRODUCTS = 30


def histories_of(rows: list[list[int]]) -> Histories:
    """Histories of product lists; types and times tell the events apart."""
    products = [product for row in rows for product in row]
    return Histories(
        np.cumsum([0] + [len(row) for row in rows]).astype(np.int64),
        np.array(products, dtype=np.int32),
        (np.arange(len(products)) % 3).astype(np.int32),
        np.arange(len(products), dtype=np.int64) * 1000,
    )


def as_lists(histories: Histories) -> list[list[tuple[int, int, int]]]:
    """(product, type, time) of each event of each history."""
    events = list(zip(histories.products, histories.event_types, histories.event_times, strict=True))
    return [events[a:b] for a, b in itertools.pairwise(histories.offsets)]


product_lists = st.lists(st.lists(st.integers(-1, N_PRODUCTS - 1), max_size=5), max_size=6)


# ---- histories -------------------------------------------------------------------------------------------------------


@given(rows=product_lists, data=st.data())
def test_take_picks_rows_in_the_order_asked(rows: list[list[int]], data: st.DataObject) -> None:
    histories = histories_of(rows)
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=8)) if rows else []
    taken = histories.take(np.array(wanted, dtype=np.int64))
    assert len(taken) == len(wanted)
    assert as_lists(taken) == [as_lists(histories)[row] for row in wanted]


@given(rows=product_lists, data=st.data())
def test_windows_may_overlap_and_where_keeps_some_events(rows: list[list[int]], data: st.DataObject) -> None:
    histories = histories_of(rows)
    events = list(zip(histories.products, histories.event_types, histories.event_times, strict=True))
    edges = st.tuples(st.integers(0, len(events)), st.integers(0, len(events))).map(sorted)
    windows = data.draw(st.lists(edges, max_size=5))
    starts, ends = (np.array([window[side] for window in windows], dtype=np.int64) for side in (0, 1))
    assert as_lists(histories.windows(starts, ends)) == [events[start:end] for start, end in windows]
    kept = histories.products % 2 == 0
    assert as_lists(histories.where(kept)) == [
        [event for event in row if event[0] % 2 == 0] for row in as_lists(histories)
    ]


@pytest.mark.parametrize("offsets", [[], [1, 2], [0, 1], [0, 3], [0, 2, 1, 2]])
def test_offsets_that_do_not_fit_are_refused(offsets: list[int]) -> None:
    two = np.zeros(2, dtype=np.int32)
    with pytest.raises(ValueError, match=r"offsets must rise from 0 to the number of events \(2\)"):
        Histories(np.array(offsets, dtype=np.int64), two, two, two.astype(np.int64))


def test_arrays_of_different_length_are_refused() -> None:
    two = np.zeros(2, dtype=np.int32)
    with pytest.raises(ValueError, match="one length"):
        Histories(np.array([0, 2]), two, two[:1], two.astype(np.int64))


# ---- catalogue -------------------------------------------------------------------------------------------------------

int64s = st.integers(-(2**63), 2**63 - 1)


@given(keys=st.lists(int64s, unique=True, max_size=20), others=st.lists(int64s, max_size=10))
def test_key_index_equals_a_dictionary(keys: list[int], others: list[int]) -> None:
    requested = [*others, *reversed(keys)]
    positions = KeyIndex(np.array(keys, dtype=np.int64)).positions(np.array(requested, dtype=np.int64))
    position = {key: place for place, key in enumerate(keys)}
    assert positions.dtype == np.int32
    assert positions.tolist() == [position.get(key, UNKNOWN_PRODUCT) for key in requested]


def test_key_index_keeps_the_shape() -> None:
    index = KeyIndex(np.array([30, 10, 20]))
    assert index.positions(np.array([[10, 30], [99, 20]])).tolist() == [[1, 0], [UNKNOWN_PRODUCT, 2]]


def four_products() -> Catalogue:
    return Catalogue(
        product_ids=["a", "b", "c", "d"],
        product_keys=np.array([40, 30, 20, 10], dtype=np.int64),
        texts=["tea", "قهوة", "shoes", ""],
        brands=["نور", "Dallah", "نور", None],
        categories=["tea", "coffee", None, "coffee"],
        prices=np.array([1.0, 2.0, np.nan, 40.0]),
    )


def test_vocabularies_start_with_unknown_and_fall_by_count() -> None:
    trained = np.array([3, 1, 3], dtype=np.int32)
    vocabularies = build_vocabularies(four_products(), trained)
    assert vocabularies.brands == (UNKNOWN_NAME, "نور", "Dallah")
    assert vocabularies.categories == (UNKNOWN_NAME, "coffee", "tea")
    assert vocabularies.product_keys.tolist() == [30, 10]


def test_names_of_one_count_stand_in_alphabetical_order() -> None:
    catalogue = four_products()
    shuffled = Catalogue(
        catalogue.product_ids,
        catalogue.product_keys,
        catalogue.texts,
        ["z", "b", "a", "z"],
        ["y", "x", None, None],
        catalogue.prices,
    )
    vocabularies = build_vocabularies(shuffled, np.array([], dtype=np.int32))
    assert vocabularies.brands == (UNKNOWN_NAME, "z", "a", "b")
    assert vocabularies.categories == (UNKNOWN_NAME, "x", "y")
    assert vocabularies.product_keys.tolist() == []


def test_item_features_look_names_and_products_up() -> None:
    text_NT = np.arange(8, dtype=np.float32).reshape(4, 2)
    vocabularies = Vocabularies((UNKNOWN_NAME, "نور"), (UNKNOWN_NAME, "tea", "coffee"), (2.0, 9.5), np.array([30, 10]))
    items = item_features(four_products(), text_NT, vocabularies)
    assert len(items) == 4
    assert torch.equal(items.text_NT, torch.from_numpy(text_NT))
    assert items.brand_N.tolist() == [1, 0, 1, 0]
    assert items.category_N.tolist() == [1, 2, 0, 2]
    assert items.price_N.tolist() == [1, 2, 0, 3]  # below 2, from 2 to 9.5, unknown, from 9.5
    assert items.id_N.tolist() == [0, 1, 0, 2]


def test_price_ranges_hold_about_as_many_products_each() -> None:
    catalogue = four_products()
    prices, nothing = np.random.default_rng(1).lognormal(size=1600), [""] * 1600
    many = Catalogue(nothing, np.arange(1600), nothing, [None] * 1600, [None] * 1600, prices)
    edges = build_vocabularies(many, np.array([], dtype=np.int32)).price_edges
    assert len(edges) == 15
    assert np.histogram(many.prices, [0, *edges, np.inf])[0].tolist() == [100] * 16
    unpriced = replace(catalogue, prices=np.full(4, np.nan))
    vocabularies = build_vocabularies(unpriced, np.array([], dtype=np.int32))
    assert (vocabularies.price_edges, vocabularies.sizes.prices) == ((), 1)
    assert item_features(unpriced, np.zeros((4, 1), np.float32), vocabularies).price_N.tolist() == [0] * 4


def test_a_product_added_after_training_has_index_0() -> None:
    vocabularies = build_vocabularies(four_products(), np.arange(4, dtype=np.int32))
    newcomer = Catalogue(["e"], np.array([50]), ["lamp"], ["New brand"], ["lamps"], np.array([np.nan]))
    items = item_features(newcomer, np.zeros((1, 2), dtype=np.float32), vocabularies)
    assert (items.brand_N.tolist(), items.category_N.tolist(), items.id_N.tolist()) == ([0], [0], [0])


# ---- batches ---------------------------------------------------------------------------------------------------------

targets_of_contexts = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.integers(0, N_PRODUCTS - 1), min_size=1, max_size=6, unique=True)),
    min_size=1,
    max_size=25,
)


def contexts_of(rows: list[tuple[int, list[int]]]) -> Contexts:
    """Contexts of buyers by number, one day apart; each buyer's history are the products chosen before, all views."""
    rows = sorted(rows, key=lambda row: row[0])
    timelines = histories_of(
        [[product for number, row in rows for product in row if number == one] for one in range(4)]
    )
    timelines = replace(timelines, event_types=np.full(len(timelines.products), 0, dtype=np.int32))
    ends, seen = [], {number: timelines.offsets[number] for number in range(4)}
    for number, row in rows:
        ends.append(seen[number])
        seen[number] += len(row)
    return Contexts(
        buyer_ids=np.array([f"b{number}" for number, _ in rows], dtype=object),
        times_us=np.arange(len(rows), dtype=np.int64) * DAY_US,
        timelines=timelines,
        starts=timelines.offsets[[number for number, _ in rows]],
        ends=np.array(ends, dtype=np.int64),
        targets=histories_of([row for _, row in rows]),
    )


def config(**training: Any) -> Config:
    return Config.model_validate({"training": {"half_life_days": 0, "candidates": "sampled"} | training})


def epoch_of(rows: list[tuple[int, list[int]]], number: int = 1, **training: Any) -> EpochBatches:
    return EpochBatches(contexts_of(rows), N_PRODUCTS, config(**training), number)


def batches_of(epoch: EpochBatches) -> list[Batch]:
    return [epoch[number] for number in range(len(epoch))]


@hypothesis_settings(max_examples=150)
@given(
    rows=targets_of_contexts,
    batch_size=st.integers(2, 12),
    num_negatives=st.integers(0, 3),
    candidates=st.sampled_from(["sampled", "all"]),
)
def test_an_epoch_asks_each_context_once(
    rows: list[tuple[int, list[int]]], batch_size: int, num_negatives: int, candidates: str
) -> None:
    contexts = contexts_of(rows)
    epoch = EpochBatches(
        contexts, N_PRODUCTS, config(batch_size=batch_size, num_negatives=num_negatives, candidates=candidates), 1
    )
    assert sorted(np.concatenate([batch.contexts for batch in batches_of(epoch)])) == list(range(len(rows)))
    for batch in batches_of(epoch):
        products_U = batch.products_U.numpy()
        assert (np.diff(products_U) > 0).all()
        candidate_C = products_U[batch.candidates_C.numpy()]
        assert (np.diff(candidate_C) > 0).all()
        chosen = [as_lists(contexts.targets)[row] for row in batch.contexts.tolist()]
        expected = [(owner, product) for owner, row in enumerate(chosen) for product, _, _ in row]
        places = zip(batch.choices.owner_T.tolist(), candidate_C[batch.choices.place_T.numpy()], strict=True)
        assert list(places) == expected
        assert_allclose(batch.choices.weight_T, [1 / len(row) for row in chosen for _ in row], rtol=1e-6)
        assert len(expected) < batch_size + max(map(len, chosen))
        if candidates == "all":
            assert candidate_C.tolist() == list(range(N_PRODUCTS))
        elif not num_negatives:
            assert candidate_C.tolist() == sorted({product for _, product in expected})
        offsets = batch.prefixes.offsets_P1.tolist()
        read = products_U[batch.prefixes.items_Z.numpy()]
        for place, row in enumerate(batch.contexts.tolist()):
            before = [product for product, _, _ in as_lists(contexts.histories)[row]]
            assert read[offsets[place] : offsets[place + 1]].tolist() == before


def tensors_of(batch: Batch) -> list[npt.NDArray[Any]]:
    tensors = (batch.contexts, batch.products_U, *batch.prefixes, batch.candidates_C)
    return [part.numpy() for part in tensors]


def test_a_batch_is_a_function_of_seed_epoch_and_number() -> None:
    rows = [(number % 4, [number, number + 1, number + 2]) for number in range(27)]
    first = epoch_of(rows, batch_size=8, num_negatives=1)
    again = epoch_of(rows, batch_size=8, num_negatives=1)
    by_workers = epoch_of(rows, batch_size=8, num_negatives=1, num_workers=2)
    for number, batch in enumerate(by_workers.loader()):
        for part, same, worked in zip(*map(tensors_of, (first[number], again[number], batch)), strict=True):
            assert_array_equal(part, same)
            assert_array_equal(part, worked)
    assert number == len(first) - 1
    for changes in ({"seed": 8}, {"number": 2}):
        other = epoch_of(rows, batch_size=8, num_negatives=1, **changes)
        assert [batch.contexts.tolist() for batch in batches_of(other)] != [
            batch.contexts.tolist() for batch in batches_of(first)
        ]


def test_negatives_reach_the_whole_catalogue() -> None:
    [batch] = batches_of(epoch_of([(0, [0])] * 20, batch_size=64, num_negatives=50))
    assert batch.products_U[batch.candidates_C].tolist() == list(range(N_PRODUCTS))


def test_log_q_is_the_chance_to_be_among_the_candidates() -> None:
    # Targets 0 (three quarters of all) and 1; a batch holds 2 contexts of one choice and draws 2 products of 30.
    rows = [(number % 4, [0 if number % 4 else 1]) for number in range(40)]
    epoch = epoch_of(rows, batch_size=2, num_negatives=1)
    chances = {0: 1 - 0.25**2 * (29 / 30) ** 2, 1: 1 - 0.75**2 * (29 / 30) ** 2}
    for batch in batches_of(epoch):
        for product, log_q in zip(batch.products_U[batch.candidates_C].tolist(), batch.log_q_C.tolist(), strict=True):
            assert math.exp(log_q) == pytest.approx(chances.get(product, 1 - (29 / 30) ** 2), rel=1e-4)
    everything = epoch_of(rows, batch_size=2, candidates="all")
    assert not everything[0].log_q_C.any()


def test_auto_takes_all_products_where_an_epoch_of_that_is_cheap() -> None:
    sizes = [(10, 10), (25_000, 10_000), (25_001, 10_000), (10_000, 25_001)]
    assert [candidates_are_all("auto", *size) for size in sizes] == [True, True, False, False]
    assert (candidates_are_all("all", 10**6, 10**6), candidates_are_all("sampled", 1, 1)) == (True, False)
    decided = [with_candidates(config(candidates="auto"), *size).training.candidates for size in sizes]
    assert decided == ["all", "all", "sampled", "sampled"]


def test_hard_negatives_are_neighbours_of_what_was_chosen() -> None:
    hard_NH = np.tile(np.array([[20, 21]], dtype=np.int32), (N_PRODUCTS, 1))
    hard_NH[3] = [25, 26]
    settings = config(batch_size=4, num_hard_negatives=8)
    [batch] = batches_of(EpochBatches(contexts_of([(0, [3]), (1, [3])]), N_PRODUCTS, settings, 1, hard_NH))
    assert batch.products_U[batch.candidates_C].tolist() == [3, 25, 26]


def test_a_context_counts_one_in_all_by_event_and_age_where_asked() -> None:
    contexts = contexts_of([(0, [1, 2]), (0, [3])])
    contexts = replace(contexts, targets=replace(contexts.targets, event_types=np.array([0, 2, 1], dtype=np.int32)))
    assert choice_weights(contexts, config()).tolist() == [0.5, 0.5, 1]
    weighed = choice_weights(contexts, config(weight_targets_by_event=True))
    assert_allclose(weighed, [1 / 11, 10 / 11, 1], rtol=1e-6)
    # The first context is a day older than the second.
    assert_allclose(choice_weights(contexts, config(half_life_days=1)), [0.25, 0.25, 1], rtol=1e-6)


# ---- contexts --------------------------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=150)
@given(
    counts=st.lists(st.lists(st.integers(0, 40), max_size=7, unique=True).map(sorted), max_size=3),
    max_length=st.integers(1, 12),
)
def test_the_joined_contexts_hold_what_any_context_sees_and_are_as_few_as_can_be(
    counts: list[list[int]], max_length: int
) -> None:
    """Of each buyer's contexts, by the number of events before each."""
    buyers = np.array([buyer for buyer, row in enumerate(counts) for _ in row], dtype=np.int64)
    before = np.array([count for row in counts for count in row], dtype=np.int64)
    rows = _covering(buyers, before, max_length)

    def seen(some: Sequence[int]) -> set[int]:
        return {event for count in some for event in range(max(0, count - max_length), count)}

    for buyer, row in enumerate(counts):
        joined = before[rows[buyers[rows] == buyer]].tolist()
        assert seen(joined) == seen(row)
        fewer = itertools.combinations(row, max(0, len(joined) - 1))
        assert not joined or all(seen(some) != seen(row) for some in fewer)


def test_distinct_keeps_the_strongest_event_of_each_product() -> None:
    histories = Histories(
        np.array([0, 4, 5]),
        np.array([3, 1, 3, 3, 3], dtype=np.int32),
        np.array([0, 1, 2, 1, 0], dtype=np.int32),
        np.array([10, 20, 30, 40, 50]),
    )
    assert as_lists(distinct(histories)) == [[(1, 1, 20), (3, 2, 30)], [(3, 0, 50)]]


def test_what_was_bought_before_is_no_discovery() -> None:
    contexts = contexts_of([(0, [1, 2]), (0, [2, 3]), (1, [2])])
    types = np.array([2, 0, 0, 0, 2], dtype=np.int32)  # buyer 0 bought 1 and viewed 2 before the second context
    contexts = replace(contexts, timelines=replace(contexts.timelines, event_types=types))
    targets = histories_of([[1, 2], [1, 2, 3], [2]])
    new = replace(contexts, targets=targets).new_to_the_buyer()
    assert [[product for product, _, _ in row] for row in as_lists(new.targets)] == [[1, 2], [2, 3], [2]]
    assert [len(row) for row in as_lists(contexts.purchases)] == [0, 1, 0]
    none_left = replace(contexts, targets=histories_of([[1], [1], [2]])).new_to_the_buyer()
    assert none_left.buyer_ids.tolist() == ["b0", "b1"]


def test_every_batch_and_epoch_draws_negatives_of_its_own() -> None:
    rows = [(number % 4, [0]) for number in range(8)]
    drawn = [
        tuple(batch.products_U[batch.candidates_C].tolist())
        for epoch in (1, 2)
        for batch in batches_of(epoch_of(rows, epoch, batch_size=4, num_negatives=2))
    ]
    assert len(set(drawn)) == len(drawn) == 4


def test_only_target_events_of_known_products_are_targets() -> None:
    targets = Histories(
        np.array([0, 3]), np.array([1, 2, -1], np.int32), np.array([0, 2, 2], np.int32), np.zeros(3, np.int64)
    )
    assert _chosen(targets, [2]).products.tolist() == [2]


def test_an_event_of_the_moment_itself_is_refused() -> None:
    one = Histories(np.array([0, 1]), np.zeros(1, np.int32), np.zeros(1, np.int32), np.array([5], np.int64))
    _require_past(one, np.array([0]), np.array([1]), np.array([5000]), Path("contexts"))
    with pytest.raises(ValueError, match="own future"):
        _require_past(one, np.array([0]), np.array([1]), np.array([4999]), Path("contexts"))
