"""Prices: sale before regular price, dates of sales, currency and the decimal mark of a file."""

import datetime as dt

import duckdb
import pandas as pd
import pytest

from batch_jobs.ingestion.column_names import (
    SALE_PRICE,
    SALE_PRICE_DATES,
    SALE_PRICE_FROM,
    SALE_PRICE_TO,
)
from batch_jobs.ingestion.files.tables import OpenedTable
from batch_jobs.ingestion.product_rules.findings import Findings
from batch_jobs.ingestion.product_rules.prices import PriceRules, proven_mark, read_prices
from batch_jobs.ingestion.quarantine import add_source_files
from feature_repo import columns as c
from feature_repo.transforms.values.amounts import DecimalMark
from feature_repo.transforms.values.times import TimeReader

FIELDS = (c.PRICE, c.REGULAR_PRICE, SALE_PRICE, SALE_PRICE_DATES, SALE_PRICE_FROM, SALE_PRICE_TO, c.CURRENCY)
NOW_MS = int(dt.datetime(2025, 6, 15, 12, tzinfo=dt.UTC).timestamp() * 1000)


def read(
    *rows: dict[str, str], numeric: frozenset[str] = frozenset(), mark: DecimalMark | None = None
) -> tuple[list[tuple[float | None, str | None]], Findings]:
    """Price and currency of each row."""
    prices, findings = read_all(*rows, numeric=numeric, mark=mark)
    values = prices[[c.PRICE, c.CURRENCY]].astype(object).where(prices[[c.PRICE, c.CURRENCY]].notna(), None)
    return list(values.itertuples(index=False, name=None)), findings


def read_all(
    *rows: dict[str, str], numeric: frozenset[str] = frozenset(), mark: DecimalMark | None = None
) -> tuple[pd.DataFrame, Findings]:
    frame = pd.DataFrame([{field: row.get(field) for field in FIELDS} for row in rows], dtype=object)
    with duckdb.connect() as db:
        add_source_files(db, "products", [])
        findings = Findings(db, "products", OpenedTable("", []), pd.Series(range(1, len(rows) + 1)))
        prices = read_prices(frame, PriceRules(numeric, mark, TimeReader(), NOW_MS), findings)
        assert set(findings.examples) <= set(findings.counts)  # found while the connection is open
    return prices, findings


@pytest.mark.parametrize(
    ("row", "price"),
    [
        ({"regular_price": "120"}, 120.0),
        ({"regular_price": "12.5", "sale_price": "10"}, 10.0),
        ({"price": "80", "regular_price": "100"}, 80.0),
        ({"price": "100", "sale_price": "80 SAR"}, 80.0),
        ({"sale_price": "7"}, 7.0),
        ({"price": "0"}, 0.0),
        # A sale that is none.
        ({"regular_price": "12", "sale_price": "0"}, 12.0),
        ({"regular_price": "12", "sale_price": "12"}, 12.0),
        ({"regular_price": "12", "sale_price": "15"}, 12.0),
        ({}, None),
    ],
)
def test_the_price_is_what_a_buyer_pays_now(row: dict[str, str], price: float | None) -> None:
    ((value, _),), findings = read(row)
    assert value == price
    assert findings.counts["unreadable_price"] == 0


@pytest.mark.parametrize(
    ("dates", "price"),
    [
        ({"sale_price_effective_date": "2025-06-01T00:00+0300/2025-06-30T23:59+0300"}, 10.0),
        ({"sale_price_effective_date": "2025-06-16T00:00Z/2025-06-30T00:00Z"}, 12.0),
        ({"sale_price_effective_date": "2025-05-01T00:00Z/2025-06-15T11:59:00Z"}, 12.0),
        ({"sale_price_from": "2025-06-01"}, 10.0),
        ({"sale_price_from": "2025-06-16"}, 12.0),
        ({"sale_price_to": "2025-06-15"}, 10.0),  # this day included
        ({"sale_price_to": "2025-06-14"}, 12.0),
    ],
)
def test_a_sale_counts_within_its_dates(dates: dict[str, str], price: float) -> None:
    assert read({"regular_price": "12", "sale_price": "10", **dates})[0] == [(price, None)]


def test_a_sale_of_unreadable_dates_does_not_count() -> None:
    prices, findings = read({"regular_price": "12", "sale_price": "10", "sale_price_to": "soon"})
    assert prices == [(12.0, None)]
    assert findings.counts["unreadable_price"] == 1
    assert findings.examples["unreadable_price"] == {"file": None, "line": 1, "value": "/soon"}


@pytest.mark.parametrize("lines", [(1, 2), (2, 1)])
def test_the_example_of_a_finding_is_its_first_row(lines: tuple[int, int]) -> None:
    rows = dict(zip(lines, ({"price": "ask us"}, {"price": "3", "sale_price_to": "soon"}), strict=True))
    _, findings = read(rows[1], rows[2])
    assert (findings.counts["unreadable_price"], findings.examples["unreadable_price"]["line"]) == (2, 1)


