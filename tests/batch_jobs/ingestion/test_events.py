"""Events part of ingest: ids, ids that events share, bots and staff, the event log, and that every row is counted."""

import datetime as dt
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import HEADER, kept_events, quarantined, rows, shop

PRODUCTS = "id,title\n" + "".join(f"p{i},Title {i}\n" for i in range(6))
WITH_ID = "event_id," + HEADER
SHARED = "event_id is shared by different events in {} rows (an order id?); they are kept as events of their own"


def log_lines(config: Config, name: str, *lines: dict[str, Any] | bytes) -> Path:
    """Writes a file of the event log; a dict is an event, bytes are a line as it stands."""
    folder = shop_paths(config).event_log
    folder.mkdir(parents=True, exist_ok=True)
    event = {"buyer_id": "u1", "product_id": "p1", "event_type": "view", "timestamp": "2024-03-01T10:00:00.000+00:00"}
    content = [line if isinstance(line, bytes) else json.dumps(event | line).encode() for line in lines]
    path = folder / name
    path.write_bytes(b"\n".join(content) + b"\n")
    return path


# --- ids --------------------------------------------------------------------------------------------------------------


def test_nobody_is_no_buyer(tmp_path: Path) -> None:
    nobody = ["0", "NULL", "nan", "null", "(not set)", "None", "\\N", "undefined", ""]
    events = HEADER + "".join(f"{buyer},p1,view,2024-03-01\n" for buyer in [*nobody, "u1"])
    config = shop(tmp_path, events=events, products=PRODUCTS)
    report = ingest(config)
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1"]
    assert quarantined(config) == [("events", line, "missing_buyer_id") for line in range(1, 10)]
    assert report["events"]["examples"] == {
        "missing_buyer_id": {"file": str(tmp_path / "events.csv"), "line": 2, "value": "0"}
    }


def test_blanks_around_ids_are_no_part_of_them(tmp_path: Path) -> None:
    events = (
        HEADER + 'u1,"p0\t",view,2024-03-01\n"u1\n","p1\n",view,2024-03-01\n\u200fu2\u200e,\xa0p2,view,2024-03-01\n'
    )
    config = shop(tmp_path, events=events, products=PRODUCTS)
    ingest(config)
    assert sorted((row["buyer_id"], row["product_id"]) for row in kept_events(config)) == [
        ("u1", "p0"),
        ("u1", "p1"),
        ("u2", "p2"),
    ]


def test_ids_that_the_api_refuses_are_left_out(tmp_path: Path) -> None:
    config = shop(
        tmp_path, events=HEADER + f"a\x01b,p1,view,2024-03-01\nu1,{'p' * 300},view,2024-03-01\n", products=PRODUCTS
    )
    log_lines(config, "a.jsonl", {"buyer_id": "a\nb"})
    ingest(config)
    assert quarantined(config) == [
        ("event_log", 1, "invalid_buyer_id"),
        ("events", 1, "invalid_buyer_id"),
        ("events", 2, "invalid_product_id"),
    ]


# --- ids of events ----------------------------------------------------------------------------------------------------


def test_lines_of_one_order_are_events_of_their_own(tmp_path: Path) -> None:
    lines = [f"o{order},u{order},p{order + line},purchase,2024-03-01\n" for order in (0, 1) for line in (0, 1, 2)]
    config = shop(tmp_path, events=WITH_ID + "".join(lines) + lines[0] + "x,u9,p1,view,2024-03-01\n", products=PRODUCTS)
    report = ingest(config)
    ids = {row["event_id"] for row in kept_events(config)}
    assert len(ids) == len(kept_events(config)) == 7
    assert "x" in ids
    assert quarantined(config) == [("events", 7, "duplicate_event")]
    assert f"events: {SHARED.format(6)}" in report["warnings"]
    (tmp_path / "events.csv").write_text(WITH_ID + "".join(reversed(lines)), encoding="utf-8")
    ingest(config)
    assert {row["event_id"] for row in kept_events(config)} == ids - {"x"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"event_id": "e1"}, "duplicate_event"),  # the same event, exported too
        ({"event_id": "e1", "timestamp": "2024-03-01T10:00:02+00:00"}, "duplicate_event"),  # a retry, timed on arrival
        ({"event_id": "e2"}, "duplicate_event"),  # the same content
        ({"event_id": "e1", "product_id": "p2"}, None),
        ({"event_id": "e1", "buyer_id": "u2"}, None),
        ({"event_id": "e2", "timestamp": "2024-03-01T10:00:02+00:00"}, None),
    ],
)
def test_a_logged_event_is_a_duplicate_if_its_id_says_so(
    tmp_path: Path, line: dict[str, str], reason: str | None
) -> None:
    config = shop(tmp_path, events=WITH_ID + "e1,u1,p1,view,2024-03-01 10:00:00\n", products=PRODUCTS)
    log_lines(config, "a.jsonl", line)
    ingest(config)
    assert quarantined(config) == ([("event_log", 1, reason)] if reason else [])
    assert len({row["event_id"] for row in kept_events(config)}) == len(kept_events(config)) == (1 if reason else 2)


