"""The source `ga4_merch`: a session's orders get the time of its first strong event, so none leaks into another."""

import datetime as dt
import os
import tempfile
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.feature_build.build_contexts import build_contexts
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.keys import product_key
from tests.batch_jobs.csv_shop import REPOSITORY, kept_events, kept_products, row_counts, rows, shop

MAPPING = str(REPOSITORY / "config/sources/ga4_merch.yaml")
PRODUCTS = "product_idx,name,n_skus,brand,category,price_min,price_max\n0,Cap,2,Google,Apparel,14,17\n1,Cup,1,,,9,9\n"
DAY = dt.datetime(2020, 12, 1, tzinfo=dt.UTC)

SourceEvent = tuple[int, int, int, str, int]  # user, session, minute, event, product
Event = tuple[str, str, str, dt.datetime]  # buyer, product, type, time


def at(minute: int) -> dt.datetime:
    return DAY + dt.timedelta(minutes=minute)


def ga4_shop(folder: Path, events: list[SourceEvent]) -> Config:
    users, sessions, minutes, names, products = zip(*events, strict=True)
    table = pa.table(
        {
            "user_id": pa.array(users, pa.int64()),
            "ga_session_id": pa.array(sessions, pa.int64()),
            "type": ["add_to_cart"] * len(events),  # as wrong as in the real file
            "date": pa.array([at(minute).replace(tzinfo=None) for minute in minutes], pa.timestamp("us")),
            "event": list(names),
            "product_idx": pa.array(products, pa.int16()),
        }
    )
    config = shop(folder, events="", products=PRODUCTS, source=MAPPING, events_path=str(folder / "events.parquet"))
    pq.write_table(table, folder / "events.parquet")
    return config


def ingested(events: list[SourceEvent], folder: Path) -> list[Event]:
    config = ga4_shop(folder, events)
    ingest(config)
    return [(row["buyer_id"], row["product_id"], row["event_type"], row["event_time"]) for row in kept_events(config)]


def test_names_come_from_event_and_not_from_type(tmp_path: Path) -> None:
    events = [(1, 1, 0, "view_list", 0), (2, 1, 0, "add_to_cart", 0), (3, 1, 0, "begin_checkout", 0)]
    assert ingested([*events, (4, 1, 0, "purchase", 0)], tmp_path) == [
        ("1", "0", "view", at(0)),
        ("2", "0", "add_to_cart", at(0)),
        ("3", "0", "add_to_cart", at(0)),
        ("4", "0", "purchase", at(0)),
    ]


def test_a_session_buys_at_its_first_strong_event_each_product_once(tmp_path: Path) -> None:
    events = [
        (1, 7, 5, "view_list", 0),
        (1, 7, 10, "begin_checkout", 0),
        (1, 7, 12, "begin_checkout", 0),
        (1, 7, 15, "add_to_cart", 1),
        (1, 7, 20, "purchase", 0),
        (1, 7, 20, "purchase", 0),  # two variants of one product
    ]
    assert ingested(events, tmp_path) == [
        ("1", "0", "view", at(5)),
        ("1", "0", "purchase", at(10)),
        ("1", "1", "add_to_cart", at(10)),
    ]


def test_a_session_id_of_two_users_is_two_sessions_and_a_user_may_have_several(tmp_path: Path) -> None:
    events = [
        (1, 7, 10, "begin_checkout", 0),
        (2, 7, 20, "purchase", 0),
        (1, 8, 30, "purchase", 0),
    ]
    assert ingested(events, tmp_path) == [
        ("1", "0", "add_to_cart", at(10)),
        ("1", "0", "purchase", at(30)),
        ("2", "0", "purchase", at(20)),
    ]


def test_views_of_one_user_product_and_time_are_one_event(tmp_path: Path) -> None:
    events = [
        (1, 7, 5, "view_list", 0),
        (1, 7, 5, "view_list", 0),
        (1, 8, 5, "view_list", 0),
        (1, 7, 6, "view_list", 0),
        (2, 7, 5, "view_list", 0),
    ]
    assert ingested(events, tmp_path) == [
        ("1", "0", "view", at(5)),
        ("1", "0", "view", at(6)),
        ("2", "0", "view", at(5)),
    ]


