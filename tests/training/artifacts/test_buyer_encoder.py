"""Buyers as the online service encodes them: in batches, with what each event contributed."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor

from tests.random_release import SPEC, unit_vectors
from training.artifacts.buyer_encoder import ITEM_LOGITS_CHUNK, BuyerEncoder, History
from training.data.histories import Histories
from training.model.aggregators import AGGREGATORS, CausalTransformer, Pooling
from training.model.prefixes import Prefixes, prefixes_of
from training.model.towers import BuyerTower

CPU = torch.device("cpu")
ITEMS_ND = unit_vectors(50)
TARGETS_KD = unit_vectors(7, seed=2)

POOLING = sorted(name for name, kind in AGGREGATORS.items() if issubclass(kind, Pooling))
HOUR = 3_600_000

pooling = pytest.mark.parametrize("aggregation", POOLING)
few_examples = settings(max_examples=40)

# Of one event each: the product's place in ITEMS_ND, the event-type code and the hours since the event before.
EVENTS = st.lists(
    st.tuples(st.integers(0, len(ITEMS_ND) - 1), st.integers(0, 2), st.sampled_from([0, 1, 30, 5000])),
    min_size=1,
    max_size=12,
)
WEIGHTS = st.tuples(*[st.sampled_from([0.0, 0.001, 1.0, 5.0, 100.0])] * 3)

Events = list[tuple[int, int, int]]


def tower(aggregation: str = "attention", weights: tuple[float, ...] = SPEC.event_weights) -> BuyerTower:
    """A tower of random weights throughout, those that training starts at zero too."""
    torch.manual_seed(3)
    random = BuyerTower(replace(SPEC, aggregation=aggregation, event_weights=weights))
    with torch.no_grad():
        for parameter in random.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return random.eval()


def columns(events: Events) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Products, types and times."""
    products, types, hours = (np.array(column, dtype=np.int64) for column in zip(*events, strict=True))
    return products, types, 1_700_000_000_000 + np.cumsum(hours) * HOUR


def history(encoder: BuyerEncoder, events: Events) -> History:
    products, types, times = columns(events)
    return History(products, ITEMS_ND[products], types, times, encoder.item_logits(ITEMS_ND)[products])


def vectors(encoder: BuyerEncoder, batch: list[Events]) -> npt.NDArray[np.float32]:
    return np.stack([buyer.vector_D for buyer in encoder.encode([history(encoder, events) for events in batch])])


def forward(buyer_tower: BuyerTower, events: Events) -> npt.NDArray[np.float32]:
    """The vector as training computes it."""
    with torch.no_grad():
        vector_PD: Tensor = buyer_tower(torch.from_numpy(ITEMS_ND), prefixes(events))
    return vector_PD[0].numpy()


def prefixes(events: Events) -> Prefixes:
    """The events as training reads them."""
    products, types, times = columns(events)
    ends = np.array([len(events)])
    timeline = Histories(np.array([0, len(events)]), products.astype(np.int32), types.astype(np.int32), times)
    return prefixes_of(timeline, ends - len(events), ends)


@pytest.mark.parametrize("aggregation", sorted(AGGREGATORS))
@few_examples
@given(batch=st.lists(EVENTS, min_size=1, max_size=6), weights=WEIGHTS)
def test_a_batch_equals_each_alone_and_the_tower_itself(
    aggregation: str, batch: list[Events], weights: tuple[float, ...]
) -> None:
    buyer_tower = tower(aggregation, weights)
    encoder = BuyerEncoder(buyer_tower, CPU)
    together_BD = vectors(encoder, batch)
    for vector_D, events in zip(together_BD, batch, strict=True):
        assert_allclose(vector_D, vectors(encoder, [events])[0], atol=1e-5)
        assert_allclose(vector_D, forward(buyer_tower, events), atol=1e-5)


@pytest.mark.parametrize("aggregation", sorted(AGGREGATORS))
@few_examples
@given(batch=st.lists(EVENTS, min_size=1, max_size=6), weights=WEIGHTS)
def test_one_pass_over_all_histories_joins_them_as_each_alone(
    aggregation: str, batch: list[Events], weights: tuple[float, ...]
) -> None:
    encoder = BuyerEncoder(tower(aggregation, weights), CPU)
    histories = [history(encoder, events) for events in batch]
    alone_BD = [encoder._aggregate(one, encoder._shares(one)) for one in histories]
    assert_allclose(encoder._aggregate_batch(histories), alone_BD, atol=1e-5)


def test_no_buyers_give_no_vectors() -> None:
    assert BuyerEncoder(tower(), CPU).encode([]) == []


@pytest.mark.parametrize("aggregation", ["weighted_avg", "attention"])
def test_a_history_of_one_event_is_its_product(aggregation: str) -> None:
    encoder = BuyerEncoder(tower(aggregation), CPU)
    [buyer] = encoder.encode([history(encoder, [(4, 1, 0)])])
    assert_allclose(buyer.vector_D, ITEMS_ND[4], atol=1e-6)
    assert_allclose(encoder.contributions(buyer, TARGETS_KD)[:, 0], TARGETS_KD @ ITEMS_ND[4], atol=1e-6)


