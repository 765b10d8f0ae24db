"""Contexts, sequences and the time split of a shop with two buyers."""

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config, EvaluationUnit
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.keys import product_key
from online_api.events.event_log import EventLog, LoggedEvent
from tests.batch_jobs.csv_shop import HEADER, Row, rows, shop

VIEW, CART, PURCHASE = 0, 1, 2
PRODUCTS = "id,title\np1,قهوة\np2,Mug\np3,Cup\n"
# u1 buys two products at once; u2 first appears in the test days, which begin at midnight of the 8th.
EVENTS = f"""{HEADER}u1,p1,purchase,2024-03-01 10:00:00
u1,p2,purchase,2024-03-01 10:00:00
u1,p3,add_to_cart,2024-03-07 23:59:59.999
u1,p3,view,2024-03-07 23:59:59.999
u1,p1,view,2024-03-08 00:00:00
u1,p2,view,2024-03-09 09:00:00.5
u2,p3,view,2024-03-09 09:30:00
"""
P1, P2, P3 = (product_key(product_id) for product_id in ("p1", "p2", "p3"))
BASKET = [P2, P1]  # events of one time are ordered by product key
MICROSECOND = dt.timedelta(microseconds=1)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def ms(text: str) -> int:
    return int(utc(text).timestamp() * 1000)


def built(
    folder: Path, events: str = EVENTS, max_length: int = 100, test_days: int = 1, unit: EvaluationUnit = "per_buyer"
) -> Config:
    config = shop(folder, events=events, products=PRODUCTS, test_days=test_days, evaluation_unit=unit)
    model = {"buyer_tower": {"max_interaction_history": max_length}}
    config = Config.model_validate({**config.model_dump(), "model": model})
    ingest(config)
    build_features(config)
    return config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return built(tmp_path_factory.mktemp("two_buyers"))


def report(config: Config) -> Row:
    content: Row = json.loads(shop_paths(config).feature_report.read_text(encoding="utf-8"))
    return content


def test_products_sort_as_this_file_says() -> None:
    assert P2 < P1


def test_a_context_is_a_moment_of_choice_asked_one_tick_before(config: Config) -> None:
    def context(buyer: str, moment: str, split: str, before: int, events: list[tuple[int, int]], *times: str) -> Row:
        return {
            "buyer_id": buyer, "event_timestamp": utc(moment) - MICROSECOND, "split": split, "events_before": before,
            "product_keys": [key for key, _ in events], "event_types": [kind for _, kind in events],
            "event_times": [ms(time) for time in times],
        }  # fmt: skip

    first, second = "2024-03-01T10:00:00", "2024-03-07T23:59:59.999"
    third, fourth, fifth = "2024-03-08T00:00:00", "2024-03-09T09:00:00.500", "2024-03-09T09:30:00"
    basket, shoes = [(key, PURCHASE) for key in BASKET], [(P3, VIEW), (P3, CART)]
    # One test day, and one validation day before it.
    assert rows(shop_paths(config).contexts) == [
        context("u1", first, "train", 0, basket, first, first),
        context("u1", "2024-03-07T00:00:00", "validation", 2, shoes, second, second),
        context("u1", second, "train", 2, shoes, second, second),
        context("u1", third, "test", 4, [(P1, VIEW), (P2, VIEW)], third, fourth),
        context("u2", third, "test", 0, [(P3, VIEW)], fifth),
    ]


def test_each_moment_may_be_asked_by_itself(tmp_path: Path) -> None:
    config = built(tmp_path, unit="per_moment")
    contexts = [(row["split"], row["buyer_id"], row["events_before"]) for row in rows(shop_paths(config).contexts)]
    assert [row for row in contexts if row[0] == "test"] == [("test", "u1", 4), ("test", "u1", 5), ("test", "u2", 0)]
    assert [row for row in contexts if row[0] == "validation"] == [("validation", "u1", 2)]


def test_a_sequence_stands_at_each_event_before_a_context_and_at_the_cut_off(config: Config) -> None:
    as_of = dt.datetime.fromisoformat(report(config)["as_of"])
    first, second = ms("2024-03-01T10:00:00"), ms("2024-03-07T23:59:59.999")
    third, fourth = ms("2024-03-08T00:00:00"), ms("2024-03-09T09:00:00.500")
    history = [
        *((key, PURCHASE, first) for key in BASKET), (P3, VIEW, second), (P3, CART, second), (P1, VIEW, third),
        (P2, VIEW, fourth),
    ]  # fmt: skip

    def row(buyer: str, stamp: dt.datetime, events: list[tuple[int, int, int]]) -> Row:
        keys, types, times = (list(column) for column in zip(*events, strict=True))
        return {
            "buyer_id": buyer, "event_timestamp": stamp, "created_timestamp": as_of, "product_keys": keys,
            "event_types": types, "event_times": times,
        }  # fmt: skip

    assert rows(shop_paths(config).sequence_features) == [
        row("u1", utc("2024-03-01T10:00:00"), history[:2]),
        row("u1", utc("2024-03-07T23:59:59.999"), history[:4]),
        row("u1", as_of, history),
        row("u2", as_of, [(P3, VIEW, ms("2024-03-09T09:30:00"))]),
    ]


