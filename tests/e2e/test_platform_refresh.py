"""One command that names the mapping of a shop platform makes a release of its exports, which recommends."""

import csv
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.batch_jobs.csv_shop import REPOSITORY
from tests.processes import tawsiya
from tests.tiny_shop import Row, events, products, write_csv, write_shop

pytestmark = pytest.mark.e2e

CURRENCY = "SAR"
N_PURCHASES, N_EVENTS = 420, 1320


class Order(NamedTuple):
    """An order of one piece; customers and products have numbers from 1 on."""

    number: int
    customer: int
    product: int
    time: dt.datetime  # UTC

    @property
    def email(self) -> str:
        return f"b{self.customer}@example.com"


def orders() -> list[Order]:
    """The purchases of the tiny shop."""
    rows = [row for row in events() if row["event_type"] == "purchase"]
    return [
        Order(1000 + number, int(row["buyer_id"][1:]) + 1, int(row["product_id"][1:]) + 1, row["timestamp"])
        for number, row in enumerate(rows)
    ]


def numbered_products() -> list[tuple[int, Row]]:
    return list(enumerate(products(), start=1))


def write_json_lines(path: Path, rows: Iterable[Any]) -> None:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")


# ---- the exports of each platform ------------------------------------------------------------------------------------


def woocommerce(folder: Path) -> None:
    write_csv(
        folder / "products.csv",
        [
            {
                "ID": number, "Type": "simple", "SKU": f"sku-{number}", "Name": row["title"], "Published": "1",
                "Is featured?": "0", "Visibility in catalog": "visible", "Short description": "", "Description": "",
                "Date sale price starts": "", "Date sale price ends": "", "In stock?": "1", "Stock": "",
                "Sale price": "", "Regular price": row["price"], "Categories": f"Home > {row['category']}",
                "Images": "", "Parent": "", "Brands": row["brand"],
            }
            for number, row in numbered_products()
        ],
    )  # fmt: skip
    write_json_lines(
        folder / "orders.jsonl",
        [
            {
                "id": order.number, "status": "completed", "currency": CURRENCY, "customer_id": order.customer,
                "date_created_gmt": order.time.isoformat(), "date_modified_gmt": order.time.isoformat(),
                "billing": {"email": order.email},
                "line_items": [{"id": order.number, "product_id": order.product, "variation_id": 0, "quantity": 1}],
            }
            for order in orders()
        ],
    )  # fmt: skip


def shopify(folder: Path) -> None:
    write_csv(
        folder / "products_export.csv",
        [
            {
                "URL handle": f"handle-{number}", "Title": row["title"], "Description": "", "Vendor": row["brand"],
                "Type": row["category"], "Published on online store": "TRUE", "Status": "Active",
                "SKU": f"sku-{number}", "Option1 name": "Title", "Option1 value": "Default Title",
                "Price": f"{row['price']}.00", "Inventory tracker": "shopify", "Inventory quantity": "5",
                "Continue selling when out of stock": "DENY", "Product image URL": "",
            }
            for number, row in numbered_products()
        ],
    )  # fmt: skip
    write_csv(
        folder / "orders_export.csv",
        [
            {
                "Name": f"#{order.number}", "Email": order.email, "Financial Status": "paid", "Currency": CURRENCY,
                "Created at": f"{order.time:%Y-%m-%d %H:%M:%S} +0000", "Lineitem quantity": 1,
                "Lineitem name": "a lamp", "Lineitem sku": f"sku-{order.product}", "Cancelled at": "", "Phone": "",
            }
            for order in orders()
        ],
    )  # fmt: skip


def magento(folder: Path) -> None:
    blank = dict.fromkeys(
        ["store_view_code", "description", "special_price", "special_price_from_date", "special_price_to_date",
         "base_image", "configurable_variations"], "",
    )  # fmt: skip
    write_csv(
        folder / "catalog_product.csv",
        [
            {
                "sku": f"sku-{number}", "product_type": "simple", "name": row["title"], "product_online": "1",
                "categories": f"Default Category/{row['category']}", "visibility": "Catalog, Search",
                "price": f"{row['price']}.000000", "additional_attributes": f"brand={row['brand']}", "qty": "5.0000",
                "is_in_stock": "1",
            }
            | blank
            for number, row in numbered_products()
        ],
    )  # fmt: skip
    write_json_lines(
        folder / "orders.jsonl",
        [
            {
                "increment_id": f"{order.number:09}", "status": "complete", "customer_id": order.customer,
                "created_at": f"{order.time:%Y-%m-%d %H:%M:%S}", "updated_at": f"{order.time:%Y-%m-%d %H:%M:%S}",
                "base_currency_code": CURRENCY, "customer_email": order.email,
                "items": [
                    {"item_id": order.number, "product_type": "simple", "sku": f"sku-{order.product}", "qty_ordered": 1}
                ],
            }
            for order in orders()
        ],
    )  # fmt: skip


def opencart(folder: Path) -> None:
    write_csv(
        folder / "products.csv",
        [
            {
                "product_id": number, "name(en-gb)": row["title"], "name(ar)": "", "categories": row["category"],
                "quantity": 5, "manufacturer": row["brand"], "image_name": "", "price": f"{row['price']}.0000",
                "status": "true", "description(en-gb)": "", "description(ar)": "",
            }
            for number, row in numbered_products()
        ],
    )  # fmt: skip
    write_csv(
        folder / "orders.csv",
        [
            {
                "order_product_id": order.number, "order_id": order.number, "product_id": order.product, "quantity": 1,
                "customer_id": order.customer, "email": order.email, "date_added": f"{order.time:%Y-%m-%d %H:%M:%S}",
                "currency_code": CURRENCY, "status": "Complete",
            }
            for order in orders()
        ],
    )  # fmt: skip


