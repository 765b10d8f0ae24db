"""The transforms that the offline and the online store share, on literal inputs and against brute force."""

import subprocess
import sys

import ibis
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ibis.expr.types import Table

from feature_repo import columns as c
from feature_repo.settings.model import EventWeights
from feature_repo.transforms.events import EVENT_TYPE_CODES, EVENT_TYPE_NAMES, read_event_type, weight_by_code
from feature_repo.transforms.keys import product_key, product_keys
from feature_repo.transforms.sequences import (
    EMPTY_SEQUENCE,
    EventSequence,
    difference,
    latest_sequences,
    merge_sequences,
    sequence,
)
from feature_repo.transforms.text import EMPTY_TEXT, deduplication_key, language_of, product_text

# (time, product key, event type): the order of a sequence is the order of these tuples.
Event = tuple[int, int, int]
events = st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 2))


def as_sequence(rows: list[Event]) -> EventSequence:
    return sequence([key for _, key, _ in rows], [code for _, _, code in rows], [time for time, _, _ in rows])


def as_events(events: EventSequence) -> list[Event]:
    return list(
        zip(events.event_times.tolist(), events.product_keys.tolist(), events.event_types.tolist(), strict=True)
    )


# --- events -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("view", "view"),
        ("View", "view"),
        (" PRODUCT VIEW ", "view"),
        ("page_view", "view"),
        ("view-item", "view"),
        ("addToCart", "add_to_cart"),
        ("ADD TO CART", "add_to_cart"),
        ("add-to-cart", "add_to_cart"),
        ("Added to cart!", "add_to_cart"),
        ("2. add to cart", "add_to_cart"),
        ("Purchase", "purchase"),
        ("bought", "purchase"),
        ("view_item", "view"),
        ("click", "view"),
        ("order.created", "purchase"),
        ("orders/create", "purchase"),
        ("مشاهدة", "view"),
        ("إضافة إلى السلة", "add_to_cart"),
        ("اضافه الى السله", "add_to_cart"),
        ("اضافة للسلة", "add_to_cart"),
        ("شراء", "purchase"),
        ("refunded", "refund"),
        ("orders/cancelled", "refund"),
        ("استرجاع", "refund"),
        ("إلغاء", "refund"),
        ("remove_from_cart", "other_event"),
        ("wishlist", "other_event"),
        ("impression", "other_event"),
        ("begin_checkout", "other_event"),
        ("teleport", None),
        ("", None),
    ],
)
def test_event_types_are_known_in_any_spelling(spelling: str, name: str | None) -> None:
    assert read_event_type(spelling) == name


def test_event_codes_never_move() -> None:
    assert EVENT_TYPE_CODES == {"view": 0, "add_to_cart": 1, "purchase": 2}
    assert all(read_event_type(name) == name for name in EVENT_TYPE_NAMES)


def test_weights_come_in_the_order_of_the_codes() -> None:
    assert weight_by_code(EventWeights()) == (1.0, 5.0, 10.0)
    assert weight_by_code(EventWeights(purchase=7, view=0, add_to_cart=2.5)) == (0.0, 2.5, 7.0)


# --- product keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("product_id", "key"),
    [
        ("p1", 8361833091136382792),
        ("0012", 7145493902959583337),
        ("هاتف-١", 7232367300071585344),
        ("", 8238016292129134938),
    ],
)
def test_product_keys_are_these_for_ever(product_id: str, key: int) -> None:
    assert product_key(product_id) == key


def test_product_keys_do_not_depend_on_the_process() -> None:
    code = "from feature_repo.transforms.keys import product_key; print(product_key('هاتف-١'))"
    command = [sys.executable, "-X", "utf8", "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7232367300071585344\n"


@given(st.text())
def test_product_keys_fit_in_63_bits(product_id: str) -> None:
    assert 0 <= product_key(product_id) < 2**63


@given(st.lists(st.text(max_size=4), max_size=6))
def test_keys_of_many_products_are_those_of_each(product_ids: list[str]) -> None:
    keys = product_keys(product_ids)
    assert keys.dtype == np.int64
    assert keys.tolist() == [product_key(product_id) for product_id in product_ids]


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "description", "text"),
    [
        ("هاتف ذكي ١٢٨ جيجا", "شاشة ٦ بوصة", "هاتف ذكي ١٢٨ جيجا شاشة ٦ بوصة"),
        (" قهوة Arabic coffee ", "", "قهوة Arabic coffee"),
        ("", " only a description\n", "only a description"),
        ("", "", " "),
        (" ", "\t\n", " "),
    ],
)
def test_product_text_joins_title_and_description(title: str, description: str, text: str) -> None:
    assert product_text(title, description) == text


@given(st.text(), st.text())
def test_product_text_is_never_empty(title: str, description: str) -> None:
    text = product_text(title, description)
    assert text == EMPTY_TEXT or text.strip() == text != ""
    assert title.strip() in text
    assert description.strip() in text


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("Phone  128GB", "6 inch", "Nour"), (" phone 128gb", "6 INCH ", "NOUR"), True),
        (("Straße", "", None), ("STRASSE", "", ""), True),
        (("هاتف", "نور", None), ("هاتف ", " نور", ""), True),
        (("أرز بسمتي ٥ كجم", "", "نور"), ("ارز بسمتى 5 كغ", "", "نُور"), True),
        (("<b>Phone</b> 128GB", "", None), ("Phone 128 جيجا", "", None), True),
        (("T-shirt XXXL", "", None), ("T-shirt XL", "", None), False),
        (("Game 3.10", "", None), ("Game 3.1", "", None), False),
        (("Shirt <L>", "", None), ("Shirt <XL>", "", None), False),
        (("Shirt <S>", "", None), ("Shirt", "", None), False),
        (("Learn C#", "", None), ("Learn C", "", None), False),
        (("Lens -2.5", "", None), ("Lens +2.5", "", None), False),
        (("Phone", "", "Nour"), ("Phone", "", "Dallah"), False),
        (("Phone", "Nour", None), ("Phone", "", "Nour"), False),
        (("Phone", "a", None), ("Phone", "b", None), False),
    ],
)
def test_products_are_the_same_but_for_their_spelling(
    first: tuple[str, str, str | None], second: tuple[str, str, str | None], same: bool
) -> None:
    assert (deduplication_key(*first) == deduplication_key(*second)) is same


