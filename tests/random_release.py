"""A release of random products on disk, without a feature store and without training: what tests of serving load."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from feature_repo import columns as c
from feature_repo.transforms.keys import product_keys
from tests.tiny_model import tiny_spec
from training.artifacts.embeddings import ProductEmbeddings, save_embeddings
from training.artifacts.model import ModelCard, save_model
from training.artifacts.release import ReleaseParts, write_release
from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.search.text_search import build_search_index
from training.artifacts.search.vector_index import IndexType, build_index
from training.model.item_features import Vocabularies
from training.model.towers import TwoTower

SCHEMA = "0123456789abcdef"
AS_OF_MS = 1_700_000_000_000
SPEC = tiny_spec(embedding_dim=16, hidden_dim=8, attention_hidden_dim=8)
BRANDS = (None, "نور", "Nour", "Dallah", "Acme")
CATEGORIES = (None, "phones", "coffee", "قهوة", "shoes", "gifts")
PRICES = (None, 0.0, 9.99, 10.0, 20.0, 50.0)
STOCKS = (None, 0, 1, 7)
CURRENCIES = (None, "EGP", "SAR")
TITLES_BY_LANGUAGE = (None, '{"en": "tea"}', '{"ar": "شاي", "en": "tea"}')


def unit_vectors(n: int, dim: int = SPEC.embedding_dim, seed: int = 1) -> npt.NDArray[np.float32]:
    """(n, dim) random unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    unit: npt.NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def random_products(n_products: int, seed: int = 1) -> pa.Table:
    """Product columns with every kind of gap; one in ten products is hidden, two in three have a group of about two."""
    rng = np.random.default_rng(seed)
    product_ids = [f"p{number}" for number in range(n_products)]

    def drawn(values: tuple[object, ...]) -> list[object]:
        return [values[place] for place in rng.integers(len(values), size=n_products)]

    return pa.table(
        {
            c.PRODUCT_ID: product_ids,
            c.PRODUCT_KEY: product_keys(product_ids),
            c.TITLE: [f"title {number}" for number in range(n_products)],
            c.DESCRIPTION: [""] * n_products,
            c.BRAND: pa.array(drawn(BRANDS), pa.string()),
            c.CATEGORY: pa.array(drawn(CATEGORIES), pa.string()),
            c.PHOTO: pa.nulls(n_products, pa.string()),
            c.PRICE: pa.array(drawn(PRICES), pa.float64()),
            c.STOCK: pa.array(drawn(STOCKS), pa.int64()),
            c.HIDDEN: rng.random(n_products) < 0.1,
            c.CURRENCY: pa.array(drawn(CURRENCIES), pa.string()),
            c.GROUP_ID: pa.array(
                [letter and f"{letter}{number // 6}" for number, letter in enumerate(drawn((None, "g", "h")))],
                pa.string(),
            ),
            c.TITLES: pa.array(drawn(TITLES_BY_LANGUAGE), pa.string()),
        }
    )


def write_random_release(
    folder: Path,
    n_products: int,
    index_type: IndexType = "flat",
    aggregation: str = "attention",
    rescorer: Rescorer = Rescorer(),  # noqa: B008 - frozen
    recent_popularity: npt.NDArray[np.float32] | None = None,
    co_occurrence: CoOccurrence | None = None,
    products: pa.Table | None = None,
    vectors_ND: npt.NDArray[np.float32] | None = None,
    indexed_ND: npt.NDArray[np.float32] | None = None,
    trained_until: str | None = None,
    event_weights: tuple[float, ...] = SPEC.event_weights,
) -> Path:
    """Writes a release of `random_products` in random popularity and with a random model; returns its folder.

    `recent_popularity`, (2, N), is what the re-scorer counts per product in lists of any and of new products; None
    draws it. `co_occurrence` is needed by a re-scorer with that term. `products` and `vectors_ND` replace the random
    ones; `indexed_ND` are the vectors that the index was built on, if they are not the release's own. `trained_until`
    is for the model's card, `event_weights` for the buyer tower.
    """
    torch.manual_seed(1)
    model = TwoTower(replace(SPEC, aggregation=aggregation, event_weights=event_weights))
    save_model(
        folder / "model",
        model,
        Vocabularies(("<UNK>",), ("<UNK>",), (), np.empty(0, dtype=np.int64)),
        ModelCard("random", "buyer_training", SCHEMA, epoch=1, trained_until=trained_until),
    )
    rescorer.save(folder / "model")
    products = random_products(n_products) if products is None else products
    vectors_ND = unit_vectors(n_products) if vectors_ND is None else vectors_ND
    product_ids = np.array(products[c.PRODUCT_ID].to_pylist())
    save_embeddings(folder / "embeddings", ProductEmbeddings(vectors_ND, product_ids))
    build_index(vectors_ND if indexed_ND is None else indexed_ND, index_type).save(folder / "index")
    titles = products[c.TITLE].to_pylist()
    build_search_index(folder / "search_index", titles, unit_vectors(n_products, SPEC.text_dim, seed=4), index_type)
    name = write_release(
        folder / "releases",
        ReleaseParts(
            model=folder / "model",
            embeddings=folder / "embeddings",
            index=folder / "index",
            search_index=folder / "search_index",
            products=products,
            aliases=pa.table({c.PRODUCT_ID: pa.array([], pa.string()), c.DUPLICATE_OF: pa.array([], pa.string())}),
            popular=np.random.default_rng(2).permutation(n_products).astype(np.int32),
            recent_popularity=draw_recent_popularity(n_products) if recent_popularity is None else recent_popularity,
            as_of_ms=AS_OF_MS,
            co_occurrence=co_occurrence,
        ),
        metrics={},
        about={"schema_hash": SCHEMA, "n_products": n_products},
    )
    return folder / "releases" / name


def draw_recent_popularity(n_products: int) -> npt.NDArray[np.float32]:
    """What the re-scorer counts of each product of a random release, (2, N): up to eight buyers."""
    counts = np.random.default_rng(3).integers(0, 9, (2, n_products))
    return np.log1p(counts).astype(np.float32)


def write_arrow(path: Path, table: pa.Table) -> Path:
    """Writes one table as a release holds it; returns its path."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return path
