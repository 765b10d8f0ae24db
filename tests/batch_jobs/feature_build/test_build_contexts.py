"""Contexts of a shop with two buyers, the sequences before them, and the version of the data."""

import json
from pathlib import Path

import pytest

from batch_jobs.feature_build.build_contexts import build_contexts
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.settings.data import EvaluationUnit
from tests.batch_jobs.csv_shop import HEADER, Row, rows
from tests.batch_jobs.feature_build import two_buyers
from tests.batch_jobs.feature_build.two_buyers import (
    BASKET,
    CART,
    EVENTS,
    MICROSECOND,
    P1,
    P2,
    P3,
    PRODUCTS,
    PURCHASE,
    VIEW,
    ms,
    utc,
)


def built(
    folder: Path, events: str = EVENTS, max_length: int = 100, test_days: int = 1, unit: EvaluationUnit = "per_buyer"
) -> Config:
    config = two_buyers.built(folder, events, max_length, test_days, unit)
    build_contexts(config)
    return config


def built_with_log(folder: Path, *logged: tuple[str, str, str], events: str = EVENTS) -> Config:
    config = two_buyers.built_with_log(folder, *logged, events=events)
    build_contexts(config)
    return config


def report(config: Config) -> Row:
    content: Row = json.loads(shop_paths(config).context_report.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return built(tmp_path_factory.mktemp("two_buyers"))


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


def test_a_sequence_stands_at_each_context(config: Config) -> None:
    first, second = ms("2024-03-01T10:00:00"), ms("2024-03-07T23:59:59.999")
    history = [*((key, PURCHASE, first) for key in BASKET), (P3, VIEW, second), (P3, CART, second)]

    def row(buyer: str, moment: str, events: list[tuple[int, int, int]]) -> Row:
        stamp = utc(moment) - MICROSECOND
        return {
            "buyer_id": buyer, "event_timestamp": stamp, "created_timestamp": stamp,
            "product_keys": [key for key, *_ in events], "event_types": [kind for _, kind, _ in events],
            "event_times": [time for *_, time in events],
        }  # fmt: skip

    # An empty one where there are no earlier events.
    assert rows(shop_paths(config).context_sequences) == [
        row("u1", "2024-03-01T10:00:00", []),
        row("u1", "2024-03-07T00:00:00", history[:2]),
        row("u1", "2024-03-07T23:59:59.999", history[:2]),
        row("u1", "2024-03-08T00:00:00", history),
        row("u2", "2024-03-08T00:00:00", []),
    ]


def test_no_sequence_before_a_context_is_longer_than_the_configuration_says(tmp_path: Path) -> None:
    config = built(tmp_path, max_length=2)
    found = [row["product_keys"] for row in rows(shop_paths(config).context_sequences)]
    assert found == [[], BASKET, BASKET, [P3, P3], []]


def test_building_contexts_twice_changes_nothing(tmp_path: Path) -> None:
    config = built(tmp_path)
    before = [rows(path) for path in (shop_paths(config).contexts, shop_paths(config).context_sequences)]
    build_contexts(config)
    assert [rows(path) for path in (shop_paths(config).contexts, shop_paths(config).context_sequences)] == before


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


def test_events_logged_after_the_end_of_the_source_are_not_judged(tmp_path: Path, config: Config) -> None:
    later = built_with_log(tmp_path, ("u1", "p3", "2025-06-01T10:00:00"), ("u3", "p2", "2025-06-02T10:00:00"))
    for name in ("test_from", "data_end", "data_version"):
        assert report(later)[name] == report(config)[name]
    assert rows(shop_paths(later).contexts) == rows(shop_paths(config).contexts)


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
    build_contexts(config)
    assert report(config)["data_version"] not in others | same
