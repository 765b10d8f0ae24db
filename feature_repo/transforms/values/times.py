"""Times as shops write them, as milliseconds since 1970, UTC."""

import datetime as dt
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal

from feature_repo.transforms.values.written_times import date_numbers, plain_time, take_apart, time_zone

DateOrder = Literal["day_first", "month_first"]

OLDEST_TIME = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # no shop has older events: a clock that was never set
CLOCK_SKEW_MS = 5_000  # another machine's clock may be this far ahead of ours
YEAR_9999_MS = 253_370_764_800_000  # 9999-01-01T00:00Z; Python's datetime ends with that year

TIME_BEFORE_2000, TIME_IN_FUTURE = "timestamp_before_2000", "timestamp_in_future"  # reasons of quarantine

EXPECTED_TIME = (
    "expected ISO 8601 such as 2026-11-23T17:30:00Z, or seconds, milliseconds, microseconds or nanoseconds since 1970"
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_OLDEST_MS = (OLDEST_TIME - _EPOCH) // _MILLISECOND

# A number below the first limit is in seconds, below the second in milliseconds, then micro- and nanoseconds. Each unit
# thus covers the years 1973 to 5138.
_UNITS = ((10**11, Decimal(1000)), (10**14, Decimal(1)), (10**17, Decimal("1e-3")), (10**20, Decimal("1e-6")))

_NUMBER = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]*)?(e[+-]?[0-9]{1,3})?", re.IGNORECASE)  # within Decimal's range
_COMPACT = re.compile(r"(19|20)[0-9]{6}([0-9]{4}|[0-9]{6})?(\.0)?")  # 20250601 and 20250601100000 are dates
_DECIMAL_COMMA = re.compile(r"^([0-9]{5,}),([0-9]+)$")
_DAYS_OF_EXCEL = range(36_526, 73_051)  # 2000-01-01 to 2100-01-01, in days since 1899-12-30
_YEARS_OF_OTHER_CALENDARS = range(1300, 1500)


class UnreadableTimeError(ValueError):
    """A time that cannot be read, or only by guessing; the message says what is expected.

    Attributes:
        cause: What is wrong with the value; empty if it has just none of the forms.
    """

    def __init__(self, message: str, cause: str = "") -> None:
        super().__init__(message)
        self.cause = cause


class AmbiguousDateError(UnreadableTimeError):
    """A date whose day and month cannot be told apart, such as 03/04/2025."""


class TimeReader:
    """Reads times of one shop.

    ISO 8601 with or without zone, a blank before the zone or a zone name after it, dates with names of months,
    Arabic-Indic digits, and numbers since 1970 in seconds, milliseconds, microseconds or nanoseconds, told apart by
    their size. 03/04/2025 is read only with a date order.
    """

    def __init__(self, zone: str = "UTC", date_order: DateOrder | None = None) -> None:
        """`zone` is that of times without one: an IANA name.

        Raises:
            ValueError: There is no zone of this name.
        """
        found = time_zone(zone)
        if found is None:
            raise ValueError(f"no time zone is called {zone!r}; use an IANA name such as Asia/Riyadh")
        self._zone, self._date_order = found, date_order

    def milliseconds(self, value: object) -> int:
        """Milliseconds since 1970, UTC, of a text or a number; finer parts are cut off.

        Raises:
            UnreadableTimeError: The value has none of the forms, or its day and month cannot be told apart.
        """
        # The test keeps out compact dates, numbers and dates with a zone, which fromisoformat would read differently.
        if isinstance(value, str) and value[4:5] == "-" and len(value) > 9 and value[10:11] in ("T", " ", ""):
            try:
                return self._milliseconds(dt.datetime.fromisoformat(value))
            except ValueError:
                pass  # another form
        text = plain_time(value) if isinstance(value, str) else _number_text(value)
        text = _DECIMAL_COMMA.sub(r"\1.\2", text)
        try:
            if _NUMBER.fullmatch(text) and not _COMPACT.fullmatch(text):
                return _in_range(_since_1970(Decimal(text)))
            return self._milliseconds(self._moment(text.removesuffix(".0")))
        except AmbiguousDateError:
            raise
        except ValueError as error:
            reason = f" ({error})" if str(error) else ""
            raise UnreadableTimeError(f"{str(value)[:100]!r} is no time{reason}; {EXPECTED_TIME}", str(error)) from None

    def _moment(self, text: str) -> dt.datetime:
        written = take_apart(text)
        year, first, second = written.date
        if not written.ordered:
            first, second = self._month_and_day(text, first, second, proof=not written.short_year)
        return dt.datetime.combine(dt.date(year, first, second), written.clock, written.zone)

    def _month_and_day(self, text: str, first: int, second: int, *, proof: bool) -> tuple[int, int]:
        order = self._date_order
        if order is None and proof:
            order = "day_first" if first > 12 or first == second else "month_first" if second > 12 else None
        if order is None:
            raise AmbiguousDateError(
                f"day and month of {text[:100]!r} cannot be told apart; set data.date_order to day_first or month_first"
            )
        month, day = (second, first) if order == "day_first" else (first, second)
        if month > 12:
            raise ValueError(f"there is no month {month}; dates are read {order}")
        return month, day

    def _milliseconds(self, moment: dt.datetime) -> int:
        if moment.year in _YEARS_OF_OTHER_CALENDARS:
            raise ValueError(f"the year {moment.year} is Hijri or Persian; export Gregorian dates")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=self._zone)  # fold=0: the first of two equal times when clocks go back
        since = moment - _EPOCH
        return _in_range(since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000)


def proven_date_order(texts: Iterable[str]) -> DateOrder | None:
    """The order that a column of dates proves by a number above 12; None if there is no proof, or one of each order."""
    proofs: set[DateOrder] = set()
    for text in texts:
        numbers = date_numbers(text)
        if numbers and max(numbers) > 12 and min(numbers) <= 12:
            proofs.add("day_first" if numbers[0] > 12 else "month_first")
            if len(proofs) == 2:
                return None
    return next(iter(proofs), None)


def time_problem(text: str) -> str:
    """What is wrong with a text that cannot be read as a time ("day is out of range for month"); empty: its form."""
    try:
        TimeReader().milliseconds(text)
    except UnreadableTimeError as error:
        return error.cause
    return ""


def implausible_time(time_ms: int, now_ms: int) -> str | None:
    """TIME_BEFORE_2000, TIME_IN_FUTURE (more than CLOCK_SKEW_MS ahead), or None for a plausible time."""
    if time_ms < _OLDEST_MS:
        return TIME_BEFORE_2000
    return TIME_IN_FUTURE if time_ms > now_ms + CLOCK_SKEW_MS else None


def _number_text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):  # a bool is an int in Python
        raise UnreadableTimeError(f"a value of type {type(value).__name__} is no time; {EXPECTED_TIME}")
    # False for NaN, too. Python refuses to write very large integers.
    if not abs(value) < 10**20:
        raise UnreadableTimeError(f"a number this large is no time; {EXPECTED_TIME}")
    return str(value)


def _since_1970(number: Decimal) -> int:
    # A clock that was never set gives such numbers as well, so they are not read as dates of Excel.
    if int(number) in _DAYS_OF_EXCEL:
        raise ValueError("a day number of Excel? Format the column as a date")
    for limit, milliseconds in _UNITS:
        if abs(number) < limit:
            return math.floor(number * milliseconds)
    raise ValueError("the number is too large")


def _in_range(time_ms: int) -> int:
    if time_ms >= YEAR_9999_MS:
        raise ValueError("the year is above 9998")
    return time_ms