def test_purchases_are_all_of_them_with_their_times(tmp_path: Path) -> None:
    again = "u1,p1,purchase,2024-03-09 08:00:00\n"
    config = built(tmp_path, events=EVENTS + again, max_length=1)
    first, last = ms("2024-03-01T10:00:00"), ms("2024-03-09T08:00:00")
    [row] = rows(shop_paths(config).purchase_features)
    as_of = dt.datetime.fromisoformat(report(config)["as_of"])
    assert row == {
        "buyer_id": "u1", "event_timestamp": as_of, "created_timestamp": as_of, "purchased_keys": [*BASKET, P1],
        "purchased_times": [first, first, last],
    }  # fmt: skip


def test_the_report_tells_rows_cut_off_and_split(config: Config) -> None:
    actual = report(config)
    assert actual["rows"] == {"buyer_sequences": 4, "buyer_purchases": 1, "contexts": 5, "products": 3, "buyers": 2}
    assert actual["validation_from"] == "2024-03-07T00:00:00+00:00"
    assert actual["test_from"] == "2024-03-08T00:00:00+00:00"
    assert actual["data_end"] == "2024-03-09T09:30:00+00:00"
    assert utc("2024-03-09T09:30:00") < dt.datetime.fromisoformat(actual["as_of"]) <= dt.datetime.now(dt.UTC)


def test_products_are_features_as_of_the_build(config: Config) -> None:
    as_of = dt.datetime.fromisoformat(report(config)["as_of"])
    products = rows(shop_paths(config).product_features)
    assert [row["product_id"] for row in products] == ["p1", "p2", "p3"]
    assert {(row["event_timestamp"], row["created_timestamp"]) for row in products} == {(as_of, as_of)}


def test_the_pushed_view_has_an_empty_source_of_the_right_types(config: Config) -> None:
    recent = pq.read_table(shop_paths(config).recent_features)
    stored = pq.read_schema(shop_paths(config).sequence_features)
    assert recent.num_rows == 0
    for name in ("buyer_id", "event_timestamp", "product_keys", "event_types", "event_times"):
        assert recent.schema.field(name).type.equals(stored.field(name).type), name
    assert stored.field("event_types").type.value_type == pa.int32()
    bought = pq.read_schema(shop_paths(config).purchase_features)
    for name in ("purchased_keys", "purchased_times"):
        assert recent.schema.field(name).type.equals(bought.field(name).type), name


def test_no_sequence_is_longer_than_the_configuration_says(tmp_path: Path) -> None:
    config = built(tmp_path, max_length=2)
    actual = [row["product_keys"] for row in rows(shop_paths(config).sequence_features)]
    assert actual == [BASKET, [P3, P3], [P1, P2], [P3]]


def test_building_twice_changes_nothing_but_the_stamps(tmp_path: Path) -> None:
    config = built(tmp_path)
    paths = shop_paths(config)
    stamps = ["event_timestamp", "created_timestamp"]
    before = [pq.read_table(path).drop_columns(stamps) for path in (paths.sequence_features, paths.product_features)]
    contexts, first = pq.read_table(paths.contexts), report(config)["as_of"]
    version = report(config)["data_version"]
    build_features(config)
    after = [pq.read_table(path).drop_columns(stamps) for path in (paths.sequence_features, paths.product_features)]
    assert after == before
    assert pq.read_table(paths.contexts) == contexts
    assert report(config)["as_of"] > first
    assert report(config)["data_version"] == version


@pytest.mark.parametrize(
    ("test_days", "test_from", "train", "test"),
    [
        (1, "2024-03-08T00:00:00+00:00", 3, 2),
        (2, "2024-03-07T00:00:00+00:00", 2, 2),
        (7, "2024-03-02T00:00:00+00:00", 2, 2),
    ],
)
def test_the_last_whole_days_are_the_test(
    tmp_path: Path, test_days: int, test_from: str, train: int, test: int
) -> None:
    config = built(tmp_path, f"{EVENTS}u1,p3,view,2024-02-20 10:00:00\n", test_days=test_days)
    splits = [row["split"] for row in rows(shop_paths(config).contexts)]
    assert report(config)["test_from"] == test_from
    assert (splits.count("train"), splits.count("test")) == (train, test)


