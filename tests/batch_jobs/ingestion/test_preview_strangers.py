"""Files as strangers write them: the proposed mapping reads them rightly, with no line changed."""

import datetime as dt
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import yaml

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.preview import preview
from batch_jobs.preview_text import LEFT_TO_RIGHT, preview_text
from feature_repo.common.config import Config
from tests.batch_jobs.csv_shop import kept_events, kept_products, shop

# Title, category, brand, description.
ARABIC = [
    ("مصباح مكتب", "إضاءة", "نور", "مصباح مكتب من النحاس بضوء دافئ مناسب للقراءة والدراسة"),
    ("كوب فخار", "مطبخ", "فخار", "كوب من الفخار مصنوع يدويا في القاهرة ويصلح للمشروبات الساخنة"),
    ("قميص قطن", "ملابس", "نيل", "قميص من القطن المصري خفيف جدا ومناسب لفصل الصيف الحار"),
    ("سجادة صوف", "أثاث", "نور", "سجادة من الصوف الطبيعي بألوان ثابتة لا تتغير مع الغسيل"),
    ("إبريق شاي", "مطبخ", "فخار", "إبريق شاي كبير من الفخار يكفي لستة أشخاص ويحفظ الحرارة"),
    ("شال حرير", "ملابس", "نيل", "شال من الحرير الناعم بتطريز يدوي على الحواف والأطراف"),
]
LATIN = [
    ("Desk lamp", "Light", "Noor", "A warm lamp for the desk of brass and of oak wood"),
    ("Mug", "Kitchen", "Fakhar", "A mug of clay made by hand in Cairo for hot drinks"),
    ("Shirt", "Clothing", "Nile", "A shirt of Egyptian cotton that is light in summer"),
    ("Rug", "Home", "Noor", "A rug of wool with colours that stay when it is washed"),
    ("Teapot", "Kitchen", "Fakhar", "A large teapot for six people that keeps the tea warm"),
    ("Scarf", "Clothing", "Nile", "A soft scarf of silk with borders sewn by many hands"),
]
FIRST_TIME = dt.datetime(2025, 3, 1, 9)
Cells = Sequence[object]


def table(separator: str, headings: Iterable[str], rows: Iterable[Cells]) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in (list(headings), *rows))


