"""Dirty files as shops export them: read as they mean, or left out with file, line, value and remedy."""

import datetime as dt
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from tests.batch_jobs.csv_shop import HEADER, kept_events, kept_products, quarantined, shop

EVENTS = HEADER + "u1,p1,view,2025-06-01\nu2,p2,view,2025-06-01\n"
PRODUCTS = "id,title\np1,Lamp\np2,Mug\n12,Cup\n"

Left = tuple[int, str, str]  # line of the file, reason, and a part of the warning after it


def events_of(config: Config) -> list[str]:
    """The kept events, one line each."""
    return sorted(
        f"{row['buyer_id']} {row['product_id']} {row['event_type']} {row['event_time']:%Y-%m-%d %H:%M:%S}"
        for row in kept_events(config)
    )


def assert_named(report: dict[str, Any], table: str, path: Path, left: list[Left]) -> None:
    """The rows left out are the first of their reasons, and a warning names file, line, value and remedy of each."""
    counts = report[table]
    assert {reason: example["line"] for reason, example in counts["examples"].items()} == {
        reason: line for line, reason, _ in left
    }
    for line, reason, part in left:
        start = f"the first in {path}, line {line}: {counts['examples'][reason]['value']!r}"
        assert [text for text in report["warnings"] if reason in text and start in text and part in text], reason


