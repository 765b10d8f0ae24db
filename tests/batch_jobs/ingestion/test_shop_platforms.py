"""The mappings of shop platforms read a small export of the documented shape: right products, right events."""

import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from tests.batch_jobs.csv_shop import kept_events, kept_products, platform_shop, quarantined

GUEST = "guest-" + hashlib.md5(b"guest@example.com").hexdigest()
SHOWN = (c.PRICE, "currency", c.STOCK, c.HIDDEN, "group_id", c.CATEGORY, c.BRAND, c.TITLE)


def products_of(config: Config) -> dict[str, tuple[Any, ...]]:
    return {key: tuple(row[field] for field in SHOWN) for key, row in kept_products(config).items()}


def events_of(config: Config) -> list[tuple[str, str, str, str]]:
    return [
        (row["buyer_id"], row["product_id"], row["event_type"], row["event_time"].strftime("%Y-%m-%d %H:%M:%S"))
        for row in kept_events(config)
    ]


def test_woocommerce(tmp_path: Path) -> None:
    config = platform_shop("woocommerce", tmp_path)
    ingest(config)
    assert products_of(config) == {
        # The currency is that of all orders.
        "44": (120.0, "EGP", None, False, None, "Lamps", "Noor", "مصباح مكتب"),
        "45": (10.0, "EGP", 0, False, None, "Bulbs", None, "Bulb & co"),  # on backorder
        "46": (9.0, "EGP", 3, True, None, "Bulbs", None, "Draft bulb"),
        # The cheaper of two variations, and the pieces of both.
        "47": (75.0, "EGP", 6, False, None, "Shirts", None, "قميص قطن"),
        "50": (15.0, "EGP", 8, True, None, "Boxes, tins", None, "Gift box"),
    }
    assert kept_products(config)["44"][c.DESCRIPTION] == 'ضوء دافئ\n5" tall'
    assert kept_products(config)["44"][c.PHOTO] == "https://shop.example/a.jpg"
    assert sorted(events_of(config)) == [
        ("7", "44", "purchase", "2025-06-01 09:00:00"),
        ("7", "47", "purchase", "2025-06-01 09:00:00"),
        (GUEST, "45", "purchase", "2025-06-02 10:00:00"),
    ]
    assert quarantined(config) == [
        ("events", 3, "earlier_state_of_the_order"),
        ("events", 5, "order_not_paid_or_taken_back"),
        ("events", 6, "not_an_order"),  # the test of a webhook
        ("events", 7, "not_an_order"),
        ("events", 8, "earlier_state_of_the_order"),
        ("events", 9, "order_not_paid_or_taken_back"),  # deleted
        ("events", 10, "order_without_buyer"),
        ("events", 11, "missing_buyer_id"),  # a line that broke off
    ]


def test_shopify(tmp_path: Path) -> None:
    config = platform_shop("shopify", tmp_path)
    ingest(config)
    assert products_of(config) == {
        # Two variants of one product, with the pieces of both.
        "QM-S": (450.0, "EGP", 8, False, "qamis", "قمصان", "Nile", "قميص كتان"),
        "Clay mug": (99.5, "EGP", None, False, "mug", "Mugs", "Fakhar", "Clay mug"),
        "OLD-1": (10.0, "EGP", 0, True, "old", "Mugs", "Fakhar", "Old thing"),
        "CARD": (50.0, "EGP", None, False, "card", "Cards", "Fakhar", "Gift card"),  # not counted
    }
    mona, omar, caller = (
        hashlib.md5(contact).hexdigest() for contact in (b"mona@example.com", b"omar@example.com", b"+966500000000")
    )
    assert sorted(events_of(config)) == sorted(
        [
            (mona, "QM-S", "purchase", "2025-06-01 07:00:00"),
            (mona, "Clay mug", "purchase", "2025-06-01 07:00:00"),
            (omar, "QM-S", "purchase", "2025-05-28 07:00:00"),
            (caller, "CARD", "purchase", "2025-05-27 07:00:00"),
        ]
    )
    assert [row for row in quarantined(config) if row[0] == "events"] == [
        ("events", 3, "order_not_paid_or_taken_back"),
        ("events", 4, "order_cancelled"),
        ("events", 7, "order_without_buyer"),
    ]


