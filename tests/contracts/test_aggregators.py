"""What every aggregator must do, whichever there are: they are found, not listed."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from feature_repo.settings.model import BuyerTowerConfig
from tests.tiny_model import prefixes, tiny_spec
from training.artifacts.model import ModelCard, load_model, save_model
from training.data.histories import Histories
from training.model import aggregators
from training.model.aggregators import AGGREGATORS, Pooling
from training.model.item_features import Vocabularies
from training.model.prefixes import HOUR_MS, prefixes_of
from training.model.towers import TwoTower

SPEC = tiny_spec(embedding_dim=6, attention_hidden_dim=3, max_history=12)
ITEMS_UD = torch.randn(9, 6, generator=torch.Generator().manual_seed(2))
Event = tuple[int, int, int]  # row of ITEMS_UD, event type, hours since the start
HISTORIES: list[list[Event]] = [
    [],
    [(3, 2, 0)],
    [(0, 0, 0), (1, 1, 0)],
    [(2, 2, 0), (2, 2, 5), (2, 2, 9)],
    [(8, 0, 0), (7, 1, 0), (6, 2, 30), (8, 0, 800)],
    [(4, 1, 0), (5, 0, 1), (4, 0, 2), (3, 2, 3), (1, 1, 4)],
]
events = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2), st.integers(0, 50)), max_size=12).map(
    lambda drawn: sorted(drawn, key=lambda event: event[2])
)
event_weights = st.sampled_from([(1.0, 5.0, 10.0), (0.0, 5.0, 10.0), (0.0, 0.0, 1.0)])

every_aggregator = pytest.mark.parametrize("name", sorted(AGGREGATORS))


def model_with(name: str, event_weights: tuple[float, ...] = (1.0, 5.0, 10.0)) -> TwoTower:
    """Random weights throughout, those that training starts at zero too."""
    torch.manual_seed(1)
    model = TwoTower(replace(SPEC, aggregation=name, event_weights=event_weights)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return model


@torch.no_grad()
def encode(model: TwoTower, histories: list[list[Event]], items_UD: Tensor = ITEMS_UD) -> Tensor:
    vectors: Tensor = model.buyer_tower(items_UD, prefixes(histories))
    return vectors


def encode_alone(model: TwoTower, history: list[Event]) -> Tensor:
    """The vector of one buyer, where no product has one but those of events that count."""
    counted = [item for item, kind, _ in history if model.spec.event_weights[kind] > 0]
    items_UD = torch.full_like(ITEMS_UD, torch.nan)
    items_UD[counted] = ITEMS_UD[counted]
    return encode(model, [history], items_UD)


def test_every_aggregator_is_registered_and_can_be_configured() -> None:
    found = {
        value for _, value in inspect.getmembers(aggregators, inspect.isclass)
        if issubclass(value, nn.Module) and value.__module__ == aggregators.__name__ and value is not Pooling
    }  # fmt: skip
    assert found == set(AGGREGATORS.values())
    assert set(get_args(BuyerTowerConfig.model_fields["aggregation_method"].annotation)) == set(AGGREGATORS)


@every_aggregator
@settings(max_examples=60)
@given(batch=st.lists(events, min_size=1, max_size=5), weights=event_weights)
def test_one_alone_equals_one_among_many(name: str, batch: list[list[Event]], weights: tuple[float, ...]) -> None:
    model = model_with(name, weights)
    alone = torch.cat([encode_alone(model, history) for history in batch])
    torch.testing.assert_close(encode(model, batch), alone, rtol=0, atol=1e-5)


@every_aggregator
@settings(max_examples=60)
@given(timelines=st.lists(events, min_size=1, max_size=3), weights=event_weights, data=st.data())
def test_all_prefixes_in_one_pass_equal_each_history_by_itself(
    name: str, timelines: list[list[Event]], weights: tuple[float, ...], data: st.DataObject
) -> None:
    """Windows of shared timelines, as training asks for them, that begin at a buyer's first event or later."""
    model = model_with(name, weights)
    flat = [event for timeline in timelines for event in timeline]
    items, types, hours = (np.array([event[part] for event in flat], dtype=np.int64) for part in range(3))
    offsets = np.cumsum([0, *map(len, timelines)]).astype(np.int64)
    histories = Histories(offsets, items.astype(np.int32), types.astype(np.int32), hours * HOUR_MS)
    windows = []
    for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        begins = st.sampled_from(range(start, stop + 1))
        windows += [(min(end, data.draw(begins)), end) for end in range(start, stop + 1)]
    starts, ends = (np.array([window[side] for window in windows], dtype=np.int64) for side in (0, 1))
    with torch.no_grad():
        together = model.buyer_tower(ITEMS_UD, prefixes_of(histories, starts, ends))
    alone = torch.cat([encode_alone(model, flat[start:end]) for start, end in windows])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@every_aggregator
