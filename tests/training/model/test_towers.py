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

from feature_repo.common.config import Config
from tests.tiny_model import prefixes, tiny_spec
from training.model.aggregators import Attention, RecencyAttention, WeightedAverage
from training.model.spec import ModelSpec, VocabularySizes
from training.model.towers import UNKNOWN, BuyerTower, ItemTower, TwoTower

Array = npt.NDArray[np.float32]

SPEC = tiny_spec(text_dim=3, embedding_dim=4, hidden_dim=5, n_brands=3, n_categories=4, n_ids=3, attention_hidden_dim=6)
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
    indices = [torch.tensor([index]) for index in (brand, category, UNKNOWN, product)]
    vector: list[float] = tower(torch.tensor([text]), *indices)[0].tolist()
    return vector


def test_item_tower_by_hand() -> None:
    # [1, 2, brand 1, category -1] -> hidden [1 + 1, 2 - 1 - 2] -> ReLU [2, 0] -> [2, 0 + 1] -> + [1, 3] = [3, 4].
    assert encode_item(tiny_item_tower(), [1, 2], brand=1, category=2, product=1) == pytest.approx([0.6, 0.8])


def test_unknown_names_and_products_have_index_0() -> None:
    assert UNKNOWN == 0
    # [1, 2, brand 5, category 7] -> hidden [1 + 5, 2 + 7 - 2] = [6, 7] -> [6, 8], and no vector of its own.
    assert encode_item(tiny_item_tower(), [1, 2], UNKNOWN, UNKNOWN, UNKNOWN) == pytest.approx([0.6, 0.8])


@settings(max_examples=50)
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
        indices = (torch.from_numpy(part) for part in (brand_N, category_N, np.zeros_like(id_N), id_N))
        actual_ND = tower(torch.from_numpy(text_NT), *indices)

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
    inputs = torch.randn(5, 3), *(torch.zeros(5, dtype=torch.int64) for _ in range(4))
    assert not torch.equal(tower(*inputs), tower(*inputs))
    tower.eval()
    assert torch.equal(tower(*inputs), tower(*inputs))


def spec_from(item_tower: dict[str, Any], text_dim: int = 3, **sizes: int) -> ModelSpec:
    config = Config.model_validate({"model": {"item_tower": item_tower}})
    return ModelSpec.from_config(config, text_dim, VocabularySizes(9, 9, 9, 9)._replace(**sizes))


def test_a_part_that_is_switched_off_has_no_parameters() -> None:
    spec = spec_from({"use_categorical_features": False, "id_embedding": False, "text_residual": False})
    assert (spec.n_brands, spec.n_categories, spec.n_prices, spec.n_ids) == (0, 0, 0, 0)
    tower = ItemTower(spec)
    names = [name for name, _ in tower.named_parameters()]
    assert names == ["projection.0.weight", "projection.0.bias", "projection.3.weight", "projection.3.bias"]
    assert not list(tower.buffers())
    assert tower.projection[0].in_features == 3


def test_a_vocabulary_of_unknown_alone_has_no_parameters() -> None:
    spec = spec_from({"text_residual": False}, brands=1, prices=1)
    assert (spec.n_brands, spec.n_categories, spec.n_prices) == (0, 9, 0)


def whitened(text_NT: Array, embedding_dim: int) -> Array:
    """The text vectors that a tower of this size adds to its products, before they are made unit vectors."""
    n_dims = text_NT.shape[1]
    tower = ItemTower(tiny_spec(text_dim=n_dims, embedding_dim=embedding_dim, text_residual=True))
    tower.whiten(text_NT)
    zeros = torch.zeros(len(text_NT), dtype=torch.int64)
    vector_ND: Tensor = tower(torch.from_numpy(text_NT), zeros, zeros, zeros, zeros)
    assert vector_ND.shape == (len(text_NT), embedding_dim)
    white_ND: Array = ((torch.from_numpy(text_NT) - tower.text_mean) @ tower.text_transform).numpy()
    return white_ND


def test_texts_of_an_encoder_with_fewer_dimensions_keep_their_distances() -> None:
    text_NT = np.random.default_rng(3).normal(size=(200, 3)).astype(np.float32)
    same_NT, wider_ND = whitened(text_NT, 3), whitened(text_NT, 5)
    assert_allclose(wider_ND @ wider_ND.T, same_NT @ same_NT.T, atol=1e-5)
    assert not wider_ND[:, 3:].any()


