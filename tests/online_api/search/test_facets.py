"""Facets: against brute force over the products, and what choosing a value gives."""

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo import columns as c
from online_api.lists.live_catalogue import LiveCatalogue
from online_api.schemas.requests import Filters
from online_api.schemas.responses import Facets
from online_api.search.facets import MOST_PRICE_RANGES, facets_of
from tests.random_release import BRANDS, CATEGORIES, random_products, write_arrow
from training.artifacts.product_table import ProductTable

N_PRODUCTS = 300
NAMES = st.lists(st.sampled_from([name for name in CATEGORIES if name] + ["no such name"]), max_size=2, unique=True)
PRODUCTS = random_products(N_PRODUCTS).to_pylist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("catalogue")


@cache
def catalogue_in(folder: Path) -> LiveCatalogue:
    products = write_arrow(folder / "products.arrow", random_products(N_PRODUCTS))
    return LiveCatalogue(ProductTable(products, folder / "none"), None)


def passes(product: dict[str, Any], filters: Filters, without: str) -> bool:
    """Whether a product passes all filters but those of one facet; plainly written out."""
    if product[c.HIDDEN] or (filters.in_stock and product[c.STOCK] == 0):
        return False
    if filters.currency is not None and product[c.CURRENCY] != filters.currency:
        return False
    if without != "categories" and filters.categories and product[c.CATEGORY] not in filters.categories:
        return False
    if without != "brands" and filters.brands and product[c.BRAND] not in filters.brands:
        return False
    if without != "prices" and filters.by_price:
        price = product[c.PRICE]
        low, high = filters.min_price or 0, math.inf if filters.max_price is None else filters.max_price
        return price is not None and not math.isnan(price) and low <= price <= high
    return True


def counted(filters: Filters, matching_N: npt.NDArray[np.bool_] | None, without: str) -> list[dict[str, Any]]:
    return [
        product
        for place, product in enumerate(PRODUCTS)
        if passes(product, filters, without) and (matching_N is None or matching_N[place])
    ]


def facets(folder: Path, filters: Filters, matching_N: npt.NDArray[np.bool_] | None = None) -> Facets:
    catalogue = catalogue_in(folder)
    found = facets_of(catalogue, filters, matching_N, lambda other: catalogue.select(other).allowed_N)
    return Facets.model_validate(found, strict=True)


FILTERS = st.builds(
    Filters,
    categories=NAMES.map(tuple),
    brands=st.lists(st.sampled_from([name for name in BRANDS if name]), max_size=2, unique=True).map(tuple),
    min_price=st.none() | st.sampled_from([0.0, 10.0]),
    max_price=st.none() | st.sampled_from([20.0, 1000.0]),
    currency=st.none() | st.sampled_from(["EGP", "SAR"]),
    in_stock=st.booleans(),
)


@given(FILTERS, st.none() | st.integers(0, 5))
def test_counts_are_those_of_brute_force(folder: Path, filters: Filters, seed: int | None) -> None:
    matching_N = None if seed is None else np.random.default_rng(seed).random(N_PRODUCTS) < 0.3
    found = facets(folder, filters, matching_N)
    for name, column, values in (("categories", c.CATEGORY, found.categories), ("brands", c.BRAND, found.brands)):
        names = [product[column] for product in counted(filters, matching_N, name) if product[column] is not None]
        assert {value.value: value.count for value in values if value.count} == {n: names.count(n) for n in set(names)}
        counts = [value.count for value in values]
        assert counts == sorted(counts, reverse=True)
        assert {value.value for value in values if value.selected} == set(getattr(filters, name)) - {"no such name"}
    priced = [
        (product[c.CURRENCY], product[c.PRICE])
        for product in counted(filters, matching_N, "prices")
        if product[c.PRICE] is not None and not math.isnan(product[c.PRICE])
    ]
    assert sum(one.count for one in found.prices) == len(priced)
    for one in found.prices:
        # Its bounds as filters give just its products.
        inside = [p for currency, p in priced if currency == one.currency and one.min_price <= p <= one.max_price]
        assert len(inside) == one.count
    for currency in {one.currency for one in found.prices}:
        assert sum(one.currency == currency for one in found.prices) <= MOST_PRICE_RANGES


def test_choosing_a_value_gives_as_many_products_as_it_says(folder: Path) -> None:
    catalogue = catalogue_in(folder)
    for value in facets(folder, Filters(in_stock=True)).categories:
        assert catalogue.select(Filters(categories=(value.value,), in_stock=True)).n_allowed == value.count


def test_the_own_filter_does_not_count(folder: Path) -> None:
    chosen = next(name for name in CATEGORIES if name)
    free, within = facets(folder, Filters()), facets(folder, Filters(categories=(chosen,)))
    assert [value.count for value in within.categories] == [value.count for value in free.categories]
    assert within.brands != free.brands


def test_prices_are_split_at_round_bounds(tmp_path: Path) -> None:
    prices = [1.0, 4.99, 5.0, 9.5, 19.99, 20.0, 49.0, 99.0, 100.0, 450.0]
    table = random_products(len(prices)).drop_columns([c.PRICE, c.HIDDEN, c.CURRENCY])
    for name, values in ((c.PRICE, prices), (c.HIDDEN, [False] * 10), (c.CURRENCY, ["EGP"] * 10)):
        table = table.append_column(name, [values])
    catalogue = LiveCatalogue(ProductTable(write_arrow(tmp_path / "p.arrow", table), tmp_path / "none"), None)
    found = facets_of(catalogue, Filters(), None, lambda _: None)["prices"]
    assert [(one["min_price"], one["max_price"], one["count"]) for one in found] == [
        (1, 4.99, 2),
        (5, 9.5, 2),
        (19.99, 20, 2),
        (49, 99, 2),
        (100, 450, 2),
    ]