def test_an_empty_history_gives_the_learned_unit_vector(name: str) -> None:
    model = model_with(name)
    [vector] = encode(model, [[]])
    torch.testing.assert_close(vector, nn.functional.normalize(model.buyer_tower.empty.detach(), dim=0))


@every_aggregator
def test_no_buyers_give_no_vectors(name: str) -> None:
    assert encode(model_with(name), []).shape == (0, 6)


@every_aggregator
def test_vectors_have_unit_length(name: str) -> None:
    torch.testing.assert_close(encode(model_with(name), HISTORIES).norm(dim=1), torch.ones(len(HISTORIES)))


@every_aggregator
def test_events_of_weight_zero_are_no_events(name: str) -> None:
    """Their place counts, though: a shop that switches views off still has the others as far apart as they were."""
    model = model_with(name, (0.0, 5.0, 10.0))
    first = [(4, 1, 0), (3, 2, 3)]
    with_views = [(5, 0, 0), *first]
    torch.testing.assert_close(encode(model, [with_views]), encode(model, [first]), rtol=0, atol=1e-6)
    torch.testing.assert_close(encode(model, [[(5, 0, 0)]]), encode(model, [[]]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "matters"), [(name, name not in ("weighted_avg", "attention")) for name in AGGREGATORS]
)
def test_the_order_of_events_matters_to_all_but_the_plain_poolings(name: str, matters: bool) -> None:
    model = model_with(name)
    there, back = encode(model, [[(0, 2, 0), (1, 2, 0), (2, 2, 0)], [(2, 2, 0), (1, 2, 0), (0, 2, 0)]])
    assert torch.allclose(there, back, atol=1e-6) != matters


@every_aggregator
def test_gradients_are_finite_and_reach_every_parameter(name: str) -> None:
    tower = model_with(name).buyer_tower
    items_UD = ITEMS_UD.clone().requires_grad_()
    (tower(items_UD, prefixes(HISTORIES)) @ torch.randn(6, 1)).sum().backward()
    assert items_UD.grad is not None
    assert torch.isfinite(items_UD.grad).all()
    assert items_UD.grad.abs().sum() > 0
    for parameter_name, parameter in tower.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_aggregator
def test_inference_is_deterministic(name: str) -> None:
    model = model_with(name)
    assert torch.equal(encode(model, HISTORIES), encode(model, HISTORIES))
    assert torch.equal(encode(model_with(name), HISTORIES), encode(model, HISTORIES))


@every_aggregator
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    model = model_with(name)
    vocabularies = Vocabularies(("<UNK>", "a"), ("<UNK>", "b"), (), np.array([5, 6, 7], dtype=np.int64))
    save_model(tmp_path, model, vocabularies, ModelCard("encoder", "service", "hash", epoch=1))
    loaded, _, _ = load_model(tmp_path)
    assert type(loaded.buyer_tower.aggregate) is AGGREGATORS[name]
    assert torch.equal(encode(loaded, HISTORIES), encode(model, HISTORIES))


@every_aggregator
def test_the_shares_of_a_pooling_sum_to_one(name: str) -> None:
    aggregate = model_with(name).buyer_tower.aggregate
    if not isinstance(aggregate, Pooling):
        pytest.skip(f"{name} is no weighted sum of products")
    asked = prefixes(HISTORIES)
    with torch.no_grad():
        shares_Z = aggregate.shares(ITEMS_UD, asked)
        summed = torch.stack([part.sum() for part in torch.split(shares_Z, asked.lengths.tolist())])
        torch.testing.assert_close(summed, (asked.lengths > 0).float())
        by_hand = torch.zeros(len(HISTORIES), 6).index_add(0, asked.owners, shares_Z[:, None] * ITEMS_UD[asked.items_Z])
        torch.testing.assert_close(aggregate(ITEMS_UD, asked), by_hand, rtol=0, atol=1e-6)