def test_of_texts_with_more_dimensions_those_remain_in_which_products_differ_most() -> None:
    rng = np.random.default_rng(4)
    spread_T = np.array([3.0, 0.01, 2.0, 0.02])
    turn_TT = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    values_NT = rng.normal(size=(5000, 4)) * spread_T
    white_ND = whitened((values_NT @ turn_TT).astype(np.float32), 2)
    # Both directions with a spread are there, each evenly, and nothing of the other two.
    found = np.abs(np.corrcoef(white_ND.T, values_NT.T)[:2, 2:])
    assert_allclose(sorted(found.max(axis=0))[2:], 1, atol=1e-3)
    assert set(found.argmax(axis=1)) == {0, 2}
    assert_allclose(white_ND.std(axis=0), 1, atol=0.1)


def test_the_text_is_a_residual_and_price_has_its_table() -> None:
    tower = ItemTower(
        tiny_spec(text_dim=2, embedding_dim=2, hidden_dim=2, categorical_dim=1, n_prices=3, text_residual=True)
    ).eval()
    fill(
        tower,
        {
            "price.weight": [[0], [5], [-1]],
            "projection.0.weight": [[1, 0, 1], [0, 1, 0]],
            "projection.0.bias": [0, 0],
            "projection.3.weight": [[1, 0], [0, 1]],
            "projection.3.bias": [0, 0],
            "text_mean": [1, 0],
            "text_transform": [[2, 0], [0, 1]],
        },
    )
    zero = torch.tensor([0])
    with torch.no_grad():
        vector_D = tower(torch.tensor([[2.5, 4.0]]), zero, zero, torch.tensor([1]), zero)[0]
    # (2.5 - 1, 4) * (2, 1) = (3, 4) -> (.6, .8); with price 5: hidden (5.6, .8); plus the text: (6.2, 1.6).
    assert_allclose(vector_D, np.array([6.2, 1.6]) / np.hypot(6.2, 1.6), rtol=1e-6)


def test_whitened_texts_are_centred_and_of_even_spread() -> None:
    rng = np.random.default_rng(1)
    # A narrow cone: all vectors are near one, and differ far more in one direction than in another.
    text_NT = (5 + rng.normal(size=(4000, 3)) * [1.0, 0.5, 2.0]).astype(np.float32)
    tower = ItemTower(tiny_spec(text_dim=3, embedding_dim=3, text_residual=True))
    tower.whiten(text_NT)
    white_NT = ((torch.from_numpy(text_NT) - tower.text_mean) @ tower.text_transform).numpy()
    assert_allclose(white_NT.mean(axis=0), 0, atol=1e-3)
    variances = np.linalg.eigvalsh(np.cov(white_NT.T))
    # The floor is a tenth of the mean variance, 1.75: v / (v + .175) for v = .25, 1 and 4.
    assert_allclose(variances, [0.25 / 0.425, 1 / 1.175, 4 / 4.175], rtol=0.06)
    plain = ItemTower(SPEC)
    plain.whiten(text_NT)
    assert not list(plain.buffers())


def test_id_dropout_leaves_own_vectors_out_in_training_only() -> None:
    torch.manual_seed(2)
    tower = ItemTower(tiny_spec(n_ids=3, id_dropout=0.5, dropout=0.0))
    torch.nn.init.normal_(tower.identity.weight[1:])  # type: ignore[union-attr]
    text_NT, zeros = torch.randn(1, 4).expand(200, 4), torch.zeros(200, dtype=torch.int64)
    ids = torch.full((200,), 2)
    with torch.no_grad():
        trained = tower(text_NT, zeros, zeros, zeros, ids)
        text_alone = tower(text_NT, zeros, zeros, zeros, zeros)
        served = tower.eval()(text_NT, zeros, zeros, zeros, ids)
    left_out = torch.isclose(trained, text_alone).all(dim=1)
    assert 60 < left_out.sum() < 140
    assert torch.isclose(trained[~left_out], served[~left_out]).all()
    assert not torch.isclose(served, text_alone).all(dim=1).any()


