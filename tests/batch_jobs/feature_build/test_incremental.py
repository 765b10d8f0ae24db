"""A build of what changed ends like a build of everything, whatever changed and wherever it is killed."""

import datetime as dt
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch_jobs.feature_build import build_features as builder
from batch_jobs.feature_build import buyer_buckets, changed_buyers, parts
from batch_jobs.feature_build.build_features import build_features
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, shop_paths
from tests.batch_jobs.feature_build.edited_shop import (
    Event,
    Product,
    configuration,
    expected,
    served,
    write_canonical,
)

# Ten buyers with five events each, over ten days.
EVENTS: list[Event] = [
    (f"u{n}", n * day % 4, ("view", "purchase")[day % 2], 48 * day + n) for n in range(10) for day in range(5)
]
CATALOGUE: list[Product] = [("p0", 1.0), ("p1", None), ("p2", 2.5), ("p3", 3.0)]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = configuration(tmp_path)
    write_canonical(config, EVENTS, CATALOGUE)
    return config


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buyer_buckets, "EVENTS_PER_BUCKET", 12)


def changed(report: dict[str, Any]) -> tuple[int, int]:
    return report["changed"]["buyers"], report["changed"]["products"]


def assert_right(config: Config, events: list[Event], products: list[Product], max_length: int = 3) -> None:
    sequences, purchases, catalogue = served(config)
    assert (sequences, purchases) == expected(events, max_length)
    assert {row[c.PRODUCT_ID]: row[c.PRICE] for row in catalogue} == dict(products)


def files(paths: ShopPaths) -> dict[str, tuple[int, int]]:
    folder = paths.feature_report.parent
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_first_build_is_of_everything_in_buckets(config: Config) -> None:
    report = build_features(config)
    assert changed(report) == (10, 4)
    assert report["rows"] == {"buyers": 10, "buyer_sequences": 10, "buyer_purchases": 10, "products": 4}
    assert len(report["parts"]["buyer_sequences"]) == 4
    assert_right(config, EVENTS, CATALOGUE)


