"""Event times: the fast path in SQL gives what the Python rule gives, for one row as for many."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.event_times import register_time_functions, time_ms_expression
from batch_jobs.ingestion.ingest import ingest
from feature_repo.settings.data import DataConfig
from feature_repo.transforms.values.times import TimeReader, UnreadableTimeError
from tests.batch_jobs.csv_shop import HEADER, kept_events, quarantined, shop

PRODUCTS = "id,title\np1,قهوة\np2,Mug\n"
ZONES = ("UTC", "Asia/Riyadh", "Africa/Cairo", "Australia/Lord_Howe", "Asia/Kathmandu", "America/New_York")


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def times(texts: list[str], zone: str) -> list[int | None]:
    """What ingest reads from a column of texts."""
    with duckdb.connect() as db:
        db.execute("CREATE TEMP TABLE raw_events (origin VARCHAR, timestamp VARCHAR, number INT)")
        db.executemany("INSERT INTO raw_events VALUES ('source', ?, ?)", [[text, i] for i, text in enumerate(texts)])
        register_time_functions(db, DataConfig(timezone=zone))
        rows = db.execute(f"SELECT {time_ms_expression('timestamp', zone)} FROM raw_events ORDER BY number").fetchall()
    return [time for (time,) in rows]


def by_rule(text: str, zone: str) -> int | None:
    try:
        return TimeReader(zone).milliseconds(text)
    except UnreadableTimeError:
        return None


local_times = st.datetimes(dt.datetime(1999, 12, 30), dt.datetime(2100, 1, 2))
zones_of_text = st.sampled_from(
    ["", "Z", "+00", "+03:00", "-02:30", "+13:59", "+14:00", "+0300", " +0300", "z", " UTC"]
)
iso = st.builds(
    lambda moment, separator, spec, zone: moment.isoformat(separator, spec) + zone,
    local_times,
    st.sampled_from("T "),
    st.sampled_from(["minutes", "seconds", "milliseconds", "microseconds"]),
    zones_of_text,
)
near_iso = st.from_regex(
    r"20[0-9]{2}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9]:[0-6][0-9](:[0-6][0-9](\.[0-9]{1,8})?)?)?", fullmatch=True
)
numbers = st.from_regex(r"[12][0-9]{8,19}", fullmatch=True)


@settings(max_examples=200)
@given(st.lists(st.one_of(iso, near_iso, numbers), min_size=1, max_size=20), st.sampled_from(ZONES))
def test_the_fast_path_agrees_with_the_rule(texts: list[str], zone: str) -> None:
    assert times(texts, zone) == [by_rule(text, zone) for text in texts]


@pytest.mark.parametrize("zone", ZONES)
def test_the_hours_around_a_change_of_the_clocks_agree_with_the_rule(zone: str) -> None:
    start = dt.datetime(2025, 1, 1)
    hours = [start + dt.timedelta(hours=n) for n in range(365 * 24)]
    offsets = [hour.replace(tzinfo=ZoneInfo(zone)).utcoffset() for hour in hours]
    changes = [hour for hour, a, b in zip(hours, offsets, offsets[1:], strict=False) if a != b]
    texts = [
        (change + dt.timedelta(minutes=minutes)).isoformat() for change in changes for minutes in range(-150, 150, 7)
    ]
    assert times(texts or ["2025-01-01"], zone) == [by_rule(text, zone) for text in texts or ["2025-01-01"]]


def test_a_zone_name_in_one_row_moves_no_other_row(tmp_path: Path) -> None:
    events = HEADER + (
        "u1,p1,view,2025-06-01 10:00:00\n"
        "u2,p1,view,2025-06-02 10:00:00 Asia/Riyadh\n"
        "u3,p1,view,2025-06-03 10:00:00\n"
        "u4,p2,view,2025-06-04T10:00:00Z\n"
        "u5,p2,view,2025-06-05 10:00:00\n"
    )
    config = shop(tmp_path, events=events, products=PRODUCTS)
    ingest(config)
    assert [row["event_time"] for row in kept_events(config)] == [
        utc("2025-06-01T10:00"),
        utc("2025-06-02T07:00"),
        utc("2025-06-03T10:00"),
        utc("2025-06-04T10:00"),
        utc("2025-06-05T10:00"),
    ]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2025-06-01 10:00:00 +0300", "2025-06-01T07:00:00"),
        ("2025-06-01 10:00:00", "2025-06-01T07:00:00"),
        ("2025-06-01", "2025-05-31T21:00:00"),
        ("1748761200", "2025-06-01T07:00:00"),
        ("٢٠٢٥-٠٦-٠١ ١٠:٠٠", "2025-06-01T07:00:00"),
    ],
)
def test_times_without_a_zone_are_those_of_the_shop(tmp_path: Path, text: str, time: str) -> None:
    config = shop(tmp_path, events=HEADER + f"u1,p1,view,{text}\n", products=PRODUCTS, timezone="Asia/Riyadh")
    ingest(config)
    assert [row["event_time"] for row in kept_events(config)] == [utc(time)]


@pytest.mark.parametrize(
    ("column", "time"),
    [
        (pa.array([dt.datetime(2025, 6, 1, 10)], pa.timestamp("us", "Asia/Riyadh")), "2025-06-01T10:00:00"),
        (pa.array([dt.datetime(2025, 6, 1, 10)], pa.timestamp("ns")), "2025-06-01T07:00:00"),
        (pa.array([dt.datetime(2025, 6, 1, 10, 0, 0, 123456)], pa.timestamp("us")), "2025-06-01T07:00:00.123"),
        (pa.array([dt.date(2025, 6, 1)]), "2025-05-31T21:00:00"),
        (pa.array([1748761200]), "2025-06-01T07:00:00"),
        (pa.array([1748761200.5]), "2025-06-01T07:00:00.500"),
        (pa.array([1748761200123456789]), "2025-06-01T07:00:00.123"),
        (pa.array(["2025-06-01 10:00"]), "2025-06-01T07:00:00"),
    ],
)
def test_times_of_parquet_have_their_zone_or_that_of_the_shop(tmp_path: Path, column: pa.Array, time: str) -> None:
    texts = {"buyer_id": ["u1"], "product_id": ["p1"], "event_type": ["view"]}
    pq.write_table(pa.table(texts | {"timestamp": column}), tmp_path / "events.parquet")
    path = str(tmp_path / "events.parquet")
    config = shop(tmp_path, events=HEADER, products=PRODUCTS, events_path=path, timezone="Asia/Riyadh")
    ingest(config)
    assert [row["event_time"] for row in kept_events(config)] == [utc(time)]


def test_one_date_proves_the_order_of_all(tmp_path: Path) -> None:
    events = HEADER + "u1,p1,view,03/04/2025\nu2,p1,view,25/04/2025\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    ingest(config)
    assert [row["event_time"] for row in kept_events(config)] == [utc("2025-04-03"), utc("2025-04-25")]


def test_dates_without_a_proof_are_left_out_until_their_order_is_declared(tmp_path: Path) -> None:
    events = HEADER + "u1,p1,view,03/04/2025\nu2,p1,view,2025-06-01\nu3,p1,view,soon\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    report = ingest(config)
    assert quarantined(config) == [("events", 1, "ambiguous_date"), ("events", 3, "unreadable_timestamp")]
    warning = f"events: 1 row left out as ambiguous_date, the first in {tmp_path}/events.csv, line 2: '03/04/2025'; "
    remedy = "say whether the day or the month comes first: data.date_order=day_first or month_first"
    assert warning + remedy in report["warnings"]
    config = shop(tmp_path, events=events, products=PRODUCTS, date_order="month_first")
    ingest(config)
    assert kept_events(config)[0]["event_time"] == utc("2025-03-04")


def test_dates_of_two_orders_prove_none_for_the_others(tmp_path: Path) -> None:
    events = HEADER + "u1,p1,view,25/04/2025\nu2,p1,view,04/26/2025\nu3,p1,view,03/04/2025\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    ingest(config)
    assert [row["event_time"] for row in kept_events(config)] == [utc("2025-04-25"), utc("2025-04-26")]
    assert quarantined(config) == [("events", 3, "ambiguous_date")]


def test_a_declared_order_reads_dates_that_prove_both(tmp_path: Path) -> None:
    events = HEADER + "u1,p1,view,25/04/2025\nu2,p1,view,04/25/2025\nu3,p1,view,03/04/2025\n"
    config = shop(tmp_path, events=events, products=PRODUCTS, date_order="day_first")
    ingest(config)
    assert [row["event_time"] for row in kept_events(config)] == [utc("2025-04-25"), utc("2025-04-03")]
    assert quarantined(config) == [("events", 2, "unreadable_timestamp")]


def test_another_machines_clock_may_be_five_seconds_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ten = utc("2024-03-01T10:00:00").timestamp()
    monkeypatch.setattr("batch_jobs.ingestion.events.time", SimpleNamespace(time=lambda: ten))
    events = HEADER + "u1,p1,view,2024-03-01 10:00:05\nu2,p1,view,2024-03-01 10:00:05.001\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    ingest(config)
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1"]
    assert quarantined(config) == [("events", 2, "timestamp_in_future")]