def test_spec_survives_json() -> None:
    assert ModelSpec.from_json(SPEC.as_json()) == SPEC


# ---- buyers ----------------------------------------------------------------------------------------------------------


def buyer_tower(aggregation: str, event_weights: tuple[float, ...] = (1.0, 5.0, 10.0), dim: int = 4) -> BuyerTower:
    torch.manual_seed(3)
    return BuyerTower(replace(SPEC, aggregation=aggregation, event_weights=event_weights, embedding_dim=dim)).eval()


@torch.no_grad()
def encode_buyer(tower: BuyerTower, items: npt.ArrayLike, types: list[int], hours: list[int] | None = None) -> Array:
    """The vector of one buyer."""
    items_UD = torch.tensor(np.asarray(items, dtype=np.float32)).reshape(len(types), -1)
    events = list(zip(range(len(types)), types, hours or [0] * len(types), strict=True))
    vector: Tensor = tower(items_UD, prefixes([events]))[0]
    return vector.numpy()


def test_weighted_average_by_hand() -> None:
    # A view of (1, 0) and a purchase of (0, 1): (1 * (1, 0) + 10 * (0, 1)) / 11, to unit length.
    vector = encode_buyer(buyer_tower("weighted_avg", dim=2), [[1, 0], [0, 1]], [VIEW, PURCHASE])
    assert_allclose(vector, np.array([1, 10]) / np.sqrt(101), rtol=1e-6)


def test_weighted_average_weights_sum_to_one() -> None:
    average = WeightedAverage(replace(SPEC, event_weights=(1.0, 3.0, 10.0)))
    joined = average(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), prefixes([[(0, VIEW, 0), (1, CART, 0)]]))
    assert_allclose(joined, [[0.5, 3.0]], rtol=1e-6)


def test_attention_by_hand() -> None:
    attention = Attention(replace(SPEC, embedding_dim=2, attention_hidden_dim=1))
    fill(attention, {"score.0.weight": [[1, -1]], "score.0.bias": [0], "score.2.weight": [[2]]})
    with torch.no_grad():
        joined = attention(torch.eye(2), prefixes([[(0, VIEW, 0), (1, PURCHASE, 7)]]))
    # Scores 2 tanh(1) and 2 tanh(-1); the spec's towers do not ask when.
    shares = np.array([1, 10]) * np.exp(2 * np.tanh([1, -1]))
    assert_allclose(joined[0], shares / shares.sum(), rtol=1e-6)


def test_recency_attention_by_hand() -> None:
    attention = RecencyAttention(replace(SPEC, embedding_dim=2, attention_hidden_dim=1))
    fill(attention.score, {"0.weight": [[0, 0]], "0.bias": [0], "2.weight": [[0]]})
    with torch.no_grad():
        attention.of_type[:] = torch.tensor([0.5, 0.0, -1.0])
        attention.of_rank[:3] = torch.tensor([0.0, -0.25, -0.5])
        attention.of_gap[:] = 0
        attention.of_gap[7] = 2.0  # 12 to 15 hours
        joined = attention(torch.eye(2), prefixes([[(0, VIEW, 0), (1, PURCHASE, 13)]]))
    # ln weight + type + rank (one event later than the first) + gap (of 13 hours)
    logits = np.array([np.log(1) + 0.5 - 0.25 + 2, np.log(10) - 1])
    assert_allclose(joined[0], np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)


def test_recency_attention_starts_from_the_configured_weights_and_prefers_late_events() -> None:
    attention = RecencyAttention(SPEC)
    tables = attention.event_logits()
    assert_allclose(tables.of_type.detach(), np.log([1, 5, 10]), rtol=1e-6)
    assert tables.of_rank is not None
    assert (tables.of_rank.diff() < 0).all()


def test_configured_event_weights_are_kept_where_they_are_not_to_be_learned() -> None:
    attention = RecencyAttention(replace(SPEC, learn_event_weights=False))
    optimizer = torch.optim.Adam([one for one in attention.parameters() if one.requires_grad], lr=0.1)
    attention(torch.eye(4), prefixes([[(0, VIEW, 0), (1, PURCHASE, 13)]]))[0, 0].backward()
    optimizer.step()
    tables = attention.event_logits()
    assert_allclose(tables.of_type.detach(), np.log([1, 5, 10]), rtol=1e-6)
    assert tables.of_rank is not None
    assert not np.allclose(tables.of_rank.detach(), RecencyAttention(SPEC).of_rank.detach())