def test_an_id_alone_makes_no_exported_row_a_duplicate(tmp_path: Path) -> None:
    events = WITH_ID + "o1,u1,p1,purchase,2024-03-01\no1,u1,p1,purchase,2024-03-02\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    log_lines(config, "a.jsonl", {"event_id": "e1"})
    ingest(config)
    assert quarantined(config) == []


def test_a_retry_that_was_logged_twice_counts_once(tmp_path: Path) -> None:
    config = shop(tmp_path, events=WITH_ID, products=PRODUCTS)
    log_lines(config, "a.jsonl", {"event_id": "e1"}, {"event_id": "e1", "timestamp": "2024-03-01T10:00:30+00:00"})
    ingest(config)
    assert quarantined(config) == [("event_log", 2, "duplicate_event")]


def test_a_row_left_out_makes_no_other_row_its_duplicate(tmp_path: Path) -> None:
    events = HEADER.replace("\n", ",quantity\n") + "u1,p1,purchase,2024-03-01,0\nu1,p1,purchase,2024-03-01,1\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    ingest(config)
    assert quarantined(config) == [("events", 1, "quantity_zero")]


# --- names of events --------------------------------------------------------------------------------------------------


def test_other_events_are_left_out_by_name(tmp_path: Path) -> None:
    names = ["view", "Product View", "remove_from_cart", "remove_from_cart", "bogus", "refund"]
    events = HEADER + "".join(f"u1,p{i},{name},2024-03-01\n" for i, name in enumerate(names))
    config = shop(tmp_path, events=events, products=PRODUCTS)
    report = ingest(config)["events"]
    assert report["event_types"] == {
        "remove_from_cart": {"read_as": "excluded", "rows": 2},
        "Product View": {"read_as": "view", "rows": 1},
        "bogus": {"read_as": "unknown", "rows": 1},
        "refund": {"read_as": "refund", "rows": 1},
        "view": {"read_as": "view", "rows": 1},
    }
    assert report["reasons"] == {"other_event": 2, "refund_without_purchase": 1, "unknown_event_type": 1}
    assert (report["kept"], report["excluded"], report["bad"]) == (2, 3, 1)


def test_the_report_names_the_columns(tmp_path: Path) -> None:
    events = "Customer,SKU,action,time,qty\nu1,p1,view,2024-03-01,1\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    assert ingest(config)["events"]["columns"] == {
        "buyer_id": "Customer", "product_id": "SKU", "event_type": "action", "timestamp": "time", "quantity": "qty",
    }  # fmt: skip


# --- bots and staff ---------------------------------------------------------------------------------------------------


def test_declared_buyers_and_user_agents_are_left_out(tmp_path: Path) -> None:
    events = HEADER.replace("\n", ",user_agent\n") + (
        "u1,p1,view,2024-03-01,Mozilla/5.0\n"
        "u1,p2,view,2024-03-01,Mozilla/5.0 (compatible; Googlebot/2.1)\n"
        " staff ,p1,purchase,2024-03-01,Mozilla/5.0\n"
        "u2,p1,view,2024-03-01,\n"
    )
    data: dict[str, Any] = {"exclude_buyers": ["\u200fstaff ", "nobody"], "exclude_user_agents": ["(?i)bot", "^curl/"]}
    config = shop(tmp_path, events=events, products=PRODUCTS, **data)
    log_lines(config, "a.jsonl", {"buyer_id": "staff"}, {"buyer_id": "u3", "user_agent": "curl/8"})
    report = ingest(config)["events"]
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1", "u2"]
    assert quarantined(config) == [
        ("event_log", 1, "excluded_buyer"),
        ("event_log", 2, "excluded_user_agent"),
        ("events", 2, "excluded_user_agent"),
        ("events", 3, "excluded_buyer"),
    ]
    assert (report["excluded"], report["bad"], report["event_log"]["excluded"]) == (2, 0, 2)


