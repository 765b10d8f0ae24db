"""The features of a shop with two buyers, as files."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.feature_build.build_features import build_features
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import HEADER, Row, rows, shop
from tests.batch_jobs.feature_build.two_buyers import (
    BASKET,
    CART,
    EVENTS,
    P1,
    P2,
    P3,
    PRODUCTS,
    PURCHASE,
    VIEW,
    built,
    built_with_log,
    ms,
    report,
    utc,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return built(tmp_path_factory.mktemp("two_buyers"))


def test_products_sort_as_this_file_says() -> None:
    assert P2 < P1


def test_a_sequence_holds_a_buyers_newest_events(config: Config) -> None:
    as_of = dt.datetime.fromisoformat(report(config)["as_of"])
    first, second = ms("2024-03-01T10:00:00"), ms("2024-03-07T23:59:59.999")
    third, fourth = ms("2024-03-08T00:00:00"), ms("2024-03-09T09:00:00.500")
    history = [
        *((key, PURCHASE, first) for key in BASKET), (P3, VIEW, second), (P3, CART, second), (P1, VIEW, third),
        (P2, VIEW, fourth),
    ]  # fmt: skip

    def row(buyer: str, events: list[tuple[int, int, int]]) -> Row:
        keys, types, times = (list(column) for column in zip(*events, strict=True))
        return {
            "buyer_id": buyer, "event_timestamp": as_of, "created_timestamp": as_of, "product_keys": keys,
            "event_types": types, "event_times": times,
        }  # fmt: skip

    assert rows(shop_paths(config).sequence_features) == [
        row("u1", history),
        row("u2", [(P3, VIEW, ms("2024-03-09T09:30:00"))]),
    ]


def test_logged_events_are_in_sequences(tmp_path: Path) -> None:
    later = built_with_log(tmp_path, ("u1", "p3", "2025-06-01T10:00:00"), ("u3", "p2", "2025-06-02T10:00:00"))
    actual = {row["buyer_id"]: row for row in rows(shop_paths(later).sequence_features)}
    assert actual["u1"]["product_keys"] == [*BASKET, P3, P3, P1, P2, P3]
    assert actual["u3"]["event_times"] == [ms("2025-06-02T10:00:00")]


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
    assert actual["rows"] == {"buyer_sequences": 2, "buyer_purchases": 1, "products": 3, "buyers": 2}
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
    (part,) = shop_paths(config).sequence_features.iterdir()
    stored = pq.read_schema(part)
    assert recent.num_rows == 0
    for name in ("buyer_id", "event_timestamp", "product_keys", "event_types", "event_times"):
        assert recent.schema.field(name).type.equals(stored.field(name).type), name
    assert stored.field("event_types").type.value_type == pa.int32()
    (part,) = shop_paths(config).purchase_features.iterdir()
    bought = pq.read_schema(part)
    for name in ("purchased_keys", "purchased_times"):
        assert recent.schema.field(name).type.equals(bought.field(name).type), name


def test_no_sequence_is_longer_than_the_configuration_says(tmp_path: Path) -> None:
    config = built(tmp_path, max_length=2)
    actual = [row["product_keys"] for row in rows(shop_paths(config).sequence_features)]
    assert actual == [[P1, P2], [P3]]


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
    assert report(built(tmp_path / "l'atelier"))["rows"]["buyers"] == 2