def order_lines(form: str) -> list[tuple[int, str, int, str, int]]:
    """Order number, buyer, number of the product, time and pieces of 60 lines, two an order."""
    return [
        (
            5000 + n // 2,
            f"C{n // 2 % 7 + 1}",
            n % len(LATIN),
            (FIRST_TIME + dt.timedelta(hours=11 * (n // 2))).strftime(form),
            n % 3 + 1,
        )
        for n in range(60)
    ]


def proposal(config: Config, folder: Path) -> Config:
    """The configuration with the proposed mapping, after an ingest."""
    path = folder / "my_shop.yaml"
    path.write_text(preview(config)["mapping"], encoding="utf-8")
    mapped = Config.model_validate({"data_dir": folder / "mapped", "data": {"source": str(path)}})
    ingest(mapped)
    return mapped


def catalogue(config: Config) -> list[tuple[str, float | None, str | None, str | None]]:
    return [(row["title"], row["price"], row["category"], row["brand"]) for row in kept_products(config).values()]


def expected(names: list[tuple[str, str, str, str]], cents: float) -> list[tuple[str, float, str, str]]:
    return [(title, 10 * n + cents, category, brand) for n, (title, category, brand, _) in enumerate(names, start=1)]


def test_arabic_headings_that_no_list_has(tmp_path: Path) -> None:
    kinds = ("مشاهدة", "إضافة إلى السلة", "شراء")
    config = shop(
        tmp_path,
        events=table(
            ";", ["م", "صاحب الحساب", "البضاعة", "الحركة", "وقت الحركة"],
            [(n, b, f"س-{p}", kinds[n % 3], t) for n, (_, b, p, t, _) in enumerate(order_lines("%d/%m/%Y %H:%M"))],
        ),
        products=table(
            ";", ["البضاعة", "مسمى البضاعة", "الصنف الأب", "المصنع", "التسعيرة", "نبذة", "الكمية المتبقية"],
            [(f"س-{n}", t, c, b, f"{10 * n + 10},50 ر.س", d, n) for n, (t, c, b, d) in enumerate(ARABIC)],
        ),
    )  # fmt: skip
    mapped = proposal(config, tmp_path)
    assert catalogue(mapped) == expected(ARABIC, 0.5)
    events = kept_events(mapped)
    assert {row["event_type"] for row in events} == {"view", "add_to_cart", "purchase"}
    assert len({row["buyer_id"] for row in events}) == 7
    assert len(events) == 60


def test_windows_1256_is_declared_in_the_proposed_mapping(tmp_path: Path) -> None:
    rows = [(order, b, p, t, q) for order, b, p, t, q in order_lines("%d/%m/%Y %H:%M")]
    config = shop(
        tmp_path,
        # Only the header has Arabic letters.
        events=table(",", ["رقم الطلب", "رقم العميل", "رقم المنتج", "تاريخ الطلب", "الكمية"], rows).encode("cp1256"),
        products=table(
            ",", ["رقم المنتج", "اسم المنتج", "القسم", "الماركة", "السعر"],
            [(n, t, c, b, 10 * n + 10) for n, (t, c, b, _) in enumerate(ARABIC)],
        ).encode("cp1256"),
    )  # fmt: skip
    warnings = preview(config)["warnings"]
    assert "events: events.csv looks like windows-1256 and is read so; check the samples" in warnings
    mapped = proposal(config, tmp_path)
    assert catalogue(mapped) == expected(ARABIC, 0)
    assert len(kept_events(mapped)) == 60


LANGUAGES = {
    "turkish": (
        ["Sipariş No", "Müşteri No", "Ürün Kodu", "Tarih", "Adet"],
        ["Ürün Kodu", "Ürün Adı", "Kategori", "Marka", "Fiyat", "Açıklama"],
    ),
    "german": (
        ["Bestellnr.", "Kundennr.", "Artikelnr.", "Bestelldatum", "Menge"],
        ["Artikelnr.", "Bezeichnung", "Warengruppe", "Hersteller", "VK brutto", "Langtext"],
    ),
    "french": (
        ["N° commande", "N° client", "Réf. article", "Date", "Qté"],
        ["Réf. article", "Désignation", "Catégorie", "Marque", "Prix TTC", "Descriptif"],
    ),
    "no list": (
        ["Ordine", "Chi", "Cosa", "Quando", "Quanto"],
        ["Codice", "Nome", "Reparto", "Casa", "Lordo", "Testo"],
    ),
    "numbers": (["1", "2", "3", "4", "5"], ["1", "2", "3", "4", "5", "6"]),
    "abbreviations": (
        ["Doc", "Cust ID", "Art.-No.", "Datum", "Menge"],
        ["Art.-No.", "Descr.", "Grp", "Mk", "Netto", "Txt"],
    ),
}


@pytest.mark.parametrize("name", LANGUAGES)
def test_orders_with_headings_of_any_kind(tmp_path: Path, name: str) -> None:
    event_headings, product_headings = LANGUAGES[name]
    config = shop(
        tmp_path,
        events=table(
            ";", event_headings, [(o, b, f"A{p:03}", t, q) for o, b, p, t, q in order_lines("%d.%m.%Y %H:%M")]
        ),
        products=table(
            ";", product_headings,
            [(f"A{n:03}", t, c, b, f"{10 * n + 10},90", d) for n, (t, c, b, d) in enumerate(LATIN)],
        ),
    )  # fmt: skip
    mapped = proposal(config, tmp_path)
    assert catalogue(mapped) == expected(LATIN, 0.9)
    assert kept_products(mapped)["A001"]["description"] == LATIN[1][3]
    events = kept_events(mapped)
    assert {row["buyer_id"] for row in events} == {f"C{n}" for n in range(1, 8)}  # not the numbers of orders
    assert {row["event_type"] for row in events} == {"purchase"}
    assert len(events) == 60


def test_events_as_json_lines(tmp_path: Path) -> None:
    lines = [
        f'{{"visitor": "{b}", "sku": "P{p}", "action": "view", "at": "{t}", "it\'s": {{"a": 1}}}}'
        for _, b, p, t, _ in order_lines("%Y-%m-%dT%H:%M:%SZ")
    ]
    config = shop(
        tmp_path,
        events="\n".join([*lines, '{"visitor": "C1", "sk']),
        products=table(",", ["sku", "name"], [(f"P{n}", title) for n, (title, *_) in enumerate(LATIN)]),
    )
    result = preview(config)
    assert "it's" in result["events"]["unused"]
    assert yaml.safe_load(result["mapping"])["events"]["lines"] is True
    mapped = proposal(config, tmp_path)
    assert len(kept_events(mapped)) == 60
    assert preview(config)["events"]["counts"]["bad"] == 1


def test_the_columns_of_the_text_stand_below_each_other(tmp_path: Path) -> None:
    config = shop(
        tmp_path,
        events=table(",", ["رقم العميل", "رقم المنتج", "الحَدَث", "time"], [("ع-1", "1", "شراء", "2025-03-01")]),
        products=table(",", ["رقم المنتج", "اسم المنتج"], [("1", "مصباح")]),
    )
    lines = preview_text(preview(config)).splitlines()
    vowel_signs = "\u064e"
    plain = [line.translate(dict.fromkeys(map(ord, LEFT_TO_RIGHT + vowel_signs))) for line in lines]
    head = next(line for line in plain if line.lstrip().startswith("field"))
    place = head.index("known by")
    rows = plain[plain.index(head) + 1 :][:4]
    assert [row[place:].split("  ")[0] for row in rows] == ["its name"] * 4
    # A mark between two cells of Arabic, which a terminal would swap.
    assert any(f"رقم العميل{LEFT_TO_RIGHT}" in line for line in lines)
