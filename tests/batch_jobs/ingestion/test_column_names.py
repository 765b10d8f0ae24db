"""Headings: which ones are the same, and that no column holds two fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_jobs.ingestion.column_detection import detect_columns
from batch_jobs.ingestion.column_names import EVENT_ALIASES, PRODUCT_ALIASES, heading_key, named_column


@pytest.mark.parametrize(
    ("heading", "key"),
    [
        ("Price (EGP)", "price"),
        ("price\n(EGP)", "price"),
        ("PRICE [SAR]", "price"),
        ("Unit-Price", "unitprice"),
        ("السعر (ر.س)", "سعر"),
        ("سِعْر", "سعر"),
        ("أسم المنتج", "اسممنتج"),
        ("اسم_المنتج", "اسممنتج"),
        ("العلامة التجارية", "علامهتجاريه"),
        ("الكميه", "كميه"),
        ("name(en-gb)", "nameen"),
        ("الاسم (عربي)", "اسمar"),
        ("In stock?", "instock"),
        ("(id)", "id"),
        ("", ""),
    ],
)
def test_heading_key(heading: str, key: str) -> None:
    assert heading_key(heading) == key


@pytest.mark.parametrize(
    ("field", "columns", "column"),
    [
        ("price", ["السعر المخفض", "السعر (ر.س)"], "السعر (ر.س)"),
        ("sale_price", ["السعر المخفض", "السعر (ر.س)"], "السعر المخفض"),
        ("title", ["الاسم", "اسم المنتج"], "اسم المنتج"),
        ("stock", ["الكمية", "المخزون"], "المخزون"),
        ("brand", ["العلامه التجاريه"], "العلامه التجاريه"),
        ("timestamp", ["التاريخ", "تاريخ الطلب"], "تاريخ الطلب"),
        ("buyer_id", ["المشتري"], "المشتري"),
        ("event_type", ["نوع الحدث"], "نوع الحدث"),
        ("product_id", ["رمز المنتج sku", "اسم المنتج"], "رمز المنتج sku"),
        ("photo", ["صورة المنتج"], "صورة المنتج"),
        ("quantity", ["Qty"], "Qty"),
        ("title", ["description"], None),
    ],
)
def test_the_first_name_of_the_list_that_the_file_has_is_taken(field: str, columns: list[str], column: str) -> None:
    assert named_column(field, columns) == column


HEADINGS = sorted({name for table in (EVENT_ALIASES, PRODUCT_ALIASES) for names in table.values() for name in names})
VALUES = ["p1", "p2", "2025-03-01", "03/04/2025", "12.50", "EGP 3", "view", "purchase", "in stock", "Lamp", "x.jpg", ""]
tables = st.dictionaries(
    st.sampled_from([*HEADINGS, "a", "b", "c"]), st.lists(st.sampled_from(VALUES), max_size=6), max_size=8
)


@given(tables, tables)
def test_no_column_holds_two_fields_and_every_column_exists(
    events: dict[str, list[str]], products: dict[str, list[str]]
) -> None:
    for table, found in zip((events, products), detect_columns(events, products), strict=True):
        columns = [column.column for column in found.values()]
        assert len(columns) == len(set(columns))
        assert set(columns) <= set(table)


def test_buyers_are_the_column_of_the_most_ids_that_repeat() -> None:
    table = {"a": ["x", "y", "x", "y"], "b": ["k1", "k2", "k3", "k1"], "c": ["1", "2", "3", "4"]}
    events, _ = detect_columns(table, {})
    assert events["buyer_id"].column == "b"


def test_seconds_since_1970_are_no_prices() -> None:
    _, products = detect_columns({}, {"id": ["p1", "p2"], "made": ["1735725600.5", "1735725601.5"]})
    assert "price" not in products