def salla(folder: Path) -> None:
    write_csv(
        folder / "products.csv",
        [
            {
                "No.": number, "النوع": "منتج", "أسم المنتج": row["title"], "تصنيف المنتج": row["category"],
                "صورة المنتج": "", "سعر المنتج": row["price"], "الوصف": "", "رمز المنتج sku": f"sku-{number}",
                "السعر المخفض": "", "الماركة": row["brand"],
            }
            for number, row in numbered_products()
        ],
    )  # fmt: skip
    write_json_lines(
        folder / "orders.jsonl",
        [
            {
                "event": "order.created",
                "data": {
                    "id": order.number, "status": {"slug": "completed"}, "currency": CURRENCY,
                    "date": {"date": f"{order.time:%Y-%m-%d %H:%M:%S}.000000", "timezone": "UTC"},
                    "customer": {"id": order.customer},
                    "items": [{"id": order.number, "quantity": 1, "product": {"id": order.product}}],
                },
            }
            for order in orders()
        ],
    )  # fmt: skip


def zid(folder: Path) -> None:
    write_json_lines(
        folder / "products.jsonl",
        [
            {
                "id": f"id-{number}", "name": {"ar": row["title"], "en": ""}, "price": row["price"],
                "sale_price": None, "currency": CURRENCY, "categories": [{"name": {"ar": row["category"]}}],
                "quantity": None, "is_infinite": True, "is_draft": False, "is_published": True,
            }
            for number, row in numbered_products()
        ],
    )  # fmt: skip
    write_json_lines(
        folder / "orders.jsonl",
        [
            {
                "id": order.number, "order_status": {"code": "delivered"}, "customer": {"id": order.customer},
                "created_at": f"{order.time:%Y-%m-%d %H:%M:%S}", "updated_at": f"{order.time:%Y-%m-%d %H:%M:%S}",
                "payment_status": "paid", "products": [{"id": f"id-{order.product}", "quantity": 1}],
            }
            for order in orders()
        ],
    )  # fmt: skip


def ga4_events() -> list[Row]:
    """All events of the tiny shop as rows of the BigQuery export."""
    by_id = {row["id"]: row for row in products()}
    return [
        {
            "event_timestamp": round(row["timestamp"].replace(tzinfo=dt.UTC).timestamp() * 1_000_000),
            "event_name": {"view": "view_item"}.get(row["event_type"], row["event_type"]),
            "event_params": [{"key": "currency", "value": {"string_value": CURRENCY}}],
            "user_id": None, "user_pseudo_id": f"device-{row['buyer_id']}",
            "ecommerce": {"transaction_id": str(number)},
            "items": [
                {
                    "item_id": row["product_id"], "item_name": product["title"], "item_brand": product["brand"],
                    "item_category": product["category"], "price": float(product["price"]), "quantity": 1,
                }
            ],
        }
        for number, row in enumerate(events())
        for product in [by_id[row["product_id"]]]
    ]  # fmt: skip


def ga4_bigquery(folder: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ga4_events()), folder / "ga4_events.parquet")


def ga4_bigquery_json(folder: Path) -> None:
    write_json_lines(
        folder / "ga4_events.jsonl", [row | {"event_timestamp": str(row["event_timestamp"])} for row in ga4_events()]
    )


def google_feed(folder: Path) -> None:
    with (folder / "products.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(["id", "title", "availability", "price", "brand", "product type"])
        for row in products():
            price = f"{row['price']}.00 {CURRENCY}"
            writer.writerow([row["id"], row["title"], "in_stock", price, row["brand"], row["category"]])
    write_csv(folder / "events.csv", events())


# ---- the test --------------------------------------------------------------------------------------------------------

SHOPIFY_BUYER = hashlib.md5(b"b2@example.com").hexdigest()
# One of orders and one of events are enough for `make test`.
PLATFORMS = [
    pytest.param(woocommerce, "2", N_PURCHASES, id="woocommerce"),
    pytest.param(google_feed, "b01", N_EVENTS, id="google_feed"),
    *(
        pytest.param(write, buyer, n_events, id=write.__name__, marks=pytest.mark.platforms)
        for write, buyer, n_events in (
            (shopify, SHOPIFY_BUYER, N_PURCHASES),
            (magento, "2", N_PURCHASES),
            (opencart, "2", N_PURCHASES),
            (salla, "2", N_PURCHASES),
            (zid, "2", N_PURCHASES),
            (ga4_bigquery, "device-b01", N_EVENTS),
            (ga4_bigquery_json, "device-b01", N_EVENTS),
        )
    ),
]


@pytest.mark.parametrize(("write", "buyer", "n_events"), PLATFORMS)
def test_refresh_serves_a_platform(
    tmp_path: Path, tiny_encoder: Path, write: Callable[[Path], None], buyer: str, n_events: int
) -> None:
    config_file = write_shop(tmp_path, tiny_encoder)
    settings = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    settings["training"]["num_epochs"] = 1
    config_file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "config").symlink_to(REPOSITORY / "config")
    write(tmp_path / "data")
    options = ("--config", str(config_file), "--set", f"data.source={write.__name__}", "--json")
    refreshed = tawsiya(tmp_path, "refresh", *options)
    assert refreshed.code == 0, refreshed.stderr
    assert refreshed.answer["counts"]["events"] == n_events
    answer = tawsiya(tmp_path, "recommend", "--buyer", buyer, "-k", "3", *options).answer
    assert answer["source"] == "personalised"
    known = {row["title"]: float(row["price"]) for row in products()}
    offers = [(item["title"], item["price"], item["currency"]) for item in answer["items"]]
    assert offers == [(title, known[title], CURRENCY) for title, *_ in offers]
    assert len(offers) == 3