@settings(max_examples=50)
@given(
    items_LD=hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.just(4)), elements=st.floats(-2, 2, width=32)),
    data=st.data(),
)
def test_softmax_of_score_plus_log_weight_is_the_weighted_softmax_normalised_again(
    items_LD: Array, data: st.DataObject
) -> None:
    types = data.draw(st.lists(st.integers(0, 2), min_size=len(items_LD), max_size=len(items_LD)))
    torch.manual_seed(5)
    attention = Attention(SPEC)
    with torch.no_grad():
        events = [(place, kind, 0) for place, kind in enumerate(types)]
        actual_D = attention(torch.from_numpy(items_LD), prefixes([events]))[0]
        scores_L = attention.score(torch.from_numpy(items_LD))[:, 0].double().numpy()
    softmax_L = np.exp(scores_L) / np.exp(scores_L).sum()
    weighted_L = softmax_L * np.array([1.0, 5.0, 10.0])[types]
    assert_allclose(actual_D, weighted_L / weighted_L.sum() @ items_LD, atol=1e-5)


@pytest.mark.parametrize("aggregation", ["weighted_avg", "attention"])
def test_stronger_events_pull_harder(aggregation: str) -> None:
    tower = buyer_tower(aggregation)
    tea, shoes = [1, 0, 0, 0], [0, 1, 0, 0]
    bought_tea = encode_buyer(tower, [tea, shoes], [PURCHASE, VIEW])
    viewed_tea = encode_buyer(tower, [tea, shoes], [VIEW, PURCHASE])
    assert bought_tea @ tea > viewed_tea @ tea


@pytest.mark.parametrize("aggregation", ["weighted_avg", "attention"])
def test_an_empty_history_teaches_nothing_but_its_own_vector(aggregation: str) -> None:
    tower = buyer_tower(aggregation)
    items_UD = torch.randn(2, 4, requires_grad=True)
    tower(items_UD, prefixes([[]]))[0, 0].backward()
    assert items_UD.grad is None or not items_UD.grad.any()
    assert tower.empty.grad is not None
    assert tower.empty.grad.abs().max() > 0


@pytest.mark.parametrize("aggregation", ["recency_attention", "transformer"])
def test_what_most_buyers_like_is_added_to_every_history(aggregation: str) -> None:
    tower = buyer_tower(aggregation)
    items = np.random.default_rng(1).normal(size=(2, 4))
    with torch.no_grad():
        joined_D = tower.aggregate(torch.tensor(items, dtype=torch.float32), prefixes([[(0, 0, 0), (1, 2, 5)]]))[0]
        expected_D = torch.nn.functional.normalize(joined_D + tower.empty, dim=0)
    assert_allclose(encode_buyer(tower, items, [VIEW, PURCHASE], [0, 5]), expected_D, atol=1e-6)


def test_gradient_reaches_every_parameter_of_both_towers() -> None:
    torch.manual_seed(4)
    model = TwoTower(SPEC).eval()
    ids = torch.tensor([0, 1, 2])
    zeros = torch.zeros(3, dtype=torch.int64)
    item_UD = model.item_tower(torch.randn(3, 3), torch.tensor([0, 1, 2]), torch.tensor([1, 3, 2]), zeros, ids)
    buyer_PD = model.buyer_tower(item_UD, prefixes([[(0, VIEW, 0), (1, PURCHASE, 0)], []]))
    (buyer_PD @ torch.randn(4, 1)).sum().backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert name == "log_temperature"
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    assert model.item_tower.identity is not None
    assert model.item_tower.identity.weight.grad is not None
    assert_array_equal(model.item_tower.identity.weight.grad[UNKNOWN], np.zeros(4))


def test_a_product_starts_as_its_text_alone() -> None:
    tower = ItemTower(SPEC).eval()
    text_NT = torch.randn(2, 3)
    zeros = torch.zeros(2, dtype=torch.int64)
    own = tower(text_NT, zeros, zeros, zeros, torch.tensor([1, 2]))
    assert torch.equal(own, tower(text_NT, zeros, zeros, zeros, zeros))
