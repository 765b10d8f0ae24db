"""The products of a release, by position and by id: literal tables on the disk."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal

from feature_repo import columns as c
from feature_repo.transforms.keys import product_key, product_keys
from tests.random_release import write_arrow
from training.artifacts.product_table import NO_CODE, ProductTable, read_product_columns, with_group_codes

IDS = ["p1", "p2", "ق3", "p4"]
PRODUCTS = pa.table(
    {
        c.PRODUCT_ID: IDS,
        c.PRODUCT_KEY: product_keys(IDS),
        c.TITLE: ["هاتف ذكي ١٢٨ جيجا", "Phone", "قهوة عربية", "Plain thing"],
        c.DESCRIPTION: ["شاشة ٦ بوصة", "", "هيل", ""],
        c.BRAND: ["نور", "Nour", "نور", None],
        c.CATEGORY: pa.array([None, None, None, None], pa.string()),
        c.PHOTO: [None, "phone.jpg", None, None],
        c.PRICE: [799.5, None, 0.0, 4.0],
        c.STOCK: [None, 0, 3, None],
        c.HIDDEN: [False, True, None, False],
    }
)
# "twin" stands for a product that the release has, "lost" for one that it has not.
ALIASES = pa.table({c.PRODUCT_ID: ["twin", "lost"], c.DUPLICATE_OF: ["ق3", "p9"]})


def table_of(folder: Path, products: pa.Table = PRODUCTS, aliases: pa.Table | None = ALIASES) -> ProductTable:
    if aliases is not None:
        write_arrow(folder / "aliases.arrow", aliases)
    return ProductTable(write_arrow(folder / "products.arrow", products), folder / "aliases.arrow")


@pytest.fixture
def table(tmp_path: Path) -> ProductTable:
    return table_of(tmp_path)


def test_columns_come_by_position_with_a_mark_for_what_is_unknown(table: ProductTable) -> None:
    assert len(table) == 4
    assert table.product_ids.to_pylist() == IDS
    assert_array_equal(table.prices_N, [799.5, np.nan, 0, 4])
    assert (table.stock_N.dtype, table.stock_N.tolist()) == (np.dtype(np.int64), [-1, 0, 3, -1])
    assert (table.hidden_N.dtype, table.hidden_N.tolist()) == (np.dtype(np.bool_), [False, True, False, False])


def test_names_are_codes_and_no_name_is_none(table: ProductTable) -> None:
    assert (table.brands, table.brand_codes_N.tolist()) == (["نور", "Nour"], [0, 1, 0, NO_CODE])
    assert (table.categories, table.category_codes_N.tolist()) == ([], [NO_CODE] * 4)
    assert table.brand_codes_N.dtype == table.category_codes_N.dtype == np.int32


def test_a_row_is_what_an_answer_shows(table: ProductTable) -> None:
    assert table.row(0) == {
        "product_id": "p1", "title": "هاتف ذكي ١٢٨ جيجا", "description": "شاشة ٦ بوصة",
        "brand": "نور", "category": None, "group_id": None, "photo": None,
    }  # fmt: skip
    assert [table.row(position)["product_id"] for position in (3, 1, 3, 2)] == ["p4", "p2", "p4", "ق3"]
    assert table.row(1)["photo"] == "phone.jpg"


@pytest.mark.parametrize(
    ("product_id", "position"),
    [("p1", 0), ("ق3", 2), ("p4", 3), ("twin", 2), ("lost", -1), ("nobody", -1), ("", -1), ("P1", -1)],
)
def test_a_product_or_the_one_it_was_merged_into_has_a_position(
    table: ProductTable, product_id: str, position: int
) -> None:
    assert table.position_of(product_id) == position


def test_keys_are_those_of_the_products_that_stand_for_others(table: ProductTable) -> None:
    ids = ["p1", "twin", "lost", "nobody"]
    assert [table.product_key(product_id) for product_id in ids] == [
        product_key(product_id) for product_id in ("p1", "ق3", "p9", "nobody")
    ]
    keys = np.array([[product_key("ق3"), 0], [product_key("p2"), 2**63 - 1]], dtype=np.int64)
    assert table.positions(keys).tolist() == [[2, -1], [1, -1]]


def test_known_positions_come_once_and_ascending(table: ProductTable) -> None:
    positions = table.known_positions(["p4", "twin", "nobody", "ق3", "p1", "p4"])
    assert (positions.dtype, positions.tolist()) == (np.dtype(np.int64), [0, 2, 3])
    assert table.known_positions(["nobody"]).tolist() == []
    assert table.known_positions([]).tolist() == []


def test_a_shop_may_merge_no_products(tmp_path: Path) -> None:
    assert table_of(tmp_path, aliases=None).position_of("twin") == -1
    assert table_of(tmp_path, aliases=ALIASES.slice(0, 0)).position_of("twin") == -1


def test_a_table_in_several_batches_is_one(tmp_path: Path) -> None:
    parts = pa.concat_tables([PRODUCTS.slice(start, 1) for start in range(4)])
    assert parts[c.TITLE].num_chunks == 4
    table = table_of(tmp_path, parts)
    assert [table.row(position)["product_id"] for position in range(4)] == IDS
    assert table.brand_codes_N.tolist() == [0, 1, 0, NO_CODE]
    assert table.position_of("p4") == 3


def test_an_empty_shop_has_no_products(tmp_path: Path) -> None:
    table = table_of(tmp_path, PRODUCTS.slice(0, 0))
    assert (len(table), table.brands, table.position_of("p1")) == (0, [], -1)


def test_a_table_goes_when_its_release_does(tmp_path: Path) -> None:
    table = table_of(tmp_path)
    table.row(0)
    reference = weakref.ref(table)
    gc.disable()  # a busy service collects seldom
    try:
        del table
        assert reference() is None
    finally:
        gc.enable()


# ---- columns that version 0.1.0 did not have


def test_columns_of_later_versions_read_as_unknown(table: ProductTable) -> None:
    assert table.currencies_N.tolist() == ["", "", "", ""]
    assert [table.row(position)["group_id"] for position in range(4)] == [None] * 4
    assert [table.titles(position) for position in range(4)] == [{}] * 4


def test_currencies_groups_and_titles(tmp_path: Path) -> None:
    products = PRODUCTS.append_column(c.CURRENCY, pa.array(["EGP", None, "SAR", "EGP"]))
    products = products.append_column(c.GROUP_ID, pa.array(["phones", "phones", None, None]))
    titles = ['{"ar": "هاتف ذكي ١٢٨ جيجا", "en": "Smartphone 128GB"}', None, '{"ar": "قهوة عربية"}', None]
    table = table_of(tmp_path, products.append_column(c.TITLES, pa.array(titles)))
    assert table.currencies_N.tolist() == ["EGP", "", "SAR", "EGP"]
    assert [table.row(position)["group_id"] for position in range(4)] == ["phones", "phones", None, None]
    assert table.titles(0) == {"ar": "هاتف ذكي ١٢٨ جيجا", "en": "Smartphone 128GB"}
    assert [table.titles(position) for position in (1, 2, 3)] == [{}, {"ar": "قهوة عربية"}, {}]


def test_product_features_of_an_older_version_make_a_release(tmp_path: Path) -> None:
    features = PRODUCTS.append_column("text", pa.array(["a", "b", "c", "d"]))
    pq.write_table(features, tmp_path / "old.parquet")
    assert set(read_product_columns(tmp_path / "old.parquet").column_names) == set(PRODUCTS.column_names)
    pq.write_table(features.append_column(c.CURRENCY, pa.nulls(4, pa.string())), tmp_path / "new.parquet")
    assert c.CURRENCY in read_product_columns(tmp_path / "new.parquet").column_names


@pytest.mark.parametrize(
    ("groups", "codes"),
    [
        (["g", None, "g", "alone"], [0, NO_CODE, 0, NO_CODE]),
        (["a", "b", "b", "a"], [0, 1, 1, 0]),
        ([None] * 4, [NO_CODE] * 4),
    ],
)
def test_variants_have_one_code_and_a_group_of_one_has_none(
    tmp_path: Path, groups: list[str | None], codes: list[int]
) -> None:
    products = PRODUCTS.append_column(c.GROUP_ID, pa.array(groups, pa.string()))
    # A release that holds the codes, and one of before.
    for table in (table_of(tmp_path, with_group_codes(products)), table_of(tmp_path, products)):
        assert (table.group_codes_N.dtype, table.group_codes_N.tolist()) == (np.dtype(np.int32), codes)
        assert table.has_groups == any(code != NO_CODE for code in codes)
    assert not table_of(tmp_path).has_groups  # of version 0.1.0, which has no such column
