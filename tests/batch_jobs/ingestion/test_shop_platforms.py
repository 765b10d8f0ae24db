"""The mappings of shop platforms read a small export of the documented shape: right products, right events."""

import datetime as dt
import hashlib
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
        "44": (120.0, None, None, False, None, "Lamps", "Noor", "مصباح مكتب"),
        "45": (10.0, None, 0, False, None, "Bulbs", None, "Bulb &amp; co"),
        "46": (9.0, None, 3, True, None, "Bulbs", None, "Draft bulb"),
        # The cheaper of two variations, and the pieces of both.
        "47": (75.0, None, 6, False, None, "Shirts", None, "قميص قطن"),
        "50": (15.0, None, 8, True, None, "Gifts", None, "Gift box"),
    }
    assert kept_products(config)["44"][c.DESCRIPTION] == '<p>ضوء دافئ</p>\n<p>5" tall</p>'
    assert kept_products(config)["44"][c.PHOTO] == "https://shop.example/a.jpg"
    assert sorted(events_of(config)) == [
        ("7", "44", "purchase", "2025-06-01 09:00:00"),
        ("7", "47", "purchase", "2025-06-01 09:00:00"),
        (GUEST, "45", "purchase", "2025-06-02 10:00:00"),
    ]
    assert quarantined(config) == [
        ("events", 2, "earlier_state_of_the_order"),
        ("events", 5, "missing_buyer_id"),  # a line that broke off
        ("events", 6, "order_not_paid_or_taken_back"),
    ]


def test_shopify(tmp_path: Path) -> None:
    config = platform_shop("shopify", tmp_path)
    ingest(config)
    assert products_of(config) == {
        # Two variants of one product, with the pieces of both.
        "QM-S": (450.0, None, 8, False, "qamis", "قمصان", "Nile", "قميص كتان"),
        "mug": (99.5, None, None, False, "mug", "Mugs", "Fakhar", "Clay mug"),
        "OLD-1": (10.0, None, 0, True, "old", "Mugs", "Fakhar", "Old thing"),
    }
    mona, omar = (hashlib.md5(email).hexdigest() for email in (b"mona@example.com", b"omar@example.com"))
    assert sorted(events_of(config)) == sorted(
        [
            (mona, "QM-S", "purchase", "2025-06-01 07:00:00"),
            (mona, "mug", "purchase", "2025-06-01 07:00:00"),
            (omar, "QM-S", "purchase", "2025-05-28 07:00:00"),
        ]
    )
    assert [row for row in quarantined(config) if row[0] == "events"] == [
        ("events", 3, "order_not_paid_or_taken_back"),
        ("events", 4, "order_cancelled"),
    ]


def test_magento(tmp_path: Path) -> None:
    config = platform_shop("magento", tmp_path)
    ingest(config)
    products = products_of(config)
    assert sorted(products) == ["BAG-1", "BAG-2", "MH01"]
    # Its special price ended in 2021.
    assert products["BAG-1"] == (34.0, None, 0, False, None, "Bags", "Fakhar", "Bag")
    assert products["BAG-2"] == (20.0, None, 7, True, None, "Bags", None, "Old bag")
    assert products["MH01"][3:] == (False, "MH01", "Hoodies", "Nile", "سترة قطنية")
    assert sorted(events_of(config)) == [
        ("12", "MH01", "purchase", "2025-06-01 09:00:00"),  # ordered as MH01-M
        (GUEST, "BAG-2", "purchase", "2025-06-04 09:00:00"),
    ]
    assert [row[1:] for row in quarantined(config) if row[0] == "events"] == [
        (1, "order_not_paid_or_taken_back"),  # both pieces were refunded
        (3, "part_of_another_line"),
        (4, "order_not_paid_or_taken_back"),
    ]


def test_opencart(tmp_path: Path) -> None:
    config = platform_shop("opencart", tmp_path)
    ingest(config)
    assert products_of(config) == {
        "28": (100.0, None, 939, False, None, "20", "Noor", "مصباح مكتب"),
        "29": (29.99, None, 0, False, None, "34", None, "Clay mug"),
        "30": (10.0, None, 7, True, None, "34", None, "شيء قديم"),
    }
    assert kept_products(config)["28"]["titles"] == '{"ar": "مصباح مكتب", "en": "Desk lamp"}'
    assert sorted(events_of(config)) == [
        ("3", "28", "purchase", "2025-06-01 09:00:00"),
        ("3", "29", "purchase", "2025-06-01 09:00:00"),
        (GUEST, "29", "purchase", "2025-06-02 09:00:00"),
    ]
    assert [row[2] for row in quarantined(config)] == ["order_not_paid_or_taken_back", "order_incomplete"]


def test_salla(tmp_path: Path) -> None:
    config = platform_shop("salla", tmp_path)
    ingest(config)
    assert products_of(config) == {
        "1773648299": (149.0, None, None, False, None, "القهوة", "نجد", "دلة قهوة عربية"),
        "1773648300": (120.0, None, None, False, None, "ملابس رجالية", None, "ثوب قطن"),
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
    assert events_of(config) == [
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


def ga4_row(name: str, second: int, items: list[tuple[str, str, float]], user_id: str | None = None) -> dict[str, Any]:
    """An event of the BigQuery export: the columns that the mapping reads."""
    time = int(dt.datetime(2025, 6, 1, 9, 0, second, tzinfo=dt.UTC).timestamp() * 1_000_000)
    value = {"string_value": "SAR", "int_value": None}
    return {
        "event_date": "20250601",
        "event_timestamp": time,
        "event_name": name,
        "event_params": [{"key": "currency", "value": value}],
        "user_id": user_id,
        "user_pseudo_id": "1234.5678",
        "ecommerce": {"transaction_id": "T1" if name == "purchase" else "(not set)"},
        "items": [
            {
                "item_id": item, "item_name": title, "item_brand": "(not set)", "item_category": "عطور",
                "price": price, "quantity": 1,
            }
            for item, title, price in items
        ],
    }  # fmt: skip


@pytest.fixture
def ga4_export(tmp_path: Path) -> Path:
    oud, mug = ("oud", "عطر عود", 100.0), ("mug", "Clay mug", 20.0)
    rows = [
        ga4_row("page_view", 0, []),
        ga4_row("view_item_list", 1, [oud, mug]),
        ga4_row("view_item", 2, [oud]),
        ga4_row("add_to_cart", 3, [oud]),
        ga4_row("begin_checkout", 4, [oud]),
        ga4_row("purchase", 5, [oud, ("mug", "Clay mug", 25.0)], user_id="u7"),
        ga4_row("purchase", 9, [oud, ("mug", "Clay mug", 25.0)], user_id="u7"),  # the page was loaded again
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "ga4_events.parquet")
    return tmp_path


def test_ga4(ga4_export: Path) -> None:
    config = platform_shop("ga4_bigquery", ga4_export, exports=ga4_export)
    report = ingest(config)
    assert products_of(config) == {
        "oud": (100.0, "SAR", None, False, None, "عطور", None, "عطر عود"),
        "mug": (25.0, "SAR", None, False, None, "عطور", None, "Clay mug"),
    }
    assert sorted(events_of(config)) == [
        ("1234.5678", "oud", "add_to_cart", "2025-06-01 09:00:03"),
        ("1234.5678", "oud", "view", "2025-06-01 09:00:02"),
        ("u7", "mug", "purchase", "2025-06-01 09:00:05"),
        ("u7", "oud", "purchase", "2025-06-01 09:00:05"),
    ]
    assert report["events"]["reasons"] == {"other_event": 3, "duplicate_event": 2}
