"""Times: each form of the documentation, and every time in every form."""

import datetime as dt
from collections.abc import Callable
from contextlib import suppress
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.transforms.values.times import (
    AmbiguousDateError,
    DateOrder,
    TimeReader,
    UnreadableTimeError,
    implausible_time,
    proven_date_order,
)

pytestmark = pytest.mark.fast

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
UTC_TIMES = TimeReader()
TEN = "2025-06-01T10:00:00+00:00"
SEVEN = "2025-06-01T07:00:00+00:00"


def read(value: object, times: TimeReader = UTC_TIMES) -> str:
    return (EPOCH + dt.timedelta(milliseconds=times.milliseconds(value))).isoformat()


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2025-06-01T10:00:00Z", TEN),
        ("2025-06-01t10:00:00z", TEN),
        ("2025-06-01 10:00", TEN),
        ("2025-6-1 10:00", TEN),
        (" 2025-06-01T10:00:00 \n", TEN),
        ("2025-06-01 10:00:00 UTC", TEN),
        ("2025-06-01 10:00:00.000000 gmt", TEN),
        ("2025-06-01T10:00:00.123456789Z", "2025-06-01T10:00:00.123000+00:00"),
        ("2025-06-01 10:00:00,5", "2025-06-01T10:00:00.500000+00:00"),
        ("2025-06-01", "2025-06-01T00:00:00+00:00"),
        ("2025-06-01T10:00:00+03:00", SEVEN),
        ("2025-06-01T10:00:00+0300", SEVEN),
        ("2025-06-01T10:00:00+03", SEVEN),
        ("2025-06-01 10:00:00 +0300", SEVEN),  # Shopify
        ("2025-06-01 10:00:00 +03:00", SEVEN),
        ("2025-06-01 10:00:00 GMT+3", SEVEN),
        ("2025-06-01 03:30:00 -0630", TEN),
        ("2025-06-01 10:00:00 Asia/Riyadh", SEVEN),
        ("2025-06-01T10:00+03:00[Asia/Riyadh]", SEVEN),
        ("2025-06-01T10:00[Asia/Riyadh]", SEVEN),
        ("2025-06-01+03:00", "2025-05-31T21:00:00+00:00"),
        ("20250601T100000Z", TEN),
        ("20250601T1000+0000", TEN),
        ("20250601100000", TEN),
        ("20250601", "2025-06-01T00:00:00+00:00"),
        (20250601, "2025-06-01T00:00:00+00:00"),
        ("20250601.0", "2025-06-01T00:00:00+00:00"),  # a column of integers with gaps in pandas
        ("٢٠٢٥-٠٦-٠١ ١٠:٠٠:٠٠", TEN),
        ("۲۰۲۵/۰۶/۰۱ ۱۰:۰۰", TEN),
        ("2025/06/01 10:00", TEN),
        ("2025/06/01 10:00:00.5", "2025-06-01T10:00:00.500000+00:00"),
        ("2025.06.01 10:00", TEN),
        ("Sun, 01 Jun 2025 10:00:00 +0300", SEVEN),
        ("Sun Jun 01 2025 10:00:00 GMT+0300 (Arabian Standard Time)", SEVEN),
        ("Jun 1, 2025 10:00 AM", TEN),
        ("Jun 1, 2025, 10:00:00 AM", TEN),
        ("June 1st, 2025 at 10:00 pm", "2025-06-01T22:00:00+00:00"),
        ("1 Jun 2025 10:00", TEN),
        ("1-Jun-2025 10:00", TEN),
        ("1 Sept 2025", "2025-09-01T00:00:00+00:00"),
        ("1 يونيو 2025 10:00 ص", TEN),
        ("الأحد، 1 يونيو 2025 10:00 مساءً", "2025-06-01T22:00:00+00:00"),
        ("25/12/2025", "2025-12-25T00:00:00+00:00"),
        ("12/25/2025 12:05 AM", "2025-12-25T00:05:00+00:00"),
        ("25.12.2025 12:05 pm", "2025-12-25T12:05:00+00:00"),
        ("\u200f25\u200f/12\u200f/2025، 10:00:00 م", "2025-12-25T22:00:00+00:00"),
        ("03/03/2025", "2025-03-03T00:00:00+00:00"),
        (1748772000, TEN),
        ("1748772000", TEN),
        ("١٧٤٨٧٧٢٠٠٠", TEN),
        (1748772000.0, TEN),
        ("1748772000.123", "2025-06-01T10:00:00.123000+00:00"),
        (1748772000.123, "2025-06-01T10:00:00.123000+00:00"),
        ("1.748772e9", TEN),
        (1748772000000, TEN),
        ("1748772000000", TEN),
        ("1748772000000000", TEN),
        ("1748772000000000000", TEN),
        # The first number of each unit but seconds.
        (100_000_000_000, "1973-03-03T09:46:40+00:00"),
        (100_000_000_000_000, "1973-03-03T09:46:40+00:00"),
        (100_000_000_000_000_000, "1973-03-03T09:46:40+00:00"),
        (946684799, "1999-12-31T23:59:59+00:00"),
        ("0", "1970-01-01T00:00:00+00:00"),
        (-1, "1969-12-31T23:59:59+00:00"),
    ],
)
def test_times_are_read_in_the_forms_of_shops(value: object, time: str) -> None:
    assert read(value) == time


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("", "is no time"),
        ("tomorrow", "is no time"),
        ("2025-13-01", "month must be in 1..12"),
        ("31/02/2025", "day is out of range"),
        ("0000-00-00 00:00:00", "year 0 is out of range"),
        ("2025-06-01 25:00", "hour must be in 0..23"),
        ("2025-06-01 13:00 PM", "hour 13 pm"),
        ("2025-06-01 10:00 AST", "no time zone is called 'AST'"),
        ("2025-06-01 10:00 ../../etc/passwd", "no time zone is called"),
        ("1 Foo 2025", "no month is called 'foo'"),
        ("2025-06-01T10:00:00Z and more", "no time zone"),
        ("1e300", "too large"),
        ("1e9999999999999999999", "is no time"),
        ("1" * 5000, "is no time"),
        ("9999-12-31T23:59:59-05:00", "above 9998"),
        ("9999-01-01T00:00:00Z", "above 9998"),
        (float("nan"), "a number this large"),
        (10**400, "a number this large"),
        (True, "type bool"),
        (None, "type NoneType"),
        ([], "type list"),
    ],
)
def test_what_is_no_time_is_refused_with_the_reason(value: object, why: str) -> None:
    with pytest.raises(UnreadableTimeError, match="expected ISO 8601") as refusal:
        UTC_TIMES.milliseconds(value)
    assert why.lower() in str(refusal.value).lower()


