"""Products of dirty exports: each value right, or left out and counted with its row."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import CSV_MAPPING, HEADER, Row, kept_events, kept_products, quarantined, rows, shop

EVENTS = HEADER + "u1,p1,view,2024-03-01 10:00:00\nu2,p2,purchase,2024-03-02 10:00:00\n"
Report = dict[str, Any]


def ingested(folder: Path, products: str, events: str = EVENTS, **files: object) -> tuple[dict[str, Row], Report]:
    """Ingests a shop; its products by id, and the report."""
    config = shop(folder, events=events, products=products, **files)  # type: ignore[arg-type]
    report = ingest(config)
    return kept_products(config), report


def values(products: dict[str, Row], *fields: str) -> dict[str, tuple[Any, ...]]:
    return {product_id: tuple(row[field] for field in fields) for product_id, row in products.items()}


def left_out(report: Report, table: str) -> dict[str, int]:
    counts = report[table]
    assert counts["read"] == counts["kept"] + counts["excluded"] + counts["duplicates"] + counts["bad"]
    return dict(counts["reasons"])


# --- values -----------------------------------------------------------------------------------------------------------


def test_prices_of_several_currencies_and_digits(tmp_path: Path) -> None:
    products, report = ingested(
        tmp_path,
        'id,title,price\np0,Lamp 0,"EGP 2,099.00"\np1,Lamp 1,١٬٢٩٩٫٠٠ ر.س\np2,Lamp 2,"1.299,00"\n'
        'p3,Lamp 3,"12,50"\np4,Lamp 4,٧٩٩٫٥\np5,Lamp 5,"1,299"\np6,Lamp 6,ask us\n',
    )
    assert values(products, "price", "currency") == {
        "p0": (2099.0, "EGP"), "p1": (1299.0, "SAR"), "p2": (1299.0, None), "p3": (12.5, None), "p4": (799.5, None),
        "p5": (1299.0, None), "p6": (None, None),
    }  # fmt: skip
    assert report["products"]["unreadable_price"] == 1
    file = str(tmp_path / "products.csv")
    assert report["products"]["examples"]["unreadable_price"] == {"file": file, "line": 8, "value": "ask us"}
    assert [warning for warning in report["warnings"] if "ambiguous_price" in warning and "'1,299'" in warning]


def test_a_woocommerce_export_that_nobody_mapped(tmp_path: Path) -> None:
    products, report = ingested(
        tmp_path,
        'ID,Type,SKU,Name,Published,"Visibility in catalog",Description,"In stock?",Stock,"Sale price",'
        '"Regular price",Categories,Images,Parent\n'
        '44,simple,p1,"Lamp A",1,visible,"<p>One.</p>\n<p>5"" tall</p>",1,,,120,"Home > Lamps, Sale",'
        '"https://x.example/a.jpg, https://x.example/b.jpg",\n'
        '45,simple,p2,"Bulb &amp; co",1,visible,"A bulb",0,0,,12.5,"Home > Bulbs",,\n'
        '46,simple,p3,"Draft bulb",-1,hidden,"Not yet",1,3,10,12.5,"Home > Bulbs",,\n'
        '47,variation,p4,"Lamp A, red",1,visible,,1,0,,130,Home,,p1\n',
    )
    assert values(products, "title", "price", "stock", "hidden", "category", "photo", "group_id") == {
        "p1": ("Lamp A", 120.0, None, False, "Lamps", "https://x.example/a.jpg", None),
        "p2": ("Bulb & co", 12.5, 0, False, "Bulbs", None, None),
        "p3": ("Draft bulb", 10.0, 3, True, "Bulbs", None, None),
        "p4": ("Lamp A, red", 130.0, None, False, "Home", None, "p1"),
    }
    assert products["p1"]["description"] == 'One.\n5" tall'
    assert products["p1"]["text"] == 'Lamp A One.\n5" tall'
    assert report["products"]["columns"]["product_id"] == "SKU"
    assert report["warnings"] == []


def test_one_negative_stock_is_out_of_stock(tmp_path: Path) -> None:
    products, report = ingested(tmp_path, "id,title,stock\np1,Lamp,-1\np2,Mug,4\n")
    assert values(products, "stock") == {"p1": (0,), "p2": (4,)}
    assert report["products"]["backorder"] == 1
    assert [warning for warning in report["warnings"] if "products.csv, line 2: '-1'" in warning]


def test_null_words_are_no_values(tmp_path: Path) -> None:
    products, report = ingested(
        tmp_path, "id,title,price,stock,brand,category,image\np1,Lamp,NULL,nan,\\N,(not set),null\np2,nan,,,,,\n"
    )
    assert values(products, "title", "price", "stock", "brand", "category", "photo") == {
        "p1": ("Lamp", None, None, None, None, None),
        "p2": ("", None, None, None, None, None),
    }
    assert report["products"]["unreadable_price"] == report["products"]["unreadable_stock"] == 0
    assert report["products"]["missing_title"] == 1


def test_metadata_hold_the_new_fields_as_well(tmp_path: Path) -> None:
    content = {"price": "12 SAR", "sale_price": 10, "group_id": "g1", "status": "draft", "stock": "نفد"}
    metadata = json.dumps(content | {"category": "other", "catalog_id": "lamps"})
    quoted = metadata.replace('"', '""')
    products, _ = ingested(tmp_path, f'id,title,metadata\np1,Lamp,"{quoted}"\np2,Mug,\n')
    assert values(products, "price", "currency", "group_id", "hidden", "stock", "category")["p1"] == (
        10.0, "SAR", "g1", True, 0, "lamps"
    )  # fmt: skip


def test_a_mapping_declares_currency_and_decimal_mark(tmp_path: Path) -> None:
    content = Path(CSV_MAPPING).read_text(encoding="utf-8")
    declared = """  path: products.csv\n  decimal_mark: ","\n  sql: {currency: "'SAR'"}\n"""
    mapping = tmp_path / "shop.yaml"
    mapping.write_text(content.replace("  path: products.csv\n", declared), encoding="utf-8")
    products, report = ingested(tmp_path, 'id,title,price\np1,Lamp,"1,299"\np2,Mug,1.299\n', source=str(mapping))
    assert values(products, "price", "currency") == {"p1": (1.299, "SAR"), "p2": (1299.0, "SAR")}
    assert report["warnings"] == []


def test_numbers_of_parquet_are_numbers(tmp_path: Path) -> None:
    table = {
        "id": [1, 2], "title": ["Lamp", "Mug"], "price": [1.299, None], "stock": [2.5, 3.0], "hidden": [True, False]
    }  # fmt: skip
    pq.write_table(pa.table(table), tmp_path / "products.parquet")
    events = HEADER + "u1,1,view,2024-03-01\n"
    products, report = ingested(tmp_path, "", events, products_path=str(tmp_path / "products.parquet"))
    assert values(products, "price", "stock", "hidden") == {"1": (1.299, 2, True), "2": (None, 3, False)}
    assert report["warnings"] == []


# --- texts ------------------------------------------------------------------------------------------------------------


def test_titles_of_several_languages_are_all_read(tmp_path: Path) -> None:
    products, report = ingested(
        tmp_path,
        "id,title_ar,Name (English),description_ar,description_en\n"
        "p1,مصباح,Lamp,ضوء دافئ,Warm light\np2,كوب,,,A mug\np3,,Cup,,\np4,Pen,Pen,,\np5,قلم,,,\n",
    )
    assert values(products, "title", "description", "text", "titles") == {
        "p1": ("مصباح", "ضوء دافئ", "مصباح Lamp ضوء دافئ Warm light", '{"ar": "مصباح", "en": "Lamp"}'),
        "p2": ("كوب", "A mug", "كوب A mug", '{"ar": "كوب"}'),
        "p3": ("Cup", "", "Cup", '{"en": "Cup"}'),
        "p4": ("Pen", "", "Pen", '{"ar": "Pen", "en": "Pen"}'),
        "p5": ("قلم", "", "قلم", '{"ar": "قلم"}'),
    }
    assert report["products"]["columns"]["title_en"] == "Name (English)"


def test_the_title_column_is_the_main_one(tmp_path: Path) -> None:
    products, _ = ingested(tmp_path, "id,title,title_en\np1,مصباح,Lamp\np2,,Mug\np3,كوب,\n")
    assert values(products, "title", "text", "titles") == {
        "p1": ("مصباح", "مصباح Lamp", '{"en": "Lamp"}'),
        "p2": ("Mug", "Mug", '{"en": "Mug"}'),
        "p3": ("كوب", "كوب", None),
    }


def test_a_picture_in_a_description_reaches_nobody(tmp_path: Path) -> None:
    picture = '<img src=""data:image/png;base64,' + "A" * 500_000 + '"">'
    products, report = ingested(
        tmp_path,
        f'id,title,description\np1,Lamp,"{picture}<p>A lamp</p>"\np2,Mug,{"word " * 10_000}\np3,{"x" * 1000},\n',
    )
    assert products["p1"]["text"] == "Lamp A lamp"
    assert len(products["p2"]["description"]) == 20_000
    assert report["products"]["shortened_text"] == 1
    assert [warning for warning in report["warnings"] if "shortened_text" in warning]


# --- ids --------------------------------------------------------------------------------------------------------------


def test_the_column_of_ids_is_the_one_that_the_events_name(tmp_path: Path) -> None:
    products, report = ingested(tmp_path, "id,sku,title\np1,SKU-1,Lamp\np2,SKU-2,Mug\n")
    assert list(products) == ["p1", "p2"]
    assert report["events"]["kept"] == 2
    assert report["products"]["columns"]["product_id"] == "id"
    (warning,) = report["warnings"]
    assert "read from column 'id', which has 2 of the 2 product ids of the events, and not from 'sku'" in warning


def test_a_running_number_does_not_win_over_the_product_id(tmp_path: Path) -> None:
    lines = "".join(f"{number},{number + 3},Lamp {number}\n" for number in range(8))
    events = HEADER + "".join(f"u1,{number},view,2024-03-01\n" for number in range(8))
    products, report = ingested(tmp_path, "id,product_id,title\n" + lines, events)
    assert products["3"]["title"] == "Lamp 0"
    assert "3 of them in no row of the first" in report["warnings"][-1]


def test_a_declared_column_of_ids_wins(tmp_path: Path) -> None:
    content = Path(CSV_MAPPING).read_text(encoding="utf-8")
    declared = "  path: products.csv\n  columns: {product_id: sku}\n"
    mapping = tmp_path / "shop.yaml"
    mapping.write_text(content.replace("  path: products.csv\n", declared), encoding="utf-8")
    products, _ = ingested(tmp_path, "id,sku,title\np1,SKU-1,Lamp\n", source=str(mapping))
    assert list(products) == ["SKU-1"]


def test_ids_lose_blanks_and_floats(tmp_path: Path) -> None:
    products, _ = ingested(tmp_path / "blanks", 'id,title\n"p1\n",Lamp\n"p2\t",Mug\n\u00a0p3\u200f,Cup\n')
    assert list(products) == ["p1", "p2", "p3"]
    events = HEADER + "u1,17,view,2024-03-01\n"
    products, report = ingested(tmp_path / "floats", "id,title\n17.0,Lamp\n18.0,Mug\n", events)
    assert (list(products), report["events"]["kept"]) == (["17", "18"], 1)


def test_ids_that_are_none_are_left_out_with_their_reason(tmp_path: Path) -> None:
    long = "x" * 300
    config = shop(tmp_path, events=EVENTS, products=f'id,title\np1,Lamp\n,a\nNULL,b\n"p\x01q",c\n{long},d\np2,Mug\n')
    report = ingest(config)
    assert left_out(report, "products") == {"invalid_product_id": 2, "missing_product_id": 2}
    assert [reason for table, _, reason in quarantined(config) if table == "products"] == [
        "missing_product_id", "missing_product_id", "invalid_product_id", "invalid_product_id"
    ]  # fmt: skip
    assert report["products"]["examples"]["invalid_product_id"]["line"] == 5


# --- duplicates -------------------------------------------------------------------------------------------------------


def test_a_hidden_twin_does_not_replace_the_product_that_sells(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=HEADER + "u1,old,view,2024-03-01\nu2,new,view,2024-03-01\n",
        products="id,title,description,brand,price,stock,hidden,image,category\n"
        "old,Lamp Z,A lamp,Nour,9,0,1,old.jpg,lamps\nnew,Lamp Z,A lamp,Nour,12,5,0,,\n",
    )
    report = ingest(config)
    assert values(kept_products(config), "price", "stock", "hidden", "photo", "category") == {
        "new": (12.0, 5, False, "old.jpg", "lamps")
    }
    assert rows(shop_paths(config).product_aliases) == [{"product_id": "old", "duplicate_of": "new"}]
    assert [row["product_id"] for row in kept_events(config)] == ["new", "new"]
    assert left_out(report, "products") == {"duplicate_content": 1}


def test_a_repeated_id_keeps_the_row_that_sells(tmp_path: Path) -> None:
    products, report = ingested(
        tmp_path, "id,title,stock,hidden\np1,Old lamp,9,yes\np1,Lamp,0,no\np1,New lamp,2,no\np1,Newer lamp,3,no\n"
    )
    assert values(products, "title", "stock") == {"p1": ("New lamp", 2)}
    assert left_out(report, "products") == {"duplicate_product_id": 3}


@pytest.mark.parametrize(
    ("stocks", "stock"),
    [(("2", "3"), 5), (("0", "3"), 3), (("", "3"), 3), (("", "0"), None), (("0", "0"), 0), (("", ""), None)],
)
def test_variants_share_their_stock(tmp_path: Path, stocks: tuple[str, str], stock: int | None) -> None:
    products, _ = ingested(tmp_path, f"id,title,stock\np1,Lamp,{stocks[0]}\np2,LAMP,{stocks[1]}\np3,Mug,1\n")
    assert sum(product_id in products for product_id in ("p1", "p2")) == 1
    assert next(iter(products.values()))["stock"] == stock


# --- photos -----------------------------------------------------------------------------------------------------------


def test_every_row_of_the_photo_file_is_accounted_for(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=EVENTS,
        products="id,title,image\np1,Lamp,data:image/png;base64;AAAA\np2,Mug,own.jpg\np3,Cup,\n",
        photos='id,image\np1,"https://x.example/1.jpg, https://x.example/2.jpg"\np1,again.jpg\np2,other.jpg\n'
        "p404,a.jpg\n,a.jpg\np3,\np3,ftp://x.example/a.jpg\np3,a.jpg,surplus\np3,last.jpg\n",
    )
    report = ingest(config)
    assert values(kept_products(config), "photo") == {
        "p1": ("https://x.example/1.jpg",), "p2": ("own.jpg",), "p3": ("last.jpg",),
    }  # fmt: skip
    assert left_out(report, "photos") == {
        "duplicate_photo": 2, "missing_photo": 1, "missing_product_id": 1, "unknown_product": 1, "unreadable_photo": 1,
        "unreadable_row": 1,
    }  # fmt: skip
    assert (report["photos"]["read"], report["photos"]["kept"]) == (9, 2)
    assert ("photos", 4, "unknown_product") in quarantined(config)
    assert report["photos"]["examples"]["unknown_product"]["line"] == 5
    assert report["products"]["examples"]["unreadable_photo"]["value"].startswith("data:image")


# --- the smallest catalogues ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "products", ["id,title\n", "id\np1\n", "id,title,brand\np1,Lamp,Nour\n", "id,title\np1,Lamp\n"]
)
def test_the_smallest_catalogues_are_read(tmp_path: Path, products: str) -> None:
    found, report = ingested(tmp_path, products)
    assert len(found) == report["products"]["kept"] == products.count("\n") - 1
