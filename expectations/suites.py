"""The expectations of the data gate on canonical products and events, and the list of all suites.

Importing this module imports Great Expectations (2 to 7 s); `expectations.gate` does so only when it validates.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import great_expectations.expectations as gxe

from expectations.checks import EVENTS_VIEW, PRODUCTS_VIEW, Check, Suite, failing_rows, of_table, repeated
from expectations.drift_suite import drift_suite
from expectations.feature_suites import feature_suites
from expectations.ingest_suite import ingest_suite
from expectations.statistics import CanonicalStatistics, GoodRun
from feature_repo import columns as c
from feature_repo.common.config import Config, ExpectationsConfig
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from feature_repo.transforms.values.times import OLDEST_TIME

# Columns of the queries that no file has.
REPEATED_EVENT_ID, UNKNOWN_PRODUCT_ID = "repeated_event_id", "unknown_product_id"

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
    # A product without title and description has the text " ", which a text encoder accepts; it rejects an empty text.
    query = f"""
        SELECT nullif({c.PRODUCT_ID}, '') AS {c.PRODUCT_ID}, {c.PRODUCT_KEY}, {c.PRICE}, {c.STOCK}, {c.CATEGORY},
               nullif(trim({c.TITLE}), '') AS {c.TITLE}, nullif(left({c.TEXT}, 1), '') AS {c.TEXT}
        FROM {PRODUCTS_VIEW}"""

    return Suite(PRODUCTS_VIEW, query, (*_product_checks(), *_title_and_category_checks(limits), *_number_checks()))


def _failing_products(value: str, condition: str) -> str:
    return failing_rows(PRODUCTS_VIEW, c.PRODUCT_ID, value, condition)


def _repeated_products(column: str) -> str:
    return _failing_products(column, repeated(PRODUCTS_VIEW, column))


def _product_checks() -> tuple[Check, ...]:
    return (
        Check(
            "products_not_empty",
            "products",
            "look at the quarantine: ingest has kept no product",
            gxe.ExpectTableRowCountToBeBetween(min_value=1),
            left_out=of_table("products"),
        ),
        Check(
            "product_id_not_null",
            "lack a product id",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToNotBeNull(column=c.PRODUCT_ID),
            _failing_products(c.TITLE, f"coalesce({c.PRODUCT_ID}, '') = ''"),
        ),
        Check(
            "product_id_unique",
            "share a product id",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_ID),
            _repeated_products(c.PRODUCT_ID),
        ),
        Check(
            "product_key_unique",
            "share a product key",
            "give one of the two products another id: their ids have the same hash",
            gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_KEY),
            _repeated_products(c.PRODUCT_KEY),
        ),
        Check(
            "text_not_empty",
            "have no text at all",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToNotBeNull(column=c.TEXT),
            _failing_products(c.TEXT, f"coalesce({c.TEXT}, '') = ''"),
        ),
    )


def _title_and_category_checks(limits: ExpectationsConfig) -> tuple[Check, ...]:
    return (
        Check(
            "title_present",
            "lack a title",
            "give the products titles, or map the column that holds them",
            gxe.ExpectColumnValuesToNotBeNull(column=c.TITLE, mostly=limits.min_title_share),
            _failing_products(c.TITLE, f"coalesce(trim({c.TITLE}), '') = ''"),
        ),
        Check(
            "titles_distinct",
            "have a title that another product has too",
            "put size or colour into the titles, or map the column that tells the products apart",
            gxe.ExpectColumnValuesToBeUnique(column=c.TITLE, mostly=limits.min_distinct_title_share),
            _repeated_products(c.TITLE),
        ),
        Check(
            "category_known",
            "lack a category",
            "map the column of the categories; without one, filters and slices by category are empty",
            gxe.ExpectColumnValuesToNotBeNull(column=c.CATEGORY, mostly=limits.min_category_share),
            _failing_products(c.CATEGORY, f"{c.CATEGORY} IS NULL"),
        ),
    )


def _number_checks() -> tuple[Check, ...]:
    return (
        Check(
            "price_not_negative",
            "have a price below 0",
            "correct the price in the shop's file",
            gxe.ExpectColumnValuesToBeBetween(column=c.PRICE, min_value=0),
            _failing_products(c.PRICE, f"{c.PRICE} < 0"),
        ),
        Check(
            "stock_not_negative",
            "have a stock below 0",
            "correct the stock in the shop's file",
            gxe.ExpectColumnValuesToBeBetween(column=c.STOCK, min_value=0),
            _failing_products(c.STOCK, f"{c.STOCK} < 0"),
        ),
    )


# Great Expectations skips missing values, so a missing type becomes '' and a missing time 1970: both fail.
_EVENT_TYPE, _EVENT_TIME = f"coalesce({c.EVENT_TYPE}, '')", f"coalesce({c.EVENT_TIME}, to_timestamp(0))"
_SHARED_EVENT_ID = repeated(EVENTS_VIEW, c.EVENT_ID)
_UNKNOWN_PRODUCT = (
    f"NOT EXISTS (SELECT 1 FROM {PRODUCTS_VIEW} p WHERE p.{c.PRODUCT_KEY} = {EVENTS_VIEW}.{c.PRODUCT_KEY})"
)


def _events() -> Suite:
    query = f"""
        SELECT CASE WHEN {_SHARED_EVENT_ID} THEN {c.EVENT_ID} END AS {REPEATED_EVENT_ID},
               nullif({c.BUYER_ID}, '') AS {c.BUYER_ID},
               {_EVENT_TYPE} AS {c.EVENT_TYPE},
               {_EVENT_TIME} AS {c.EVENT_TIME},
               CASE WHEN {_UNKNOWN_PRODUCT} THEN coalesce({c.PRODUCT_ID}, '') END AS {UNKNOWN_PRODUCT_ID}
        FROM {EVENTS_VIEW}"""
    return Suite(EVENTS_VIEW, query, (*_event_checks(), *_event_time_checks()))


def _failing_events(value: str, condition: str) -> str:
    return failing_rows(EVENTS_VIEW, c.EVENT_ID, value, condition)


def _event_checks() -> tuple[Check, ...]:
    return (
        Check(
            "events_not_empty",
            "events",
            "look at the quarantine: ingest has kept no event",
            gxe.ExpectTableRowCountToBeBetween(min_value=1),
            left_out=of_table("events"),
        ),
        Check(
            "event_id_unique",
            "share an event id",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToBeNull(column=REPEATED_EVENT_ID),
            _failing_events(c.EVENT_ID, _SHARED_EVENT_ID),
        ),
        Check(
            "buyer_id_not_null",
            "lack a buyer id",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToNotBeNull(column=c.BUYER_ID),
            _failing_events(c.BUYER_ID, f"coalesce({c.BUYER_ID}, '') = ''"),
        ),
        Check(
            "event_type_known",
            f"are none of {', '.join(EVENT_TYPE_NAMES)}",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToBeInSet(column=c.EVENT_TYPE, value_set=list(EVENT_TYPE_NAMES)),
            _failing_events(c.EVENT_TYPE, f"{_EVENT_TYPE} NOT IN {EVENT_TYPE_NAMES}"),
        ),
        Check(
            "product_known",
            "name a product that is not in the catalogue",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToBeNull(column=UNKNOWN_PRODUCT_ID),
            _failing_events(c.PRODUCT_ID, _UNKNOWN_PRODUCT),
        ),
    )


def _event_time_checks() -> tuple[Check, ...]:
    now = datetime.now(UTC)
    return (
        Check(
            "event_time_not_future",
            "lie in the future",
            "check the clock of this machine, then run `tawsiya ingest` again",
            gxe.ExpectColumnValuesToBeBetween(column=c.EVENT_TIME, max_value=now),
            _failing_events(c.EVENT_TIME, f"{c.EVENT_TIME} > TIMESTAMPTZ '{now.isoformat()}'"),
        ),
        Check(
            "event_time_plausible",
            f"lie before {OLDEST_TIME.year}",
            INGEST_AGAIN,
            gxe.ExpectColumnValuesToBeBetween(column=c.EVENT_TIME, min_value=OLDEST_TIME),
            _failing_events(c.EVENT_TIME, f"{_EVENT_TIME} < TIMESTAMPTZ '{OLDEST_TIME.isoformat()}'"),
        ),
    )
