"""The fields of events: read by the rules of ingest, and refused with a reason."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from feature_repo.transforms.values.times import TimeReader, UnreadableTimeError
from online_api.schemas.problems import describe
from online_api.schemas.requests import Event, Interaction, read_interactions

pytestmark = pytest.mark.fast

TIMES = TimeReader("Asia/Riyadh")
VALID = {"buyer_id": "u1", "product_id": "p1", "event_type": "view"}


def read(**fields: Any) -> Event:
    return Event.model_validate(VALID | fields, context=TIMES)


def refusal(**fields: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        read(**fields)
    (problem,) = map(describe, refused.value.errors())
    return f"{problem.field}: {problem.message}"


@pytest.mark.parametrize(
    ("timestamp", "time_ms"),
    [
        ("2025-06-01T10:00:00Z", 1_748_772_000_000),
        ("2025-06-01 13:00:00 +0300", 1_748_772_000_000),
        ("2025-06-01 13:00:00", 1_748_772_000_000),  # data.timezone
        ("2025-06-01 12:00:00 Europe/Paris", 1_748_772_000_000),
        ("١٧٤٨٧٧٢٠٠٠", 1_748_772_000_000),
        (1748772000.5, 1_748_772_000_500),
        (1748772000000000, 1_748_772_000_000),
    ],
)
def test_times_are_read_like_those_of_exports(timestamp: object, time_ms: int) -> None:
    assert read(timestamp=timestamp).timestamp == time_ms


@pytest.mark.parametrize("timestamp", [0, "1970-01-01T00:00:00Z", "2099-01-01"])
def test_an_interaction_may_have_any_time(timestamp: object) -> None:
    (interaction,) = read_interactions([{"product_id": "p1", "event_type": "view", "timestamp": timestamp}], TIMES)
    assert interaction.timestamp == TIMES.milliseconds(timestamp)


@pytest.mark.parametrize("year", [1000, 1299, 1300, 1399, 1447, 1499, 1500, 1599, 1999, 2026, 8999])
def test_the_schema_promises_the_years_that_are_read(year: int) -> None:
    text = f"{year}-04-25T04:04:52Z"
    forms = Interaction.model_json_schema()["properties"]["timestamp"]["anyOf"]
    (pattern,) = [form["pattern"] for form in forms if "pattern" in form]
    try:
        TIMES.milliseconds(text)
    except UnreadableTimeError:
        assert not re.search(pattern, text)
    else:
        assert re.search(pattern, text)


def test_what_is_no_time_is_refused_with_what_is_expected() -> None:
    assert refusal(timestamp="{tomorrow}").startswith("timestamp: '{tomorrow}' is no time; expected ISO 8601 such as")
    assert "set data.date_order to day_first or month_first" in refusal(timestamp="03/04/2025")


def test_ids_are_cleaned_like_those_of_exports() -> None:
    event = read(buyer_id="\ufeff u1\t", product_id="p1\r\n", event_id=" e1 ")
    assert (event.buyer_id, event.product_id, event.event_id) == ("u1", "p1", "e1")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        *(
            ({"buyer_id": text}, f"buyer_id: names nobody, got {text!r}")
            for text in ("0", "NULL", "nan", "(not set)", "None")
        ),
        ({"event_id": "undefined"}, "event_id: names no event, got 'undefined'; leave it out if you have none"),
        ({"buyer_id": "a\nb"}, "buyer_id: must not hold control characters"),
        ({"buyer_id": " \u200b"}, "buyer_id: must not be empty"),
        ({"product_id": "p" * 257}, "product_id: must have at most 256 characters"),
    ],
)
def test_ids_are_refused_with_a_reason(fields: dict[str, Any], reason: str) -> None:
    assert refusal(**fields) == reason


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ("Add to Cart", "add_to_cart"),
        ("view_item", "view"),
        ("شراء", "purchase"),
        ("orders/cancelled", "refund"),
        ("مرتجع", "refund"),
    ],
)
def test_event_types_are_read_like_those_of_exports(name: str, event_type: str) -> None:
    assert read(event_type=name).event_type == event_type


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("remove_from_cart", "event_type: event type 'remove_from_cart' does not count; accepted are "),
        ("impression", "event_type: event type 'impression' does not count; accepted are "),
        ("teleport", "event_type: unknown event type 'teleport'; accepted are "),
    ],
)
def test_other_event_types_are_refused_with_those_that_count(name: str, reason: str) -> None:
    assert refusal(event_type=name) == f"{reason}view, add_to_cart, purchase, refund"


@pytest.mark.parametrize(
    ("event_type", "quantity", "expected"),
    [
        ("purchase", None, ("purchase", None)),
        ("purchase", 2, ("purchase", 2)),
        ("purchase", -2, ("refund", 2)),
        ("refund", 2, ("refund", 2)),
        ("refund", -2, ("refund", 2)),
        ("view", 1, ("view", 1)),
    ],
)
def test_a_purchase_of_a_negative_quantity_is_a_refund(
    event_type: str, quantity: int | None, expected: tuple[str, int]
) -> None:
    event = read(event_type=event_type, quantity=quantity)
    assert (event.event_type, event.quantity) == expected


@pytest.mark.parametrize(
    ("event_type", "quantity", "reason"),
    [
        ("purchase", 0, "quantity: must not be 0"),
        ("purchase", "2", "quantity: expected a number"),
        ("purchase", 2.5, "quantity: Input should be a valid integer"),
        ("add_to_cart", -1, ": Value error, the quantity of an event 'add_to_cart' must be positive, got -1"),
    ],
)
def test_other_quantities_are_refused(event_type: str, quantity: object, reason: str) -> None:
    assert refusal(event_type=event_type, quantity=quantity).startswith(reason)
