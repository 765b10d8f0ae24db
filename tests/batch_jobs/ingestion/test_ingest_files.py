"""Ingest of files in all shapes: what is read, what is refused, and that a refused file changes nothing."""

import datetime as dt
import gzip
import json
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError
from feature_repo.common.paths import shop_paths
from online_api.events.event_log import EventLog, LoggedEvent
from tests.batch_jobs.csv_shop import (
    CSV_MAPPING,
    HEADER,
    Row,
    kept_events,
    kept_products,
    quarantined,
    rows,
    shop,
)

PRODUCTS = "id,title\np1,قهوة\np2,Mug\n"
EVENTS = HEADER + "u1,p1,view,2024-03-01 10:00:00\nu2,p2,purchase,2024-03-02 10:00:00\n"
MANY_EVENTS = HEADER + "".join(f"u{n},p1,view,2024-03-01 10:00:{n % 60:02}\n" for n in range(2_000))


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


def shop_of(folder: Path, **files: Path | str) -> Config:
    """A shop whose tables are other paths than the usual ones."""
    return shop(folder / "shop", events=EVENTS, products=PRODUCTS, **{f"{k}_path": str(v) for k, v in files.items()})


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def titles(config: Config) -> dict[str, Any]:
    return {key: product["title"] for key, product in kept_products(config).items()}


# ---- compression and formats -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["events.csv.gz", "events.csv"])
def test_gzip_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    config = shop_of(tmp_path, events=write(tmp_path / name, gzip.compress(EVENTS.encode())))
    report = ingest(config)
    assert (report["events"]["kept"], report["events"]["files"][0]["encoding"]) == (2, "utf-8")


@pytest.mark.parametrize("name", ["events.csv.zst", "events.csv"])
def test_zstd_is_told_by_its_content(tmp_path: Path, name: str) -> None:
    assert ingest(shop_of(tmp_path, events=write(tmp_path / name, zstd(EVENTS.encode()))))["events"]["kept"] == 2


def test_parquet_is_told_by_its_content(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["p1"], "title": ["قهوة"]}), tmp_path / "products.csv")
    config = shop_of(tmp_path, products=tmp_path / "products.csv")
    ingest(config)
    assert titles(config) == {"p1": "قهوة"}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("e.csv.gz", gzip.compress(MANY_EVENTS.encode())[:-2_000], r"is cut short: the gzip stream ends early \("),
        ("e.csv.gz", gzip.compress(EVENTS.encode())[:-1], r"is cut short: the gzip .*, in line 4\)"),
        ("e.csv", gzip.compress(EVENTS.encode())[:-8] + b"\0" * 8, "is damaged: the gzip stream is damaged: CRC"),
        ("e.csv.zst", zstd(MANY_EVENTS.encode())[:-100], "is cut short: the zstd stream ends early"),
        ("e.csv", EVENTS + 'u3,"p1', "is cut short: it ends within the quoted value of line 4; export it again"),
        ("e.csv", EVENTS.encode("utf-16")[:-1], "is cut short: it ends within a character of utf-16"),
        ("e.csv", b"\xd0\xcf\x11\xe0abc", "is an old Excel workbook"),
        ("e.csv", "<!DOCTYPE html><html>502</html>", "is an HTML page, such as an error page"),
        ("e.csv", '  {"error": "expired"}', "is JSON; export it as CSV"),
        ("e.csv", '[{"id": 1}]', "is JSON; export it as CSV"),
        ("e.csv", "%PDF-1.4", "is a PDF"),
        ("e.csv.gz", EVENTS, "cannot be read: it is no gzip file, as its name says"),
        ("e.parquet", EVENTS, "cannot be read: it is no Parquet file, as its name says"),
    ],
)  # fmt: skip
def test_what_is_cut_short_or_of_another_kind_is_refused_and_changes_nothing(
    tmp_path: Path, name: str, content: bytes | str, expected: str
) -> None:
    good = shop_of(tmp_path)
    ingest(good)
    folder = shop_paths(good).events.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    bad = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=rf"^{tmp_path}/{name} {expected}"):
        ingest(shop_of(tmp_path, events=bad))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not shop_paths(good).source_copies.exists()


def test_an_excel_workbook_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "products.csv", "w") as file:
        file.writestr("[Content_Types].xml", "<Types/>")
    with pytest.raises(ValueError, match=r"products\.csv is an Excel workbook; save it as CSV UTF-8$"):
        ingest(shop_of(tmp_path, products=tmp_path / "products.csv"))


