"""What a product vector rests on: the parts add up, and each is what the item tower added."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import torch

from feature_repo import columns as c
from feature_repo.transforms.keys import product_keys
from tests.random_release import random_products, write_arrow
from tests.tiny_model import tiny_spec
from training.artifacts.inspection.product_parts import ProductParts
from training.artifacts.model import ModelCard, save_model
from training.artifacts.product_table import ProductTable
from training.data.catalogue import Catalogue
from training.model.encoding import encode_catalogue, encode_items
from training.model.item_features import ItemFeatures, Vocabularies, item_features
from training.model.towers import BORROWED, BORROWED_MEAN, UNKNOWN, TwoTower

IDS = ["p0", "p1", "p2", "p3", "p4"]
BRANDS = ["Nour", None, "Dallah", "Nour", "unheard of"]
CATEGORIES = ["tea", "tea", None, "mugs", "tea"]
PRICES = [5.0, 15.0, None, 25.0, 5.0]
TRAINED = ["p1", "p3"]  # the products with an id embedding
VOCABULARIES = Vocabularies(("<UNK>", "Dallah", "Nour"), ("<UNK>", "mugs", "tea"), (10.0, 20.0), product_keys(TRAINED))
TEXT_NT = np.random.default_rng(2).normal(size=(5, 8)).astype(np.float32)


class Shop:
    """A release of five products, as far as their vectors go, and how they were made."""

    def __init__(self, folder: Path, *, text_residual: bool = True, id_embedding: bool = True) -> None:
        torch.manual_seed(4)
        sizes = {"n_brands": 3, "n_categories": 3, "n_prices": 4, "n_ids": 3 if id_embedding else 0}
        spec = tiny_spec(text_dim=8, embedding_dim=8, text_residual=text_residual, **sizes)
        self.model = TwoTower(spec).eval()
        if self.model.item_tower.identity is not None:
            with torch.no_grad():
                self.model.item_tower.identity.weight[1:] = torch.randn(2, 8)
        self.model.item_tower.whiten(TEXT_NT)
        save_model(folder / "model", self.model, VOCABULARIES, ModelCard("random", "buyer_training", "0", epoch=1))
        (folder / "search_index").mkdir()
        np.save(folder / "search_index" / "text_vectors.npy", TEXT_NT)
        keys = product_keys(IDS)
        own = {c.PRODUCT_ID: IDS, c.PRODUCT_KEY: keys, c.BRAND: BRANDS, c.CATEGORY: CATEGORIES, c.PRICE: PRICES}
        table = random_products(5)
        for name, values in own.items():
            table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
        self.products = ProductTable(write_arrow(folder / "products.arrow", table), folder / "no_aliases.arrow")
        prices = np.array(PRICES, dtype=np.float64)
        catalogue = Catalogue(IDS, keys, [""] * 5, BRANDS, CATEGORIES, prices)
        self.items: ItemFeatures = item_features(catalogue, TEXT_NT, VOCABULARIES)
        self.vectors_ND: npt.NDArray[np.float32] = encode_catalogue(self.model, self.items).numpy()
        self.parts = ProductParts(folder)

    def shares(self, position: int) -> npt.NDArray[np.float64]:
        return np.array(self.parts.shares(self.products, position, self.vectors_ND[position]))


@pytest.mark.parametrize("text_residual", [True, False])
@pytest.mark.parametrize("id_embedding", [True, False])
def test_the_shares_add_up(tmp_path: Path, text_residual: bool, id_embedding: bool) -> None:
    shop = Shop(tmp_path, text_residual=text_residual, id_embedding=id_embedding)
    for position in range(5):
        text, _, identity, borrowed = shares = shop.shares(position)
        assert shares.sum() == pytest.approx(1, abs=1e-4)
        is_trained = id_embedding and IDS[position] in TRAINED
        assert shop.parts.has_identity(shop.products, position) == is_trained
        assert (identity != 0) == is_trained
        assert (text != 0) == text_residual
        assert (borrowed != 0) == (id_embedding and not is_trained)


def test_the_share_of_an_id_is_that_of_its_embedding(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    identity = shop.model.item_tower.identity
    assert identity is not None
    for row, position in ((1, 1), (2, 3)):  # p1 and p3 have the first and the second key of the model
        learned, text = shop.model.item_tower.content(*(part[position : position + 1] for part in columns(shop.items)))
        assert text is not None
        total = (learned + text)[0] + identity.weight[row]
        expected = float((identity.weight[row] @ total / (total @ total)).detach())
        assert shop.shares(position)[2] == pytest.approx(expected, abs=1e-4)


def test_what_is_borrowed_is_the_rest(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    own_ND = encode_items(shop.model, shop.items).numpy()
    identity = shop.model.item_tower.identity
    assert identity is not None
    for position in (0, 2, 4):
        # The mean id embedding of both trained products, which are among the nearest, and their mean vector.
        lent_D = unit(identity.weight[[1, 2]].detach().numpy().mean(axis=0))
        lent_D = unit(lent_D + BORROWED_MEAN * unit(own_ND[[1, 3]].mean(axis=0)))
        moved_D = (1 - BORROWED) * own_ND[position] + BORROWED * lent_D
        moved_own = (1 - BORROWED) * own_ND[position] @ shop.vectors_ND[position] / np.linalg.norm(moved_D)
        assert shop.shares(position)[3] == pytest.approx(1 - moved_own, abs=1e-3)
    assert (shop.items.id_N == UNKNOWN).tolist() == [True, False, True, False, True]


def unit(vector_D: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    scaled: npt.NDArray[np.float32] = vector_D / np.linalg.norm(vector_D)
    return scaled


def columns(items: ItemFeatures) -> tuple[torch.Tensor, ...]:
    return items.text_NT, items.brand_N, items.category_N, items.price_N
