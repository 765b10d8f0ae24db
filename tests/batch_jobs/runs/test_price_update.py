"""Prices, stock and visibility alone: the values of an ingest of the same file, and nothing else changes."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.runs.price_update import UPDATED, update_prices
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import file_stamp
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import HEADER, kept_products, rows, shop

EVENTS = HEADER + "u1,p1,view,2024-03-01T10:00:00Z\nu1,p2,view,2024-03-01T11:00:00Z\nu2,p3,view,2024-03-01T12:00:00Z\n"
HEADINGS = "id,title,price,currency,stock,hidden\n"
PRODUCTS = HEADINGS + "p1,green tea,10,SAR,5,0\np2,black tea,20,SAR,,0\np3,cups,,,0,1\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A shop after its ingest."""
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    ingest(config)
    return config


def products_file(config: Config) -> Path:
    assert config.data.products_path is not None
    return Path(config.data.products_path)


def values(config: Config) -> dict[str, tuple[Any, ...]]:
    """Price, currency, stock and visibility of each product."""
    return {
        name: tuple(row[column] for column in UPDATED if column != c.REGULAR_PRICE)
        for name, row in kept_products(config).items()
    }


def reasons(config: Config) -> list[tuple[str | None, str, str]]:
    found = rows(shop_paths(config).price_quarantine)
    return [(row["value"], row["reason"], row["kind"]) for row in found]


def test_the_shops_file_gives_its_values(config: Config) -> None:
    before = kept_products(config)
    products_file(config).write_text(HEADINGS + "p1,other title,12.5,SAR,4,0\np2,black tea,20,SAR,,1\np3,cups,,,0,1\n")
    report = update_prices(config)
    assert values(config) == {
        "p1": (12.5, "SAR", 4, False),
        "p2": (20.0, "SAR", None, True),
        "p3": (None, None, 0, True),
    }
    assert report["counts"] == {
        "read": 3, "kept": 3, "bad": 0, "duplicates": 0, "changed": 2,
        "columns": ["price", "currency", "stock", "hidden"],
    }  # fmt: skip
    unchanged = {name: {key: row[key] for key in row if key not in UPDATED} for name, row in before.items()}
    now = kept_products(config)
    assert {name: {key: row[key] for key in row if key not in UPDATED} for name, row in now.items()} == unchanged


def test_without_a_change_nothing_is_written(config: Config) -> None:
    path = shop_paths(config).products
    stamp = file_stamp(path)
    assert update_prices(config)["counts"]["changed"] == 0
    assert file_stamp(path) == stamp


