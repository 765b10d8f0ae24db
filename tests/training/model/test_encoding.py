"""Encoding a catalogue: products without a vector of their own borrow from those of similar content.

And how close products are to histories.
"""

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from tests.random_release import unit_vectors
from tests.tiny_model import tiny_spec
from training.data.histories import Histories
from training.model.encoding import NEIGHBOURS, ROWS_AT_ONCE, Closeness, Lenders, borrow, encode_catalogue
from training.model.item_features import ItemFeatures
from training.model.towers import BORROWED, BORROWED_MEAN, UNKNOWN, TwoTower

DIM = 4


def catalogue(ids: list[int], seed: int = 0) -> ItemFeatures:
    """Products with these identities and random texts."""
    text_NT = np.random.default_rng(seed).normal(size=(len(ids), DIM)).astype(np.float32)
    nothing = torch.zeros(len(ids), dtype=torch.int64)
    return ItemFeatures(torch.from_numpy(text_NT), nothing, nothing, nothing, torch.tensor(ids))


def model_of(n_ids: int) -> TwoTower:
    """A tower whose products' own vectors are not the zeros they start with."""
    torch.manual_seed(3)
    model = TwoTower(tiny_spec(text_dim=DIM, embedding_dim=DIM, n_ids=n_ids)).eval()
    if model.item_tower.identity is not None:
        with torch.no_grad():
            model.item_tower.identity.weight[1:] = torch.randn(n_ids - 1, DIM)
    return model


def plain(model: TwoTower, items: ItemFeatures) -> npt.NDArray[np.float32]:
    with torch.inference_mode():
        vectors: npt.NDArray[np.float32] = items.encode(model.item_tower, slice(None)).numpy()
    return vectors


@pytest.mark.parametrize("n_known", [1, 3, NEIGHBOURS, NEIGHBOURS + 7])
def test_unknown_products_borrow_from_those_of_similar_content(n_known: int) -> None:
    ids = [UNKNOWN, *range(1, n_known + 1), UNKNOWN, UNKNOWN]
    model, items = model_of(n_known + 1), catalogue(ids)
    before_ND, after_ND = plain(model, items), encode_catalogue(model, items).numpy()
    content_ND = plain(model, catalogue([UNKNOWN] * len(ids)))
    known = np.array(ids) != UNKNOWN
    assert_allclose(after_ND[known], before_ND[known], rtol=1e-6)
    for place in np.flatnonzero(~known):
        others = np.flatnonzero(known)
        nearest = others[np.argsort(-content_ND[others] @ content_ND[place], kind="stable")][:NEIGHBOURS]
        lent_D = unit(identities(model)[np.array(ids)[nearest]].mean(axis=0))
        lent_D = unit(lent_D + BORROWED_MEAN * unit(before_ND[known].mean(axis=0)))
        expected_D = unit((1 - BORROWED) * before_ND[place] + BORROWED * lent_D)
        assert_allclose(after_ND[place], expected_D, rtol=1e-4, atol=1e-6)


def unit(vector_D: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    scaled: npt.NDArray[np.float32] = vector_D / np.linalg.norm(vector_D)
    return scaled


def identities(model: TwoTower) -> npt.NDArray[np.float32]:
    assert model.item_tower.identity is not None
    weights: npt.NDArray[np.float32] = model.item_tower.identity.weight.detach().numpy()
    return weights


def test_more_unknown_products_than_are_compared_at_once() -> None:
    ids = [1, 2, 3, *[UNKNOWN] * (ROWS_AT_ONCE + 5)]
    model, items = model_of(4), catalogue(ids)
    every_ND = encode_catalogue(model, items)
    few = ItemFeatures(*(part[[0, 1, 2, len(ids) - 1]] for part in vars(items).values()))
    assert_allclose(encode_catalogue(model, few)[-1], every_ND[-1], rtol=1e-5, atol=1e-6)
    assert_allclose(every_ND.norm(dim=1), 1, rtol=1e-5)


def test_nobody_lends_where_no_product_has_a_vector_of_its_own() -> None:
    unknown = catalogue([UNKNOWN] * 3)
    for n_ids in (0, 3):
        model = model_of(n_ids)
        assert_allclose(encode_catalogue(model, unknown), plain(model, unknown), rtol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 7])
def test_borrowing_from_blocks_is_borrowing_from_all(size: int) -> None:
    model, id_M = model_of(31), torch.arange(1, 31)
    known_MD, rows_RD, mean_1D = (F.normalize(torch.randn(n, DIM), dim=-1) for n in (30, 6, 1))
    blocks = [Lenders(*block) for block in zip(torch.split(known_MD, size), torch.split(id_M, size), strict=True)]
    of_all = borrow(model, rows_RD, [Lenders(known_MD, id_M)], mean_1D[0])
    assert_allclose(borrow(model, rows_RD, blocks, mean_1D[0]), of_all, rtol=1e-5, atol=1e-6)
    assert_allclose(borrow(model, rows_RD, [], mean_1D[0]), rows_RD)


# ---- closeness -------------------------------------------------------------------------------------------------------


def histories_of(*products: list[int]) -> Histories:
    """Events of these products, whatever their types and times."""
    flat = np.array([one for of_buyer in products for one in of_buyer], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, products)]).astype(np.int64)
    return Histories(offsets, flat, np.zeros(len(flat), dtype=np.int32), np.zeros(len(flat), dtype=np.int64))


def test_closeness_by_hand() -> None:
    item_ND = torch.tensor([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]])
    closeness = Closeness(item_ND, histories_of([0, 1, 0], [], [2]))
    # Products 0 and 1 are at a right angle; product 3 is the opposite of product 0. Product 2 has no other beside it.
    expected = np.array([[0, 0, 0.8, 0], [0, 0, 0, 0], [0.6, 0.8, 0, 0]])
    for rows in ([0, 1, 2], [2, 0, 2]):
        assert_allclose(closeness.scores(np.array(rows, dtype=np.int32)), expected[rows], atol=1e-6)


@settings(max_examples=60)
@given(
    histories=st.lists(st.lists(st.integers(0, 8), max_size=6), min_size=1, max_size=5),
    asked=st.lists(st.permutations(range(9)), min_size=1, max_size=4),
    n_asked=st.integers(1, 9),
    data=st.data(),
)
def test_closeness_equals_plain_python(
    histories: list[list[int]], asked: list[list[int]], n_asked: int, data: st.DataObject
) -> None:
    items_ND = unit_vectors(9, dim=DIM)
    closeness = Closeness(torch.from_numpy(items_ND), histories_of(*histories))
    rows = [data.draw(st.integers(0, len(histories) - 1)) for _ in asked]

    def closest(row: int, product: int) -> float:
        near = [0.0 if one == product else float(items_ND[one] @ items_ND[product]) for one in histories[row]]
        return max([0.0, *near])

    rows_B = np.array(rows, dtype=np.int32)
    every_BN = closeness.scores(rows_B)
    assert_allclose(every_BN, [[closest(row, product) for product in range(9)] for row in rows], atol=1e-6)
    # Some products of each row, or all of them, in an order of their own.
    products_BP = np.array([order[:n_asked] for order in asked], dtype=np.int64)
    assert_allclose(closeness.of(rows_B, products_BP), np.take_along_axis(every_BN, products_BP, axis=1), atol=1e-6)
