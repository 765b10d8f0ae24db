"""What every aggregator must do, whichever there are: they are found, not listed."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from feature_repo.config import BuyerTowerConfig
from training import towers
from training.artifacts.buyer_encoder import BuyerEncoder, History
from training.artifacts.model import ModelCard, load_model, save_model
from training.catalogue import Vocabularies
from training.towers import AGGREGATORS, ModelSpec, TwoTower, pooling_shares

DIM = 6
SPEC = ModelSpec(
    text_dim=5,
    embedding_dim=DIM,
    hidden_dim=7,
    categorical_dim=2,
    dropout=0.5,
    n_brands=2,
    n_categories=2,
    n_ids=4,
    aggregation="",
    attention_hidden_dim=3,
    event_weights=(1.0, 5.0, 10.0),
)
# Histories of 0 to 5 events: event types, 2 is the strongest.
HISTORIES = [[], [2], [0, 1], [2, 2, 2], [0, 1, 2, 0], [1, 0, 0, 2, 1]]

every_aggregator = pytest.mark.parametrize("name", sorted(AGGREGATORS))


def model_with(name: str) -> TwoTower:
    torch.manual_seed(1)
    return TwoTower(replace(SPEC, aggregation=name)).eval()


def batch(histories: list[list[int]], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Items, types and mask of histories; what lies beyond the end of one is noise."""
    rows = [HISTORIES.index(history) for history in histories]
    items_BLD = torch.randn(len(HISTORIES), 9, DIM, generator=torch.Generator().manual_seed(2))[rows, :width]
    types_BL = torch.tensor([history + [2] * (width - len(history)) for history in histories], dtype=torch.int64)
    mask_BL = torch.tensor(
        [[event < len(history) for event in range(width)] for history in histories], dtype=torch.bool
    )
    return items_BLD, types_BL.reshape(len(histories), width), mask_BL.reshape(len(histories), width)


@torch.no_grad()
def encode(model: TwoTower, histories: list[list[int]], width: int = 5) -> Tensor:
    vectors: Tensor = model.buyer_tower(*batch(histories, width))
    return vectors


def test_every_aggregator_is_registered_and_can_be_configured() -> None:
    modules = [
        value for _, value in inspect.getmembers(towers, inspect.isclass)
        if issubclass(value, nn.Module) and value.__module__ == towers.__name__
    ]  # fmt: skip
    aggregators = {
        m for m in modules if list(inspect.signature(m.forward).parameters)[1:] == ["items_BLD", "weights_BL"]
    }
    assert aggregators == set(AGGREGATORS.values())
    assert set(get_args(BuyerTowerConfig.model_fields["aggregation_method"].annotation)) == set(AGGREGATORS)


@every_aggregator
def test_one_alone_equals_one_among_many(name: str) -> None:
    model = model_with(name)
    together = encode(model, HISTORIES)
    alone = torch.cat([encode(model, [history]) for history in HISTORIES])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-6)


@every_aggregator
def test_more_padding_changes_nothing(name: str) -> None:
    model = model_with(name)
    torch.testing.assert_close(encode(model, HISTORIES, width=9), encode(model, HISTORIES, width=5), rtol=0, atol=1e-6)


@every_aggregator
def test_an_empty_history_gives_a_finite_unit_vector(name: str) -> None:
    model = model_with(name)
    [vector] = encode(model, [[]])
    torch.testing.assert_close(vector, nn.functional.normalize(model.buyer_tower.empty.detach(), dim=0))


@every_aggregator
def test_no_buyers_give_no_vectors(name: str) -> None:
    assert encode(model_with(name), []).shape == (0, DIM)


@every_aggregator
def test_the_aggregate_of_nothing_is_zero_and_its_gradient_finite(name: str) -> None:
    aggregate = model_with(name).buyer_tower.aggregate
    items_BLD = torch.randn(2, 3, DIM, requires_grad=True)
    weights_BL = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 5.0]])
    joined_BD = aggregate(items_BLD, weights_BL)
    assert joined_BD[0].tolist() == [0] * DIM
    joined_BD.sum().backward()
    gradients = [items_BLD.grad, *(parameter.grad for parameter in aggregate.parameters())]
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)