def test_parquet_without_its_end_is_cut_short(tmp_path: Path) -> None:
    file = tmp_path / "products.parquet"
    pq.write_table(pa.table({"id": ["p1"]}), file)
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"products\.parquet is cut short: the end of the Parquet file is missing"):
        ingest(shop_of(tmp_path, products=file))


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_parts_are_one_table_by_names_of_columns(tmp_path: Path) -> None:
    write(tmp_path / "e/part-0.csv", EVENTS + "u3,p1\n")
    write(
        tmp_path / "e/part-1.csv.gz",
        gzip.compress(b"timestamp,buyer_id,product_id,event_type\n2024-03-03,u4,p1,view\n"),
    )
    write(tmp_path / "e/part-2.csv", HEADER + "u5,p404,view,2024-03-03\n")
    write(tmp_path / "e/_SUCCESS", "")
    config = shop_of(tmp_path, events=tmp_path / "e")
    report = ingest(config)["events"]
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1", "u2", "u4"]
    assert quarantined(config) == [("events", 3, "unreadable_row"), ("events", 1, "unknown_product")]
    assert report["examples"] == {
        "unreadable_row": {"file": str(tmp_path / "e/part-0.csv"), "line": 4, "value": "u3,p1"},
        "unknown_product": {"file": str(tmp_path / "e/part-2.csv"), "line": 2, "value": "p404"},
    }
    assert [(Path(file["path"]).name, file["rows"]) for file in report["files"]] == [
        ("part-0.csv", 3), ("part-1.csv.gz", 1), ("part-2.csv", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", r"part .*part-1\.csv is empty; export all parts again"),
        ("buyer,product_id,event_type,timestamp\n", r"part-1\.csv has other columns than .*part-0\.csv \(missing: "
         r"buyer_id; surplus: buyer\)"),
    ],
)  # fmt: skip
def test_a_part_that_differs_is_refused(tmp_path: Path, content: str, expected: str) -> None:
    write(tmp_path / "e/part-0.csv", EVENTS)
    write(tmp_path / "e/part-1.csv", content)
    with pytest.raises(ValueError, match=expected):
        ingest(shop_of(tmp_path, events=tmp_path / "e"))


def test_parts_have_one_format(tmp_path: Path) -> None:
    write(tmp_path / "p/a.csv", PRODUCTS)
    pq.write_table(pa.table({"id": ["p1"], "title": ["x"]}), tmp_path / "p/b.parquet")
    with pytest.raises(ValueError, match=r"b\.parquet is Parquet but .*a\.csv is not; all parts of a table have one"):
        ingest(shop_of(tmp_path, products=tmp_path / "p"))


def test_parquet_parts_may_differ_in_the_types_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    pq.write_table(pa.table({"id": pa.array([12345, 2])}), tmp_path / "p/part-0.parquet")
    pq.write_table(pa.table({"id": pa.array([7.0, None])}), tmp_path / "p/part-1.parquet")
    config = shop_of(tmp_path, products=tmp_path / "p")
    ingest(config)
    assert list(kept_products(config)) == ["12345", "2", "7"]


def test_the_mapping_may_name_a_pattern(tmp_path: Path) -> None:
    content = Path(CSV_MAPPING).read_text(encoding="utf-8")
    mapping = write(
        tmp_path / "shop.yaml",
        content.replace("folder: data", f"folder: '{tmp_path}/g[1]'").replace("path: events.csv", "path: e/*.csv"),
    )
    write(tmp_path / "g[1]/e/a.csv", EVENTS)
    write(tmp_path / "g[1]/e/b.csv", HEADER + "u3,p1,view,2024-03-03\n")
    write(tmp_path / "g1/e/c.csv", HEADER + "other,p1,view,2024-03-03\n")
    write(tmp_path / "g[1]/products.csv", PRODUCTS)
    config = Config.model_validate({"data_dir": tmp_path / "var", "data": {"source": str(mapping), "test_days": 1}})
    ingest(config)
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1", "u2", "u3"]