def test_magento(tmp_path: Path) -> None:
    config = platform_shop("magento", tmp_path)
    ingest(config)
    products = products_of(config)
    assert sorted(products) == ["BAG-1", "BAG-2", "MH01"]
    # Its special price ended in 2021.
    assert products["BAG-1"] == (34.0, "SAR", 0, False, None, "Bags", "Fakhar", "Bag")
    # Its stock is not counted.
    assert products["BAG-2"] == (20.0, "SAR", None, True, None, "Bags", None, "Old bag")
    # The cheaper of its two parts, and the pieces of both.
    assert products["MH01"] == (40.0, "SAR", 15, False, "MH01", "Hoodies", "Nile", "سترة قطنية")
    assert sorted(events_of(config)) == [
        ("12", "BAG-1", "purchase", "2025-06-05 09:00:00"),  # one of three was refunded
        ("12", "BAG-1", "purchase", "2025-06-06 09:00:00"),  # both in a bundle
        ("12", "BAG-2", "purchase", "2025-06-06 09:00:00"),
        ("12", "MH01", "purchase", "2025-06-01 09:00:00"),  # ordered as MH01-M
        (GUEST, "BAG-2", "purchase", "2025-06-04 09:00:00"),
    ]
    assert [row[1:] for row in quarantined(config) if row[0] == "events"] == [
        (2, "part_of_another_line"),
        (3, "order_not_paid_or_taken_back"),  # both pieces were refunded
        (4, "order_not_paid_or_taken_back"),
        (7, "sum_of_other_lines"),
    ]


def test_opencart(tmp_path: Path) -> None:
    config = platform_shop("opencart", tmp_path)
    ingest(config)
    assert products_of(config) == {
        "28": (100.0, "SAR", 939, False, None, "20", "Noor", "مصباح مكتب"),
        "29": (29.99, "SAR", 0, False, None, "34", None, "Clay mug"),
        "30": (10.0, "SAR", 7, True, None, "34", None, "شيء قديم"),
    }
    assert kept_products(config)["28"]["titles"] == '{"ar": "مصباح مكتب", "en": "Desk lamp"}'
    assert sorted(events_of(config)) == [
        ("3", "28", "purchase", "2025-06-01 09:00:00"),
        ("3", "29", "purchase", "2025-06-01 09:00:00"),
        ("3", "30", "purchase", "2025-06-06 09:00:00"),  # a dispute that the shop won
        (GUEST, "29", "purchase", "2025-06-02 09:00:00"),
    ]
    assert [row[2] for row in quarantined(config)] == [
        "order_not_paid_or_taken_back",
        "order_incomplete",
        "order_without_buyer",
    ]


def test_salla(tmp_path: Path) -> None:
    config = platform_shop("salla", tmp_path)
    ingest(config)
    assert products_of(config) == {
        "1773648299": (149.0, "SAR", None, False, None, "القهوة", "نجد", "دلة قهوة عربية"),
        "1773648300": (120.0, "SAR", None, False, None, "ملابس رجالية", None, "ثوب قطن"),
    }
    # 12:21:45 in Riyadh.
    assert events_of(config) == [
        ("8821", "1773648299", "purchase", "2025-06-01 09:21:45"),
        ("8821", "1773648300", "purchase", "2025-06-01 09:21:45"),
    ]
    assert [row[1:] for row in quarantined(config)] == [
        (3, "earlier_state_of_the_order"),
        (4, "order_not_paid_or_taken_back"),
        (5, "not_an_order"),
        (6, "order_without_items"),
    ]


def test_zid(tmp_path: Path) -> None:
    config = platform_shop("zid", tmp_path)
    ingest(config)
    assert products_of(config) == {
        "a1477bb2": (250.0, "SAR", 4, False, None, "حقائب", None, "حقيبة جلد"),
        "b2588cc3": (100.0, "SAR", None, False, None, None, None, "عطر عود"),
        "c3699dd4": (10.0, "SAR", 1, True, None, None, None, "مسودة"),
    }
    assert kept_products(config)["a1477bb2"]["titles"] == '{"ar": "حقيبة جلد", "en": "Leather bag"}'
    assert sorted(events_of(config)) == [
        ("2083543", "a1477bb2", "purchase", "2025-06-01 09:12:36"),
        ("2083543", "b2588cc3", "purchase", "2025-06-01 09:12:36"),
    ]
    assert [row[2] for row in quarantined(config)] == ["earlier_state_of_the_order", "order_not_paid_or_taken_back"]


def test_google_feed(tmp_path: Path) -> None:
    config = platform_shop("google_feed", tmp_path)
    ingest(config)
    products = products_of(config)
    assert products["shirt-s"] == (12.0, "USD", None, False, "shirt", "Shirts", "Nile", "قميص قطن S")
    assert products["shirt-m"] == (15.0, "USD", 0, False, "shirt", "Shirts", "Nile", "قميص قطن M")
    assert products["mug"] == (9.5, "USD", 0, False, None, "Mugs", "Fakhar", "Clay mug")
    assert [event[:3] for event in events_of(config)] == [
        ("u1", "shirt-s", "view"),
        ("u1", "shirt-s", "purchase"),
        ("u2", "mug", "add_to_cart"),
    ]