# ---- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "kept", "left"),
    [
        pytest.param(
            'u1,="12",view,2025-06-01\n"=""0042""",12,view,2025-06-01\n',
            ["0042 12 view 2025-06-01 00:00:00", "u1 12 view 2025-06-01 00:00:00"],
            [],
            id="ids that Excel keeps as text by a formula",
        ),
        pytest.param(
            "'0042,'12,view,'2025-06-01 10:00\n'a',p1,view,2025-06-01\n",
            ["'a' p1 view 2025-06-01 00:00:00", "0042 12 view 2025-06-01 10:00:00"],
            [],
            id="ids that Excel keeps as text by an apostrophe",
        ),
        pytest.param(
            "u1,p1,view,45809.4\nu2,p1,view,2025-06-01\n",
            ["u2 p1 view 2025-06-01 00:00:00"],
            [(2, "unreadable_timestamp", "(a day number of Excel? Format the column as a date); correct the times")],
            id="day numbers of Excel",
        ),
        pytest.param(
            "u1,p1,view,1446-12-05\nu2,p1,view,25/12/1446\nu3,p1,view,۱۴۰۴/۰۳/۱۱\nu4,p1,view,2025-06-01\n",
            ["u4 p1 view 2025-06-01 00:00:00"],
            [(2, "unreadable_timestamp", "(the year 1446 is Hijri or Persian; export Gregorian dates)")],
            id="years of other calendars",
        ),
        pytest.param(
            "u1,p1,view,2025-02-29\nu2,p1,view,2024-02-29\n",
            ["u2 p1 view 2024-02-29 00:00:00"],
            [(2, "unreadable_timestamp", "'2025-02-29' (day is out of range for month)")],
            id="a day that the month does not have",
        ),
        pytest.param(
            "u1,p1,view,0000-00-00 00:00:00\nu2,p1,view,2025-06-01\n",
            ["u2 p1 view 2025-06-01 00:00:00"],
            [(2, "unreadable_timestamp", "(year 0 is out of range)")],
            id="the zero date of MySQL",
        ),
        pytest.param(
            "u1,p1,view,2025-W23-1\nu2,p1,view,2025-W23\n",
            ["u1 p1 view 2025-06-02 00:00:00"],
            [(3, "unreadable_timestamp", "expected ISO 8601")],
            id="week dates, and a week without a day",
        ),
        pytest.param(
            'u1,p1,view,"2025-06-01 10:00:00,123"\nu2,p1,view,"1748772000,5"\nu3,p1,view,1748772000.0\n'
            "u4,p1,view, 1748772000000 \nu5,p1,view,1.748772E+09\nu6,p1,view,202506011000\n",
            [f"u{n} p1 view 2025-06-01 10:00:00" for n in range(1, 7)],
            [],
            id="times with commas, floats, blanks and exponents",
        ),
        pytest.param(
            "u1,p1,view,31/12/2024\nu2,p1,view,12/30/2024\nu3,p1,view,03/04/2025\n",
            ["u1 p1 view 2024-12-31 00:00:00", "u2 p1 view 2024-12-30 00:00:00"],
            [(4, "ambiguous_date", "data.date_order=day_first or month_first")],
            id="one date in the other order stops nobody",
        ),
        pytest.param(
            "u1,p1,view,01/06/25\nu2,p1,view,2025-06-01\n",
            ["u2 p1 view 2025-06-01 00:00:00"],
            [(2, "ambiguous_date", "data.date_order")],
            id="years of two digits",
        ),
        pytest.param(
            "u1,p1,view,2025-06-01 10:00 +03:00\nu2,p1,view,2025-06-01 10:00 Africa/Cairo\n"
            "u3,p1,view,2025-06-01 10:00\nu4,p1,view,2025-06-01T10:00Z\nu5,p1,view,2025-06-01 10:00 +25:00\n",
            [
                "u1 p1 view 2025-06-01 07:00:00",
                "u2 p1 view 2025-06-01 07:00:00",
                "u3 p1 view 2025-06-01 10:00:00",
                "u4 p1 view 2025-06-01 10:00:00",
            ],
            [(6, "unreadable_timestamp", "(no time zone is +25:00 from UTC)")],
            id="several zones in one column",
        ),
        pytest.param(
            "u1,p1, View ,2025-06-01\nu2,p1,\u200fشراء\u200f,2025-06-01\nu3,p1,3,2025-06-01\n",
            ["u1 p1 view 2025-06-01 00:00:00", "u2 p1 purchase 2025-06-01 00:00:00"],
            [(4, "unknown_event_type", "map the name to view, add_to_cart, purchase or refund")],
            id="event types with blanks and marks, and a code",
        ),
        pytest.param(
            "0,p1,view,2025-06-01\n-,p1,view,2025-06-01\nNA,p1,view,2025-06-01\nguest-7,p1,view,2025-06-01\n",
            ["guest-7 p1 view 2025-06-01 00:00:00"],
            [(2, "missing_buyer_id", "events of nobody are of no use")],
            id="words for nobody",
        ),
        pytest.param(
            "😀,p1,view,2025-06-01\nu\0 2,p1,view,2025-06-01\n" + "x" * 257 + ",p1,view,2025-06-01\n",
            ["😀 p1 view 2025-06-01 00:00:00"],
            [(3, "invalid_buyer_id", "at most 256 characters and no control characters")],
            id="an emoji, a zero byte and an endless id",
        ),
        pytest.param(
            "u1,P1,view,2025-06-01\nu1,p1,view,2025-06-01\nu1,012,view,2025-06-01\nu1,١٢,view,2025-06-01\n",
            ["u1 p1 view 2025-06-01 00:00:00"],
            [(2, "unknown_product", "add the product to the products file")],
            id="ids of other case, digits and leading zeros are other ids",
        ),
        pytest.param(
            HEADER + "u1,p1,view,2025-06-01\n,,,\n\n",
            ["u1 p1 view 2025-06-01 00:00:00"],
            [(2, "repeated_header", "nothing to do"), (4, "missing_buyer_id", "events of nobody")],
            id="a second header, a row of commas and blank lines",
        ),
    ],
)
def test_events(tmp_path: Path, rows: str, kept: list[str], left: list[Left]) -> None:
    config = shop(tmp_path, events=HEADER + rows, products=PRODUCTS)
    report = ingest(config)
    assert events_of(config) == kept
    assert_named(report, "events", tmp_path / "events.csv", left)


def test_a_time_of_the_wrong_zone_is_in_the_future(tmp_path: Path) -> None:
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=3)
    config = shop(
        tmp_path, events=HEADER + f"u1,p1,view,{later:%Y-%m-%d %H:%M:%S}\nu2,p1,view,2025-06-01\n", products=PRODUCTS
    )
    report = ingest(config)
    assert events_of(config) == ["u2 p1 view 2025-06-01 00:00:00"]
    left = [(2, "timestamp_in_future", "set data.timezone to the zone of times without one")]
    assert_named(report, "events", tmp_path / "events.csv", left)


