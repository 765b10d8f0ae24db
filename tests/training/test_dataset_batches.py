"""Histories, the catalogue's look-ups and the batches of an epoch, on literal rows and against plain Python."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from feature_repo.config import TrainingConfig
from training.catalogue import (
    UNKNOWN_NAME,
    Catalogue,
    KeyIndex,
    Vocabularies,
    build_vocabularies,
    item_features,
)
from training.histories import UNKNOWN_PRODUCT, Histories
from training.train import Batch, batches_of

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


@given(rows=product_lists)
def test_padded_puts_each_history_at_the_left(rows: list[list[int]]) -> None:
    histories = histories_of(rows)
    products_BL, types_BL = histories.padded()
    width = max([1, *map(len, rows)])
    assert products_BL.shape == types_BL.shape == (len(rows), width)
    for row, events in enumerate(as_lists(histories)):
        rest = width - len(events)
        assert products_BL[row].tolist() == [product for product, _, _ in events] + [UNKNOWN_PRODUCT] * rest
        assert types_BL[row].tolist() == [kind for _, kind, _ in events] + [0] * rest


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
    asked = [*others, *reversed(keys)]
    found = KeyIndex(np.array(keys, dtype=np.int64)).positions(np.array(asked, dtype=np.int64))
    position = {key: place for place, key in enumerate(keys)}
    assert found.dtype == np.int32
    assert found.tolist() == [position.get(key, UNKNOWN_PRODUCT) for key in asked]


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
        catalogue.product_ids, catalogue.product_keys, catalogue.texts, ["z", "b", "a", "z"], ["y", "x", None, None]
    )
    vocabularies = build_vocabularies(shuffled, np.array([], dtype=np.int32))
    assert vocabularies.brands == (UNKNOWN_NAME, "z", "a", "b")
    assert vocabularies.categories == (UNKNOWN_NAME, "x", "y")
    assert vocabularies.product_keys.tolist() == []


def test_item_features_look_names_and_products_up() -> None:
    text_NT = np.arange(8, dtype=np.float32).reshape(4, 2)
    vocabularies = Vocabularies((UNKNOWN_NAME, "نور"), (UNKNOWN_NAME, "tea", "coffee"), np.array([30, 10]))
    items = item_features(four_products(), text_NT, vocabularies)
    assert len(items) == 4
    assert torch.equal(items.text_NT, torch.from_numpy(text_NT))
    assert items.brand_N.tolist() == [1, 0, 1, 0]
    assert items.category_N.tolist() == [1, 2, 0, 2]
    assert items.id_N.tolist() == [0, 1, 0, 2]


def test_a_product_added_after_training_has_index_0() -> None:
    vocabularies = build_vocabularies(four_products(), np.arange(4, dtype=np.int32))
    newcomer = Catalogue(["e"], np.array([50]), ["lamp"], ["New brand"], ["lamps"])
    items = item_features(newcomer, np.zeros((1, 2), dtype=np.float32), vocabularies)
    assert (items.brand_N.tolist(), items.category_N.tolist(), items.id_N.tolist()) == ([0], [0], [0])


# ---- batches ---------------------------------------------------------------------------------------------------------

targets_of_contexts = st.lists(
    st.lists(st.integers(0, N_PRODUCTS - 1), max_size=6, unique=True), min_size=1, max_size=25
).filter(any)


def batches(targets: list[list[int]], settings: TrainingConfig, seed: int = 1) -> list[Batch]:
    return list(batches_of(histories_of(targets), N_PRODUCTS, settings, np.random.default_rng(seed)))


@settings(max_examples=200, deadline=None)
@given(
    targets=targets_of_contexts,
    batch_size=st.integers(2, 12),
    per_context=st.integers(1, 4),
    num_negatives=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_an_epoch_asks_each_context_once(
    targets: list[list[int]], batch_size: int, per_context: int, num_negatives: int, seed: int
) -> None:
    training = TrainingConfig(batch_size=batch_size, targets_per_context=per_context, num_negatives=num_negatives)
    epoch = batches(targets, training, seed)

    asked = np.concatenate([batch.contexts for batch in epoch])
    assert sorted(asked) == [row for row, chosen in enumerate(targets) if chosen]
    for batch in epoch:
        pairs = list(zip(batch.contexts[batch.context_B], batch.target_B, strict=True))
        assert len(set(pairs)) == len(pairs)
        assert all(target in targets[context] for context, target in pairs)
        expected = [min(len(targets[context]), per_context) for context in batch.contexts]
        assert_array_equal(np.bincount(batch.context_B, minlength=len(batch.contexts)), expected)
        # The last context of a batch is not torn apart.
        assert len(pairs) < batch_size + per_context
        assert len(batch.negatives) % (num_negatives or 1) == 0
        assert bool(len(batch.negatives)) == bool(num_negatives)
        assert all(0 <= negative < N_PRODUCTS for negative in batch.negatives)


def shapes_of(epoch: list[Batch]) -> list[list[npt.NDArray[np.int64]]]:
    return [[batch.contexts, batch.context_B, batch.target_B, batch.negatives] for batch in epoch]


def test_a_seed_gives_the_same_epoch_and_another_seed_another() -> None:
    targets = [[product, product + 1, product + 2] for product in range(27)]
    training = TrainingConfig(batch_size=8, targets_per_context=2, num_negatives=1)
    first, again, other = (shapes_of(batches(targets, training, seed)) for seed in (1, 1, 2))
    for parts, same in zip(first, again, strict=True):
        for part, copy in zip(parts, same, strict=True):
            assert_array_equal(part, copy)
    assert first[0][0].tolist() != other[0][0].tolist()


def test_every_target_of_a_long_context_is_drawn_sooner_or_later() -> None:
    training = TrainingConfig(batch_size=8, targets_per_context=2, num_negatives=1)
    seen = {
        target
        for seed in range(40)
        for batch in batches([list(range(10))], training, seed)
        for target in batch.target_B
    }
    assert seen == set(range(10))


def test_negatives_reach_the_whole_catalogue() -> None:
    training = TrainingConfig(batch_size=64, targets_per_context=1, num_negatives=20)
    [batch] = batches([[0]] * 50, training)
    assert set(batch.negatives) == set(range(N_PRODUCTS))
