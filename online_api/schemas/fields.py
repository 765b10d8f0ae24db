"""The field types of requests: ids, event types, times, prices, numbers of products."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from feature_repo import columns as c
from feature_repo.transforms.events import EVENT_TYPE_NAMES, REFUND, read_event_type
from feature_repo.transforms.values.ids import MAX_ID_LENGTH, clean_buyer_id, clean_id, id_problem, plain_id
from feature_repo.transforms.values.times import TimeReader, UnreadableTimeError

MAX_QUANTITY = 1_000_000
TIME_FORMATS = (
    "ISO 8601 (of the zone in `data.timezone` if it names none), seconds or milliseconds since 1970, and what else "
    "docs/values.md lists"
)


def _timestamp(value: object, info: ValidationInfo) -> int:
    times = info.context
    assert isinstance(times, TimeReader), "models with a Timestamp are validated with a TimeReader as the context"
    try:
        return times.milliseconds(value)
    except UnreadableTimeError as error:
        raise _error("timestamp", str(error)) from None


def _identifier(text: str) -> str:
    identifier = plain_id(text)
    problem = id_problem(identifier) if identifier else "must not be empty"
    if problem is not None:
        raise _error("identifier", problem)
    return identifier


def _somebody(buyer_id: str) -> str:
    if clean_buyer_id(buyer_id) is None:
        raise _error(c.BUYER_ID, f"names nobody, got {buyer_id!r}")
    return buyer_id


def _some_event(event_id: str) -> str:
    if clean_id(event_id) is None:
        raise _error(c.EVENT_ID, f"names no event, got {event_id!r}; leave it out if you have none")
    return event_id


def _some_product(product_id: str) -> str:
    if clean_id(product_id) is None:
        raise _error(c.PRODUCT_ID, f"names no product, got {product_id!r}")
    return product_id


def _event_type(accepted: tuple[str, ...]) -> AfterValidator:
    def canonical(name: str) -> str:
        meaning = read_event_type(name)
        if meaning in accepted:
            return str(meaning)
        problem = f"unknown event type {name!r}" if meaning is None else f"event type {name!r} does not count"
        raise _error(c.EVENT_TYPE, f"{problem}; accepted are {', '.join(accepted)}")

    return AfterValidator(canonical)


def _not_zero(quantity: int) -> int:
    if quantity == 0:
        raise _error("quantity", "must not be 0")
    return quantity


def _error(kind: str, message: str) -> PydanticCustomError:
    # The message is a template, and braces in what the caller sent are none of it.
    return PydanticCustomError(kind, "{message}", {"message": message})


def _json_number(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("json_number", "expected a number")
    return value


# The schema says that an id must have a visible character and no control characters.
Identifier = Annotated[
    str,
    AfterValidator(_identifier),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_ID_LENGTH,
            "pattern": r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        }
    ),
]
BuyerOfEvent = Annotated[Identifier, AfterValidator(_somebody)]
EventId = Annotated[Identifier, AfterValidator(_some_event)]
ProductId = Annotated[Identifier, AfterValidator(_some_product)]
RECORDED_EVENT_TYPES = (*EVENT_TYPE_NAMES, REFUND)
InteractionType = Annotated[
    str,
    Field(
        max_length=64,
        description="Common spellings of these are accepted, too ('Add to Cart')",
        json_schema_extra={"enum": list(EVENT_TYPE_NAMES)},
    ),
    _event_type(EVENT_TYPE_NAMES),
]
RecordedEventType = Annotated[
    str,
    Field(
        max_length=64,
        description="Common spellings of these are accepted, too ('Add to Cart'). A `refund` takes a purchase of the "
        "buyer back; it counts from the next ingest on",
        json_schema_extra={"enum": list(RECORDED_EVENT_TYPES)},
    ),
    _event_type(RECORDED_EVENT_TYPES),
]
Timestamp = Annotated[
    int,
    BeforeValidator(_timestamp),
    WithJsonSchema(
        {
            "anyOf": [
                # Not the years 1300 to 1499, which are Hijri or Persian.
                {"type": "string", "format": "date-time", "pattern": r"^(1[0-25-9]|[2-8]\d)\d{2}-"},
                {"type": "number", "exclusiveMinimum": -(10**20), "exclusiveMaximum": 10**20},
            ]
        }
    ),
]
CurrencyCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{3}$", to_upper=True)]  # ISO 4217
LanguageTag = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35),
    Field(
        description="Language of the titles, such as `ar` or `ar-EG`; it counts instead of the header Accept-Language. "
        "A product without a title in it has its main title"
    ),
]
ListLength = Annotated[int, Field(ge=1, le=100, description="Number of products")]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
# For bodies: JSON distinguishes types, so `true` is not 1 and "5" is not 5. Query strings only have text.
JsonNumber = BeforeValidator(_json_number)
Quantity = Annotated[
    int, Field(ge=-MAX_QUANTITY, le=MAX_QUANTITY, json_schema_extra={"not": {"const": 0}}), AfterValidator(_not_zero)
]
