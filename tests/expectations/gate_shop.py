"""A shop of three products and four events as the gate reads it, and ways to put one fault into it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from expectations.gate import GateResult
from feature_repo import columns as c
from feature_repo.common.paths import ShopPaths
from feature_repo.feature_report import LAYOUT

Rows = list[dict[str, Any]]

MONDAY = datetime(2024, 1, 1, 10, tzinfo=UTC)
PART = "20240101T100000000000-000.parquet"
MONDAY_MS = int(MONDAY.timestamp() * 1000)


def schema(*fields: tuple[str, pa.DataType]) -> pa.Schema:
    return pa.schema(list(fields))


PRODUCTS = schema(
    (c.PRODUCT_ID, pa.string()),
    (c.PRODUCT_KEY, pa.int64()),
    (c.TITLE, pa.string()),
    (c.TEXT, pa.string()),
    (c.CATEGORY, pa.string()),
    (c.PRICE, pa.float64()),
    (c.STOCK, pa.int64()),
    (c.HIDDEN, pa.bool_()),
)
EVENTS = schema(
    (c.EVENT_ID, pa.string()),
    (c.BUYER_ID, pa.string()),
    (c.PRODUCT_ID, pa.string()),
    (c.PRODUCT_KEY, pa.int64()),
    (c.EVENT_TYPE, pa.string()),
    (c.EVENT_TIME, pa.timestamp("ms", "UTC")),
)
TIMES = ((c.EVENT_TIMESTAMP, pa.timestamp("us", "UTC")), (c.CREATED_TIMESTAMP, pa.timestamp("us", "UTC")))
PRODUCT_FEATURES = schema(*((field.name, field.type) for field in PRODUCTS), *TIMES)
BUYER_SEQUENCES = schema(
    (c.BUYER_ID, pa.string()),
    *TIMES,
    (c.PRODUCT_KEYS, pa.list_(pa.int64())),
    (c.EVENT_TYPES, pa.list_(pa.int32())),
    (c.EVENT_TIMES, pa.list_(pa.int64())),
)
PURCHASES = schema(
    (c.BUYER_ID, pa.string()),
    *TIMES,
    (c.PURCHASED_KEYS, pa.list_(pa.int64())),
    (c.PURCHASED_TIMES, pa.list_(pa.int64())),
)


def rows(schema: pa.Schema, *values: tuple[Any, ...]) -> Rows:
    return [dict(zip(schema.names, row, strict=True)) for row in values]


def good_products() -> Rows:
    return rows(
        PRODUCTS,
        ("p1", 101, "قميص قطن", "قميص قطن مريح", "shirts", 19.5, 3, False),
        ("p2", 102, "Blue mug", "Blue mug", "kitchen", None, None, False),
        ("p3", 103, "Red mug", "Red mug", None, 4.0, 0, True),
    )


def good_events() -> Rows:
    return rows(
        EVENTS,
        ("e1", "anna", "p1", 101, "view", MONDAY),
        ("e2", "anna", "p1", 101, "purchase", MONDAY + timedelta(minutes=5)),
        ("e3", "badr", "p2", 102, "add_to_cart", MONDAY),
        ("e4", "badr", "p3", 103, "view", MONDAY),
    )


def good_report() -> dict[str, Any]:
    """100 rows of each table, of which the mapping excludes 10."""
    counts = {"read": 100, "kept": 90, "excluded": 10, "bad": 0, "reasons": {"returned": 10}}
    return {"dataset": "test", "cut": None, "events": dict(counts), "products": dict(counts)}


def good_sequences() -> Rows:
    return rows(
        BUYER_SEQUENCES,
        ("anna", MONDAY, MONDAY, [101], [0], [MONDAY_MS]),
        ("anna", MONDAY + timedelta(hours=1), MONDAY, [101, 101], [0, 2], [MONDAY_MS, MONDAY_MS + 300_000]),
        ("badr", MONDAY, MONDAY, [102, 103], [1, 0], [MONDAY_MS, MONDAY_MS]),
    )


def good_product_features() -> Rows:
    return [row | {c.EVENT_TIMESTAMP: MONDAY, c.CREATED_TIMESTAMP: MONDAY} for row in good_products()]


def good_purchases() -> Rows:
    return rows(PURCHASES, ("anna", MONDAY, MONDAY, [101], [MONDAY_MS + 300_000]))


def write(path: Path, table: Rows, schema: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(table, schema), path)


def write_canonical(
    root: Path, *, products: Rows | None = None, events: Rows | None = None, report: dict[str, Any] | None = None
) -> ShopPaths:
    paths = ShopPaths(root)
    write(paths.products, good_products() if products is None else products, PRODUCTS)
    write(paths.events, good_events() if events is None else events, EVENTS)
    paths.ingest_report.write_text(json.dumps(report or good_report()), encoding="utf-8")
    return paths


def write_features(
    root: Path, *, products: Rows | None = None, sequences: Rows | None = None, purchases: Rows | None = None
) -> ShopPaths:
    """Features in one part each, and the canonical products that they are made from."""
    paths = ShopPaths(root)
    write(paths.products, good_products(), PRODUCTS)
    write(paths.product_features, products or good_product_features(), PRODUCT_FEATURES)
    write(paths.sequence_features / PART, sequences or good_sequences(), BUYER_SEQUENCES)
    write(paths.purchase_features / PART, purchases or good_purchases(), PURCHASES)
    report_parts(paths, PART)
    return paths


def report_parts(paths: ShopPaths, *names: str) -> None:
    """Writes the report of a feature build whose live parts have these names."""
    parts = {folder.name: dict.fromkeys(names, "") for folder in (paths.sequence_features, paths.purchase_features)}
    paths.feature_report.write_text(json.dumps({"layout": LAYOUT, "parts": parts}), encoding="utf-8")


def changed(table: Rows, position: int, **values: Any) -> Rows:
    return [row | values if index == position else row for index, row in enumerate(table)]


def failures(result: GateResult) -> dict[str, str]:
    return {finding.name: finding.observed for finding in result.findings if not finding.success}
