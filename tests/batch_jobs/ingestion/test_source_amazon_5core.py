"""The source `amazon_5core`: ordered lists without dates become events whose time split is leave-one-out."""

import datetime as dt
import os
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.feature_build.build_contexts import build_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.keys import product_key
from tests.batch_jobs.csv_shop import REPOSITORY, kept_events, kept_products, quarantined, row_counts, rows, shop

MAPPING = str(REPOSITORY / "config/sources/amazon_5core.yaml")
ITEMS = "item_id,asin,title,text\n1,A,Soap,\n2,B,Comb,\n3,C,Balm,\n4,D,Wax,\n"


def noon(month: int, day: int) -> dt.datetime:
    return dt.datetime(2014, month, day, 12, tzinfo=dt.UTC)


def five_core(folder: Path, sequences: str | bytes, items: str = ITEMS) -> Config:
    return shop(folder, events=sequences, products=items, source=MAPPING)


def brief(config: Config) -> list[tuple[str, str, dt.datetime]]:
    return [(row["buyer_id"], row["product_id"], row["event_time"]) for row in kept_events(config)]


# --- events -----------------------------------------------------------------------------------------------------------


def test_every_list_ends_on_the_same_day_and_steps_back_by_two(tmp_path: Path) -> None:
    config = five_core(tmp_path, "u1 3 1 2\nu2 4 3\n")
    ingest(config)
    assert brief(config) == [
        ("u1", "3", noon(7, 19)),
        ("u1", "1", noon(7, 21)),
        ("u1", "2", noon(7, 23)),
        ("u2", "4", noon(7, 21)),
        ("u2", "3", noon(7, 23)),
    ]
    assert {row["event_type"] for row in kept_events(config)} == {"purchase"}


def test_an_item_may_come_again(tmp_path: Path) -> None:
    config = five_core(tmp_path, "u1 1 1 2 1\n")
    assert ingest(config)["events"]["duplicates"] == 0
    assert [product for _, product, _ in brief(config)] == ["1", "1", "2", "1"]


def test_a_list_may_be_long(tmp_path: Path) -> None:
    items = ["1", "2", "3", "4"] * 150
    config = five_core(tmp_path, f"u1 {' '.join(items)}\n")
    ingest(config)
    assert [product for _, product, _ in brief(config)] == items
    assert brief(config)[0][2] == noon(7, 23) - dt.timedelta(days=2 * 599)


@pytest.mark.parametrize(
    "sequences", ["u1 1 2\nu2 3", "u1 1 2\r\nu2 3\r\n", "u1\t1\t2\nu2   3  \n", "\nu1 1 2\n\n\nu2 3\n"]
)
def test_line_ends_blank_lines_and_white_space_do_not_matter(tmp_path: Path, sequences: str) -> None:
    config = five_core(tmp_path, sequences)
    assert ingest(config)["events"]["read"] == 3
    assert brief(config) == [("u1", "1", noon(7, 21)), ("u1", "2", noon(7, 23)), ("u2", "3", noon(7, 23))]


def test_unknown_items_and_lines_without_items_are_in_quarantine(tmp_path: Path) -> None:
    config = five_core(tmp_path, "u1 1 9 2\nu2\nu3 x\n")
    report = ingest(config)["events"]
    # An unknown item keeps its place in time, so that what remains of the list is where it was.
    assert brief(config) == [("u1", "1", noon(7, 19)), ("u1", "2", noon(7, 23))]
    assert quarantined(config) == [
        ("events", 2, "unknown_product"),
        ("events", 4, "missing_product_id"),
        ("events", 5, "unknown_product"),
    ]
    assert (report["read"], report["kept"], report["bad"]) == (5, 2, 3)


def test_a_line_that_is_not_utf8_costs_that_line(tmp_path: Path) -> None:
    config = five_core(tmp_path, b"u1 1 2\nu\xff 3 4\nu2 3\n")
    report = ingest(config)["events"]
    assert quarantined(config) == [("events", 2, "unreadable_row")]
    assert (report["read"], report["kept"]) == (4, 3)


def test_an_empty_file_has_no_events(tmp_path: Path) -> None:
    config = five_core(tmp_path, "")
    assert ingest(config)["events"]["read"] == 0


# --- leave one out ----------------------------------------------------------------------------------------------------

