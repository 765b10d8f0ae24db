"""A problem that trains in a tenth of a second: 40 buyers who each choose, once a day for six days, from one shelf."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.common.config import Config
from training.artifacts.model import ModelCard
from training.data.catalogue import Catalogue
from training.data.contexts import DAY_US, Contexts
from training.data.dataset import TrainingData
from training.data.histories import Histories

N_BUYERS, N_DAYS, SHELF = 40, 6, 15
N_PRODUCTS = 2 * SHELF
CARD = ModelCard("random-vectors", "buyer_training", "schema", epoch=0)


def settings(folder: Path, **training: Any) -> Config:
    """A small model on the CPU, everything in `folder`; `training` replaces values of that section."""
    return Config.model_validate(
        {
            "data_dir": folder,
            "data": {"source": "shelves"},
            "model": {
                "embedding_dim": 8,
                "item_tower": {
                    "text_residual": False,
                    "categorical_embedding_dim": 2,
                    "projection_hidden_dim": 8,
                    "dropout": 0.0,
                    "id_dropout": 0.1,
                },
                "buyer_tower": {"aggregation_method": "attention", "attention_hidden_dim": 4, "transformer_dim": 4},
            },
            "training": {
                "batch_size": 32,
                "learning_rate": 0.01,
                "num_epochs": 3,
                "patience": 3,
                "temperature": 0.1,
                "num_negatives": 1,
                "candidates": "sampled",
                "half_life_days": 15,
                "logq_exponent": 0,
                "save_every_n_epochs": 1,
                "seed": 7,
            }
            | training,
            "inference": {"device": "cpu"},
        }
    )


def problem(version: str = "1") -> TrainingData:
    """Histories and targets of all days but the first; the last day validates."""
    rng = np.random.default_rng(1)
    shelves = np.arange(N_BUYERS) % 2 * SHELF
    products = np.concatenate([shelf + rng.permutation(SHELF)[:N_DAYS] for shelf in shelves]).astype(np.int32)
    timelines = Histories(
        np.arange(N_BUYERS + 1) * N_DAYS,
        products,
        np.full(len(products), 2, dtype=np.int32),
        np.tile(np.arange(N_DAYS), N_BUYERS) * (DAY_US // 1000),
    )
    contexts = _contexts(timelines, np.arange(1, N_DAYS))
    return TrainingData(
        catalogue=_catalogue(),
        text_NT=rng.normal(size=(N_PRODUCTS, 4)).astype(np.float32),
        contexts=contexts,
        validation=_contexts(timelines, np.array([N_DAYS - 1])),
        validation_from_us=(N_DAYS - 1) * DAY_US,
        version=version,
    )


def _contexts(timelines: Histories, days: npt.NDArray[np.int64]) -> Contexts:
    """A context of each buyer on each of these days, with all earlier purchases as its history."""
    buyers, day = np.repeat(np.arange(N_BUYERS), len(days)), np.tile(days, N_BUYERS)
    starts = timelines.offsets[buyers]
    return Contexts(
        buyer_ids=np.array([f"b{buyer:02}" for buyer in buyers], dtype=object),
        times_us=day * DAY_US,
        timelines=timelines,
        starts=starts,
        ends=starts + day,
        targets=timelines.windows(starts + day, starts + day + 1),
    )


def _catalogue() -> Catalogue:
    numbers = range(N_PRODUCTS)
    return Catalogue(
        product_ids=[f"p{number}" for number in numbers],
        product_keys=np.arange(N_PRODUCTS, dtype=np.int64) + 100,
        texts=[f"product {number}" for number in numbers],
        brands=[None] * N_PRODUCTS,
        categories=[None] * N_PRODUCTS,
        prices=np.full(N_PRODUCTS, np.nan),
    )