@pytest.mark.parametrize("text", ["-5", "call us", "12 apples", "10 - 20"])
def test_what_is_no_price_is_counted_with_its_row(text: str) -> None:
    prices, findings = read({"price": "3"}, {"price": text})
    assert prices == [(3.0, None), (None, None)]
    assert findings.examples["unreadable_price"] == {"file": None, "line": 2, "value": text}


@pytest.mark.parametrize(
    ("row", "currency"),
    [
        ({"price": "EGP 2,099.00"}, "EGP"),
        ({"price": "١٬٢٩٩٫٠٠ ر.س"}, "SAR"),
        ({"price": "5", "currency": "aed"}, "AED"),
        ({"price": "5", "currency": "د.ك"}, "KWD"),
        ({"price": "5 USD", "currency": "SAR"}, "USD"),
        ({"regular_price": "12 SAR", "sale_price": "10"}, "SAR"),
        ({"price": "12 SAR", "sale_price": "15 USD"}, "SAR"),  # that of the price that counts
        ({"price": "5"}, None),
    ],
)
def test_the_currency_of_the_price_wins_over_that_of_the_column(row: dict[str, str], currency: str | None) -> None:
    assert read(row)[0][0][1] == currency


def test_each_product_keeps_its_currency_and_an_unknown_one_is_counted() -> None:
    prices, findings = read({"price": "5 SAR"}, {"price": "5 EGP"}, {"price": "5", "currency": "coins"})
    assert prices == [(5.0, "SAR"), (5.0, "EGP"), (5.0, None)]
    assert findings.examples["unreadable_currency"] == {"file": None, "line": 3, "value": "coins"}


@pytest.mark.parametrize(
    ("texts", "mark"),
    [
        (["12,50"], ","),
        (["1.299,00"], ","),
        (["1.299.000"], ","),
        (["0,500"], ","),
        (["12.50", "1,299"], "."),
        (["EGP 2,099.00"], "."),
        (["1,299,000"], "."),
        (["1,299"], None),
        (["1.299"], None),
        (["12,50", "12.50"], None),
        (["12", "abc", ""], None),
    ],
)
def test_prices_prove_the_decimal_mark(texts: list[str], mark: str | None) -> None:
    assert proven_mark(texts) == mark


def test_a_proven_mark_decides_what_another_price_leaves_open() -> None:
    assert read({"price": "12,50"}, {"price": "1.299"})[0] == [(12.5, None), (1299.0, None)]
    assert read({"price": "12.50"}, {"price": "1,299"})[0] == [(12.5, None), (1299.0, None)]


def test_an_ambiguous_price_is_never_guessed_in_silence() -> None:
    prices, findings = read({"price": "5"}, {"price": "1,299"})
    assert prices[1] == (1299.0, None)
    (warning,) = findings.warnings
    assert "line 2: '1,299'; read as 1299.00" in warning
    assert "decimal_mark" in warning


def test_a_declared_mark_leaves_nothing_open() -> None:
    prices, findings = read({"price": "1,299"}, mark=",")
    assert prices == [(1.299, None)]
    assert (findings.warnings, findings.counts["ambiguous_price"]) == ([], 0)


def test_a_column_of_numbers_has_a_point_whatever_texts_have() -> None:
    prices, findings = read({"price": "1.299"}, {"price": "2", "sale_price": "1,25"}, numeric=frozenset({"price"}))
    assert prices == [(1.299, None), (1.25, None)]
    assert read({"price": "1e-05"}, numeric=frozenset({"price"}))[0] == [(0.00001, None)]
    assert findings.warnings == []


@pytest.mark.parametrize(
    ("row", "regular"),
    [
        ({"regular_price": "12.5", "sale_price": "10"}, 12.5),
        ({"price": "80", "regular_price": "100"}, 100.0),
        ({"price": "100", "sale_price": "80"}, 100.0),
        ({"price": "90", "regular_price": "100", "sale_price": "80"}, 100.0),
        # Nothing is reduced.
        ({"price": "80"}, None),
        ({"regular_price": "80"}, None),
        ({"price": "80", "regular_price": "80"}, None),
        ({"price": "80", "regular_price": "70"}, None),
        ({"sale_price": "7"}, None),
        ({"regular_price": "12", "sale_price": "15"}, None),
        ({"regular_price": "12", "sale_price": "10", "sale_price_to": "2025-06-01"}, None),
        ({}, None),
    ],
)
def test_the_regular_price_is_the_one_before_a_reduction(row: dict[str, str], regular: float | None) -> None:
    prices, _ = read_all(row)
    value = prices[c.REGULAR_PRICE].iloc[0]
    assert (None if pd.isna(value) else value) == regular
