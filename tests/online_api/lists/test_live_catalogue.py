"""Which products a request allows and why the others are left out: literal shelves, and plain Python as the judge."""

import gc
import math
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from feature_repo import columns as c
from feature_repo.online.features import LiveProducts
from feature_repo.transforms.keys import product_keys
from online_api.lists.live_catalogue import LiveCatalogue, Selection
from online_api.schemas.requests import NO_FILTERS, Filters
from online_api.schemas.responses import DroppedReason
from tests.random_release import BRANDS, CATEGORIES, PRICES, random_products, write_arrow
from training.artifacts.product_table import ProductTable

N_RANDOM = 300
IDS = ["p0", "p1", "p2", "p3", "p4"]
# p4 is known by its id alone.
SHELF = pa.table(
    {
        c.PRODUCT_ID: IDS,
        c.PRODUCT_KEY: product_keys(IDS),
        c.TITLE: IDS,
        c.DESCRIPTION: [""] * 5,
        c.BRAND: ["نور", "Nour", "Nour", "Acme", None],
        c.CATEGORY: ["phones", "phones", "قهوة", "shoes", None],
        c.PHOTO: pa.nulls(5, pa.string()),
        c.PRICE: [10.0, 20.0, 0.0, 30.0, None],
        c.STOCK: [3, 0, None, 1, None],
        c.HIDDEN: [False, False, False, True, False],
    }
)


def table_of(folder: Path, products: pa.Table) -> ProductTable:
    return ProductTable(write_arrow(folder / "products.arrow", products), folder / "no aliases")


@pytest.fixture
def shelf(tmp_path: Path) -> ProductTable:
    return table_of(tmp_path, SHELF)


@pytest.fixture(scope="module")
def random_table(tmp_path_factory: pytest.TempPathFactory) -> ProductTable:
    return table_of(tmp_path_factory.mktemp("random"), random_products(N_RANDOM))


def allowed(selection: Selection, n_products: int) -> list[int]:
    positions: list[int] = selection.among(np.arange(n_products)).tolist()
    return positions


@pytest.mark.parametrize(
    ("filters", "positions", "dropped"),
    [
        ({}, [0, 1, 2, 4], {"hidden": 1}),
        ({"in_stock": True}, [0, 2, 4], {"hidden": 1, "out_of_stock": 1}),
        ({"brands": ["Nour"]}, [1, 2], {"hidden": 1, "brand": 2}),
        ({"brands": ["Nour", "نور", "Nour"]}, [0, 1, 2], {"hidden": 1, "brand": 1}),
        ({"brands": ["Nobody"]}, [], {"hidden": 1, "brand": 4}),
        ({"brands": ["Nobody", "Nour"]}, [1, 2], {"hidden": 1, "brand": 2}),
        ({"brands": ["nour"]}, [], {"hidden": 1, "brand": 4}),
        ({"categories": ["قهوة"]}, [2], {"hidden": 1, "category": 3}),
        ({"categories": ["shoes"]}, [], {"hidden": 1, "category": 4}),
        ({"min_price": 0}, [0, 1, 2], {"hidden": 1, "price": 1}),
        ({"max_price": 10}, [0, 2], {"hidden": 1, "price": 2}),
        ({"min_price": 10, "max_price": 20}, [0, 1], {"hidden": 1, "price": 2}),
        # p1 is out of stock and too dear, p2 of another category and p4 of no category: the first reason counts.
        (
            {"in_stock": True, "categories": ["phones"], "max_price": 15},
            [0],
            {"hidden": 1, "out_of_stock": 1, "category": 2},
        ),
    ],
)
def test_filters_on_a_literal_shelf(
    shelf: ProductTable, filters: dict[str, object], positions: list[int], dropped: dict[str, int]
) -> None:
    selection = LiveCatalogue(shelf, None).select(Filters.model_validate(filters))
    assert allowed(selection, len(shelf)) == positions
    assert selection.n_allowed == len(positions)
    assert selection.dropped == dropped


def test_nothing_hidden_and_nothing_asked_is_everything(tmp_path: Path) -> None:
    catalogue = LiveCatalogue(table_of(tmp_path, SHELF.slice(0, 3)), None)
    assert catalogue.select(NO_FILTERS) == Selection(None, 3, {})
    assert catalogue.select(Filters(max_price=100)) == Selection(None, 3, {})