@pytest.mark.parametrize("name", ["g[12]", "a*b", "a?", "h#1 x", 'it\'s "so"', "متجر", "{a,b}"])
def test_paths_are_no_patterns(tmp_path: Path, name: str) -> None:
    write(tmp_path / "g1/events.csv", HEADER + "other,p1,view,2024-03-03\n")
    config = shop(tmp_path / name, events=EVENTS, products=PRODUCTS)
    log = shop_paths(config).event_log
    EventLog(log).append([LoggedEvent("e1", "mine", "p1", "view", 1_709_287_200_000)])
    write(Path(str(log).replace(name, "g1")) / "a.jsonl", '{"buyer_id": "other"}\n')
    report = ingest(config)
    assert [row["buyer_id"] for row in kept_events(config)] == ["mine", "u1", "u2"]
    (file,) = report["events"]["event_log"]["files"]
    assert (Path(file["path"]).parent, file["rows"], file["encoding"]) == (log, 1, "utf-8")


# ---- encodings -------------------------------------------------------------------------------------------------------


def in_mapping(folder: Path, encoding: str) -> str:
    content = Path(CSV_MAPPING).read_text(encoding="utf-8")
    table = f"products:\n  path: products.csv\n  encoding: {encoding}\n"
    return str(write(folder / "own.yaml", content.replace("products:\n  path: products.csv\n", table)))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("compress", [False, True])
def test_a_certain_encoding_is_read(tmp_path: Path, encoding: str, compress: bool) -> None:
    content = PRODUCTS.encode(encoding)
    config = shop(tmp_path, events=EVENTS, products=gzip.compress(content) if compress else content)
    ingest(config)
    assert titles(config) == {"p1": "قهوة", "p2": "Mug"}


def test_another_encoding_is_named_and_read_once_declared(tmp_path: Path) -> None:
    content = (PRODUCTS + "p3,شاي\n").encode("cp1256")
    with pytest.raises(ValueError, match=r"products\.csv is not UTF-8; it looks like Windows-1256 \(line 2 would read "
                       r"'p1,قهوة'\); set encoding: windows-1256 in the mapping or save it as UTF-8$"):  # fmt: skip
        ingest(shop(tmp_path, events=EVENTS, products=content))
    config = shop(tmp_path, events=EVENTS, products=content, source=in_mapping(tmp_path, "Windows-1256"))
    report = ingest(config)
    assert titles(config) == {"p1": "قهوة", "p2": "Mug", "p3": "شاي"}
    assert report["products"]["files"][0]["encoding"] == "windows-1256"


def test_an_encoding_that_does_not_exist_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"own\.yaml: products\.encoding: .*unknown encoding 'windows-12'"):
        ingest(shop(tmp_path, events=EVENTS, products=PRODUCTS, source=in_mapping(tmp_path, "windows-12")))


def test_a_file_that_is_not_in_its_declared_encoding_is_refused(tmp_path: Path) -> None:
    source = in_mapping(tmp_path, "ascii")
    with pytest.raises(ValueError, match=r"products\.csv is not in the encoding ascii: ordinal not in range"):
        ingest(shop(tmp_path, events=EVENTS, products=PRODUCTS, source=source))


def test_one_broken_line_of_utf8_is_quarantined(tmp_path: Path) -> None:
    products = PRODUCTS.encode() + b"p3,\xff\xd8\np4,\xd8\xb9\n"
    config = shop(tmp_path, events=EVENTS, products=products)
    ingest(config)
    assert list(kept_products(config)) == ["p1", "p2", "p4"]
    assert quarantined(config) == [("products", 3, "unreadable_row")]


# ---- rows and lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_line_ends_and_blank_lines(tmp_path: Path, ends: str) -> None:
    config = shop(tmp_path, events=EVENTS.replace("\n", ends) + 3 * ends, products=PRODUCTS.replace("\n", ends))
    assert ingest(config)["events"]["read"] == 2


def test_line_ends_may_be_mixed(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS + "u3,p1,view,2024-03-03\r\nu4,p1,view,2024-03-04\n", products=PRODUCTS)
    assert ingest(config)["events"]["kept"] == 4


def test_a_repeated_header_is_quarantined(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS + HEADER + "u3,p1,view,2024-03-03\n", products=PRODUCTS)
    report = ingest(config)["events"]
    assert (report["read"], report["kept"], report["reasons"]) == (4, 3, {"repeated_header": 1})
    assert quarantined(config) == [("events", 3, "repeated_header")]


def test_a_cell_of_several_megabytes_is_read_and_a_title_is_shortened(tmp_path: Path) -> None:
    picture = "x" * 2_500_000
    config = shop(tmp_path, events=EVENTS, products=f"{PRODUCTS}p3,{picture}\np4,Cup\n")
    ingest(config)
    assert titles(config) == {"p1": "قهوة", "p2": "Mug", "p3": picture[:1000], "p4": "Cup"}