def test_the_history_of_an_order_has_the_views_before_checkout_and_nothing_else_of_its_session(tmp_path: Path) -> None:
    day = 24 * 60
    events = [
        (1, 6, -3 * day, "view_list", 1),
        (1, 7, 5, "view_list", 0),
        (1, 7, 10, "begin_checkout", 0),
        (1, 7, 15, "view_list", 1),
        (1, 7, 20, "purchase", 0),
        (2, 1, 3 * day, "view_list", 1),  # opens the test days
    ]
    config = ga4_shop(tmp_path, events)
    ingest(config)
    build_contexts(config)
    tick = dt.timedelta(microseconds=1)
    contexts = {row["event_timestamp"] + tick: row for row in rows(shop_paths(config).contexts)}
    assert contexts[at(10)]["product_keys"] == [product_key("0")]
    before = [
        row
        for row in rows(shop_paths(config).context_sequences)
        if row["buyer_id"] == "1" and row["event_timestamp"] < at(10)
    ]
    newest = max(before, key=lambda row: row["event_timestamp"])
    assert newest["product_keys"] == [product_key("1"), product_key("0")]
    assert newest["event_types"] == [0, 0]


minute = st.integers(0, 6)
names = st.sampled_from(["view_list", "add_to_cart", "begin_checkout", "purchase"])
source_events = st.lists(
    st.tuples(st.integers(1, 2), st.integers(1, 2), minute, names, st.integers(0, 1)), min_size=1, max_size=14
)


def by_the_rules(events: list[SourceEvent]) -> set[Event]:
    first: dict[tuple[int, int], int] = {}
    for user, session, when, name, _ in events:
        if name != "view_list":
            first[user, session] = min(when, first.get((user, session), when))
    strong: dict[tuple[int, int, int], set[str]] = defaultdict(set)
    expected: set[Event] = set()
    for user, session, when, name, product in events:
        if name == "view_list":
            expected.add((str(user), str(product), "view", at(when)))
        else:
            strong[user, first[user, session], product].add(name)
    for (user, when, product), kinds in strong.items():
        kind = "purchase" if "purchase" in kinds else "add_to_cart"
        expected.add((str(user), str(product), kind, at(when)))
    return expected


@settings(max_examples=25)
@given(source_events)
def test_ingest_gives_what_the_rules_give(events: list[SourceEvent]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        events_read = ingested(events, Path(folder))
    assert len(events_read) == len(set(events_read))
    assert set(events_read) == by_the_rules(events)


def test_products_have_name_brand_category_and_lowest_price(tmp_path: Path) -> None:
    config = ga4_shop(tmp_path, [(1, 1, 0, "purchase", 0)])
    ingest(config)
    cap = kept_products(config)["0"]
    assert [cap[field] for field in ("title", "brand", "category", "price")] == ["Cap", "Google", "Apparel", 14.0]


def test_the_real_sample_is_whole(tmp_path: Path) -> None:
    shared = Path(os.environ.get("TAWSIYA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    folder = shared / "ga4_merch"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here; set TAWSIYA_SHARED_DATA")
    data = {
        "source": MAPPING,
        "events_path": str(folder / "events.parquet"),
        "products_path": str(folder / "products.csv"),
    }
    config = Config.model_validate({"data_dir": tmp_path, "data": data})
    report = ingest(config)
    assert pq.read_metadata(folder / "events.parquet").num_rows == 584_656
    assert report["products"]["kept"] == report["products"]["read"] == 421
    assert row_counts(report["events"]) == {
        "read": 539_172, "kept": 539_172, "excluded": 0, "duplicates": 0, "bad": 0, "reasons": {},
    }  # fmt: skip
    types = pq.read_table(shop_paths(config).events, columns=["event_type"])["event_type"].value_counts().to_pylist()
    assert {row["values"]: row["counts"] for row in types} == {
        "view": 520_898,
        "add_to_cart": 6_584,
        "purchase": 11_690,
    }