@pytest.mark.parametrize("text", ["03/04/2025", "3-4-2025 10:00", "03/04/25", "25/12/25"])
def test_day_and_month_are_not_guessed(text: str) -> None:
    with pytest.raises(AmbiguousDateError, match=r"set data\.date_order"):
        UTC_TIMES.milliseconds(text)


@pytest.mark.parametrize(
    ("order", "text", "time"),
    [
        ("day_first", "03/04/2025", "2025-04-03"),
        ("month_first", "03/04/2025", "2025-03-04"),
        ("day_first", "25/12/25", "2025-12-25"),
        ("month_first", "12/25/25", "2025-12-25"),
        ("day_first", "2025/03/04", "2025-03-04"),
    ],
)
def test_a_declared_date_order_decides(order: DateOrder, text: str, time: str) -> None:
    assert read(text, TimeReader("UTC", order))[:10] == time


def test_a_date_against_the_declared_order_is_refused() -> None:
    with pytest.raises(UnreadableTimeError, match="there is no month 25; dates are read day_first"):
        TimeReader("UTC", "day_first").milliseconds("12/25/2025")


def test_times_without_a_zone_are_the_shops() -> None:
    riyadh = TimeReader("Asia/Riyadh")
    assert read("2025-06-01 10:00:00", riyadh) == SEVEN
    assert read("01 Jun 2025 10:00", riyadh) == SEVEN
    assert read("2025-06-01T10:00:00Z", riyadh) == TEN
    assert read("1748772000", riyadh) == TEN
    # Clocks in Cairo go back from 24:00 to 23:00 on 30 October 2025: the first of the two hours counts.
    assert read("2025-10-30 23:30", TimeReader("Africa/Cairo")) == "2025-10-30T20:30:00+00:00"


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone is called 'Riyadh'; use an IANA name"):
        TimeReader("Riyadh")


def test_a_column_of_dates_proves_its_order() -> None:
    assert proven_date_order(["03/04/2025", "", "25/12/2025 10:00", "2025-01-13"]) == "day_first"
    assert proven_date_order(["٠٣/٠٤/٢٠٢٥", "١٢/٢٥/٢٠٢٥"]) == "month_first"
    assert proven_date_order(["03/04/2025", "2025-12-25", "31/31/2025", "25/12/25"]) is None
    assert proven_date_order(["12/25/2025", "25/12/2025"]) is None