def test_a_feed_may_have_some_columns_and_some_products(config: Config, tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("id,price\np2,٢٥\n", encoding="utf-8")
    assert update_prices(config, feed)["counts"]["columns"] == ["price", "currency"]
    assert values(config) == {
        "p1": (10.0, "SAR", 5, False),
        "p2": (25.0, None, None, False),
        "p3": (None, None, 0, True),
    }
    feed.write_text("id,stock\np3,7\n")
    update_prices(config, feed)
    assert values(config)["p3"] == (None, None, 7, True)


def test_a_feed_starts_and_ends_a_sale(config: Config, tmp_path: Path) -> None:
    def prices() -> list[float | None]:
        return [kept_products(config)["p1"][column] for column in (c.PRICE, c.REGULAR_PRICE)]

    feed = tmp_path / "feed.csv"
    for content, expected in (
        ("id,price,sale_price\np1,10,8\n", [8, 10]),
        ("id,price\np1,7\n", [7, 10]),  # says nothing of the regular price
        ("id,regular_price,sale_price\np1,10,\n", [10, None]),
    ):
        feed.write_text(content, encoding="utf-8")
        update_prices(config, feed)
        assert prices() == expected


def test_rows_that_cannot_be_used_go_to_quarantine(config: Config, tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("id,price\np1,11\n,12\np9,13\np1,14\np2\n")
    report = update_prices(config, feed)
    assert reasons(config) == [
        (None, "missing_product_id", "bad"),
        ("p9", "unknown_product", "excluded"),
        ("p1", "duplicate_product_id", "duplicate"),
        ("p2", "unreadable_row", "bad"),
    ]
    assert values(config)["p1"][0] == 11
    assert values(config)["p2"][0] == 20
    counts = {"read": 5, "kept": 1, "bad": 2, "duplicates": 1, "changed": 1, "columns": ["price", "currency"]}
    assert report["counts"] == counts
    assert "products: 1 rows of products that the catalogue lacks; `tawsiya refresh` adds them" in report["warnings"]
    # The quarantine of the ingest is another file.
    assert rows(shop_paths(config).quarantine) == []


def test_a_product_that_stands_for_others_has_the_stock_of_all(tmp_path: Path) -> None:
    merged = HEADINGS + "p1,green tea,10,SAR,5,0\np2,green tea,10,SAR,2,0\np3,cups,1,SAR,0,0\n"
    config = shop(tmp_path, events=EVENTS, products=merged)
    ingest(config)
    assert values(config)["p1"][2] == 7
    products_file(config).write_text(merged.replace("SAR,2,0", "SAR,3,0"))
    assert update_prices(config)["counts"]["changed"] == 1
    assert values(config)["p1"][2] == 8


def test_most_prices_unreadable_are_refused_and_the_present_ones_stay(config: Config, tmp_path: Path) -> None:
    before = values(config)
    feed = tmp_path / "feed.csv"
    feed.write_text("id,price\n" + "p1,ask us\n" * 9)
    with pytest.raises(GateRefusedError, match=r"unreadable_price: 9 of 9 rows, at most 50.0% may be"):
        update_prices(config, feed)
    assert values(config) == before
    assert len(reasons(config)) == 8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,title\np1,tea\n", "no row has a price, a stock or a visibility"),
        ("id,price\nx1,5\nx2,6\n", "no row names a product of the catalogue in .*; the first ids are 'x1', 'x2'"),
        ("name,price\ntea,5\n", "required column 'product_id' is missing"),
    ],
)
def test_a_file_of_something_else_is_an_error(config: Config, tmp_path: Path, content: str, message: str) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text(content)
    with pytest.raises(ValueError, match=message):
        update_prices(config, feed)


def test_before_the_first_ingest_there_is_no_catalogue(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    with pytest.raises(FileNotFoundError, match="run `tawsiya refresh` first"):
        update_prices(config)


PRICE = st.sampled_from(["", "5", "7.50", "8 SAR", "-1", "ask us", "٩"])
ROW = st.tuples(PRICE, st.sampled_from(["", "0", "3", "in stock", "?"]), st.sampled_from(["", "0", "1", "yes", "??"]))


@settings(max_examples=25)
@given(before=st.tuples(ROW, ROW, ROW), now=st.tuples(ROW, ROW, ROW))
def test_they_are_those_of_an_ingest_of_the_same_file(
    tmp_path_factory: pytest.TempPathFactory, before: tuple[Any, ...], now: tuple[Any, ...]
) -> None:
    def content(of: tuple[Any, ...]) -> str:
        lines = [f"p{n},tea {n},{price},{stock},{hidden}\n" for n, (price, stock, hidden) in enumerate(of, 1)]
        return "id,title,price,stock,hidden\n" + "".join(lines)

    updated = shop(tmp_path_factory.mktemp("updated"), events=EVENTS, products=content(before))
    ingest(updated)
    products_file(updated).write_text(content(now), encoding="utf-8")
    if not any(value for row in now for value in row):
        return  # such a file says nothing, which is an error
    update_prices(updated)
    ingested = shop(tmp_path_factory.mktemp("ingested"), events=EVENTS, products=content(now))
    ingest(ingested)
    spoken = [name for name, field in (("price", 0), ("stock", 1), ("hidden", 2)) if any(row[field] for row in now)]
    for product_id, row in kept_products(ingested).items():
        assert {name: kept_products(updated)[product_id][name] for name in spoken} == {n: row[n] for n in spoken}
    assert pq.read_schema(shop_paths(updated).products) == pq.read_schema(shop_paths(ingested).products)