lists = st.lists(st.lists(st.sampled_from("1234"), min_size=2, max_size=6), min_size=1, max_size=4)


@settings(max_examples=15)
@given(lists)
def test_one_test_day_leaves_the_last_event_out_and_the_day_before_it_the_second_last(bought: list[list[str]]) -> None:
    """Against the lists themselves: what the contexts of the feature build have to predict."""
    with tempfile.TemporaryDirectory() as folder:
        lines = "".join(f"u{number} {' '.join(items)}\n" for number, items in enumerate(bought))
        config = five_core(Path(folder), lines)
        ingest(config)
        test_from = dt.datetime.fromisoformat(build_contexts(config)["test_from"])
        contexts = rows(shop_paths(config).contexts)
    test = {row["buyer_id"]: row["product_keys"] for row in contexts if row["split"] == "test"}
    assert test == {f"u{number}": [product_key(items[-1])] for number, items in enumerate(bought)}
    day_before = test_from - dt.timedelta(days=1)
    train = [row for row in contexts if row["split"] == "train"]
    on_day_before = [row for row in train if row["event_timestamp"] >= day_before]
    assert {row["buyer_id"]: row["product_keys"] for row in on_day_before} == {
        f"u{number}": [product_key(items[-2])] for number, items in enumerate(bought)
    }
    assert len(train) + len(test) == sum(map(len, bought))


# --- products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("items", "title"),
    [
        ("item_id,asin,title,idgenrec_textual_id\n1,A,Soap,soap bar\n", "Soap"),
        ("item_id,asin,title,idgenrec_textual_id\n1,A,,soap bar\n", "soap bar"),
        ("item_id,asin,title,categories\n1,A,NaN,Body care\n", "Body care"),
        ("item_id,asin,title,x,y\n1,A,nan, ,second\n", "second"),
        ("item_id,asin,description,title\n1,A,about it,Soap\n", "Soap"),
        ("item_id,title\n1,Nan bread\n", "Nan bread"),
        ("item_id,asin,title\n1,A,\n", ""),
    ],
)
def test_the_text_is_the_title_or_else_the_first_other_text(tmp_path: Path, items: str, title: str) -> None:
    config = five_core(tmp_path, "u1 1\n", items)
    ingest(config)
    product = kept_products(config)["1"]
    assert (product["title"], product["text"].strip()) == (title, title)


# --- the option `lines` -----------------------------------------------------------------------------------------------


LOG_MAPPING = """
description: a log
licence: ours
folder: .
events:
  path: log.txt
  lines: true
  sql: {buyer_id: "line[1:2]", product_id: "line[4:]", event_type: "'view'", timestamp: "'2024-03-01'"}
products:
  path: products.csv
"""


def test_lines_need_no_query_and_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    mapping = tmp_path / "log.yaml"
    mapping.write_text(LOG_MAPPING, encoding="utf-8")
    events = b'u1 "1,\nu\xff 2\nu2 9\n'
    config = shop(tmp_path, events=events, products='item_id\n"""1,"\n', source=str(mapping))
    ingest(config)
    assert [(row["buyer_id"], row["product_id"]) for row in kept_events(config)] == [("u1", '"1,')]
    assert quarantined(config) == [("events", 2, "unreadable_row"), ("events", 3, "unknown_product")]


# --- the real data ----------------------------------------------------------------------------------------------------


def test_amazon_beauty_is_whole(tmp_path: Path) -> None:
    shared = Path(os.environ.get("TAWSIYA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    folder = shared / "amazon_beauty"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here; set TAWSIYA_SHARED_DATA")
    data = {
        "source": MAPPING,
        "events_path": str(folder / "sequences.txt"),
        "products_path": str(folder / "items.csv"),
        "test_days": 1,
    }
    config = Config.model_validate({"data_dir": tmp_path, "data": data})
    report = ingest(config)
    assert report["products"]["kept"] == report["products"]["read"] == 12_101
    assert row_counts(report["events"]) == {
        "read": 198_502, "kept": 198_502, "excluded": 0, "duplicates": 0, "bad": 0, "reasons": {},
    }  # fmt: skip
    assert "ordinal" in report["description"]
    assert build_features(config)["rows"]["buyers"] == 22_363
    build_contexts(config)
    splits = pq.read_table(shop_paths(config).contexts, columns=["split"])["split"].to_pylist()
    assert splits.count("test") == 22_363