def test_products_without_title_and_description_are_never_the_same() -> None:
    assert deduplication_key(" ", "", "Nour") is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("حليب طازج 1 لتر", "ar"),
        ("Fresh milk 1 l", "latin"),
        ("Crème brûlée", "latin"),
        ("شاحن سريع USB", "ar"),
        ("Samsung Galaxy S24 شاحن", "latin"),
        ("ab من", "ar"),
        ("ﺷﺎﺣﻦ", "ar"),  # presentation forms
        ("牛奶 milk 鲜奶牛奶", "other"),
        ("123 - 45", "other"),
        (" ", "other"),
        ("", "other"),
    ],
)
def test_language_of(text: str, language: str) -> None:
    assert language_of(text) == language


# --- merging online sequences -----------------------------------------------------------------------------------------


def test_merging_orders_drops_repeats_and_keeps_the_last() -> None:
    stored = as_sequence([(10, 7, 0), (20, 7, 2), (30, 1, 0)])
    pushed = as_sequence([(30, 1, 0), (30, 1, 1), (5, 9, 0)])
    merged = [(5, 9, 0), (10, 7, 0), (20, 7, 2), (30, 1, 0), (30, 1, 1)]
    assert as_events(merge_sequences(stored, pushed, 100)) == merged
    assert as_events(merge_sequences(stored, pushed, 2)) == merged[-2:]


@given(st.lists(events, max_size=12), st.lists(events, max_size=12), st.integers(1, 8))
@example([], [], 1)
@example([(0, 0, 0)], [(0, 0, 0)], 1)
def test_merging_equals_sorting_the_distinct_events(first: list[Event], second: list[Event], max_length: int) -> None:
    merged = merge_sequences(as_sequence(first), as_sequence(second), max_length)
    assert as_events(merged) == sorted({*first, *second})[-max_length:]
    assert [array.dtype for array in merged] == [np.int64, np.int32, np.int64]
    again = merge_sequences(merged, EMPTY_SEQUENCE, max_length)
    assert as_events(again) == as_events(merged)


@given(st.lists(events, max_size=20), st.lists(events, max_size=20), st.integers(1, 4))
def test_merging_cut_sequences_loses_none_of_the_last(first: list[Event], second: list[Event], max_length: int) -> None:
    def cut(rows: list[Event]) -> EventSequence:
        return as_sequence(sorted(set(rows))[-max_length:])

    whole = sorted({*first, *second})[-max_length:]
    assert as_events(merge_sequences(cut(first), cut(second), max_length)) == whole


@given(st.lists(events, max_size=12), st.lists(events, max_size=12))
def test_merging_without_a_length_keeps_all(first: list[Event], second: list[Event]) -> None:
    assert as_events(merge_sequences(as_sequence(first), as_sequence(second))) == sorted({*first, *second})


@given(st.lists(events, max_size=12), st.lists(events, max_size=12))
@example([(1, 2, 0)], [(1, 2, 1)])
def test_difference_removes_equal_events_only(first: list[Event], second: list[Event]) -> None:
    rest = difference(as_sequence(first), as_sequence(second))
    assert as_events(rest) == [event for event in first if event not in second]
    assert [array.dtype for array in rest] == [np.int64, np.int32, np.int64]


# --- building offline sequences ---------------------------------------------------------------------------------------

EVENT_COLUMNS = [c.BUYER_ID, c.EVENT_TIME, c.PRODUCT_KEY, c.EVENT_TYPE]


def as_table(histories: dict[str, list[Event]]) -> Table:
    rows = [(buyer, *event) for buyer, history in histories.items() for event in history]
    return ibis.memtable(pd.DataFrame(rows, columns=EVENT_COLUMNS).astype({c.EVENT_TYPE: "int32"}))


def latest(histories: dict[str, list[Event]], max_length: int) -> dict[str, list[Event]]:
    """The latest sequences, by buyer."""
    duckdb = ibis.duckdb.connect(threads=1)
    sequences = duckdb.to_pyarrow(latest_sequences(as_table(histories), max_length))
    duckdb.disconnect()
    types = [sequences.schema.field(name).type.value_type for name in (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)]
    assert types == [pa.int64(), pa.int32(), pa.int64()]
    return {
        row[c.BUYER_ID]: list(zip(row[c.EVENT_TIMES], row[c.PRODUCT_KEYS], row[c.EVENT_TYPES], strict=True))
        for row in sequences.to_pylist()
    }


@settings(max_examples=40)
@given(
    st.dictionaries(st.sampled_from(["u1", "u2", "عمر"]), st.lists(events, max_size=13), min_size=1),
    st.integers(1, 5),
)
def test_the_latest_sequence_is_the_end_of_the_sorted_history(
    histories: dict[str, list[Event]], max_length: int
) -> None:
    if any(histories.values()):
        expected = {buyer: sorted(history)[-max_length:] for buyer, history in histories.items() if history}
        assert latest(histories, max_length) == expected
