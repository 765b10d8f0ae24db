"""What the API takes and gives, as pydantic models; they are also its OpenAPI documentation."""

import datetime as dt
import math
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SkipValidation,
    StringConstraints,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from feature_repo import columns as c
from feature_repo.transforms.events import EVENT_TYPES, normalise_event_type

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)
# Seconds reach this number in the year 5138, milliseconds reached it in 1973.
FIRST_MILLISECONDS = 100_000_000_000
YEAR_9999_MS = 253_370_764_800_000
TIME_FORMS = "ISO 8601 (UTC where it names no zone), or epoch seconds or milliseconds"


def milliseconds(value: object) -> int:
    """Milliseconds since 1970 of an ISO 8601 string (UTC where it names no zone) or of epoch seconds or milliseconds.

    Raises:
        PydanticCustomError: It is none of these, or lies outside the years 1970 to 9998.
    """
    time_ms = -1
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            raise _unreadable_timestamp() from None
        time_ms = ((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)) - EPOCH) // MILLISECOND
    # Compared and not converted: JSON may hold integers beyond any float.
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < YEAR_9999_MS:
        time_ms = math.floor(value if value >= FIRST_MILLISECONDS else value * 1000)
    if not 0 <= time_ms < YEAR_9999_MS:
        raise _unreadable_timestamp()
    return time_ms


def _unreadable_timestamp() -> PydanticCustomError:
    return PydanticCustomError(
        "timestamp", "expected ISO 8601 such as 2026-11-23T17:30:00Z, or epoch seconds or milliseconds as a number"
    )


def _canonical_event_type(name: str) -> str:
    known = normalise_event_type(name)
    if known is None:
        raise PydanticCustomError(
            "unknown_event_type",
            "unknown event type '{name}'; known are {known}",
            {"name": name, "known": ", ".join(EVENT_TYPES)},
        )
    return known


# Control characters are refused because no shop's ids hold them, and tools downstream (SQL, logs) stumble over them.
Identifier = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")
]
EventType = Annotated[
    str,
    Field(max_length=64, description=f"{', '.join(EVENT_TYPES)}, in any usual spelling ('Add to Cart')"),
    AfterValidator(_canonical_event_type),
]
Timestamp = Annotated[
    int,
    BeforeValidator(milliseconds),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
K = Annotated[int, Field(ge=1, le=100, description="Number of products")]
Source = Literal["personalised", "session", "popular"]
VIEW: dict[str, JsonValue] = {c.PRODUCT_ID: "p1", c.EVENT_TYPE: "view"}  # for examples


class Interaction(BaseModel):
    """One thing the buyer did."""

    model_config = ConfigDict(json_schema_extra={"examples": [VIEW | {"timestamp": "2026-11-23T17:30:00Z"}]})

    product_id: Identifier
    event_type: EventType
    timestamp: Timestamp | None = Field(
        None, description=f"{TIME_FORMS}. Missing: newer than all that have one, in the order given"
    )


class EncodeBuyerRequest(BaseModel):
    """A buyer, as interactions or as the id of one whose history is stored."""

    buyer_id: Identifier | None = Field(None, description="Its stored history counts where `interactions` is empty")
    interactions: list[Interaction] = Field(
        default=[], description="At most `api.max_interactions_per_request` (100); unknown products are skipped"
    )


class EncodeBuyerResponse(BaseModel):
    """The buyer's vector."""

    embedding: list[float] = Field(description="Unit length; comparable with products of the same release only")
    embedding_dim: int
    release: str


class RetrieveRequest(EncodeBuyerRequest):
    """A buyer, and how many products to find."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"interactions": [VIEW], "k": 10}, {c.BUYER_ID: "u1", "interactions": [], "k": 10}]
        }
    )

    k: K = 10


class RecommendedProduct(BaseModel):
    """One product of an answer."""

    product_id: str
    score: float = Field(description="Higher is better; comparable within one answer only")
    title: str
    description: str
    brand: str | None
    category: str | None
    photo: str | None
    price: float | None


class RecommendationResponse(BaseModel):
    """Products, best first, and where they come from."""

    buyer_id: str | None
    release: str
    source: Source = Field(
        description="`personalised`: from the stored history. `session`: from the interactions of the request. "
        "`popular`: nothing usable is known about the buyer"
    )
    items: list[RecommendedProduct]


class Event(BaseModel):
    """One thing a buyer did, to be remembered."""

    model_config = ConfigDict(json_schema_extra={"examples": [{c.EVENT_ID: "3f6c0a1e", c.BUYER_ID: "u1", **VIEW}]})

    event_id: Identifier | None = Field(
        None, description="Makes retries safe: an id is taken once in 24 hours. Missing: every request is a new event"
    )
    buyer_id: Identifier
    product_id: Identifier
    event_type: EventType
    timestamp: Timestamp | None = Field(None, description=f"{TIME_FORMS}. Missing: now. In the future: refused")


class EventsRequest(BaseModel):
    """Events to remember."""

    # Raw JSON: the service checks events one by one, so that a broken one does not refuse the batch.
    events: list[SkipValidation[Event]] = Field(description="At most `api.max_events_per_request` (1000)")


class RejectedEvent(BaseModel):
    """An event that was not taken."""

    index: int = Field(description="Its place in the request, from 0")
    reason: str


class EventsResponse(BaseModel):
    """What became of the events; the accepted ones are stored durably."""

    accepted: int
    duplicates: int
    rejected: list[RejectedEvent]


class Health(BaseModel):
    """The state of the service."""

    status: Literal["ok", "degraded"]
    release: str
    products: int
    embedding_dim: int
    feature_store: Literal["ok", "unavailable"]


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 (application/problem+json) describes it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    request_id: str | None = Field(None, description="Quote it when you report an unexpected error")


def describe(error: ErrorDetails) -> FieldProblem:
    """One error of a pydantic ValidationError, without the input it speaks of."""
    return FieldProblem(field=".".join(map(str, error["loc"])), message=error["msg"])
