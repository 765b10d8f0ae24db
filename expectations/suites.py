"""The expectations of the data gate, one suite per table.

A suite is a query and a list of checks. The query reduces a file to the narrow table that Great Expectations reads:
only the columns that a check needs. Checks that are slow or awkward in pandas (duplicates among millions of ids,
look-ups in another table, arrays) become a column that holds the faulty values and is null in all other rows. The
queries read the files through the views PRODUCTS_VIEW, EVENTS_VIEW, INGEST_VIEW and SEQUENCES_VIEW.

Importing this module imports Great Expectations (2 to 7 s); `expectations.gate` does so only when it validates.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import great_expectations.expectations as gxe

from feature_repo import columns as c
from feature_repo.common.config import Config, ExpectationsConfig
from feature_repo.transforms.events import EVENT_TYPE_NAMES

PRODUCTS_VIEW, EVENTS_VIEW, INGEST_VIEW, SEQUENCES_VIEW = "products", "events", "ingest", "sequences"

# Also catches missing times, which the query turns into 1970.
OLDEST_PLAUSIBLE = datetime(2000, 1, 1, tzinfo=UTC)

# Columns of the queries that no file has.
REPEATED_EVENT_ID, UNKNOWN_PRODUCT_ID = "repeated_event_id", "unknown_product"
BAD_EVENT_SHARE, BAD_PRODUCT_SHARE, DUPLICATE_ID_SHARE = (
    "bad_event_share",
    "bad_product_share",
    "duplicate_product_id_share",
)
LENGTH, UNEQUAL_LENGTHS, UNSORTED_BUYER, LAST_EVENT_TIME = (
    "length",
    "unequal_lengths",
    "unsorted_buyer",
    "last_event_time",
)


@dataclass(frozen=True)
class Check:
    """One expectation.

    Attributes:
        name: Stable name, for reports, messages and `expectations.warn_only`.
        wording: The text after the number in a finding: the fault ("3 of 10 rows lack a title"), or the counted thing
            ("10 products").
        expectation: The Great Expectations expectation.
    """

    name: str
    wording: str
    expectation: Any


@dataclass(frozen=True)
class Suite:
    """The checks of one table, and the DuckDB query that produces the table."""

    table: str
    query: str
    checks: tuple[Check, ...]


def canonical_suites(config: Config) -> tuple[Suite, ...]:
    """The suites of the files that ingest writes."""
    limits = config.expectations
    return _products(limits), _events(), _ingest(limits)


def sequence_suites(config: Config) -> tuple[Suite, ...]:
    """The suites of the files that the feature build writes."""
    return (_sequences(config.model.buyer_tower.max_interaction_history),)


def names(config: Config) -> frozenset[str]:
    """The names of all expectations."""
    suites = canonical_suites(config) + sequence_suites(config)
    return frozenset(check.name for suite in suites for check in suite.checks)


def _products(limits: ExpectationsConfig) -> Suite:
    # A product without title and description has the text " ", which a text encoder accepts; it rejects an empty text.
    query = f"""
        SELECT nullif({c.PRODUCT_ID}, '') AS {c.PRODUCT_ID}, {c.PRODUCT_KEY}, {c.PRICE}, {c.STOCK}, {c.CATEGORY},
               nullif(trim({c.TITLE}), '') AS {c.TITLE}, nullif(left({c.TEXT}, 1), '') AS {c.TEXT}
        FROM {PRODUCTS_VIEW}"""
    return Suite(
        PRODUCTS_VIEW,
        query,
        (
            Check("products_not_empty", "products", gxe.ExpectTableRowCountToBeBetween(min_value=1)),
            Check("product_id_not_null", "lack a product id", gxe.ExpectColumnValuesToNotBeNull(column=c.PRODUCT_ID)),
            Check("product_id_unique", "share a product id", gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_ID)),
            Check("product_key_unique", "share a product key", gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_KEY)),
            Check("text_not_empty", "have no text at all", gxe.ExpectColumnValuesToNotBeNull(column=c.TEXT)),
            Check(
                "title_present",
                "lack a title",
                gxe.ExpectColumnValuesToNotBeNull(column=c.TITLE, mostly=limits.min_title_share),
            ),
            Check(
                "titles_distinct",
                "have a title that another product has too",
                gxe.ExpectColumnValuesToBeUnique(column=c.TITLE, mostly=limits.min_distinct_title_share),
            ),
            Check(
                "category_known",
                "lack a category",
                gxe.ExpectColumnValuesToNotBeNull(column=c.CATEGORY, mostly=limits.min_category_share),
            ),
            Check(
                "price_not_negative",
                "have a price below 0",
                gxe.ExpectColumnValuesToBeBetween(column=c.PRICE, min_value=0),
            ),
            Check(
                "stock_not_negative",
                "have a stock below 0",
                gxe.ExpectColumnValuesToBeBetween(column=c.STOCK, min_value=0),
            ),
        ),
    )


def _events() -> Suite:
    # Great Expectations skips missing values, so a missing type becomes '' and a missing time 1970: both fail.
    query = f"""
        SELECT CASE WHEN {c.EVENT_ID} IN (
                        SELECT {c.EVENT_ID} FROM {EVENTS_VIEW} GROUP BY {c.EVENT_ID} HAVING count(*) > 1)
                    THEN {c.EVENT_ID} END AS {REPEATED_EVENT_ID},
               nullif({c.BUYER_ID}, '') AS {c.BUYER_ID},
               coalesce({c.EVENT_TYPE}, '') AS {c.EVENT_TYPE},
               coalesce({c.EVENT_TIME}, to_timestamp(0)) AS {c.EVENT_TIME},
               CASE WHEN NOT EXISTS (SELECT 1 FROM {PRODUCTS_VIEW} p WHERE p.{c.PRODUCT_KEY} = e.{c.PRODUCT_KEY})
                    THEN coalesce({c.PRODUCT_ID}, '') END AS {UNKNOWN_PRODUCT_ID}
        FROM {EVENTS_VIEW} e"""
    return Suite(
        EVENTS_VIEW,
        query,
        (
            Check("events_not_empty", "events", gxe.ExpectTableRowCountToBeBetween(min_value=1)),
            Check("event_id_unique", "share an event id", gxe.ExpectColumnValuesToBeNull(column=REPEATED_EVENT_ID)),
            Check("buyer_id_not_null", "lack a buyer id", gxe.ExpectColumnValuesToNotBeNull(column=c.BUYER_ID)),
            Check(
                "event_type_known",
                f"are none of {', '.join(EVENT_TYPE_NAMES)}",
                gxe.ExpectColumnValuesToBeInSet(column=c.EVENT_TYPE, value_set=list(EVENT_TYPE_NAMES)),
            ),
            Check(
                "event_time_not_future",
                "lie in the future",
                gxe.ExpectColumnValuesToBeBetween(column=c.EVENT_TIME, max_value=datetime.now(UTC)),
            ),
            Check(
                "event_time_plausible",
                f"lie before {OLDEST_PLAUSIBLE.year}",
                gxe.ExpectColumnValuesToBeBetween(column=c.EVENT_TIME, min_value=OLDEST_PLAUSIBLE),
            ),
            Check(
                "product_known",
                "name a product that is not in the catalogue",
                gxe.ExpectColumnValuesToBeNull(column=UNKNOWN_PRODUCT_ID),
            ),
        ),
    )


def _ingest(limits: ExpectationsConfig) -> Suite:
    # Read as JSON, because `reasons` has a key only for reasons that occurred.
    repeated_ids = f"coalesce((to_json(products) ->> '$.reasons.{c.DUPLICATE_PRODUCT_ID}')::BIGINT, 0)"
    query = f"""
        SELECT coalesce(events.bad / nullif(events.read - events.excluded, 0), 0) AS {BAD_EVENT_SHARE},
               coalesce(products.bad / nullif(products.read - products.excluded, 0), 0) AS {BAD_PRODUCT_SHARE},
               coalesce({repeated_ids} / nullif(products.read - products.excluded, 0), 0) AS {DUPLICATE_ID_SHARE}
        FROM {INGEST_VIEW}"""
    return Suite(
        INGEST_VIEW,
        query,
        (
            Check(
                "bad_event_share",
                f"of the events read are bad (at most {limits.max_bad_event_share:.1%} may be)",
                gxe.ExpectColumnMaxToBeBetween(column=BAD_EVENT_SHARE, max_value=limits.max_bad_event_share),
            ),
            Check(
                "bad_product_share",
                f"of the products read are bad (at most {limits.max_bad_product_share:.1%} may be)",
                gxe.ExpectColumnMaxToBeBetween(column=BAD_PRODUCT_SHARE, max_value=limits.max_bad_product_share),
            ),
            # Catches an id column with wrongly few values; without it only the events of lost products would show this.
            Check(
                "duplicate_product_id_share",
                f"of the products read repeat an earlier id (at most {limits.max_bad_product_share:.1%} may)",
                gxe.ExpectColumnMaxToBeBetween(column=DUPLICATE_ID_SHARE, max_value=limits.max_bad_product_share),
            ),
        ),
    )


def _sequences(max_length: int) -> Suite:
    # -1 stands for a missing array, so that it differs from an empty one and from the others.
    lengths = [f"coalesce(len({array}), -1)" for array in (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)]
    query = f"""
        SELECT {c.BUYER_ID}, {c.EVENT_TIMESTAMP} AT TIME ZONE 'UTC' AS {c.EVENT_TIMESTAMP},
               greatest({", ".join(lengths)}) AS {LENGTH},
               CASE WHEN greatest({", ".join(lengths)}) <> least({", ".join(lengths)})
                    THEN concat_ws('/', {", ".join(lengths)}) END AS {UNEQUAL_LENGTHS},
               CASE WHEN list_sort({c.EVENT_TIMES}) <> {c.EVENT_TIMES} THEN {c.BUYER_ID} END AS {UNSORTED_BUYER},
               make_timestamp(1000 * list_max({c.EVENT_TIMES})) AS {LAST_EVENT_TIME}
        FROM {SEQUENCES_VIEW}"""
    return Suite(
        SEQUENCES_VIEW,
        query,
        (
            Check(
                "sequence_lengths_equal",
                f"have {c.PRODUCT_KEYS}/{c.EVENT_TYPES}/{c.EVENT_TIMES} of different lengths",
                gxe.ExpectColumnValuesToBeNull(column=UNEQUAL_LENGTHS),
            ),
            Check(
                "sequence_length_limit",
                f"lack an array or hold more than {max_length} events",
                gxe.ExpectColumnValuesToBeBetween(column=LENGTH, min_value=0, max_value=max_length),
            ),
            Check(
                "sequence_times_sorted",
                "do not run from the oldest event to the newest",
                gxe.ExpectColumnValuesToBeNull(column=UNSORTED_BUYER),
            ),
            Check(
                "sequence_times_before_row",
                "hold an event later than the row itself",
                gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                    column_A=c.EVENT_TIMESTAMP,
                    column_B=LAST_EVENT_TIME,
                    # Rows of contexts carry the time of their last event.
                    or_equal=True,
                    ignore_row_if="either_value_is_missing",
                ),
            ),
            Check(
                "one_row_per_buyer_and_time",
                "share buyer and time",
                gxe.ExpectCompoundColumnsToBeUnique(column_list=[c.BUYER_ID, c.EVENT_TIMESTAMP]),
            ),
        ),
    )
