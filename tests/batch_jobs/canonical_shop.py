"""Shops as canonical files, without an export and an ingest: for tests of what follows ingest."""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
HOUR, DAY = 3_600_000, 86_400_000


class CanonicalEvent(NamedTuple):
    """An event; `ms` counts from START, in milliseconds."""

    buyer: str
    ms: int
    product_key: int
    event_type: str = "view"


def canonical_shop(folder: Path, events: Iterable[CanonicalEvent], **sections: dict[str, Any]) -> Config:
    """Writes the canonical files of a shop and returns its configuration; `sections` are further settings."""
    data = {"source": "config/sources/csv.yaml", "test_days": 1, **sections.pop("data", {})}
    config = Config.model_validate({"data_dir": folder / "var", "data": data, **sections})
    write_canonical(config, events)
    return config


def write_canonical(config: Config, events: Iterable[CanonicalEvent]) -> None:
    """Writes the canonical files of a shop; products have no columns, as contexts read none."""
    paths, rows = shop_paths(config), list(events)
    paths.events.parent.mkdir(parents=True, exist_ok=True)
    times = [START + dt.timedelta(milliseconds=event.ms) for event in rows]
    columns = {
        c.BUYER_ID: pa.array([event.buyer for event in rows], pa.string()),
        c.PRODUCT_KEY: pa.array([event.product_key for event in rows], pa.int64()),
        c.EVENT_TYPE: pa.array([event.event_type for event in rows], pa.string()),
        c.EVENT_TIME: pa.array(times, pa.timestamp("us", "UTC")),
        c.ORIGIN: pa.array([c.Origin.SOURCE.value] * len(rows), pa.string()),
    }
    pq.write_table(pa.table(columns), paths.events)
    pq.write_table(pa.table({c.PRODUCT_KEY: pa.array([], pa.int64())}), paths.products)