def test_a_buyer_with_too_many_events_in_an_hour_is_left_out_as_a_whole(tmp_path: Path) -> None:
    events = HEADER + (
        "bot,p1,view,2024-03-01 10:00:00\n"
        "bot,p2,view,2024-03-01 10:59:59\n"
        "bot,p3,purchase,2024-04-01\n"
        "u1,p1,view,2024-03-01 10:30:00\n"
        "u1,p2,view,2024-03-01 11:00:00\n"  # another clock hour
        "u1,p2,view,2024-03-01 11:00:00\n"  # a duplicate is no further event
        "u1,p3,view,2024-03-01 11:59:59\n"  # two are allowed
    )
    config = shop(tmp_path, events=events, products=PRODUCTS, max_events_per_hour=2)
    log_lines(config, "a.jsonl", {"buyer_id": "bot", "product_id": "p4"})
    report = ingest(config)["events"]
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1", "u1", "u1"]
    assert report["reasons"] == {"too_many_events_per_hour": 3, "duplicate_event": 1}
    assert report["event_log"]["reasons"] == {"too_many_events_per_hour": 1}
    assert report["examples"]["too_many_events_per_hour"]["value"] == "bot"


def test_user_agents_without_their_column_are_a_warning(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER, products=PRODUCTS, exclude_user_agents=["bot"])
    warning = "events: data.exclude_user_agents has no effect on the events file, which lacks the column user_agent"
    assert warning in ingest(config)["warnings"]


def test_a_regular_expression_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'\(bot' is not a regular expression"):
        Config.model_validate({"data": {"exclude_user_agents": ["(bot"]}})


# --- the event log ----------------------------------------------------------------------------------------------------


def test_an_old_line_of_1970_costs_only_itself(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER + "u1,p1,view,2024-03-01\n", products=PRODUCTS)
    path = log_lines(
        config, "a.jsonl", {"event_id": "e1", "timestamp": "1970-01-01T00:00:00.000+00:00"}, {"event_id": "e2"}
    )
    report = ingest(config)
    assert quarantined(config) == [("event_log", 1, "timestamp_before_2000")]
    assert (report["events"]["event_log"]["kept"], report["events"]["event_log"]["bad"]) == (1, 1)
    assert (
        f"event_log: 1 row left out as timestamp_before_2000, the first in {path}, line 1: "
        "'1970-01-01T00:00:00.000+00:00'; correct the time, or the clock that wrote it"
    ) in report["warnings"]


def test_examples_of_the_log_name_its_file_and_line(tmp_path: Path) -> None:
    config = shop(tmp_path / "a [1]", events=HEADER, products=PRODUCTS)
    log_lines(config, "2024-03-01.jsonl", {"event_id": "e1"}, b"\xff torn", {"event_id": "e2", "product_id": "p2"})
    path = log_lines(
        config, "2024-03-02.jsonl", {"event_id": "e3", "product_id": "p3"}, b"\xff", {"product_id": "p404"}, b'{"cut'
    )
    archived = path.parent / "archive" / "2024-03-02.parquet"
    report = ingest(config)["events"]["event_log"]
    assert (report["read"], report["kept"], report["bad"]) == (7, 3, 4)
    assert report["examples"]["unknown_product"] == {"file": str(archived), "line": 3, "value": "p404"}
    found = [(Path(r["file"]).name, r["source_line"], r["reason"]) for r in rows(shop_paths(config).quarantine)]
    assert found == [
        ("2024-03-01.parquet", 2, "unreadable_row"),
        ("2024-03-02.parquet", 2, "unreadable_row"),
        ("2024-03-02.parquet", 3, "unknown_product"),
        ("2024-03-02.parquet", 4, "unreadable_row"),
    ]


