"""Buyers as the online service encodes them: in batches, with what each event contributed."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from random_release import SPEC, unit_vectors
from torch import Tensor, nn

from training.artifacts.buyer_encoder import CHUNK, BuyerEncoder, History
from training.towers import AGGREGATORS, BuyerTower, ModelSpec

CPU = torch.device("cpu")
ITEMS_ND = unit_vectors(50)
TARGETS_KD = unit_vectors(7, seed=2)

pooling = pytest.mark.parametrize("aggregation", sorted(AGGREGATORS))
few_examples = settings(max_examples=40, deadline=None)

# Of one event each: the product's place in ITEMS_ND and the event-type code.
EVENTS = st.lists(st.tuples(st.integers(0, len(ITEMS_ND) - 1), st.integers(0, 2)), min_size=1, max_size=12)
WEIGHTS = st.tuples(*[st.sampled_from([0.0, 0.001, 1.0, 5.0, 100.0])] * 3)

Events = list[tuple[int, int]]


class SumOfSquares(nn.Module):
    """An aggregator that is no weighted sum of its products."""

    def forward(self, items_BLD: Tensor, weights_BL: Tensor) -> Tensor:
        return torch.einsum("bl,bld->bd", weights_BL, items_BLD.square())


def tower(aggregation: str = "attention", weights: tuple[float, ...] = SPEC.event_weights) -> BuyerTower:
    torch.manual_seed(3)
    return BuyerTower(ModelSpec(**(SPEC.as_json() | {"aggregation": aggregation, "event_weights": weights})))


def tower_without_logits() -> BuyerTower:
    squares = tower()
    squares.aggregate = SumOfSquares()
    return squares


def history(encoder: BuyerEncoder, events: Events) -> History:
    logits_N = encoder.item_logits(ITEMS_ND)
    products, types = (np.array(column, dtype=np.int64) for column in zip(*events, strict=True))
    return History(ITEMS_ND[products], types, None if logits_N is None else logits_N[products])


def vectors(encoder: BuyerEncoder, batch: list[Events]) -> npt.NDArray[np.float32]:
    return np.stack([buyer.vector_D for buyer in encoder.encode([history(encoder, events) for events in batch])])


def forward(buyer_tower: BuyerTower, events: Events) -> npt.NDArray[np.float32]:
    """The vector as training computes it."""
    products, types = (torch.tensor(column) for column in zip(*events, strict=True))
    mask_BL = torch.ones(1, len(events), dtype=torch.bool)
    with torch.no_grad():
        vector_BD: Tensor = buyer_tower(torch.from_numpy(ITEMS_ND)[products][None], types[None], mask_BL)
    return vector_BD[0].numpy()


TOWERS = [
    *(pytest.param(tower(name), id=name) for name in sorted(AGGREGATORS)),
    pytest.param(tower_without_logits(), id="no logits"),
]


@pytest.mark.parametrize("buyer_tower", TOWERS)
@few_examples
@given(batch=st.lists(EVENTS, min_size=1, max_size=6))
def test_a_batch_equals_each_alone_and_the_tower_itself(buyer_tower: BuyerTower, batch: list[Events]) -> None:
    encoder = BuyerEncoder(buyer_tower, CPU)
    together_BD = vectors(encoder, batch)
    for vector_D, events in zip(together_BD, batch, strict=True):
        assert_allclose(vector_D, vectors(encoder, [events])[0], atol=1e-5)
        assert_allclose(vector_D, forward(buyer_tower, events), atol=1e-5)


def test_no_buyers_give_no_vectors() -> None:
    assert BuyerEncoder(tower(), CPU).encode([]) == []


@pooling
def test_a_history_of_one_event_is_its_product(aggregation: str) -> None:
    encoder = BuyerEncoder(tower(aggregation), CPU)
    [buyer] = encoder.encode([history(encoder, [(4, 1)])])
    assert_allclose(buyer.vector_D, ITEMS_ND[4], atol=1e-6)
    assert_allclose(encoder.contributions(buyer, TARGETS_KD)[:, 0], TARGETS_KD @ ITEMS_ND[4], atol=1e-6)


@pooling
@few_examples
@given(events=EVENTS, others=EVENTS, weights=WEIGHTS)
def test_contributions_of_a_pooling_tower_sum_to_the_score(
    aggregation: str, events: Events, others: Events, weights: tuple[float, ...]
) -> None:
    encoder = BuyerEncoder(tower(aggregation, weights), CPU)
    [buyer, _] = encoder.encode([history(encoder, events), history(encoder, others)])
    parts_KL = encoder.contributions(buyer, TARGETS_KD)
    assert parts_KL.shape == (len(TARGETS_KD), len(events))
    counts = [weights[event_type] > 0 for _, event_type in events]
    assert not parts_KL[:, ~np.array(counts)].any()
    if any(counts):
        assert_allclose(parts_KL.sum(axis=1), TARGETS_KD @ buyer.vector_D, atol=1e-4)
    else:
        assert_array_equal(buyer.vector_D, encoder.empty())


def test_contributions_are_the_weighted_products_over_the_norm() -> None:
    # Weights 1 and 3, products at a right angle: the sum (1, 3) / 4 has the norm sqrt(10) / 4.
    right_angle = ModelSpec(**(SPEC.as_json() | {"aggregation": "weighted_avg", "event_weights": (1.0, 3.0)}))
    encoder = BuyerEncoder(BuyerTower(right_angle), CPU)
    items_LD = np.eye(2, SPEC.embedding_dim, dtype=np.float32)
    [buyer] = encoder.encode([History(items_LD, np.array([0, 1]), encoder.item_logits(items_LD))])
    assert_allclose(encoder.contributions(buyer, items_LD), np.diag([1, 3]) / 10**0.5, atol=1e-6)


@few_examples
@given(events=EVENTS, weights=WEIGHTS)
def test_elsewhere_a_contribution_is_what_leaving_the_event_out_costs(
    events: Events, weights: tuple[float, ...]
) -> None:
    squares = tower_without_logits()
    squares.weight_by_type = torch.tensor(weights)
    encoder = BuyerEncoder(squares, CPU)
    [buyer] = encoder.encode([history(encoder, events)])
    score_K = TARGETS_KD @ forward(squares, events)
    left_out = [events[:place] + events[place + 1 :] for place in range(len(events))]
    without_LK = [TARGETS_KD @ forward(squares, others) if others else np.zeros(len(score_K)) for others in left_out]
    assert buyer.factors_L is None
    assert_allclose(
        encoder.contributions(buyer, TARGETS_KD), np.stack([score_K - row for row in without_LK], axis=1), atol=1e-5
    )


def test_logits_of_many_products_are_those_of_each() -> None:
    items_ND = unit_vectors(2 * CHUNK + 1)
    items_ND.setflags(write=False)  # as a memory-mapped file
    attention = tower()
    logits_N = BuyerEncoder(attention, CPU).item_logits(items_ND)
    with torch.no_grad():
        expected_N = attention.aggregate.item_logits(torch.tensor(items_ND))  # type: ignore[operator]
    assert logits_N is not None
    assert_allclose(logits_N, expected_N.numpy(), atol=1e-6)
    assert BuyerEncoder(tower_without_logits(), CPU).item_logits(items_ND) is None


def test_a_buyer_without_history_has_a_learned_unit_vector() -> None:
    buyer_tower = tower()
    learned_D = buyer_tower.empty.detach().numpy()
    assert_allclose(BuyerEncoder(buyer_tower, CPU).empty(), learned_D / np.linalg.norm(learned_D), atol=1e-6)


def test_serving_turns_training_behaviour_off() -> None:
    buyer_tower = tower().train()
    BuyerEncoder(buyer_tower, CPU)
    assert not buyer_tower.training


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("aggregation", [*sorted(AGGREGATORS), None])
def test_a_gpu_gives_the_same(aggregation: str | None) -> None:
    def make() -> BuyerTower:
        return tower(aggregation) if aggregation else tower_without_logits()

    batch: list[Events] = [[(1, 0)], [(2, 1), (3, 2), (2, 0)], [(place, place % 3) for place in range(50)] * 2]
    cpu, gpu = BuyerEncoder(make(), CPU), BuyerEncoder(make(), torch.device("cuda"))
    assert_allclose(vectors(gpu, batch), vectors(cpu, batch), atol=1e-4)
    assert_allclose(gpu.empty(), cpu.empty(), atol=1e-4)
    for events in batch:
        parts = [
            encoder.contributions(encoder.encode([history(encoder, events)])[0], TARGETS_KD) for encoder in (cpu, gpu)
        ]
        assert_allclose(parts[1], parts[0], atol=1e-4)