def test_hours_that_a_clock_change_skips_or_repeats(tmp_path: Path) -> None:
    rows = "u1,p1,view,2025-04-25 00:30\nu2,p1,view,2025-10-30 23:30\nu3,p1,view,2025-10-31 00:30\n"
    config = shop(tmp_path, events=HEADER + rows, products=PRODUCTS, timezone="Africa/Cairo")
    ingest(config)
    assert events_of(config) == [
        "u1 p1 view 2025-04-24 22:30:00",
        "u2 p1 view 2025-10-30 20:30:00",
        "u3 p1 view 2025-10-30 22:30:00",
    ]


def test_refunds_before_purchases_twice_and_of_a_part(tmp_path: Path) -> None:
    rows = (
        "u1,p1,purchase,2025-06-02,1\nu1,p1,refund,2025-06-01,1\n"  # before the purchase
        "u2,p1,purchase,2025-06-01,1\nu2,p1,refund,2025-06-02,1\nu2,p1,refund,2025-06-03,1\n"  # twice
        "u3,p1,purchase,2025-06-01,3\nu3,p1,refund,2025-06-02,1\n"  # one of three
        "u4,p1,purchase,2025-06-01,0\nu5,p1,purchase,2025-06-01,-1\n"
    )
    config = shop(tmp_path, events=HEADER.strip() + ",quantity\n" + rows, products=PRODUCTS)
    report = ingest(config)
    assert events_of(config) == ["u1 p1 purchase 2025-06-02 00:00:00", "u3 p1 purchase 2025-06-01 00:00:00"]
    assert report["events"]["reasons"] == {
        "refund_without_purchase": 3, "refund": 2, "quantity_zero": 1, "returned_purchase": 1,
    }  # fmt: skip


def test_events_with_the_id_zero_are_all_kept(tmp_path: Path) -> None:
    rows = "0,u1,p1,view,2025-06-01\n0,u2,p1,view,2025-06-01\n0,u1,p2,view,2025-06-01\n"
    config = shop(tmp_path, events="event_id," + HEADER + rows, products=PRODUCTS)
    assert ingest(config)["events"]["kept"] == 3


def test_a_letter_that_can_be_written_in_two_ways_is_one(tmp_path: Path) -> None:
    config = shop(
        tmp_path, events=HEADER + "u1,cafe\u0301,view,2025-06-01\nu1,\u0627\u0654,view,2025-06-01\n",
        products="id,title\ncaf\u00e9,Cup\n\u0623,Mug\n",
    )  # fmt: skip
    assert ingest(config)["events"]["kept"] == 2


