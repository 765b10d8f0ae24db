"""A shop whose canonical files are written directly, and the features as their readers see them."""

import datetime as dt
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.feature_report import live_parts, read_feature_report
from feature_repo.transforms.events import EVENT_TYPE_CODES

START = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
EVENTS = pa.schema(
    [
        (c.BUYER_ID, pa.string()),
        (c.PRODUCT_KEY, pa.int64()),
        (c.EVENT_TYPE, pa.string()),
        (c.EVENT_TIME, pa.timestamp("us", "UTC")),
        (c.ORIGIN, pa.string()),
    ]
)
PRODUCTS = pa.schema(
    [
        (c.PRODUCT_ID, pa.string()),
        (c.PRODUCT_KEY, pa.int64()),
        *((name, pa.string()) for name in (c.TITLE, c.DESCRIPTION, c.TEXT, c.TITLE_LANGUAGE, c.DESCRIPTION_LANGUAGE)),
        *((name, pa.string()) for name in (c.BRAND, c.CATEGORY, c.PHOTO)),
        (c.PRICE, pa.float64()),
        (c.STOCK, pa.int64()),
        (c.HIDDEN, pa.bool_()),
    ]
)

# Buyer, product key, event type, hours since START.
Event = tuple[str, int, str, int]
# Product id and price.
Product = tuple[str, float | None]
Row = dict[str, Any]


def configuration(folder: Path, max_length: int = 3) -> Config:
    """The configuration of a shop in `folder`, with one test day."""
    return Config.model_validate(
        {
            "data_dir": folder,
            "data": {"source": str(folder / "edited.yaml"), "test_days": 1},
            "model": {"buyer_tower": {"max_interaction_history": max_length}},
        }
    )


def write_canonical(config: Config, events: Iterable[Event], products: Iterable[Product]) -> None:
    """Writes the canonical files, sorted as ingest sorts them."""
    paths = shop_paths(config)
    paths.events.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            c.BUYER_ID: buyer,
            c.PRODUCT_KEY: key,
            c.EVENT_TYPE: kind,
            c.EVENT_TIME: START + dt.timedelta(hours=hour),
            c.ORIGIN: c.Origin.SOURCE.value,
        }
        for buyer, key, kind, hour in sorted(set(events))
    ]
    pq.write_table(pa.Table.from_pylist(rows, EVENTS), paths.events)
    catalogue = [
        {c.PRODUCT_ID: product_id, c.PRODUCT_KEY: number, c.PRICE: price, c.TITLE: product_id, c.HIDDEN: False}
        for number, (product_id, price) in enumerate(sorted(dict(products).items()))
    ]
    pq.write_table(pa.Table.from_pylist(catalogue, PRODUCTS), paths.products)


def newest_rows(paths: ShopPaths, folder: Path) -> dict[str, Row]:
    """The newest row of each buyer, in the parts that count, without its times; no row for empty arrays."""
    newest: dict[str, Row] = {}
    for part in live_parts(folder, read_feature_report(paths)):
        for row in pq.read_table(part).to_pylist():
            if row[c.BUYER_ID] not in newest or newest[row[c.BUYER_ID]][c.EVENT_TIMESTAMP] < row[c.EVENT_TIMESTAMP]:
                newest[row[c.BUYER_ID]] = row
    stamps = (c.EVENT_TIMESTAMP, c.CREATED_TIMESTAMP)
    plain = {buyer: {name: row[name] for name in row if name not in stamps} for buyer, row in newest.items()}
    # All values but the id are arrays.
    return {buyer: row for buyer, row in plain.items() if any(map(len, [*row.values()][1:]))}


def served(config: Config) -> tuple[dict[str, Row], dict[str, Row], list[Row]]:
    """Sequences and purchases by buyer, and products: what readers of the feature files see, without times."""
    paths = shop_paths(config)
    products = pq.read_table(paths.product_features).drop_columns([c.EVENT_TIMESTAMP, c.CREATED_TIMESTAMP])
    return (
        newest_rows(paths, paths.sequence_features),
        newest_rows(paths, paths.purchase_features),
        products.to_pylist(),
    )


def expected(events: Iterable[Event], max_length: int) -> tuple[dict[str, Row], dict[str, Row]]:
    """Sequences and purchases by brute force."""
    sequences: dict[str, Row] = {}
    purchases: dict[str, Row] = {}
    for buyer in {event[0] for event in events}:
        ms = [
            (int((START + dt.timedelta(hours=hour)).timestamp()) * 1000, key, EVENT_TYPE_CODES[kind])
            for other, key, kind, hour in set(events)
            if other == buyer
        ]
        times, keys, types = (list(column) for column in zip(*sorted(ms)[-max_length:], strict=True))
        sequences[buyer] = {c.BUYER_ID: buyer, c.PRODUCT_KEYS: keys, c.EVENT_TYPES: types, c.EVENT_TIMES: times}
        if bought := sorted((time, key) for time, key, code in ms if code == EVENT_TYPE_CODES["purchase"]):
            times, keys = (list(column) for column in zip(*bought, strict=True))
            purchases[buyer] = {c.BUYER_ID: buyer, c.PURCHASED_KEYS: keys, c.PURCHASED_TIMES: times}
    return sequences, purchases
