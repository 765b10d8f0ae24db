"""Training problems of known structure: two groups of buyers who choose from two groups of products."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.common.config import Config
from training.artifacts.model import ModelCard
from training.data.catalogue import Catalogue
from training.data.contexts import Contexts
from training.data.dataset import TrainingData
from training.data.histories import Histories
from training.train import train

GROUP_SIZE = 40
N_PRODUCTS = 2 * GROUP_SIZE
TEXT_DIM = 8
VALIDATION_SHARE = 0.25
HOUR_US = 3_600_000_000
CARD = ModelCard("random-vectors", "buyer_training", "schema", epoch=0)

# Every hyperparameter that plays a role, so that no new default changes what these tests show.
ITEM_TOWER: dict[str, Any] = {
    "use_categorical_features": True,
    "categorical_embedding_dim": 4,
    "projection_hidden_dim": 16,
    "dropout": 0.1,
    "text_residual": False,
    "id_embedding": True,
    "id_dropout": 0.0,
}
BUYER_TOWER: dict[str, Any] = {"aggregation_method": "attention", "attention_hidden_dim": 8}
TRAINING: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 0.01,
    "num_epochs": 8,
    "temperature": 0.1,
    "candidates": "sampled",
    "num_negatives": 2,
    "logq_exponent": 0.0,
    "half_life_days": 0,
    "refit": False,
    "patience": 8,
    "save_every_n_epochs": 2,
    "seed": 7,
}


def settings(**training: Any) -> Config:
    """A small model on the CPU; `training` replaces values of that section."""
    return Config.model_validate(
        {
            "model": {"embedding_dim": 16, "item_tower": ITEM_TOWER, "buyer_tower": BUYER_TOWER},
            "training": TRAINING | training,
            "event_weights": {"view": 1, "add_to_cart": 5, "purchase": 10},
            "inference": {"device": "cpu"},
        }
    )


def catalogue() -> Catalogue:
    """Two groups of products that nothing but the buyers' choices tells apart."""
    numbers = range(N_PRODUCTS)
    return Catalogue(
        product_ids=[f"p{number}" for number in numbers],
        product_keys=np.arange(N_PRODUCTS, dtype=np.int64) * 7 + 100,
        texts=[f"product {number}" for number in numbers],
        brands=[f"brand {number % 5}" for number in numbers],
        categories=[None] * N_PRODUCTS,
        prices=np.full(N_PRODUCTS, np.nan),
    )


def text_vectors() -> npt.NDArray[np.float32]:
    """(N, T) vectors without meaning."""
    return np.random.default_rng(1).normal(size=(N_PRODUCTS, TEXT_DIM)).astype(np.float32)


def contexts_of(rows: list[tuple[list[int], list[int]]]) -> Contexts:
    """Contexts one hour apart from (history, targets) pairs, each of a buyer of its own; events of all types."""
    timelines = _histories([history for history, _ in rows])
    return Contexts(
        buyer_ids=np.array([f"b{row}" for row in range(len(rows))], dtype=object),
        times_us=np.arange(len(rows), dtype=np.int64) * HOUR_US,
        timelines=timelines,
        starts=timelines.offsets[:-1],
        ends=timelines.offsets[1:],
        targets=_histories([targets for _, targets in rows]),
    )


def data_of(contexts: Contexts, text_NT: npt.NDArray[np.float32] | None = None, version: str = "1") -> TrainingData:
    """The latest quarter of the contexts is the validation."""
    order = np.argsort(contexts.times_us, kind="stable")
    n_validation = max(1, round(len(contexts) * VALIDATION_SHARE))
    latest = contexts.times_us[order[-n_validation]]
    validation = contexts.take(np.sort(order[-n_validation:]))
    return TrainingData(
        catalogue(), text_vectors() if text_NT is None else text_NT, contexts, validation, int(latest), version
    )


def _histories(rows: list[list[int]]) -> Histories:
    products = np.array([product for row in rows for product in row], dtype=np.int32)
    return Histories(
        offsets=np.cumsum([0] + [len(row) for row in rows]).astype(np.int64),
        products=products,
        event_types=(np.arange(len(products)) % 3).astype(np.int32),
        event_times=np.zeros(len(products), dtype=np.int64),
    )


def two_groups(n_contexts: int = 400) -> Contexts:
    """Three events of history and one or two targets, all of the buyer's group."""
    rng = np.random.default_rng(2)
    rows = []
    for number in range(n_contexts):
        group = number % 2 * GROUP_SIZE + rng.permutation(GROUP_SIZE)
        rows.append((group[:3].tolist(), group[3 : 4 + number % 3 // 2].tolist()))
    return contexts_of(rows)


def run(config: Config, contexts: Contexts, folder: Path, data_version: str = "1") -> ModelCard:
    """Trains without progress bars."""
    return train(config, data_of(contexts, version=data_version), CARD, folder, show_progress=False)