# ---- products --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "field", "values", "finding"),
    [
        pytest.param(
            "id,title,price\n1,A,12.\n2,B,\"12,-\"\n3,C,'12\n4,D,\"=\"\"12\"\"\"\n5,E,\u200f١٢٫٥٠ ر.س\u200f\n6,F,-0\n",
            "price",
            {"1": 12.0, "2": 12.0, "3": 12.0, "4": 12.0, "5": 12.5, "6": 0.0},
            None,
            id="prices of Excel, without decimals, and with marks of direction",
        ),
        pytest.param(
            'id;title;price\n1;A;1.299,-\n2;B;1.299\n3;C;12,50\n',
            "price",
            {"1": 1299.0, "2": 1299.0, "3": 12.5},
            None,
            id="a dash instead of decimals proves the comma",
        ),
        pytest.param(
            "id,title,price\n1,A,10\n2,B,POA\n3,C,10 - 20\n4,D,#N/A\n5,E,Free\n",
            "price",
            {"1": 10.0, "2": None, "3": None, "4": None, "5": None},
            (3, "unreadable_price", "'POA'; it is left out; write one number from 0 up"),
            id="prices on request, ranges, errors of Excel",
        ),
        pytest.param(
            "id,title,price\n1,A,0\n2,B,0.00\n", "price", {"1": 0.0, "2": 0.0}, None, id="all prices zero",
        ),
        pytest.param(
            "id,title,stock\n1,A,∞\n2,B,99999999999999\n3,C,99999999999999999999\n4,D,لا يوجد\n5,E,3.0\n6,F,-2\n",
            "stock",
            {"1": None, "2": 99_999_999_999_999, "3": None, "4": 0, "5": 3, "6": 0},
            (2, "unreadable_stock", "'∞'; it is left unknown; write a number, or words"),
            id="stocks without end",
        ),
        pytest.param(
            "id,title,hidden\n1,A,maybe\n2,B,FAUX\n3,C,خطأ\n4,D,صواب\n5,E,VRAI\n6,F,DOĞRU\n",
            "hidden",
            {"1": False, "2": False, "3": False, "4": True, "5": True, "6": True},
            (2, "unreadable_hidden", "'maybe'; it says nothing, so the product is shown; write 0 or 1"),
            id="flags in the words of Excel",
        ),
        pytest.param(
            'id,title,metadata\n1,A,"{""price"": 3}"\n2,B,"""{\\""price\\"": 4}"""\n3,C,[]\n'
            "4,D,{'price': 5}\n5,E,[1]\n",
            "price",
            {"1": 3.0, "2": 4.0, "3": None, "4": None, "5": None},
            (5, "broken_metadata", "it is no JSON object, so its values are left empty"),
            id="JSON in JSON, and what is no JSON object",
        ),
        pytest.param(
            "id,title,image\n1,A,C:\\shop\\a.jpg\n2,B,a.jpg\n",
            "photo",
            {"1": None, "2": "a.jpg"},
            (2, "unreadable_photo", "it is left empty; write a link"),
            id="a path of Windows",
        ),
        pytest.param(
            'id,title\n1,La\0mp\n2,Mu\u2028g\n3,"Cu\rp"\n4,Jar\x1b\n',
            "title",
            {"1": "Lamp", "2": "Mu\u2028g", "3": "Cu\rp", "4": "Jar"},
            None,
            id="control characters in titles",
        ),
        pytest.param(
            "id,title,price,Price\n1,A,3,4\n", "price", {"1": 3.0}, None, id="a heading twice, in another case",
        ),
    ],
)  # fmt: skip
def test_products(
    tmp_path: Path, rows: str, field: str, values: dict[str, object], finding: tuple[int, str, str] | None
) -> None:
    config = shop(tmp_path, events=EVENTS, products=rows)
    report = ingest(config)
    assert {product_id: row[field] for product_id, row in kept_products(config).items()} == values
    if finding:
        line, name, part = finding
        example = report["products"]["examples"][name]
        assert (example["file"], example["line"]) == (str(tmp_path / "products.csv"), line)
        assert [text for text in report["warnings"] if f"products.csv, line {line}: " in text and part in text]


# ---- files -----------------------------------------------------------------------------------------------------------


