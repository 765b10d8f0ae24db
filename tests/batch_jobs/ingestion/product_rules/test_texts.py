"""Languages of titles, and categories."""

import pytest

from batch_jobs.ingestion.product_rules.texts import category_name, language_columns
from batch_jobs.ingestion.source_mapping import TableMapping


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("title_ar", "title_ar"),
        ("name_en", "title_en"),
        ("Name (English)", "title_en"),
        ("Name [AR]", "title_ar"),
        ("name(en-gb)", "title_en"),
        ("Arabic name", "title_ar"),
        ("الاسم بالعربي", "title_ar"),
        ("Title FR", "title_fr"),
        ("Description (Arabic)", "description_ar"),
        ("desc_en", "description_en"),
        ("title", None),
        ("name", None),
        ("brand_en", None),
    ],
)
def test_headings_name_languages(column: str, field: str | None) -> None:
    found = language_columns(TableMapping(path="products.csv"), [column])
    assert found == ({field: column} if field else {})


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("lamps", "lamps"),
        ("Beds, Sofas", "Beds, Sofas"),
        ("Home > Lamps, Sale", "Lamps"),
        ("Home > Lamps, Home > Bulbs", "Lamps"),
        ("Home &gt; Lamps", "Lamps"),
        ("Food, Beverages & Tobacco > Beverages > Coffee", "Coffee"),
        ("المنزل > إضاءة", "إضاءة"),
        ("A > B > ", "B"),
        (">", None),
    ],
)
def test_a_category_is_the_deepest_level_of_its_first_path(text: str, category: str | None) -> None:
    assert category_name(text) == category