def test_plausible_times_begin_in_2000_and_end_now() -> None:
    now, year_2000 = 1_764_000_000_000, 946_684_800_000
    assert implausible_time(year_2000 - 1, now) == "timestamp_before_2000"
    assert [implausible_time(time, now) for time in (year_2000, now, now + 5_000)] == [None] * 3
    assert implausible_time(now + 5_001, now) == "timestamp_in_future"


# --- every time in every form -----------------------------------------------------------------------------------------

ZONE_NAMES = ["UTC", "Asia/Riyadh", "Africa/Cairo", "America/New_York", "Asia/Kolkata"]
Form = Callable[[dt.datetime], Any]
WHOLE_SECONDS: list[Form] = [
    lambda time: format_datetime(time),
    lambda time: time.strftime("%Y-%m-%d %H:%M:%S %z"),
    lambda time: time.strftime("%Y%m%dT%H%M%S%z"),
    lambda time: time.strftime("%Y/%m/%d %H:%M:%S %z"),
    lambda time: time.strftime("%b %-d, %Y, %I:%M:%S %p %z"),
    lambda time: time.strftime("%-d %B %Y %H:%M:%S %z"),
    lambda time: time.strftime("%d.%m.%Y %H:%M:%S %z") if time.day > 12 else time.isoformat(),
    lambda time: time.strftime("%m/%d/%Y %I:%M:%S %p %z") if time.day > 12 else time.isoformat(),
    lambda time: int(time.timestamp()),
    lambda time: str(int(time.timestamp())),
    lambda time: time.timestamp(),
]
EXACT: list[Form] = [
    lambda time: time.isoformat(),
    lambda time: time.isoformat(" ").translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
    lambda time: time.strftime("%Y-%m-%d %H:%M:%S.%f %z"),
    lambda time: (time - EPOCH) // dt.timedelta(milliseconds=1),
    lambda time: str((time - EPOCH) // dt.timedelta(microseconds=1)),
    lambda time: f"{(time - EPOCH) // dt.timedelta(microseconds=1)}000",
]
LATEST = dt.datetime(2099, 12, 31)  # 20991231 is read as a date, 21000101 as a number
times = st.builds(
    lambda time, zone: time.replace(tzinfo=dt.UTC).astimezone(zone),
    st.datetimes(dt.datetime(2000, 1, 2), LATEST),
    st.sampled_from(ZONE_NAMES).map(ZoneInfo),
)


@given(time=times, form=st.sampled_from(WHOLE_SECONDS))
def test_a_time_of_whole_seconds_reads_back_in_every_form(time: dt.datetime, form: Form) -> None:
    time = time.replace(microsecond=0)
    assert UTC_TIMES.milliseconds(form(time)) == time.timestamp() * 1000


@given(time=times, form=st.sampled_from(EXACT))
def test_a_time_reads_back_to_the_millisecond(time: dt.datetime, form: Form) -> None:
    assert UTC_TIMES.milliseconds(form(time)) == (time - EPOCH) // dt.timedelta(milliseconds=1)


@given(
    time=st.datetimes(dt.datetime(2000, 1, 2), LATEST),
    zone=st.sampled_from(ZONE_NAMES),
    order=st.sampled_from([("day_first", "%d/%m/%Y"), ("month_first", "%m/%d/%Y")]),
)
def test_a_local_time_reads_back_in_the_shops_zone_and_order(
    time: dt.datetime, zone: str, order: tuple[DateOrder, str]
) -> None:
    time = time.replace(microsecond=0)
    reader, expected = TimeReader(zone, order[0]), time.replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000
    assert reader.milliseconds(time.strftime(f"{order[1]} %H:%M:%S")) == expected
    assert reader.milliseconds(time.strftime("%Y-%m-%d %H:%M:%S")) == expected
    assert reader.milliseconds(time.strftime(f"%Y-%m-%d %H:%M:%S {zone}")) == expected


@given(value=st.text() | st.integers() | st.floats() | st.text("0123456789e-/:. TZ+apmص", max_size=25))
def test_anything_is_read_or_refused(value: object) -> None:
    try:
        time_ms = UTC_TIMES.milliseconds(value)
    except UnreadableTimeError:
        return
    assert time_ms < 253_370_764_800_000


@given(value=st.text("0123456789-/:. TZ+apmص", max_size=25))
def test_a_reader_never_depends_on_what_it_read_before(value: str) -> None:
    before = UTC_TIMES.milliseconds("2025-06-01 10:00:00")
    with suppress(UnreadableTimeError):
        UTC_TIMES.milliseconds(value + " Asia/Riyadh")
    assert UTC_TIMES.milliseconds("2025-06-01 10:00:00") == before