@every_aggregator
def test_the_order_of_events_does_not_matter(name: str) -> None:
    model = model_with(name)
    items_BLD, types_BL, mask_BL = batch([HISTORIES[-1]], 5)
    order = [3, 0, 4, 2, 1]
    with torch.no_grad():
        shuffled = model.buyer_tower(items_BLD[:, order], types_BL[:, order], mask_BL[:, order])
    torch.testing.assert_close(shuffled, encode(model, [HISTORIES[-1]]), rtol=0, atol=1e-6)


@every_aggregator
def test_inference_is_deterministic(name: str) -> None:
    model = model_with(name)
    assert torch.equal(encode(model, HISTORIES), encode(model, HISTORIES))
    assert torch.equal(encode(model_with(name), HISTORIES), encode(model, HISTORIES))


@every_aggregator
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path: Path) -> None:
    model = model_with(name)
    vocabularies = Vocabularies(("<UNK>", "a"), ("<UNK>", "b"), np.array([5, 6, 7], dtype=np.int64))
    save_model(tmp_path, model, vocabularies, ModelCard("encoder", "service", "hash", epoch=1))
    loaded, _, _ = load_model(tmp_path)
    assert type(loaded.buyer_tower.aggregate) is AGGREGATORS[name]
    assert torch.equal(encode(loaded, HISTORIES), encode(model, HISTORIES))


# ---- what serving asks of an aggregator ------------------------------------------------------------------------------


class LargestValues(nn.Module):
    """An aggregator of the other kind: its result is no sum of the history's products."""

    def forward(self, items_BLD: Tensor, weights_BL: Tensor) -> Tensor:
        largest_BD: Tensor = (items_BLD * weights_BL[:, :, None]).amax(dim=1)
        return largest_BD


@every_aggregator
def test_item_logits_make_the_same_as_the_aggregator_itself(name: str) -> None:
    aggregate = model_with(name).buyer_tower.aggregate
    if not hasattr(aggregate, "item_logits"):
        pytest.skip(f"{name} weighs no product by itself")
    items_BLD = torch.randn(3, 4, DIM, generator=torch.Generator().manual_seed(3))
    weights_BL = torch.tensor([[1.0, 0.0, 10.0, 0.5], [0.0, 0.0, 0.0, 0.0], [1e-6, 1e6, 0.0, 0.0]])
    with torch.no_grad():
        logits_BL = aggregate.item_logits(items_BLD)  # type: ignore[operator]
        shares_BL = pooling_shares(logits_BL, weights_BL)
        pooled_BD = torch.einsum("bl,bld->bd", shares_BL, items_BLD)
        torch.testing.assert_close(pooled_BD, aggregate(items_BLD, weights_BL), rtol=0, atol=1e-6)
    torch.testing.assert_close(shares_BL.sum(dim=1), torch.tensor([1.0, 0.0, 1.0]))
    assert not shares_BL[weights_BL == 0].any()


@pytest.mark.parametrize("name", [*sorted(AGGREGATORS), "of another kind"])
def test_serving_encodes_what_the_tower_does_and_explains_it(name: str) -> None:
    tower = model_with(name if name in AGGREGATORS else "attention").buyer_tower
    if name not in AGGREGATORS:
        tower.aggregate = LargestValues()
    encoder = BuyerEncoder(tower, torch.device("cpu"))
    items_LD = np.random.default_rng(4).normal(size=(3, DIM)).astype(np.float32)
    types_L = np.array([0, 2, 1])
    targets_KD = np.random.default_rng(5).normal(size=(2, DIM)).astype(np.float32)

    def score(events: list[int]) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        with torch.no_grad():
            items_BLD, types_BL = torch.from_numpy(items_LD[events])[None], torch.from_numpy(types_L[events])[None]
            vector_BD = tower(items_BLD, types_BL, torch.ones(1, len(events), dtype=torch.bool))
        return targets_KD @ vector_BD[0].numpy()

    [buyer] = encoder.encode([History(items_LD, types_L, encoder.item_logits(items_LD))])
    np.testing.assert_allclose(targets_KD @ buyer.vector_D, score([0, 1, 2]), atol=1e-5)
    parts_KL = encoder.contributions(buyer, targets_KD)
    if buyer.factors_L is not None:
        np.testing.assert_allclose(parts_KL.sum(axis=1), score([0, 1, 2]), atol=1e-5)
    else:
        left_out = [score([1, 2]), score([0, 2]), score([0, 1])]
        np.testing.assert_allclose(parts_KL, score([0, 1, 2])[:, None] - np.stack(left_out, axis=1), atol=1e-5)
    assert (buyer.factors_L is None) == (not hasattr(tower.aggregate, "item_logits"))
