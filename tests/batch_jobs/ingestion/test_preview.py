"""`tawsiya ingest --preview`: files that nobody has mapped get a mapping that works, and nothing is written."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.preview import preview
from batch_jobs.ingestion.source_mapping import load_mapping
from batch_jobs.preview_text import preview_text
from feature_repo.common.config import Config
from tests.batch_jobs.csv_shop import REPOSITORY, kept_events, kept_products, platform_shop, shop
from tests.command import invoke

Columns = dict[str, dict[str, str]]


def columns_of(result: dict[str, Any]) -> Columns:
    return {
        table: {field["field"]: field["column"] for field in result[table]["fields"]}
        for table in ("events", "products")
    }


def ingested(result: dict[str, Any], folder: Path, edit: dict[str, dict[str, str]] | None = None) -> Config:
    """Ingests with the proposed mapping; `edit` is the one line of it that a person changes."""
    mapping = yaml.safe_load(result["mapping"])
    for table, columns in (edit or {}).items():
        mapping[table]["columns"] |= columns
    path = folder / "my_shop.yaml"
    path.write_text(yaml.safe_dump(mapping, allow_unicode=True), encoding="utf-8")
    load_mapping(str(path))
    config = Config.model_validate({"data_dir": folder / "mapped", "data": {"source": str(path)}})
    ingest(config)
    return config


def prices(config: Config) -> dict[str, tuple[str, float | None]]:
    return {key: (row["title"], row["price"]) for key, row in kept_products(config).items()}


def test_arabic_headings_and_semicolons(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=(
            "رقم العملية;كود العميل;كود الصنف;نوع الحدث;التاريخ والوقت\n"
            "1;ع-1;م-1;مشاهدة;25/03/2025 10:00\n"
            "2;ع-1;م-1;شراء;25/03/2025 10:05\n"
            "3;ع-2;م-2;شراء;02/04/2025 18:30\n"
        ),
        products=(
            "كود الصنف;اسم الصنف;سعر البيع (ر.س);المخزون;القسم\n"
            "م-1;مصباح مكتب;١٬٢٩٩٫٠٠;متوفر;إضاءة\n"
            "م-2;كوب فخار;12,50;3;مطبخ\n"
        ),
    )
    result = preview(config)
    assert columns_of(result) == {
        "events": {
            "buyer_id": "كود العميل",
            "product_id": "كود الصنف",
            "event_type": "نوع الحدث",
            "timestamp": "التاريخ والوقت",
        },
        "products": {
            "product_id": "كود الصنف",
            "title": "اسم الصنف",
            "price": "سعر البيع (ر.س)",
            "stock": "المخزون",
            "category": "القسم",
        },
    }
    assert result["events"]["unused"] == ["رقم العملية"]
    samples = {field["field"]: field["samples"] for field in result["products"]["fields"]}
    assert samples["price"] == [["١٬٢٩٩٫٠٠", "1299"], ["12,50", "12.5"]]
    assert samples["stock"] == [["متوفر", "in stock"], ["3", "3"]]
    mapped = ingested(result, tmp_path)
    assert prices(mapped) == {"م-1": ("مصباح مكتب", 1299.0), "م-2": ("كوب فخار", 12.5)}
    assert [(row["product_id"], row["event_type"]) for row in kept_events(mapped)] == [
        ("م-1", "view"),
        ("م-1", "purchase"),
        ("م-2", "purchase"),
    ]


def test_headings_that_no_list_knows(tmp_path: Path) -> None:
    rows = "".join(f"K{n % 4};A{n % 3};{'Kauf' if n % 2 else 'Klick'};2025-03-{n + 1:02d} 10:00\n" for n in range(12))
    config = shop(
        tmp_path,
        events="Chi;Cosa;Azione;Quando\n" + rows.replace("Kauf", "purchase").replace("Klick", "view"),
        products=(
            "Codice;Nome;Testo;Lordo;Foto\n"
            "A0;Schreibtischlampe;Eine warme Lampe für den Schreibtisch, aus Holz;120,00 €;https://shop.example/0.jpg\n"
            "A1;Becher;Ein Becher aus Ton, von Hand gemacht in Kairo;9,50 €;https://shop.example/1.jpg\n"
            "A2;Hemd;Ein Hemd aus ägyptischer Baumwolle, sehr leicht;75,00 €;https://shop.example/2.jpg\n"
        ),
    )
    result = preview(config)
    assert columns_of(result) == {
        "events": {"product_id": "Cosa", "timestamp": "Quando", "event_type": "Azione", "buyer_id": "Chi"},
        "products": {
            "product_id": "Codice",
            "photo": "Foto",
            "price": "Lordo",
            "title": "Nome",
            "description": "Testo",
        },
    }
    reasons = {field["field"]: field["why"] for field in result["events"]["fields"]}
    assert reasons["product_id"] == "100% of the ids in it are in Codice of the products"
    assert reasons["timestamp"] == "its values are times"
    mapped = ingested(result, tmp_path)
    assert prices(mapped) == {"A0": ("Schreibtischlampe", 120.0), "A1": ("Becher", 9.5), "A2": ("Hemd", 75.0)}
    assert len(kept_events(mapped)) == 12


def test_a_sheet_saved_by_excel(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=(
            "﻿Order No.;Customer No.;Item Code;Qty;Order Date\r\n"
            "1001;C1;0012;1;25.03.2025 10:00\r\n"
            "1002;C2;0013;2;26.03.2025 11:00\r\n"
        ),
        products=(
            "﻿Item Code;Item Name;Price\u00a0(EGP);Qty;Category\r\n"
            '0012;"Lamp, large";1.299,00;3;Lights\r\n'
            "0013;Mug;12,50;0;Kitchen\r\n"
        ),
    )
    result = preview(config)
    assert columns_of(result)["events"] == {
        "buyer_id": "Customer No.",
        "product_id": "Item Code",
        "timestamp": "Order Date",
        "quantity": "Qty",
    }
    mapped = ingested(result, tmp_path)
    assert prices(mapped) == {"0012": ("Lamp, large", 1299.0), "0013": ("Mug", 12.5)}
    assert {row["event_type"] for row in kept_events(mapped)} == {"purchase"}


def test_orders_without_a_type_are_purchases_and_nothing_is_written(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events="customer,sku,created_at,payment\nu1,p1,2025-03-01T10:00:00Z,card\nu2,p9,2025-03-02T10:00:00Z,cash\n",
        products="sku,name\np1,Lamp\n",
    )
    before = sorted(tmp_path.rglob("*"))
    result = preview(config)
    assert sorted(tmp_path.rglob("*")) == before
    assert yaml.safe_load(result["mapping"])["events"] == {
        "path": "events.csv",
        "columns": {"buyer_id": "customer", "product_id": "sku", "timestamp": "created_at"},
        "sql": {"event_type": "'purchase'"},
    }
    assert "events: no column names the type of an event, so all are read as purchases" in result["warnings"]
    counts = result["events"]["counts"]
    assert (counts["read"], counts["kept"], counts["reasons"]) == (2, 1, {"unknown_product": 1})


def test_dates_with_two_readings_are_pointed_out(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events="buyer,product,event,time\nu1,p1,view,03/04/2025 10:00\nu2,p1,view,05/04/2025 10:00\n",
        products="id,name\np1,Lamp\n",
    )
    warnings = preview(config)["warnings"]
    assert "events: '03/04/2025 10:00' has two readings and no date proves one: set data.date_order" in warnings


def test_several_columns_of_ids_are_pointed_out_with_the_share_that_matches(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events="buyer,item,event,time\nu1,44,view,2025-03-01\nu2,45,view,2025-03-02\nu3,45,view,2025-03-03\n",
        products="id,sku,name\n44,lamp,Lamp\n45,mug,Mug\n46,box,Box\n",
    )
    result = preview(config)
    assert columns_of(result)["products"]["product_id"] == "id"
    expected = "products: several columns hold ids; share of the events' item that each has: id 100%, sku 0%"
    assert expected in result["warnings"]


@pytest.mark.parametrize(
    ("product_id", "warnings"),
    [("44", []), ("lamp", ["no id in item of the events is in id of the products"])],
)
def test_events_of_other_products_are_pointed_out(tmp_path: Path, product_id: str, warnings: list[str]) -> None:
    config = shop(
        tmp_path,
        events="buyer,item,event,time\nu1,44,view,2025-03-01\nu2,44,view,2025-03-02\n",
        products=f"id,name\n{product_id},Lamp\n",
    )
    assert [warning for warning in preview(config)["warnings"] if warning.startswith("no id")] == warnings


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    config = shop(tmp_path, events="buyer,product,event\nu1,p1,view\nu1,p1,view\n", products="id,name\np1,Lamp\n")
    result = preview(config)
    assert "events: no column for timestamp; name it in the mapping under columns" in result["warnings"]
    assert result["events"]["counts"] == {}


def test_the_text_shows_columns_samples_counts_warnings_and_the_mapping(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events="buyer,product,event,time,note\nu1,p1,view,1735725600,x\nu2,p9,view,1735725600,x\n",
        products="id,name,price\np1,Lamp,EGP 12.50\n",
    )
    result = preview(config)
    assert result["unmapped"] == []
    assert preview_text(result).endswith("`tawsiya refresh` reads the files in this way.")
    lines = preview_text(result | {"unmapped": ["products.price"]}).splitlines()
    for line in (
        "Only with a mapping file will `tawsiya refresh` read: products.price.",
        "events: ingest would keep 1 of 2 rows",
        "  timestamp   time     its name  1735725600 -> 2025-01-01T10:00:00Z",
        "  columns not used: note",
        "  price       price   its name  EGP 12.50 -> 12.5 EGP",
        "  tawsiya ingest --preview --source my_shop.yaml",
        "  tawsiya refresh --set data.source=my_shop.yaml",
        "    timestamp: time",
    ):
        assert line in lines, line


@pytest.mark.parametrize("source", ["woocommerce", "shopify"])
def test_a_ready_mapping_keeps_its_query(tmp_path: Path, source: str) -> None:
    result = preview(platform_shop(source, tmp_path))
    assert [text for text in result["warnings"] if "no column" in text] == []
    path = tmp_path / "copy.yaml"
    path.write_text(result["mapping"], encoding="utf-8")
    assert load_mapping(str(path)).events.query is not None


def test_the_command_prints_one_object_with_a_mapping_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path, events="buyer,item,event,time\nu1,p1,view,2025-03-01\n", products="id,name\np1,Lamp\n")
    monkeypatch.chdir(REPOSITORY)
    paths = [f"--set=data.{name}_path={tmp_path / name}.csv" for name in ("events", "products")]
    done = invoke("ingest", "--preview", "--json", f"--set=data_dir={tmp_path / 'var'}", *paths)
    assert done.exit_code == 0, done.stderr
    (tmp_path / "my_shop.yaml").write_text(json.loads(done.stdout)["mapping"], encoding="utf-8")
    assert load_mapping(str(tmp_path / "my_shop.yaml")).folder == str(tmp_path)
    assert not (tmp_path / "var").exists()


def test_a_large_shop_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batch_jobs.ingestion.preview.SAMPLED_ROWS", 4)
    # The products of the first events stand last, and their ids are floats.
    config = shop(
        tmp_path,
        events="buyer_id,product_id,event_type,timestamp\n"
        + "".join(f"u{n % 2},{(90, 91, 92, 777)[n % 4]},view,2025-06-0{n % 9 + 1}\n" for n in range(100)),
        products="id,title\n" + "".join(f"{n}.0,Lamp {n}\n" for n in range(100)),
        photos="id,photo\n" + "".join(f"{n},https://x.example/{n}.jpg\n" for n in range(100)),
    )
    result = preview(config)
    events, products = (result[table]["counts"] for table in ("events", "products"))
    assert (events["sampled"], events["read"], events["kept"]) == (True, 4, 3)
    assert events["reasons"] == {"unknown_product": 1}  # 777 is in no row of the products
    assert (products["sampled"], products["read"], products["kept"]) == (True, 4 + 3, 4 + 3)
    assert [warning for warning in result["warnings"] if "photos" in warning] == []
    assert "ingest would keep 3 of 4 sampled rows" in preview_text(result)
    assert ingest(config)["events"]["read"] == 100


def test_a_small_shop_is_no_sample(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events="buyer_id,product_id,event_type,timestamp\nu,p,view,2025-06-01\n",
        products="id,title\np,Lamp\n",
    )
    assert "ingest would keep 1 of 1 rows" in preview_text(preview(config))


def test_what_only_a_mapping_file_would_read_is_named(tmp_path: Path) -> None:
    events = "رقم العميل,كود الصنف,نوع الحركة,الوقت\nu1,p1,مشاهدة,2025-01-01 10:00\nu2,p1,شراء,2025-01-02 10:00\n"
    config = shop(tmp_path, events=events, products="SKU,اسم المنتج,السعر ج.م\np1,Lamp,12.50\np2,Desk,99\n")
    result = preview(config)
    assert {"events.event_type", "products.price"} <= set(result["unmapped"])
    assert not {"products.title", "events.product_id"} & set(result["unmapped"])  # names that ingest knows
    # With the proposed mapping nothing is missing, and the marks of a terminal behind its names do no harm.
    mapping = tmp_path / "mine.yaml"
    mapping.write_text(result["mapping"].replace("نوع الحركة", '"نوع الحركة\u200e"'), encoding="utf-8")
    assert load_mapping(str(mapping)).events.columns["event_type"] == "نوع الحركة"
    again = config.model_copy(update={"data": config.data.model_copy(update={"source": str(mapping)})})
    assert preview(again)["unmapped"] == []
