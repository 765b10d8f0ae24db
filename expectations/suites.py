"""The expectations of the data gate on canonical products and events, and the list of all suites.

Importing this module imports Great Expectations (2 to 7 s); `expectations.gate` does so only when it validates.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import great_expectations.expectations as gxe

from expectations.checks import EVENTS_VIEW, PRODUCTS_VIEW, Check, Fault, Rows, Suite, of_table, repeated
from expectations.drift_suite import drift_suite
from expectations.feature_suites import feature_suites
from expectations.ingest_suite import ingest_suite
from expectations.row_expectation import ExpectRowsToHold
from expectations.statistics import CanonicalStatistics, GoodRun
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.settings.data import ExpectationsConfig
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from feature_repo.transforms.values.times import OLDEST_TIME

INGEST_AGAIN = "ingest does not write such rows: run `tawsiya ingest` again; if they come back, report a defect"


def canonical_suites(
    config: Config, report: Mapping[str, Any], statistics: CanonicalStatistics, good_run: GoodRun | None
) -> tuple[Suite, ...]:
    """The suites of the files that ingest writes.

    Args:
        config: The configuration.
        report: The ingest report.
        statistics: The statistics of the canonical data.
        good_run: The run to compare with; None leaves out the drift suite.
    """
    limits = config.expectations
    suites = (_products(limits), _events(), ingest_suite(limits, report, statistics))
    return (*suites, drift_suite(limits, statistics, good_run)) if good_run else suites


def all_suites(config: Config) -> tuple[Suite, ...]:
    """Every suite, for the names and wordings of its checks; those of counts and drift have no data."""
    nothing = CanonicalStatistics()
    canonical = canonical_suites(config, {}, nothing, GoodRun("", accepted_drift=False, inputs={}, statistics=nothing))
    return canonical + feature_suites(config)


def names(config: Config) -> frozenset[str]:
    """The names of all expectations."""
    return frozenset(check.name for suite in all_suites(config) for check in suite.checks)


def _products(limits: ExpectationsConfig) -> Suite:
    checks = (*_product_checks(), *_title_and_category_checks(limits), *_number_checks())
    return Suite(PRODUCTS_VIEW, checks, rows=Rows(PRODUCTS_VIEW, c.PRODUCT_ID))


def _product_checks() -> tuple[Check, ...]:
    with_id = f"{c.PRODUCT_ID} <> ''"
    return (
        Check(
            "products_not_empty",
            "products",
            "look at the quarantine: ingest has kept no product",
            gxe.ExpectColumnMaxToBeBetween(column="products_not_empty", min_value=1),
            left_out=of_table("products"),
        ),
        Check(
            "product_id_not_null",
            "lack a product id",
            INGEST_AGAIN,
            ExpectRowsToHold(column="product_id_not_null"),
            Fault(f"coalesce({c.PRODUCT_ID}, '') = ''", c.TITLE, example="NULL"),
        ),
        Check(
            "product_id_unique",
            "share a product id",
            INGEST_AGAIN,
            ExpectRowsToHold(column="product_id_unique"),
            Fault(f"{with_id} AND {repeated(PRODUCTS_VIEW, c.PRODUCT_ID)}", c.PRODUCT_ID, counted=with_id),
        ),
        Check(
            "product_key_unique",
            "share a product key",
            "give one of the two products another id: their ids have the same hash",
            ExpectRowsToHold(column="product_key_unique"),
            Fault(repeated(PRODUCTS_VIEW, c.PRODUCT_KEY), c.PRODUCT_KEY, counted=f"{c.PRODUCT_KEY} IS NOT NULL"),
        ),
        # A product without title and description has the text " ", which a text encoder accepts; it rejects none.
        Check(
            "text_not_empty",
            "have no text at all",
            INGEST_AGAIN,
            ExpectRowsToHold(column="text_not_empty"),
            Fault(f"coalesce({c.TEXT}, '') = ''", c.TEXT, example="NULL"),
        ),
    )


def _title_and_category_checks(limits: ExpectationsConfig) -> tuple[Check, ...]:
    title = f"trim({c.TITLE})"
    return (
        Check(
            "title_present",
            "lack a title",
            "give the products titles, or map the column that holds them",
            ExpectRowsToHold(column="title_present", mostly=limits.min_title_share),
            Fault(f"coalesce({title}, '') = ''", c.TITLE, example="NULL"),
        ),
        Check(
            "titles_distinct",
            "have a title that another product has too",
            "put size or colour into the titles, or map the column that tells the products apart",
            ExpectRowsToHold(column="titles_distinct", mostly=limits.min_distinct_title_share),
            Fault(f"{title} <> '' AND {repeated(PRODUCTS_VIEW, title)}", title, counted=f"{title} <> ''"),
        ),
        Check(
            "category_known",
            "lack a category",
            "map the column of the categories; without one, filters and slices by category are empty",
            ExpectRowsToHold(column="category_known", mostly=limits.min_category_share),
            Fault(f"{c.CATEGORY} IS NULL", c.CATEGORY),
        ),
    )


def _number_checks() -> tuple[Check, ...]:
    return (
        Check(
            "price_not_negative",
            "have a price below 0",
            "correct the price in the shop's file",
            ExpectRowsToHold(column="price_not_negative"),
            Fault(f"{c.PRICE} < 0", c.PRICE, counted=f"{c.PRICE} IS NOT NULL"),
        ),
        Check(
            "stock_not_negative",
            "have a stock below 0",
            "correct the stock in the shop's file",
            ExpectRowsToHold(column="stock_not_negative"),
            Fault(f"{c.STOCK} < 0", c.STOCK, counted=f"{c.STOCK} IS NOT NULL"),
        ),
    )


# A missing type becomes '' and a missing time 1970: both are faults.
_EVENT_TYPE, _EVENT_TIME = f"coalesce({c.EVENT_TYPE}, '')", f"coalesce({c.EVENT_TIME}, to_timestamp(0))"


def _events() -> Suite:
    return Suite(EVENTS_VIEW, (*_event_checks(), *_event_time_checks()), rows=Rows(EVENTS_VIEW, c.EVENT_ID))


def _event_checks() -> tuple[Check, ...]:
    unknown = f"NOT EXISTS (SELECT 1 FROM {PRODUCTS_VIEW} p WHERE p.{c.PRODUCT_KEY} = {EVENTS_VIEW}.{c.PRODUCT_KEY})"
    return (
        Check(
            "events_not_empty",
            "events",
            "look at the quarantine: ingest has kept no event",
            gxe.ExpectColumnMaxToBeBetween(column="events_not_empty", min_value=1),
            left_out=of_table("events"),
        ),
        Check(
            "event_id_unique",
            "share an event id",
            INGEST_AGAIN,
            ExpectRowsToHold(column="event_id_unique"),
            Fault(repeated(EVENTS_VIEW, c.EVENT_ID), c.EVENT_ID),
        ),
        Check(
            "buyer_id_not_null",
            "lack a buyer id",
            INGEST_AGAIN,
            ExpectRowsToHold(column="buyer_id_not_null"),
            Fault(f"coalesce({c.BUYER_ID}, '') = ''", c.BUYER_ID, example="NULL"),
        ),
        Check(
            "event_type_known",
            f"are none of {', '.join(EVENT_TYPE_NAMES)}",
            INGEST_AGAIN,
            ExpectRowsToHold(column="event_type_known"),
            Fault(f"{_EVENT_TYPE} NOT IN {EVENT_TYPE_NAMES}", _EVENT_TYPE),
        ),
        Check(
            "product_known",
            "name a product that is not in the catalogue",
            INGEST_AGAIN,
            ExpectRowsToHold(column="product_known"),
            Fault(unknown, c.PRODUCT_ID),
        ),
    )


def _event_time_checks() -> tuple[Check, ...]:
    now, oldest = datetime.now(UTC).isoformat(), OLDEST_TIME.isoformat()
    return (
        Check(
            "event_time_not_future",
            "lie in the future",
            "check the clock of this machine, then run `tawsiya ingest` again",
            ExpectRowsToHold(column="event_time_not_future"),
            Fault(f"{c.EVENT_TIME} > TIMESTAMPTZ '{now}'", c.EVENT_TIME),
        ),
        Check(
            "event_time_plausible",
            f"lie before {OLDEST_TIME.year}",
            INGEST_AGAIN,
            ExpectRowsToHold(column="event_time_plausible"),
            Fault(f"{_EVENT_TIME} < TIMESTAMPTZ '{oldest}'", _EVENT_TIME),
        ),
    )