@pooling
@few_examples
@given(events=EVENTS, others=EVENTS, weights=WEIGHTS)
def test_contributions_and_what_all_buyers_have_sum_to_the_inner_product(
    aggregation: str, events: Events, others: Events, weights: tuple[float, ...]
) -> None:
    buyer_tower = tower(aggregation, weights)
    encoder = BuyerEncoder(buyer_tower, CPU)
    [buyer, _] = encoder.encode([history(encoder, events), history(encoder, others)])
    parts_KL = encoder.contributions(buyer, TARGETS_KD)
    assert parts_KL.shape == (len(TARGETS_KD), len(events))
    counts = np.array([weights[event_type] > 0 for _, event_type, _ in events])
    assert not parts_KL[:, ~counts].any()
    if not counts.any():
        assert_array_equal(buyer.vector_D, encoder.empty())
        return
    # The shares sum to 1, so the factors sum to 1 / norm: that is also the prior's factor.
    prior_D = buyer_tower.empty.detach().numpy() * buyer.factors_L.sum() if buyer_tower.adds_prior else 0
    expected_K = TARGETS_KD @ (buyer.vector_D - prior_D)
    assert_allclose(parts_KL.sum(axis=1), expected_K, atol=1e-4)


def test_contributions_are_the_weighted_products_over_the_norm() -> None:
    # Weights 1 and 3, products at a right angle: the sum (1, 3) / 4 has the norm sqrt(10) / 4.
    right_angle = replace(SPEC, aggregation="weighted_avg", event_weights=(1.0, 3.0))
    encoder = BuyerEncoder(BuyerTower(right_angle), CPU)
    items_LD = np.eye(2, SPEC.embedding_dim, dtype=np.float32)
    events = History(np.array([0, 1]), items_LD, np.array([0, 1]), np.array([0, 0]), encoder.item_logits(items_LD))
    [buyer] = encoder.encode([events])
    assert_allclose(encoder.contributions(buyer, items_LD), np.diag([1, 3]) / 10**0.5, atol=1e-6)


@few_examples
@given(events=EVENTS, weights=WEIGHTS)
def test_of_a_transformer_the_sum_that_it_adds_to_is_explained(events: Events, weights: tuple[float, ...]) -> None:
    buyer_tower = tower("transformer", weights)
    encoder = BuyerEncoder(buyer_tower, CPU)
    [buyer] = encoder.encode([history(encoder, events)])
    transformer, items_ND = buyer_tower.aggregate, torch.from_numpy(ITEMS_ND)
    assert isinstance(transformer, CausalTransformer)
    counting = prefixes(events)
    counting = counting.where(torch.tensor(weights)[counting.types_Z] > 0)
    with torch.no_grad():
        norm = (transformer(items_ND, counting) + buyer_tower.empty).norm().item()
        # The places of events are counted with those that have no weight.
        pooled_D = transformer.attention(items_ND, prefixes(events))[0].numpy()
    assert_allclose(encoder.contributions(buyer, TARGETS_KD).sum(axis=1), TARGETS_KD @ pooled_D / norm, atol=1e-4)


def test_logits_of_many_products_are_those_of_each() -> None:
    items_ND = unit_vectors(2 * ITEM_LOGITS_CHUNK + 1)
    items_ND.setflags(write=False)  # as a memory-mapped file
    attention = tower()
    logits_N = BuyerEncoder(attention, CPU).item_logits(items_ND)
    assert isinstance(attention.aggregate, Pooling)
    with torch.no_grad():
        expected_N = attention.aggregate.item_logits(torch.tensor(items_ND))
    assert_allclose(logits_N, expected_N.numpy(), atol=1e-6)


def test_a_buyer_without_history_has_a_learned_unit_vector() -> None:
    buyer_tower = tower()
    learned_D = buyer_tower.empty.detach().numpy()
    assert_allclose(BuyerEncoder(buyer_tower, CPU).empty(), learned_D / np.linalg.norm(learned_D), atol=1e-6)


def test_serving_turns_training_behaviour_off() -> None:
    buyer_tower = tower().train()
    BuyerEncoder(buyer_tower, CPU)
    assert not buyer_tower.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("aggregation", sorted(AGGREGATORS))
def test_a_gpu_gives_the_same(aggregation: str) -> None:
    batch: list[Events] = [[(1, 0, 0)], [(2, 1, 0), (3, 2, 7), (2, 0, 0)], [(n, n % 3, n) for n in range(50)] * 2]
    cpu, gpu = BuyerEncoder(tower(aggregation), CPU), BuyerEncoder(tower(aggregation), torch.device("cuda"))
    assert_allclose(vectors(gpu, batch), vectors(cpu, batch), atol=1e-4)
    assert_allclose(gpu.empty(), cpu.empty(), atol=1e-4)
    for events in batch:
        parts = [
            encoder.contributions(encoder.encode([history(encoder, events)])[0], TARGETS_KD) for encoder in (cpu, gpu)
        ]
        assert_allclose(parts[1], parts[0], atol=1e-4)
