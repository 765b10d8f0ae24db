"""The towers against numbers worked out by hand and against numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from torch import Tensor, nn

from feature_repo.config import ModelConfig
from training.towers import UNKNOWN, Attention, BuyerTower, ItemTower, ModelSpec, TwoTower, WeightedAverage

Array = npt.NDArray[np.float32]

SPEC = ModelSpec(
    text_dim=3,
    embedding_dim=4,
    hidden_dim=5,
    categorical_dim=2,
    dropout=0.1,
    n_brands=3,
    n_categories=4,
    n_ids=3,
    aggregation="attention",
    attention_hidden_dim=6,
    event_weights=(1.0, 5.0, 10.0),
)
VIEW, CART, PURCHASE = 0, 1, 2


def fill(module: nn.Module, values: dict[str, Any]) -> None:
    """Sets every parameter of a module."""
    module.load_state_dict({name: torch.tensor(value, dtype=torch.float32) for name, value in values.items()})


def tiny_item_tower() -> ItemTower:
    """Two text dimensions, one each for brand and category, two hidden units, two dimensions of the result."""
    tower = ItemTower(
        replace(SPEC, text_dim=2, categorical_dim=1, hidden_dim=2, embedding_dim=2, n_brands=2, n_categories=3, n_ids=2)
    )
    fill(
        tower,
        {
            "brand.weight": [[5], [1]],
            "category.weight": [[7], [0], [-1]],
            "projection.0.weight": [[1, 0, 1, 0], [0, 1, 0, 1]],
            "projection.0.bias": [0, -2],
            "projection.3.weight": [[1, 0], [0, 1]],
            "projection.3.bias": [0, 1],
            "identity.weight": [[0, 0], [1, 3]],
        },
    )
    return tower.eval()


def encode_item(tower: ItemTower, text: list[float], brand: int, category: int, product: int) -> list[float]:
    indices = [torch.tensor([index]) for index in (brand, category, product)]
    vector: list[float] = tower(torch.tensor([text]), *indices)[0].tolist()
    return vector


def test_item_tower_by_hand() -> None:
    # [1, 2, brand 1, category -1] -> hidden [1 + 1, 2 - 1 - 2] -> ReLU [2, 0] -> [2, 0 + 1] -> + [1, 3] = [3, 4].
    assert encode_item(tiny_item_tower(), [1, 2], brand=1, category=2, product=1) == pytest.approx([0.6, 0.8])


def test_unknown_names_and_products_have_index_0() -> None:
    assert UNKNOWN == 0
    # [1, 2, brand 5, category 7] -> hidden [1 + 5, 2 + 7 - 2] = [6, 7] -> [6, 8], and no vector of its own.
    assert encode_item(tiny_item_tower(), [1, 2], UNKNOWN, UNKNOWN, UNKNOWN) == pytest.approx([0.6, 0.8])


@settings(max_examples=50, deadline=None)
@given(
    text_NT=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(-3, 3, width=32, allow_subnormal=False)
    ),
    seed=st.integers(0, 1000),
)
def test_item_tower_equals_numpy(text_NT: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    tower = ItemTower(SPEC).eval()
    fill(tower, {name: rng.normal(size=value.shape) for name, value in tower.state_dict().items()})
    brand_N, category_N, id_N = (rng.integers(0, size, len(text_NT)) for size in (3, 4, 3))
    with torch.no_grad():
        actual_ND = tower(torch.from_numpy(text_NT), *(torch.from_numpy(part) for part in (brand_N, category_N, id_N)))

    weights = {name: value.numpy().astype(np.float64) for name, value in tower.state_dict().items()}
    joined = np.hstack([text_NT, weights["brand.weight"][brand_N], weights["category.weight"][category_N]])
    hidden = np.maximum(joined @ weights["projection.0.weight"].T + weights["projection.0.bias"], 0)
    projected = (
        hidden @ weights["projection.3.weight"].T + weights["projection.3.bias"] + weights["identity.weight"][id_N]
    )
    assert_allclose(actual_ND, projected / np.linalg.norm(projected, axis=1, keepdims=True), atol=1e-5)
    assert_allclose(np.linalg.norm(actual_ND, axis=1), 1, atol=1e-6)


def test_dropout_works_in_training_only() -> None:
    torch.manual_seed(1)
    tower = ItemTower(replace(SPEC, dropout=0.5, hidden_dim=64))
    inputs = torch.randn(5, 3), *(torch.zeros(5, dtype=torch.int64) for _ in range(3))
    assert not torch.equal(tower(*inputs), tower(*inputs))
    tower.eval()
    assert torch.equal(tower(*inputs), tower(*inputs))


def test_a_part_that_is_switched_off_has_no_parameters() -> None:
    config = ModelConfig.model_validate({"item_tower": {"use_categorical_features": False, "id_embedding": False}})
    spec = ModelSpec.from_config(
        config, text_dim=3, n_brands=9, n_categories=9, n_ids=9, event_weights=(1.0, 5.0, 10.0)
    )
    assert (spec.n_brands, spec.n_categories, spec.n_ids) == (0, 0, 0)
    tower = ItemTower(spec)
    names = [name for name, _ in tower.named_parameters()]
    assert names == ["projection.0.weight", "projection.0.bias", "projection.3.weight", "projection.3.bias"]
    assert tower.projection[0].in_features == 3


def test_spec_survives_json() -> None:
    assert ModelSpec.from_json(SPEC.as_json()) == SPEC


# ---- buyers ----------------------------------------------------------------------------------------------------------


def buyer_tower(aggregation: str, event_weights: tuple[float, ...] = (1.0, 5.0, 10.0), dim: int = 4) -> BuyerTower:
    torch.manual_seed(3)
    return BuyerTower(replace(SPEC, aggregation=aggregation, event_weights=event_weights, embedding_dim=dim)).eval()


@torch.no_grad()
def encode_buyer(tower: BuyerTower, items: npt.ArrayLike, types: list[int], mask: list[bool] | None = None) -> Array:
    """The vector of one buyer."""
    items_LD = torch.tensor(np.asarray(items, dtype=np.float32)).reshape(len(types), -1)
    mask_L = torch.tensor([True] * len(types) if mask is None else mask, dtype=torch.bool)
    vector: Tensor = tower(items_LD[None], torch.tensor([types], dtype=torch.int64), mask_L[None])[0]
    return vector.numpy()


def test_weighted_average_by_hand() -> None:
    # A view of (1, 0) and a purchase of (0, 1): (1 * (1, 0) + 10 * (0, 1)) / 11, to unit length.
    vector = encode_buyer(buyer_tower("weighted_avg", dim=2), [[1, 0], [0, 1]], [VIEW, PURCHASE])
    assert_allclose(vector, np.array([1, 10]) / np.sqrt(101), rtol=1e-6)


def test_weighted_average_weights_sum_to_one() -> None:
    average = WeightedAverage(SPEC)(torch.tensor([[[2.0, 0.0], [0.0, 4.0]]]), torch.tensor([[1.0, 3.0]]))
    assert average.tolist() == [[0.5, 3.0]]


def test_attention_by_hand() -> None:
    attention = Attention(replace(SPEC, embedding_dim=2, attention_hidden_dim=1))
    fill(attention, {"score.0.weight": [[1, -1]], "score.0.bias": [0], "score.2.weight": [[2]]})
    joined = attention(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]), torch.tensor([[1.0, 10.0]]))
    # Scores 2 tanh(1) and 2 tanh(-1).
    shares = np.array([1, 10]) * np.exp(2 * np.tanh([1, -1]))
    assert_allclose(joined.detach()[0], shares / shares.sum(), rtol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    items_LD=hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(4)), elements=st.floats(-2, 2, width=32)),
    data=st.data(),
)
def test_softmax_of_score_plus_log_weight_is_the_weighted_softmax_normalised_again(
    items_LD: Array, data: st.DataObject
) -> None:
    weights_L = np.array(
        data.draw(st.lists(st.sampled_from([0.0, 1.0, 5.0, 10.0]), min_size=len(items_LD), max_size=len(items_LD)))
    )
    torch.manual_seed(5)
    attention = Attention(SPEC)
    with torch.no_grad():
        actual_D = attention(torch.from_numpy(items_LD)[None], torch.tensor(weights_L, dtype=torch.float32)[None])[0]
        scores_L = attention.score(torch.from_numpy(items_LD))[:, 0].double().numpy()
    softmax_L = np.exp(scores_L) / np.exp(scores_L).sum()
    weighted_L = softmax_L * weights_L
    expected_D = weighted_L / (weighted_L.sum() or 1) @ items_LD
    assert_allclose(actual_D, expected_D, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["weighted_avg", "attention"])
class TestBuyerTower:
    def test_an_empty_history_gives_the_learned_vector(self, aggregation: str) -> None:
        tower = buyer_tower(aggregation)
        expected_D = (tower.empty / tower.empty.norm()).detach().numpy()
        assert_allclose(encode_buyer(tower, np.ones((2, 4)), [PURCHASE, VIEW], [False, False]), expected_D, rtol=1e-6)
        assert_allclose(encode_buyer(tower, np.ones((2, 4)) * 9, [VIEW, CART], [False, False]), expected_D, rtol=1e-6)

    def test_events_of_weight_zero_are_no_events(self, aggregation: str) -> None:
        tower = buyer_tower(aggregation, event_weights=(0.0, 5.0, 10.0))
        items = np.random.default_rng(1).normal(size=(3, 4))
        with_view = encode_buyer(tower, items, [CART, VIEW, PURCHASE])
        assert_allclose(with_view, encode_buyer(tower, items[[0, 2]], [CART, PURCHASE]), atol=1e-6)
        only_views = encode_buyer(tower, items, [VIEW, VIEW, VIEW])
        assert_allclose(only_views, (tower.empty / tower.empty.norm()).detach(), atol=1e-6)

    def test_stronger_events_pull_harder(self, aggregation: str) -> None:
        tower = buyer_tower(aggregation)
        tea, shoes = [1, 0, 0, 0], [0, 1, 0, 0]
        bought_tea = encode_buyer(tower, [tea, shoes], [PURCHASE, VIEW])
        viewed_tea = encode_buyer(tower, [tea, shoes], [VIEW, PURCHASE])
        assert bought_tea @ tea > viewed_tea @ tea

    def test_vectors_have_unit_length(self, aggregation: str) -> None:
        tower = buyer_tower(aggregation)
        items = np.random.default_rng(2).normal(size=(6, 4)) * 100
        assert_allclose(np.linalg.norm(encode_buyer(tower, items, [VIEW, CART, PURCHASE] * 2)), 1, atol=1e-6)

    @settings(max_examples=40, deadline=None)
    @given(
        types=st.lists(st.sampled_from([VIEW, CART, PURCHASE]), max_size=5),
        padding=st.integers(1, 4),
        garbage=st.floats(-1e6, 1e6, width=32),
        seed=st.integers(0, 99),
    )
    def test_padding_never_changes_a_vector(
        self, aggregation: str, types: list[int], padding: int, garbage: float, seed: int
    ) -> None:
        tower = buyer_tower(aggregation)
        items = np.random.default_rng(seed).normal(size=(len(types) + padding, 4))
        items[len(types) :] = garbage
        mask = [True] * len(types) + [False] * padding
        padded = encode_buyer(tower, items, types + [PURCHASE] * padding, mask)
        exact = (
            encode_buyer(tower, items[: len(types)], types) if types else (tower.empty / tower.empty.norm()).detach()
        )
        assert_allclose(padded, exact, atol=1e-6)

    def test_gradient_reaches_every_parameter(self, aggregation: str) -> None:
        torch.manual_seed(4)
        model = TwoTower(replace(SPEC, aggregation=aggregation)).eval()
        ids = torch.tensor([0, 1, 2])
        item_ND = model.item_tower(torch.randn(3, 3), torch.tensor([0, 1, 2]), torch.tensor([1, 3, 2]), ids)
        # One buyer with two events, one without any.
        items_BLD = item_ND[:2].expand(2, 2, 4)
        mask_BL = torch.tensor([[True, True], [False, False]])
        buyer_BD = model.buyer_tower(items_BLD, torch.tensor([[VIEW, PURCHASE], [VIEW, VIEW]]), mask_BL)
        (buyer_BD @ torch.randn(4, 1)).sum().backward()

        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
        assert model.item_tower.identity is not None
        assert model.item_tower.identity.weight.grad is not None
        assert_array_equal(model.item_tower.identity.weight.grad[UNKNOWN], np.zeros(4))

    def test_an_empty_history_teaches_nothing_but_its_own_vector(self, aggregation: str) -> None:
        tower = buyer_tower(aggregation)
        items_BLD = torch.randn(1, 2, 4, requires_grad=True)
        tower(items_BLD, torch.zeros(1, 2, dtype=torch.int64), torch.zeros(1, 2, dtype=torch.bool))[0, 0].backward()
        assert items_BLD.grad is not None
        assert_array_equal(items_BLD.grad, np.zeros((1, 2, 4)))
        assert tower.empty.grad is not None
        assert tower.empty.grad.abs().max() > 0


def test_a_product_starts_as_its_text_alone() -> None:
    tower = ItemTower(SPEC).eval()
    text_NT = torch.randn(2, 3)
    zeros = torch.zeros(2, dtype=torch.int64)
    own = tower(text_NT, zeros, zeros, torch.tensor([1, 2]))
    assert torch.equal(own, tower(text_NT, zeros, zeros, zeros))