def test_a_line_that_is_too_long_costs_only_itself(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=f"{PRODUCTS}p3,{'x' * 33_000_000}\np4,Cup\n")
    ingest(config)
    assert list(kept_products(config)) == ["p1", "p2", "p4"]
    assert quarantined(config) == [("products", 3, "line_too_long")]


def test_a_last_line_that_is_too_long_is_not_lost(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=f"{PRODUCTS}p3,{'x' * 33_000_000}")
    ingest(config)
    assert quarantined(config) == [("products", 3, "line_too_long")]


def test_unreadable_rows_keep_the_numbers_of_the_others(tmp_path: Path) -> None:
    config = shop(
        tmp_path, events=EVENTS + 'u3,p1\n\nu4,p404,view,2024-03-04\nu5,"p\n1",view,x\nu6,\n', products=PRODUCTS
    )
    ingest(config)
    assert quarantined(config) == [
        ("events", 3, "unreadable_row"),
        ("events", 4, "unknown_product"),
        ("events", 5, "invalid_product_id"),
        ("events", 6, "unreadable_row"),
    ]


def test_json_lines_are_read_as_text(tmp_path: Path) -> None:
    mapping = write(
        tmp_path / "lines.yaml",
        "description: d\nlicence: l\nfolder: .\n"
        "events: {path: e, lines: true, sql: {buyer_id: line->>'$.u', product_id: line->>'$.p', "
        "event_type: \"'view'\", timestamp: line->>'$.t'}}\nproducts: {path: p}\n",
    )
    lines = "".join(json.dumps({"u": f'u\u0639,"{n}', "p": "p1", "t": "2024-03-01"}) + "\n" for n in range(3))
    for content in (lines, gzip.compress(lines.encode()), "\ufeff" + lines.replace("\n", "\r\n") + "\n\n"):
        events = write(tmp_path / "events.jsonl", content)
        config = shop(tmp_path / "s", events="", products=PRODUCTS, source=str(mapping), events_path=str(events))
        ingest(config)
        assert [row["buyer_id"] for row in kept_events(config)] == ['uع,"0', 'uع,"1', 'uع,"2']


# ---- Parquet and ids -------------------------------------------------------------------------------------------------


def products_of(tmp_path: Path, **columns: pa.Array) -> Config:
    pq.write_table(pa.table(columns), tmp_path / "products.parquet")
    return shop_of(tmp_path, products=tmp_path / "products.parquet")


def test_binary_text_is_utf8(tmp_path: Path) -> None:
    config = products_of(tmp_path, id=pa.array([b"p1"]), title=pa.array(["هاتف".encode()]), other=pa.array([b"\xff"]))
    ingest(config)
    assert titles(config) == {"p1": "هاتف"}


def test_binary_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    config = products_of(tmp_path, id=["p1"], title=pa.array([b"\xff"]))
    with pytest.raises(
        ValueError, match=r"products\.parquet: column 'title' \(for title\) holds bytes that are not UTF-8"
    ):
        ingest(config)


@pytest.mark.parametrize(
    ("value", "kind", "remedy"),
    [({"ar": "x"}, r"STRUCT\(ar VARCHAR\)", r"title\.PART"), (["x"], r"VARCHAR\[\]", r"title\[1\]")],
)
def test_a_column_that_is_no_text_is_named(tmp_path: Path, value: object, kind: str, remedy: str) -> None:
    config = products_of(tmp_path, id=["p1"], title=pa.array([value]))
    with pytest.raises(ValueError, match=rf"column 'title' \(for title\) has the type {kind}, but text is.*{remedy}"):
        ingest(config)


def test_types_of_parquet_are_read_as_text(tmp_path: Path) -> None:
    time = dt.datetime(2024, 3, 1, 10)
    table = pa.table(
        {
            "buyer_id": pa.array([12345.0, None, 7.5]),
            "product_id": pa.array(["p1", "p1", "p1"]).dictionary_encode(),
            "event_type": ["view", "view", "view"],
            "timestamp": pa.array([time, time, time], pa.timestamp("ns")),
        }
    )
    for options in ({}, {"use_deprecated_int96_timestamps": True}):
        pq.write_table(table, tmp_path / "e.parquet", **options)
        config = shop_of(tmp_path, events=tmp_path / "e.parquet")
        ingest(config)
        kept: list[Row] = kept_events(config)
        assert [(row["buyer_id"], row["event_time"]) for row in kept] == [
            ("12345", time.replace(tzinfo=dt.UTC)),
            ("7.5", time.replace(tzinfo=dt.UTC)),
        ]