def test_every_event_lies_in_one_context_to_train_on_or_to_test(config: Config) -> None:
    contexts = [row for row in rows(shop_paths(config).contexts) if row["split"] != "validation"]
    assert sum(len(row["product_keys"]) for row in contexts) == len(rows(shop_paths(config).events)) == 7


# --- what the API logged ----------------------------------------------------------------------------------------------


def built_with_log(folder: Path, *logged: tuple[str, str, str], events: str = EVENTS) -> Config:
    """A shop with logged views: (buyer, product, time)."""
    config = shop(folder, events=events, products=PRODUCTS)
    log = EventLog(shop_paths(config).event_log)
    log.append(
        [LoggedEvent(f"e{n}", buyer, product, "view", ms(time)) for n, (buyer, product, time) in enumerate(logged)]
    )
    ingest(config)
    build_features(config)
    return config


def test_events_logged_after_the_end_of_the_source_are_in_histories_but_not_judged(
    tmp_path: Path, config: Config
) -> None:
    later = built_with_log(tmp_path, ("u1", "p3", "2025-06-01T10:00:00"), ("u3", "p2", "2025-06-02T10:00:00"))
    for name in ("test_from", "data_end", "data_version"):
        assert report(later)[name] == report(config)[name]
    assert rows(shop_paths(later).contexts) == rows(shop_paths(config).contexts)
    as_of = dt.datetime.fromisoformat(report(later)["as_of"])
    actual = {r["buyer_id"]: r for r in rows(shop_paths(later).sequence_features) if r["event_timestamp"] == as_of}
    assert actual["u1"]["product_keys"] == [*BASKET, P3, P3, P1, P2, P3]
    assert actual["u3"]["event_times"] == [ms("2025-06-02T10:00:00")]


def test_events_logged_before_the_end_of_the_source_are_judged(tmp_path: Path, config: Config) -> None:
    moments = ["2024-03-02T10:00:00", "2024-03-09T09:30:00", "2024-03-09T09:30:00.001"]
    mixed = built_with_log(tmp_path, *(("u3", "p1", moment) for moment in moments))
    assert report(mixed)["data_end"] == report(config)["data_end"]
    assert report(mixed)["data_version"] != report(config)["data_version"]
    actual = [(r["split"], r["product_keys"]) for r in rows(shop_paths(mixed).contexts) if r["buyer_id"] == "u3"]
    assert actual == [("train", [P1]), ("test", [P1])]


def test_a_shop_that_has_only_logged_events_is_judged_by_them(tmp_path: Path) -> None:
    config = built_with_log(
        tmp_path, ("u1", "p1", "2024-03-01T10:00:00"), ("u1", "p2", "2024-03-09T10:00:00"), events=HEADER
    )
    assert report(config)["data_end"] == "2024-03-09T10:00:00+00:00"
    assert [row["split"] for row in rows(shop_paths(config).contexts)] == ["train", "test"]


def test_the_data_version_follows_what_training_reads(tmp_path: Path) -> None:
    def version(name: str, events: str = EVENTS, max_length: int = 100, test_days: int = 1) -> str:
        version: str = report(built(tmp_path / name, events, max_length, test_days))["data_version"]
        return version

    same = {version("a"), version("b")}
    assert len(same) == 1
    others = {
        version("fewer", EVENTS[: EVENTS.rindex("u2")]),
        version("shorter", max_length=2),
        version("earlier", test_days=2),
    }
    assert len(others | same) == 4
    config = built(tmp_path / "products")
    (tmp_path / "products" / "products.csv").write_text(PRODUCTS.replace("Mug", "Big mug"), encoding="utf-8")
    ingest(config)
    build_features(config)
    assert report(config)["data_version"] not in others | same


# --- refused ----------------------------------------------------------------------------------------------------------


def test_there_must_be_canonical_data(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    with pytest.raises(FileNotFoundError, match=r"events\.parquet does not exist yet; run `tawsiya ingest` first"):
        build_features(config)


def test_there_must_be_events(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no events to build features from; see the quarantine"):
        built(tmp_path, events=HEADER + "u1,p404,view,2024-03-01\n")


@pytest.mark.parametrize("test_days", [8, 30])
def test_some_events_must_come_before_the_test_days(tmp_path: Path, test_days: int) -> None:
    message = rf"the last {test_days} days \(2024-03-01 to 2024-03-09\), .* lower data.test_days to 7 or less"
    with pytest.raises(ValueError, match=message):
        built(tmp_path, test_days=test_days)


def test_a_data_dir_may_hold_quotes(tmp_path: Path) -> None:
    assert report(built(tmp_path / "l'atelier"))["rows"]["contexts"] == 5