def test_a_folder_with_brackets_is_no_pattern(tmp_path: Path) -> None:
    mine = shop(tmp_path / "g[12]", events=HEADER, products=PRODUCTS)
    other = shop(tmp_path / "g1", events=HEADER, products=PRODUCTS)
    log_lines(mine, "a.jsonl", {"buyer_id": "mine"})
    log_lines(other, "a.jsonl", {"buyer_id": "other"})
    ingest(mine)
    assert [row["buyer_id"] for row in kept_events(mine)] == ["mine"]


# --- small files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", ["u1,p404,view,2024-03-01\n", "NULL,p1,view,2024-03-01\nu1,p1,bogus,2024-03-01\n"])
def test_without_an_event_ingest_says_so(tmp_path: Path, events: str) -> None:
    config = shop(tmp_path, events=HEADER + events, products=PRODUCTS)
    read = events.count("\n")
    warning = f"events: no event is left of {read} rows read; `reasons` in the report says why"
    report = ingest(config)
    assert warning in report["warnings"]
    assert (report["events"]["read"], report["events"]["kept"], report["events"]["bad"]) == (read, 0, read)


def test_one_event_is_enough(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER + "u1,p1,view,2024-03-01\n", products=PRODUCTS)
    report = ingest(config)
    assert (report["events"]["kept"], report["warnings"]) == (1, [])


def test_a_logged_event_is_an_event_that_is_left(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER, products=PRODUCTS)
    log_lines(config, "a.jsonl", {"event_id": "e1"})
    report = ingest(config)
    assert report["warnings"] == []
    assert report["events"]["event_types"] == {}  # those of the export


# --- every row is counted ---------------------------------------------------------------------------------------------

DIRTY = {
    "event_id": ["", "o1", "o2", "\\N"],
    "buyer_id": ["u1", "u2", "u3 ", "NULL", "0", "", "staff", "عمر"],
    "product_id": ["p0", "p1", "p1\u200f", "p404", "", "nan"],
    "event_type": ["view", "VIEW", "cart", "purchase", "شراء", "refund", "remove_from_cart", "bogus", ""],
    "timestamp": [
        "2024-03-01 10:00:00",
        "1709287200",
        "2024-03-01",
        "03/04/2024",
        "1970-01-01",
        "2999-01-01",
        "soon",
        "",
    ],
    "quantity": ["", "1", "2", "-1", "0", "many", "٣"],
    "user_agent": ["", "Mozilla", "bot"],
}


@pytest.mark.parametrize("seed", range(8))
def test_every_row_of_a_dirty_shop_is_counted_once(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    table = [[rng.choice(values) for values in DIRTY.values()] for _ in range(200)]
    broken = ["u1,p1", "u1,p1,view,2024-03-02,x,y,z,w,v"]
    lines = [",".join(row) if rng.random() < 0.95 else rng.choice(broken) for row in table]
    data: dict[str, Any] = {
        "exclude_buyers": ["staff"],
        "exclude_user_agents": ["bot"],
        "max_events_per_hour": rng.choice([0, 8]),
    }
    config = shop(tmp_path, events="\n".join([",".join(DIRTY), *lines]) + "\n", products=PRODUCTS, **data)
    logged = [{name: rng.choice(values) for name, values in DIRTY.items()} for _ in range(100)]
    log_lines(config, "a.jsonl", *logged[:60], b"{")
    log_lines(config, "b.jsonl", *logged[60:])
    report = ingest(config)
    left_out = Counter((row["table"], row["reason"]) for row in rows(shop_paths(config).quarantine))
    kept = Counter(row["origin"] for row in kept_events(config))
    for table_name, origin, counts, read in (
        ("events", "source", report["events"], 200),
        ("event_log", "event_log", report["events"]["event_log"], 101),
    ):
        assert counts["read"] == read == counts["kept"] + counts["excluded"] + counts["duplicates"] + counts["bad"]
        assert counts["kept"] == kept[origin]
        assert counts["reasons"] == {reason: n for (table, reason), n in left_out.items() if table == table_name}
        assert set(counts["examples"]) == set(counts["reasons"])
    assert all(row["event_time"] > dt.datetime(2000, 1, 1, tzinfo=dt.UTC) for row in kept_events(config))
    assert len({row["event_id"] for row in kept_events(config)}) == len(kept_events(config))
