"""Stock and visibility as shops write them."""

import duckdb
import pandas as pd
import pytest

from batch_jobs.ingestion.column_names import AVAILABILITY, PUBLISHED, STATUS, VISIBILITY
from batch_jobs.ingestion.files.tables import OpenedTable
from batch_jobs.ingestion.product_rules.availability import read_hidden, read_stock_levels
from batch_jobs.ingestion.product_rules.findings import Findings
from batch_jobs.ingestion.quarantine import add_source_files
from feature_repo import columns as c

FIELDS = (c.STOCK, AVAILABILITY, c.HIDDEN, PUBLISHED, STATUS, VISIBILITY)


def read(row: dict[str, str]) -> tuple[int | None, bool, dict[str, int]]:
    """Stock, hidden, and the counts that are not zero."""
    frame = pd.DataFrame([{field: row.get(field) for field in FIELDS}], dtype=object)
    with duckdb.connect() as db:
        add_source_files(db, "products", [])
        findings = Findings(db, "products", OpenedTable("", []), pd.Series([1]))
        stock, hidden = read_stock_levels(frame, findings)[0], read_hidden(frame, findings)[0]
    return None if pd.isna(stock) else int(stock), bool(hidden), {name: n for name, n in findings.counts.items() if n}


@pytest.mark.parametrize(
    ("row", "stock", "counts"),
    [
        ({}, None, {}),
        ({"stock": "3"}, 3, {}),
        ({"stock": "٣"}, 3, {}),
        ({"stock": "2.5"}, 2, {}),
        ({"stock": "-1"}, 0, {"backorder": 1}),
        ({"stock": "-0.5"}, 0, {"backorder": 1}),
        ({"stock": "out of stock"}, 0, {}),
        ({"stock": "نفد"}, 0, {}),
        ({"stock": "In stock"}, None, {}),
        ({"stock": "many"}, None, {"unreadable_stock": 1}),
        ({"availability": "in_stock"}, None, {}),
        ({"availability": "out_of_stock"}, 0, {}),
        ({"availability": "غير متوفر"}, 0, {}),
        ({"availability": "backorder"}, 0, {}),
        ({"availability": "perhaps"}, None, {"unreadable_stock": 1}),
        ({"stock": "7", "availability": "out of stock"}, 0, {}),
        ({"stock": "7", "availability": "1"}, 7, {}),
        ({"stock": "0", "availability": "0"}, 0, {}),
        # Sold, though nobody counts it.
        ({"stock": "0", "availability": "1"}, None, {}),
        ({"stock": "-2", "availability": "1"}, 0, {"backorder": 1}),
    ],
)
def test_stock(row: dict[str, str], stock: int | None, counts: dict[str, int]) -> None:
    assert read(row) == (stock, False, counts)


@pytest.mark.parametrize(
    ("row", "hidden", "counts"),
    [
        ({}, False, {}),
        ({"hidden": "1"}, True, {}),
        ({"hidden": "نعم"}, True, {}),
        ({"hidden": "لا"}, False, {}),
        ({"hidden": "hidden"}, True, {}),
        ({"hidden": "maybe"}, False, {"unreadable_hidden": 1}),
        ({"published": "1"}, False, {}),
        ({"published": "0"}, True, {}),
        ({"published": "-1"}, True, {}),  # a draft of WooCommerce
        ({"published": "FALSE"}, True, {}),
        ({"status": "active"}, False, {}),
        ({"status": "draft"}, True, {}),
        ({"status": "archived"}, True, {}),
        ({"status": "2"}, True, {}),  # disabled in Magento
        ({"status": "مسودة"}, True, {}),
        ({"status": "simple"}, False, {"unreadable_hidden": 1}),
        ({"visibility": "visible"}, False, {}),
        ({"visibility": "search"}, False, {}),
        ({"visibility": "Catalog, Search"}, False, {}),
        ({"visibility": "hidden"}, True, {}),
        ({"visibility": "Not Visible Individually"}, True, {}),
        ({"hidden": "0", "status": "draft"}, True, {}),
        ({"published": "1", "visibility": "hidden"}, True, {}),
    ],
)
def test_hidden(row: dict[str, str], hidden: bool, counts: dict[str, int]) -> None:
    assert read(row) == (None, hidden, counts)