def with_events(tmp_path: Path, files: dict[str, bytes]) -> Config:
    """A shop whose events lie in a folder of these files."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return shop(tmp_path, events="", products=PRODUCTS, events_path=str(folder))


def parquet(**columns: Any) -> bytes:
    table = {"buyer_id": ["u9"], "product_id": ["12"], "event_type": ["view"], "timestamp": ["2025-06-01"], **columns}
    output = io.BytesIO()
    pq.write_table(pa.table(table), output)
    return output.getvalue()


MORE = HEADER + "u3,12,view,2025-06-01\n"
NOON = dt.datetime(2025, 6, 1, 12)


@pytest.mark.parametrize(
    ("files", "buyers"),
    [
        pytest.param(
            {"a-1.csv": EVENTS.encode(), "a-2.csv": EVENTS.encode()}, ["u1", "u2"], id="rows twice, in two parts",
        ),
        pytest.param(
            {"a-1.csv": EVENTS.encode(), "a-2.csv": MORE.replace(",", ";").encode()}, ["u1", "u2", "u3"],
            id="another delimiter",
        ),
        pytest.param(
            {"a-1.csv": EVENTS.encode("utf-8-sig"), "a-2.csv": MORE.encode("utf-16")}, ["u1", "u2", "u3"],
            id="another encoding, by its mark",
        ),
        pytest.param(
            {"a-1.csv": EVENTS.encode(), "a-2.csv": MORE.replace("buyer_id", "Buyer_ID").encode()}, ["u1", "u2", "u3"],
            id="headings in another case",
        ),
        pytest.param({"a-1.csv": EVENTS.encode(), "a-2.csv": HEADER.encode()}, ["u1", "u2"], id="only a header"),
        pytest.param(
            {"a.csv.gz": gzip.compress(EVENTS.encode()) + gzip.compress(b"u3,12,view,2025-06-01\n") + b"\0" * 512},
            ["u1", "u2", "u3"],
            id="gzip of two members, padded with zeros",
        ),
        pytest.param({"a.csv": b"sep=;\r\n" + MORE.replace(",", ";").encode()}, ["u3"], id="the first line of Excel"),
        pytest.param(
            {"a.csv": b"buyer_id,product_id,event_type,timestamp\n7.0,12.0,view,2025-06-01\n",
             "b.csv": b"buyer_id,product_id,event_type,timestamp\n8,12,view,2025-06-01\n"},
            ["7", "8"],
            id="ids as floats in one part",
        ),
        pytest.param(
            {"a.csv": b"Sales 2025\n" + MORE.replace("\n", "\r\n").encode()}, ["u3"],
            id="a line before the header with another line end",
        ),
        pytest.param(
            {"a.parquet": parquet(), "b.parquet": parquet(buyer_id=[8], product_id=[12], timestamp=[1748772000])},
            ["8", "u9"],
            id="Parquet with text in one part and numbers in another",
        ),
    ],
)  # fmt: skip
def test_files(tmp_path: Path, files: dict[str, bytes], buyers: list[str]) -> None:
    config = with_events(tmp_path, files)
    ingest(config)
    assert sorted(row["buyer_id"] for row in kept_events(config)) == buyers


def zipped(content: bytes) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        archive.writestr("events.csv", content)
    return output.getvalue()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param({"a.csv.gz": gzip.compress(EVENTS.encode()) + b"x"}, "a.csv.gz is damaged", id="more than gzip"),
        pytest.param(
            {"a.csv.gz": gzip.compress(EVENTS.encode()) + gzip.compress(MORE.encode())[:-9]}, "a.csv.gz is cut short",
            id="gzip whose second member is cut short",
        ),
        pytest.param(
            {"a.csv.gz": gzip.compress(gzip.compress(EVENTS.encode()))}, "a.csv.gz is compressed twice; unpack it once",
            id="gzip in gzip",
        ),
        pytest.param({"a.csv": zipped(EVENTS.encode())}, "a.csv is a ZIP file; unpack it", id="zip by another name"),
        pytest.param(
            {"a-1.csv": EVENTS.encode(), "a-2.csv": b"u3,12,view,2025-06-01\n"}, "a-2.csv has no header",
            id="a part without a header",
        ),
        pytest.param(
            {"a-1.csv": EVENTS.encode(), "a-2.csv": (HEADER + "".join(f"مشتري{n},12,view,2025\n" for n in range(9)))
             .encode("windows-1256")},
            "a-2.csv is not UTF-8; it looks like Windows-1256",
            id="a part in another encoding",
        ),
        pytest.param({"a.parquet": b""}, "a.parquet cannot be read: it is no Parquet file", id="an empty Parquet file"),
        pytest.param(
            {
                "a.parquet": parquet(timestamp=pa.array([NOON], pa.timestamp("us", "Asia/Riyadh"))),
                "b.parquet": parquet(timestamp=pa.array([NOON], pa.timestamp("us"))),
            },
            "column 'timestamp' has a time zone in .*a.parquet and none in .*b.parquet; export both alike",
            id="Parquet with and without a zone",
        ),
    ],
)  # fmt: skip
def test_files_that_are_refused(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    config = with_events(tmp_path, files)
    with pytest.raises(ValueError, match=message):
        ingest(config)


def test_a_file_of_a_header_only_is_named(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER, products=PRODUCTS)
    assert "events: the files have no rows; export them again" in ingest(config)["warnings"]
    assert quarantined(config) == []