def test_an_empty_shop_has_an_empty_selection(tmp_path: Path) -> None:
    selection = LiveCatalogue(table_of(tmp_path, SHELF.slice(0, 0)), None).select(Filters(brands=("Nour",)))
    assert (selection.n_allowed, selection.dropped) == (0, {})


# ---- live values -----------------------------------------------------------------------------------------------------


def live_products(n_products: int) -> st.SearchStrategy[LiveProducts]:
    def column(values: st.SearchStrategy[object]) -> st.SearchStrategy[list[object]]:
        return st.lists(values, min_size=n_products, max_size=n_products)

    return st.builds(
        lambda prices, currencies, stock, hidden, known, regular: LiveProducts(
            np.array(prices, dtype=np.float64),
            np.array(currencies, dtype=np.str_),
            np.array(stock, dtype=np.int64),
            np.array(hidden),
            np.array(known),
            np.array(regular, dtype=np.float64),
        ),
        column(st.sampled_from([math.nan, 0.0, 10.0, 25.0])),
        column(st.sampled_from(["", "EGP", "USD"])),
        column(st.sampled_from([-1, 0, 5])),
        column(st.booleans()),
        column(st.booleans()),
        column(st.sampled_from([math.nan, 0.0, 25.0, 40.0])),
    )


def test_live_values_stand_for_those_of_the_release_where_the_store_knows_the_product(shelf: ProductTable) -> None:
    live = LiveProducts(
        price_P=np.array([11.0, 99.0, np.nan, np.nan, 5.0]),
        currency_P=np.array(["SAR", "USD", "", "", "EGP"]),
        stock_P=np.array([0, 99, -1, -1, 2]),
        hidden_P=np.array([True, True, False, False, False]),
        known_P=np.array([True, False, True, False, True]),
        regular_price_P=np.array([22.0, 198.0, 5.0, np.nan, 4.0]),
    )
    catalogue = LiveCatalogue(shelf, live)
    assert [catalogue.rendered(position)[c.PRICE] for position in range(5)] == [11, 20, None, 30, 5]
    assert [catalogue.rendered(position)[c.CURRENCY] for position in range(5)] == ["SAR", None, None, None, "EGP"]
    assert catalogue.currencies == ("EGP", "SAR")
    # p1 keeps the values of the release, p2 has no price any more, and p4 costs more than it did.
    assert [catalogue.rendered(position)[c.REGULAR_PRICE] for position in range(5)] == [22, None, None, None, None]
    assert (catalogue.on_sale.positions.tolist(), catalogue.on_sale.scores(np.array([0])).tolist()) == ([0], [0.5])
    assert [catalogue.rendered(position)[c.STOCK] for position in range(5)] == [0, 0, None, 1, 2]
    assert catalogue.hidden_N.tolist() == [True, False, False, True, False]
    assert allowed(catalogue.select(Filters(max_price=20)), 5) == [1, 4]
    assert allowed(LiveCatalogue(shelf, None).select(Filters(max_price=20)), 5) == [0, 1, 2]


FILTERS = st.builds(
    lambda brands, categories, prices, currency, in_stock: Filters(
        brands=tuple(brands),
        categories=tuple(categories),
        min_price=prices[0],
        max_price=prices[1],
        currency=currency,
        in_stock=in_stock,
    ),
    st.lists(st.sampled_from([*BRANDS[1:], "Nobody"]), max_size=3),
    st.lists(st.sampled_from([*CATEGORIES[1:], "hats"]), max_size=3),
    st.tuples(st.sampled_from(PRICES), st.sampled_from(PRICES)).filter(
        lambda prices: prices[0] is None or prices[1] is None or prices[0] <= prices[1]
    ),
    st.sampled_from([None, "EGP", "SAR", "USD"]),
    st.booleans(),
)


def reason_against(product: dict[str, object], filters: Filters) -> DroppedReason | None:
    """Why one product is left out, by the words of the API's documentation."""
    price = product[c.PRICE]
    assert price is None or isinstance(price, float)
    if product[c.HIDDEN]:
        return "hidden"
    if filters.in_stock and product[c.STOCK] == 0:
        return "out_of_stock"
    if filters.currency is not None and product[c.CURRENCY] != filters.currency:
        return "currency"
    if filters.categories and product[c.CATEGORY] not in filters.categories:
        return "category"
    if filters.brands and product[c.BRAND] not in filters.brands:
        return "brand"
    if filters.min_price is not None and (price is None or price < filters.min_price):
        return "price"
    if filters.max_price is not None and (price is None or price > filters.max_price):
        return "price"
    return None


