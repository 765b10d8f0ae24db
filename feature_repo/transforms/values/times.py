"""Times as shops write them, as milliseconds since 1970, UTC."""

import datetime as dt
from collections.abc import Iterable
from typing import Literal

DateOrder = Literal["day_first", "month_first"]

OLDEST_TIME = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # no shop has older events: a clock that was never set
CLOCK_SKEW_MS = 5_000  # another machine's clock may be this far ahead of ours

TIME_BEFORE_2000, TIME_IN_FUTURE = "timestamp_before_2000", "timestamp_in_future"  # reasons of quarantine


class UnreadableTimeError(ValueError):
    """A time that cannot be read, or only by guessing; the message says what is expected."""


class TimeReader:
    """Reads times of one shop.

    ISO 8601 with or without zone, a blank before the zone or a zone name after it, Arabic-Indic digits, and numbers
    since 1970 in seconds, milliseconds, microseconds or nanoseconds, told apart by their size. 03/04/2025 is read only
    with a date order.
    """

    def __init__(self, zone: str = "UTC", date_order: DateOrder | None = None) -> None:
        """`zone` is that of times without one: an IANA name."""
        raise NotImplementedError

    def milliseconds(self, value: str | float) -> int:
        """Milliseconds since 1970, UTC.

        Raises:
            UnreadableTimeError: The value has none of the forms, or its day and month cannot be told apart.
        """
        raise NotImplementedError


def proven_date_order(texts: Iterable[str]) -> DateOrder | None:
    """The order that a column of dates proves by a number above 12, or None if there is no proof.

    Raises:
        ValueError: Some dates prove one order and some the other; the message quotes both.
    """
    raise NotImplementedError


def implausible_time(time_ms: int, now_ms: int) -> str | None:
    """TIME_BEFORE_2000, TIME_IN_FUTURE (more than CLOCK_SKEW_MS ahead), or None for a plausible time."""
    raise NotImplementedError