def ga4_row(
    name: str, second: int, items: list[tuple[str, str, float]], *, order: str = "(not set)", **columns: Any
) -> dict[str, Any]:
    """An event of the BigQuery export: the columns that the mapping reads."""
    time = int(dt.datetime(2025, 6, 1, 9, 0, second, tzinfo=dt.UTC).timestamp() * 1_000_000)
    value = {"string_value": "SAR", "int_value": None}
    return {
        "event_date": "20250601",
        "event_timestamp": time,
        "event_name": name,
        "event_params": [{"key": "currency", "value": value}],
        "user_id": None,
        "user_pseudo_id": "1234.5678",
        "ecommerce": {"transaction_id": order},
        "items": [
            {
                "item_id": item, "item_name": title, "item_brand": "(not set)", "item_category": "عطور",
                "price": price, "quantity": 1,
            }
            for item, title, price in items
        ],
    } | columns  # fmt: skip


OUD, MUG = ("oud", "عطر عود", 100.0), ("mug", "Clay mug", 20.0)
GA4_EVENTS = [
    ga4_row("page_view", 0, []),
    ga4_row("view_item_list", 1, [OUD, MUG]),
    ga4_row("view_item", 2, [OUD]),
    ga4_row("add_to_cart", 3, [OUD]),
    ga4_row("begin_checkout", 4, [OUD]),
    ga4_row("purchase", 5, [OUD, ("mug", "Clay mug", 25.0)], order="T1", user_id="u7"),
    ga4_row("purchase", 9, [OUD, ("mug", "Clay mug", 25.0)], order="T1", user_id="u7"),  # the page was loaded again
    ga4_row("view_item", 10, []),
    ga4_row("view_item", 11, [OUD], user_pseudo_id=None),  # no consent
    ga4_row(
        "view_item", 12, [MUG], event_params=[{"key": "debug_mode", "value": {"string_value": None, "int_value": 1}}]
    ),
    ga4_row("purchase", 13, [OUD], order="T2", user_id="u8"),
    ga4_row("refund", 20, [], order="T2", user_pseudo_id="server"),  # the whole order
    ga4_row("purchase", 14, [OUD, MUG], order="T3", user_id="u9"),
    ga4_row("refund", 21, [MUG], order="T3", user_pseudo_id="server"),  # one item of it
    ga4_row("view_item", 22, [("(not set)", "Gift card", 5.0)]),  # known by its name
]


def ga4_parquet(folder: Path) -> None:
    pq.write_table(pa.Table.from_pylist(GA4_EVENTS), folder / "ga4_events.parquet")


def ga4_json(folder: Path) -> None:
    """As BigQuery writes JSON: 64-bit integers as text, no nulls."""
    rows = [{key: value for key, value in row.items() if value is not None} for row in GA4_EVENTS]
    texts = [json.dumps(row | {"event_timestamp": str(row["event_timestamp"])}) for row in rows]
    (folder / "ga4_events.jsonl").write_text("\n".join([*texts, '{"event_date": "2025']), encoding="utf-8")


@pytest.mark.parametrize(
    ("source", "write", "broken"),
    [("ga4_bigquery", ga4_parquet, {}), ("ga4_bigquery_json", ga4_json, {"missing_buyer_id": 1})],
    ids=["parquet", "json"],
)
def test_ga4(tmp_path: Path, source: str, write: Callable[[Path], None], broken: dict[str, int]) -> None:
    write(tmp_path)
    config = platform_shop(source, tmp_path, exports=tmp_path)
    report = ingest(config)
    assert products_of(config) == {
        "oud": (100.0, "SAR", None, False, None, "عطور", None, "عطر عود"),
        "mug": (20.0, "SAR", None, False, None, "عطور", None, "Clay mug"),
        "Gift card": (5.0, "SAR", None, False, None, "عطور", None, "Gift card"),
    }
    assert sorted(events_of(config)) == [
        ("1234.5678", "Gift card", "view", "2025-06-01 09:00:22"),
        ("1234.5678", "oud", "add_to_cart", "2025-06-01 09:00:03"),
        ("1234.5678", "oud", "view", "2025-06-01 09:00:02"),
        ("u7", "mug", "purchase", "2025-06-01 09:00:05"),
        ("u7", "oud", "purchase", "2025-06-01 09:00:05"),
        ("u9", "oud", "purchase", "2025-06-01 09:00:14"),
    ]
    assert (
        report["events"]["reasons"]
        == {
            "other_event": 4,
            "debug_event": 1,
            "order_taken_back": 2,
            "event_without_items": 1,
            "visitor_without_id": 1,
            "purchase_sent_again": 2,
            "returned_purchase": 1,
            "refund": 1,
        }
        | broken
    )