def products_now(live: LiveProducts | None) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = random_products(N_RANDOM).to_pylist()
    for place, row in enumerate(rows):
        if live is not None and live.known_P[place]:
            price, stock = float(live.price_P[place]), int(live.stock_P[place])
            row[c.PRICE] = None if math.isnan(price) else price
            row[c.CURRENCY] = str(live.currency_P[place]) or None
            row[c.STOCK] = None if stock < 0 else stock
            row[c.HIDDEN] = bool(live.hidden_P[place])
    return rows


@settings(max_examples=60)
@given(st.lists(FILTERS, min_size=1, max_size=4), st.none() | live_products(N_RANDOM))
def test_a_selection_is_what_plain_python_selects(
    random_table: ProductTable, several_filters: list[Filters], live: LiveProducts | None
) -> None:
    catalogue, products = LiveCatalogue(random_table, live), products_now(live)
    for filters in [*several_filters, NO_FILTERS, *several_filters]:  # the second time from the cache
        selection = catalogue.select(filters)
        reasons = [reason_against(product, filters) for product in products]
        expected = [position for position, reason in enumerate(reasons) if reason is None]
        assert allowed(selection, N_RANDOM) == expected
        assert selection.n_allowed == len(expected)
        assert selection.dropped == Counter(reason for reason in reasons if reason)


# ---- less some products ----------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(FILTERS, st.sets(st.integers(0, N_RANDOM - 1)), st.sets(st.integers(0, N_RANDOM - 1)))
def test_without_takes_products_away_once(
    random_table: ProductTable, filters: Filters, excluded: set[int], purchased: set[int]
) -> None:
    whole = LiveCatalogue(random_table, None).select(filters)
    before = allowed(whole, N_RANDOM)
    less = whole
    for positions, reason in ((excluded, "excluded"), (purchased, "purchased")):
        less = less.without(np.array(sorted(positions), dtype=np.int64), reason, N_RANDOM)  # type: ignore[arg-type]
    left = [position for position in before if position not in excluded | purchased]
    assert allowed(less, N_RANDOM) == left
    assert less.n_allowed == len(left)
    counts = {"excluded": len(excluded & set(before)), "purchased": len((purchased - excluded) & set(before))}
    assert less.dropped == whole.dropped | {reason: count for reason, count in counts.items() if count}
    assert allowed(whole, N_RANDOM) == before  # it may be cached


def test_without_on_a_selection_of_everything() -> None:
    everything = Selection(None, 4, {})
    less = everything.without(np.array([1, 3]), "excluded", 4)
    assert (allowed(less, 4), less.n_allowed, less.dropped) == ([0, 2], 2, {"excluded": 2})
    assert everything.without(np.empty(0, dtype=np.int64), "excluded", 4) is everything


def test_among_keeps_the_order_of_the_products_given() -> None:
    positions = np.array([3, 0, 1])
    assert Selection(None, 4, {}).among(positions).tolist() == [3, 0, 1]
    assert Selection(np.array([True, False, True, True]), 3, {}).among(positions).tolist() == [3, 0]


# ---- the catalogue itself --------------------------------------------------------------------------------------------


def test_the_catalogue_shows_the_columns_of_its_release(shelf: ProductTable) -> None:
    catalogue = LiveCatalogue(shelf, None)
    assert len(catalogue) == 5
    assert [shelf.brands[code] for code in catalogue.products.brand_codes_N[:4]] == ["نور", "Nour", "Nour", "Acme"]
    assert [shelf.categories[code] for code in catalogue.products.category_codes_N[:2]] == ["phones", "phones"]
    assert (catalogue.products.brand_codes_N[4], catalogue.products.category_codes_N[4]) == (-1, -1)
    assert (catalogue.products.position_of("p3"), catalogue.products.position_of("gone")) == (3, -1)
    assert_array_equal(catalogue.conditions.prices_N, shelf.prices_N)


def test_a_catalogue_goes_when_the_next_one_comes(random_table: ProductTable) -> None:
    catalogue = LiveCatalogue(random_table, None)
    catalogue.select(Filters(in_stock=True))
    reference: Callable[[], LiveCatalogue | None] = weakref.ref(catalogue)
    gc.disable()  # a busy service collects seldom, and a new catalogue comes every few seconds
    try:
        del catalogue
        assert reference() is None
    finally:
        gc.enable()
