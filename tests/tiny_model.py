"""The spec of a tiny model: what a test says nothing about has the plainest value."""

from typing import Any

import numpy as np

from training.data.histories import Histories
from training.model.prefixes import HOUR_MS, Prefixes, prefixes_of
from training.model.spec import ModelSpec

PLAIN: dict[str, Any] = {
    "text_dim": 4,
    "embedding_dim": 8,
    "hidden_dim": 6,
    "categorical_dim": 2,
    "dropout": 0.1,
    "text_residual": False,
    "n_brands": 0,
    "n_categories": 0,
    "n_prices": 0,
    "n_ids": 0,
    "id_dropout": 0.0,
    "aggregation": "attention",
    "attention_hidden_dim": 4,
    "transformer_dim": 4,
    "max_history": 100,
    "event_weights": (1.0, 5.0, 10.0),
    "temperature": 0.07,
    "learn_temperature": False,
    "learn_event_weights": True,
}


def tiny_spec(**fields: Any) -> ModelSpec:
    """A spec with these fields."""
    return ModelSpec(**(PLAIN | fields))


def prefixes(histories: list[list[tuple[int, int, int]]]) -> Prefixes:
    """Prefixes of (row of the items, event type, hours) lists, each of a timeline of its own."""
    events = [event for history in histories for event in history]
    items, types, hours = (np.array([event[part] for event in events], dtype=np.int64) for part in range(3))
    offsets = np.cumsum([0, *map(len, histories)]).astype(np.int64)
    timelines = Histories(offsets, items.astype(np.int32), types.astype(np.int32), hours * HOUR_MS)
    return prefixes_of(timelines, offsets[:-1], offsets[1:])
