"""The field types of requests: ids, event types, times, prices, numbers of products."""

import datetime as dt
import math
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError

from feature_repo.transforms.events import EVENT_TYPE_NAMES, read_event_type

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)
# From this number on, a time is in milliseconds: as seconds it would be in the year 5138, as milliseconds in 1973.
FIRST_MILLISECONDS = 100_000_000_000
YEAR_9999_MS = 253_370_764_800_000  # 9999-01-01T00:00Z; Python's datetime ends with that year
TIME_FORMATS = "ISO 8601 (UTC if it has no time zone), or epoch seconds or milliseconds"


def milliseconds(value: object) -> int:
    """Milliseconds since 1970 of a time in one of the TIME_FORMATS.

    Raises:
        PydanticCustomError: The value has another format, or is outside the years 1970 to 9998.
    """
    time_ms = -1
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            raise _invalid_timestamp() from None
        # Exact integers; timestamp() returns a float.
        time_ms = ((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - EPOCH) // MILLISECOND
    # Compared without conversion: a JSON integer may be too large for a float.
    # A bool is an int in Python.
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < YEAR_9999_MS:
        time_ms = math.floor(value if value >= FIRST_MILLISECONDS else value * 1000)
    if not 0 <= time_ms < YEAR_9999_MS:
        raise _invalid_timestamp()
    return time_ms


def _invalid_timestamp() -> PydanticCustomError:
    return PydanticCustomError(
        "timestamp", "expected ISO 8601 such as 2026-11-23T17:30:00Z, or epoch seconds or milliseconds as a number"
    )


def _canonical_event_type(name: str) -> str:
    known = read_event_type(name)
    if known not in EVENT_TYPE_NAMES:
        raise PydanticCustomError(
            "unknown_event_type",
            "unknown event type '{name}'; known are {known}",
            {"name": name, "known": ", ".join(EVENT_TYPE_NAMES)},
        )
    return known


def _json_number(value: object) -> object:
    if isinstance(value, bool | str):
        raise PydanticCustomError("json_number", "expected a number")
    return value


# Control characters are refused: no shop's ids contain them, and they break tools downstream (SQL, logs). The pattern
# also states the effect of stripping and min_length for readers of the schema: not all characters are spaces.
Identifier = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$",
    ),
]
EventTypeName = Annotated[
    str,
    Field(
        max_length=64,
        description="Common spellings of these are accepted, too ('Add to Cart')",
        json_schema_extra={"enum": list(EVENT_TYPE_NAMES)},
    ),
    AfterValidator(_canonical_event_type),
]
Timestamp = Annotated[
    int,
    BeforeValidator(milliseconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "format": "date-time", "pattern": r"^(19[7-9]\d|[2-8]\d{3})-"},
                {"type": "number", "minimum": 0, "exclusiveMaximum": YEAR_9999_MS},
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
