"""The expectations of the data gate on canonical products and events, and the list of all suites.

Importing this module imports Great Expectations (2 to 7 s); `expectations.gate` does so only when it validates.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import great_expectations.expectations as gxe

from expectations.checks import EVENTS_VIEW, PRODUCTS_VIEW, Check, Suite, failing_rows, of_table
from expectations.drift_suite import drift_suite
from expectations.feature_suites import feature_suites
from expectations.ingest_suite import ingest_suite
from expectations.statistics import CanonicalStatistics, GoodRun
from feature_repo import columns as c
from feature_repo.common.config import Config, ExpectationsConfig
from feature_repo.transforms.events import EVENT_TYPE_NAMES

# Also catches missing times, which the query turns into 1970.
OLDEST_PLAUSIBLE = datetime(2000, 1, 1, tzinfo=UTC)

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

    def failing(value: str, condition: str) -> str:
        return failing_rows(PRODUCTS_VIEW, c.PRODUCT_ID, value, condition)

    def repeated(column: str) -> str:
        return failing(
            column, f"{column} IN (SELECT {column} FROM {PRODUCTS_VIEW} GROUP BY {column} HAVING count(*) > 1)"
        )

    return Suite(
        PRODUCTS_VIEW,
        query,
        (
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
                failing(c.TITLE, f"coalesce({c.PRODUCT_ID}, '') = ''"),
            ),
            Check(
                "product_id_unique",
                "share a product id",
                INGEST_AGAIN,
                gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_ID),
                repeated(c.PRODUCT_ID),
            ),
            Check(
                "product_key_unique",
                "share a product key",
                "give one of the two products another id: their ids have the same hash",
                gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_KEY),
                repeated(c.PRODUCT_KEY),
            ),
            Check(
                "text_not_empty",
                "have no text at all",
                INGEST_AGAIN,
                gxe.ExpectColumnValuesToNotBeNull(column=c.TEXT),
                failing(c.TEXT, f"coalesce({c.TEXT}, '') = ''"),
            ),
            Check(
                "title_present",
                "lack a title",
                "give the products titles, or map the column that holds them",
                gxe.ExpectColumnValuesToNotBeNull(column=c.TITLE, mostly=limits.min_title_share),
                failing(c.TITLE, f"coalesce(trim({c.TITLE}), '') = ''"),
            ),
            Check(
                "titles_distinct",
                "have a title that another product has too",
                "put size or colour into the titles, or map the column that tells the products apart",
                gxe.ExpectColumnValuesToBeUnique(column=c.TITLE, mostly=limits.min_distinct_title_share),
                repeated(c.TITLE),
            ),
            Check(
                "category_known",
                "lack a category",
                "map the column of the categories; without one, filters and slices by category are empty",
                gxe.ExpectColumnValuesToNotBeNull(column=c.CATEGORY, mostly=limits.min_category_share),
                failing(c.CATEGORY, f"{c.CATEGORY} IS NULL"),
            ),
            Check(
                "price_not_negative",
                "have a price below 0",
                "correct the price in the shop's file",
                gxe.ExpectColumnValuesToBeBetween(column=c.PRICE, min_value=0),
                failing(c.PRICE, f"{c.PRICE} < 0"),
            ),
            Check(
                "stock_not_negative",
                "have a stock below 0",
                "correct the stock in the shop's file",
                gxe.ExpectColumnValuesToBeBetween(column=c.STOCK, min_value=0),
                failing(c.STOCK, f"{c.STOCK} < 0"),
            ),
        ),
    )


def _events() -> Suite:
    unknown = f"NOT EXISTS (SELECT 1 FROM {PRODUCTS_VIEW} p WHERE p.{c.PRODUCT_KEY} = {EVENTS_VIEW}.{c.PRODUCT_KEY})"
    repeated = f"{c.EVENT_ID} IN (SELECT {c.EVENT_ID} FROM {EVENTS_VIEW} GROUP BY {c.EVENT_ID} HAVING count(*) > 1)"
    # Great Expectations skips missing values, so a missing type becomes '' and a missing time 1970: both fail.
    event_type, event_time = f"coalesce({c.EVENT_TYPE}, '')", f"coalesce({c.EVENT_TIME}, to_timestamp(0))"
    query = f"""
        SELECT CASE WHEN {repeated} THEN {c.EVENT_ID} END AS {REPEATED_EVENT_ID},
               nullif({c.BUYER_ID}, '') AS {c.BUYER_ID},
               {event_type} AS {c.EVENT_TYPE},
               {event_time} AS {c.EVENT_TIME},
               CASE WHEN {unknown} THEN coalesce({c.PRODUCT_ID}, '') END AS {UNKNOWN_PRODUCT_ID}
        FROM {EVENTS_VIEW}"""
    now = datetime.now(UTC)

    def failing(value: str, condition: str) -> str:
        return failing_rows(EVENTS_VIEW, c.EVENT_ID, value, condition)

    return Suite(
        EVENTS_VIEW,
        query,
        (
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
                failing(c.EVENT_ID, repeated),
            ),
            Check(
                "buyer_id_not_null",
                "lack a buyer id",
                INGEST_AGAIN,
                gxe.ExpectColumnValuesToNotBeNull(column=c.BUYER_ID),
                failing(c.BUYER_ID, f"coalesce({c.BUYER_ID}, '') = ''"),
            ),
            Check(
                "event_type_known",
                f"are none of {', '.join(EVENT_TYPE_NAMES)}",
                INGEST_AGAIN,
                gxe.ExpectColumnValuesToBeInSet(column=c.EVENT_TYPE, value_set=list(EVENT_TYPE_NAMES)),
                failing(c.EVENT_TYPE, f"{event_type} NOT IN {EVENT_TYPE_NAMES}"),
            ),
            Check(
                "event_time_not_future",
                "lie in the future",
                "check the clock of this machine, then run `tawsiya ingest` again",
                gxe.ExpectColumnValuesToBeBetween(column=c.EVENT_TIME, max_value=now),
                failing(c.EVENT_TIME, f"{c.EVENT_TIME} > TIMESTAMPTZ '{now.isoformat()}'"),
            ),
            Check(
                "event_time_plausible",
                f"lie before {OLDEST_PLAUSIBLE.year}",
                INGEST_AGAIN,
                gxe.ExpectColumnValuesToBeBetween(column=c.EVENT_TIME, min_value=OLDEST_PLAUSIBLE),
                failing(c.EVENT_TIME, f"{event_time} < TIMESTAMPTZ '{OLDEST_PLAUSIBLE.isoformat()}'"),
            ),
            Check(
                "product_known",
                "name a product that is not in the catalogue",
                INGEST_AGAIN,
                gxe.ExpectColumnValuesToBeNull(column=UNKNOWN_PRODUCT_ID),
                failing(c.PRODUCT_ID, unknown),
            ),
        ),
    )