def test_without_news_nothing_is_read_or_written(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build_features(config)
    before = files(shop_paths(config))
    monkeypatch.delattr(builder, "duckdb_session")
    again = build_features(config)
    assert again == first | {"changed": {"buyers": 0, "products": 0}}
    assert files(shop_paths(config)) == before


def test_the_same_events_in_other_bytes_are_no_news(config: Config) -> None:
    first = build_features(config)
    events = pq.read_table(shop_paths(config).events)
    pq.write_table(events, shop_paths(config).events, compression="none")
    again = build_features(config)
    assert changed(again) == (0, 0)
    assert (again["as_of"], again["parts"]) == (first["as_of"], first["parts"])
    assert again["events_sha256"] != first["events_sha256"]


def test_other_test_days_change_the_time_split_alone(config: Config) -> None:
    first = build_features(config)
    longer = config.model_copy(update={"data": config.data.model_copy(update={"test_days": 2})})
    again = build_features(longer)
    assert changed(again) == (0, 0)
    assert again["test_from"] < first["test_from"]


def test_damaged_products_are_written_again(config: Config) -> None:
    build_features(config)
    paths = shop_paths(config)
    paths.product_features.write_bytes(paths.product_features.read_bytes()[:-9])
    assert changed(build_features(config)) == (0, 4)
    assert_right(config, EVENTS, CATALOGUE)


@pytest.mark.parametrize(
    ("events", "buyers", "rows"),
    [
        pytest.param([*EVENTS, ("u3", 2, "view", 1)], 1, 1, id="late event"),
        pytest.param([*EVENTS, ("new", 2, "purchase", 100)], 1, 1, id="new buyer"),
        pytest.param([event for event in EVENTS if (event[0], event[2]) != ("u1", "purchase")], 1, 1, id="refund"),
        pytest.param([event for event in EVENTS if event[0] != "u1"], 1, 1, id="vanished buyer"),
        pytest.param(
            [(buyer, 9 if (buyer, key) == ("u2", 2) else key, kind, hour) for buyer, key, kind, hour in EVENTS], 1, 1,
            id="merged product",
        ),
    ],
)  # fmt: skip
def test_only_changed_buyers_are_built(config: Config, events: list[Event], buyers: int, rows: int) -> None:
    first = build_features(config)
    write_canonical(config, events, CATALOGUE)
    report = build_features(config)
    assert changed(report) == (buyers, 0)
    new = report["parts"]["buyer_sequences"].keys() - first["parts"]["buyer_sequences"].keys()
    (part,) = new
    assert pq.read_metadata(shop_paths(config).sequence_features / part).num_rows == rows
    assert_right(config, events, CATALOGUE)


def test_only_changed_products_get_a_new_time(config: Config) -> None:
    first = build_features(config)
    write_canonical(config, EVENTS, [("p0", 1.0), ("p1", 7.0), ("p2", 2.5), ("p4", 4.0)])
    second = build_features(config)
    assert changed(second) == (0, 3)  # one changed, one is new, one is gone
    times = {row[c.PRODUCT_ID]: row[c.EVENT_TIMESTAMP].isoformat() for row in _products(config)}
    assert times == {"p0": first["as_of"], "p1": second["as_of"], "p2": first["as_of"], "p4": second["as_of"]}


def _products(config: Config) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(shop_paths(config).product_features).to_pylist()
    return rows


def test_other_settings_build_everything(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    build_features(config)
    assert changed(build_features(config, full=True)) == (10, 4)
    longer = configuration(config.data_dir, max_length=5)
    assert changed(build_features(longer)) == (10, 4)
    assert_right(longer, EVENTS, CATALOGUE, max_length=5)
    monkeypatch.setattr(builder, "HASH_FUNCTION", "another")
    assert changed(build_features(longer)) == (10, 4)


@pytest.mark.parametrize("damage", ["buyers.parquet", "buyer_sequences", "buyer_purchases", "report.json"])
def test_a_damaged_build_is_built_again(config: Config, damage: str) -> None:
    build_features(config)
    folder = shop_paths(config).feature_report.parent
    path = next((folder / damage).glob("*")) if (folder / damage).is_dir() else folder / damage
    path.write_bytes(path.read_bytes()[:-9])
    assert changed(build_features(config))[0] == 10
    assert_right(config, EVENTS, CATALOGUE)


def test_if_many_buyers_changed_all_are_built(config: Config) -> None:
    build_features(config)
    events = [*EVENTS, *((f"u{n}", 1, "view", 200) for n in range(4))]
    write_canonical(config, events, CATALOGUE)
    report = build_features(config)
    assert changed(report) == (10, 0)
    assert set(report["parts"]["buyer_sequences"]) == {
        path.name for path in shop_paths(config).sequence_features.glob("*.parquet")
    }
    assert_right(config, events, CATALOGUE)


def test_many_deltas_are_compacted_and_keep_their_times(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MAX_DELTA_PARTS", 2)
    events, reports = list(EVENTS), [build_features(config)]
    for hour in (201, 202, 203):
        events.append(("u5", 1, "view", hour))
        write_canonical(config, events, CATALOGUE)
        reports.append(build_features(config))
    names = [report["parts"]["buyer_sequences"].keys() for report in reports]
    assert [len(names[n + 1] - names[n]) for n in (0, 1)] == [1, 1]
    assert names[2].isdisjoint(names[3])
    assert_right(config, events, CATALOGUE)
    folder = shop_paths(config).sequence_features
    times = {row[c.BUYER_ID]: row[c.EVENT_TIMESTAMP].isoformat() for row in pq.read_table(folder).to_pylist()}
    assert times == {f"u{n}": reports[3 if n == 5 else 0]["as_of"] for n in range(10)}


def test_a_vanished_buyer_is_forgotten_once_its_empty_row_has_been_seen(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_features(config)
    write_canonical(config, [event for event in EVENTS if event[0] != "u1"], CATALOGUE)
    build_features(config)

    def buyers() -> list[str]:
        names: list[str] = pq.read_table(shop_paths(config).sequence_features)[c.BUYER_ID].to_pylist()
        return names

    build_features(config, full=True)
    assert "u1" in buyers()
    monkeypatch.setattr(changed_buyers, "KEEP_VANISHED", dt.timedelta())
    build_features(config, full=True)
    assert "u1" not in buyers()


def test_the_files_of_version_0_1_0_are_replaced(config: Config) -> None:
    paths = shop_paths(config)
    paths.feature_report.parent.mkdir(parents=True)
    old = [paths.feature_report.with_name(name) for name in ("buyer_sequences.parquet", "buyer_purchases.parquet")]
    for path in old:
        path.write_bytes(b"old")
    paths.feature_report.write_text(json.dumps({"as_of": "2024-01-01T00:00:00+00:00"}), encoding="utf-8")
    assert changed(build_features(config)) == (10, 4)
    assert not any(path.exists() for path in old)


# ---- killed builds ---------------------------------------------------------------------------------------------------


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("survived", range(6))
def test_after_a_killed_build_the_next_one_ends_right(
    config: Config, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    first = build_features(config)
    events = [*[event for event in EVENTS if event[0] != "u1"], ("u2", 3, "purchase", 3)]
    products = [*CATALOGUE[1:], ("p0", 9.0)]
    write_canonical(config, events, products)
    replace, calls = os.replace, iter(range(100))

    def fail_later(source: Path, target: Path) -> None:
        if next(calls) == survived:
            raise KilledError
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("feature_repo.common.files.os.replace", fail_later)
        # A killed process cleans up nothing.
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        try:
            build_features(config)
        except KilledError:
            assert json.loads(shop_paths(config).feature_report.read_text())["as_of"] == first["as_of"]
    report = build_features(config)
    assert_right(config, events, products)
    assert report["as_of"] > first["as_of"]
    # Everything that changed since the first build is newer than it, so that materialize finds it.
    late = {row[c.PRODUCT_ID] for row in _products(config) if row[c.EVENT_TIMESTAMP].isoformat() > first["as_of"]}
    assert late == {"p0"}
    live = {name for of_folder in report["parts"].values() for name in of_folder}
    left = {path.name for folder in ("buyer_sequences", "buyer_purchases") for path in _folder(config, folder)}
    assert left == live


def _folder(config: Config, name: str) -> Iterator[Path]:
    return (shop_paths(config).feature_report.parent / name).iterdir()


# ---- any edits -------------------------------------------------------------------------------------------------------

ONE_EVENT = st.tuples(
    st.sampled_from(["a", "b", "c", "d", "e"]),
    st.integers(0, 2),
    st.sampled_from(["view", "add_to_cart", "purchase"]),
    st.integers(0, 240),
)
STATES = st.lists(
    st.tuples(
        st.lists(ONE_EVENT, max_size=12),
        st.dictionaries(st.sampled_from(["p0", "p1", "p2"]), st.sampled_from([None, 1.0, 2.0]), min_size=1),
        st.sampled_from([2, 2, 3]),
    ),
    min_size=2,
    max_size=4,
)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STATES)
def test_builds_of_what_changed_equal_builds_of_everything(
    monkeypatch: pytest.MonkeyPatch, states: list[tuple[list[Event], dict[str, float | None], int]]
) -> None:
    monkeypatch.setattr(buyer_buckets, "EVENTS_PER_BUCKET", 3)
    monkeypatch.setattr(builder, "MAX_CHANGED_SHARE", 0.9)
    monkeypatch.setattr(parts, "MAX_DELTA_PARTS", 2)
    with tempfile.TemporaryDirectory() as folder:
        for edits, products, max_length in states:
            # So that the time can be split, whatever was drawn.
            events: list[Event] = [("first", 0, "view", 0), *edits, ("last", 0, "view", 250)]
            config = configuration(Path(folder), max_length)
            write_canonical(config, events, list(products.items()))
            build_features(config)
            assert_right(config, events, list(products.items()), max_length)