def test_whole_float_ids_are_read_as_whole_numbers(tmp_path: Path) -> None:
    events = HEADER + "7.0,p1,view,2024-03-01\n8.00,p1,view,2024-03-01\n,p1,view,2024-03-01\nnan,p1,view,2024-03-02\n"
    config = shop(tmp_path, events=events, products=PRODUCTS)
    ingest(config)
    assert {"7", "8"} <= {row["buyer_id"] for row in kept_events(config)}


def test_codes_that_look_like_floats_stay(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER + "u1,1.0,view,2024-03-01\n", products="id,title\n1.0,a\n1.5,b\n")
    ingest(config)
    assert list(kept_products(config)) == ["1.0", "1.5"]


def test_ids_that_excel_destroyed_are_quarantined(tmp_path: Path) -> None:
    products = "id,title\n1.23457E+12,a\np1,b\n1.23457E+12,c\n"
    config = shop(tmp_path, events=EVENTS, products=products)
    report = ingest(config)
    assert report["products"]["reasons"] == {"mangled_id": 2}
    assert (report["products"]["read"], report["products"]["kept"]) == (3, 1)
    assert report["warnings"][:1] == [
        f"{tmp_path / 'products.csv'}: Excel destroyed ids, such as '1.23457E+12': their last digits are gone; "
        "format the column as text before saving, or export without Excel"
    ]
    assert json.loads(rows(shop_paths(config).quarantine)[-1]["raw"])["title"] == "c"


def test_an_event_may_lose_its_own_id_but_not_its_buyers(tmp_path: Path) -> None:
    lines = '1.23457E+12,u1,p1,view,2024-03-01\ne2,"1,23457E+12",p1,view,2024-03-02\n'
    config = shop(tmp_path, events=f"event_id,{HEADER}{lines}", products=PRODUCTS)
    ingest(config)
    assert [row["buyer_id"] for row in kept_events(config)] == ["u1"]
    assert quarantined(config) == [("events", 2, "mangled_id")]


# ---- what is reported ------------------------------------------------------------------------------------------------


def test_a_last_row_that_may_be_cut_is_a_warning(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS + "u3,p1,vi", products=PRODUCTS)
    report = ingest(config)
    assert quarantined(config) == [("events", 3, "unreadable_row")]
    assert report["warnings"][:1] == [
        f"{tmp_path / 'events.csv'} may be cut short: its last row is unreadable and has no line end; compare it with "
        "the shop"
    ]


def test_the_report_names_the_files(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS, photos="id,photo\np1,a.jpg\n")
    products = ingest(config)["products"]
    path = tmp_path / "products.csv"
    assert products["files"] == [{"path": str(path), "bytes": len(PRODUCTS.encode()), "rows": 2, "encoding": "utf-8"}]


def test_copies_of_a_killed_ingest_are_removed(tmp_path: Path) -> None:
    config = shop(tmp_path, events=gzip.compress(EVENTS.encode()), products=PRODUCTS)
    left = write(shop_paths(config).source_copies / "0-events.csv.txt", "left by a killed run")
    ingest(config)
    assert not left.parent.exists()


def test_rows_of_a_query_over_parts_name_the_folder(tmp_path: Path) -> None:
    mapping = write(
        tmp_path / "parts.yaml",
        "description: d\nlicence: l\nfolder: .\n"
        "events: {path: e, query: 'SELECT * FROM source ORDER BY buyer_id DESC'}\nproducts: {path: p}\n",
    )
    write(tmp_path / "e/part-0.csv", HEADER + "u1,p1,view,2024-03-01\n")
    write(tmp_path / "e/part-1.csv", HEADER + "u2,p404,view,2024-03-01\n")
    config = shop(tmp_path, events="", products=PRODUCTS, source=str(mapping), events_path=str(tmp_path / "e"))
    example = ingest(config)["events"]["examples"]["unknown_product"]
    assert example == {"file": str(tmp_path / "e"), "line": 1, "value": "p404"}


def test_a_missing_column_is_named_with_the_file_that_was_read(tmp_path: Path) -> None:
    config = shop(tmp_path, events="buyer_id,product_id,event_type\nu1,p1,view\n", products=PRODUCTS)
    expected = (
        r"/events\.csv: required column 'timestamp' is missing; columns found: buyer_id, product_id, event_type\."
    )
    with pytest.raises(ValueError, match=expected):
        ingest(config)
