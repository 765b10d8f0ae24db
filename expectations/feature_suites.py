"""The expectations on the files that are materialized: product features, buyer sequences and buyer purchases."""

import great_expectations.expectations as gxe

from expectations.checks import (
    PRODUCT_FEATURES_VIEW,
    PRODUCTS_VIEW,
    PURCHASE_FEATURES_VIEW,
    ROW,
    SEQUENCES_VIEW,
    Check,
    Suite,
    failing_rows,
    repeated,
)
from feature_repo import columns as c
from feature_repo.common.config import Config

# Columns of the queries that no file has.
OTHER_PRODUCT, UNKNOWN_PURCHASE, UNSORTED_BUYER = "other_product", "unknown_purchase", "unsorted_buyer"
LENGTH, UNEQUAL_LENGTHS, LAST_EVENT_TIME = "length", "unequal_lengths", "last_event_time"

BUILD_AGAIN = "run `tawsiya build-features` again; if it comes back, report a defect"


def feature_suites(config: Config) -> tuple[Suite, ...]:
    """The suites of the files that the feature build writes and that are materialized."""
    return _product_features(), _sequences(config.model.buyer_tower.max_interaction_history), _purchases()


def _product_features() -> Suite:
    own_columns = f"* EXCLUDE ({ROW}, {c.EVENT_TIMESTAMP}, {c.CREATED_TIMESTAMP})"
    # The features are the canonical products with two times, so any other difference is a fault.
    other = f"""
        SELECT {c.PRODUCT_ID} FROM (SELECT {own_columns} FROM {PRODUCT_FEATURES_VIEW}
                                    EXCEPT SELECT * EXCLUDE ({ROW}) FROM {PRODUCTS_VIEW})
        UNION SELECT {c.PRODUCT_ID} FROM {PRODUCTS_VIEW} ANTI JOIN {PRODUCT_FEATURES_VIEW} USING ({c.PRODUCT_ID})"""
    query = f"""
        WITH other AS ({other})
        SELECT nullif({c.PRODUCT_ID}, '') AS {c.PRODUCT_ID}, f.{c.PRODUCT_KEY}, f.{c.PRICE},
               CASE WHEN {c.PRODUCT_ID} IN (FROM other) THEN {c.PRODUCT_ID} END AS {OTHER_PRODUCT}
        FROM {PRODUCT_FEATURES_VIEW} f FULL JOIN {PRODUCTS_VIEW} p USING ({c.PRODUCT_ID})"""

    def failing(value: str, condition: str) -> str:
        return failing_rows(PRODUCT_FEATURES_VIEW, c.PRODUCT_ID, value, condition)

    return Suite(
        PRODUCT_FEATURES_VIEW,
        query,
        (
            Check(
                "feature_product_id_unique",
                "share a product id",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_ID),
                failing(c.PRODUCT_ID, repeated(PRODUCT_FEATURES_VIEW, c.PRODUCT_ID)),
            ),
            Check(
                "feature_product_key_unique",
                "share a product key",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeUnique(column=c.PRODUCT_KEY),
                failing(c.PRODUCT_KEY, repeated(PRODUCT_FEATURES_VIEW, c.PRODUCT_KEY)),
            ),
            Check(
                "feature_price_not_negative",
                "have a price below 0",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeBetween(column=c.PRICE, min_value=0),
                failing(c.PRICE, f"{c.PRICE} < 0"),
            ),
            Check(
                "features_match_catalogue",
                "differ from the canonical products, or are missing in one of the two",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeNull(column=OTHER_PRODUCT),
                f"SELECT NULL AS value, {c.PRODUCT_ID} AS id, {ROW} + 1 AS row FROM ({other}) "
                f"LEFT JOIN {PRODUCT_FEATURES_VIEW} USING ({c.PRODUCT_ID})",
            ),
        ),
    )


def _sequences(max_length: int) -> Suite:
    # -1 stands for a missing array, so that it differs from an empty one and from the others.
    lengths = [f"coalesce(len({array}), -1)" for array in (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)]
    longest, shortest = f"greatest({', '.join(lengths)})", f"least({', '.join(lengths)})"
    unsorted = f"list_sort({c.EVENT_TIMES}) <> {c.EVENT_TIMES}"
    last_event = f"make_timestamp(1000 * list_max({c.EVENT_TIMES}))"
    query = f"""
        SELECT {c.BUYER_ID}, {c.EVENT_TIMESTAMP} AT TIME ZONE 'UTC' AS {c.EVENT_TIMESTAMP},
               {longest} AS {LENGTH},
               CASE WHEN {longest} <> {shortest} THEN concat_ws('/', {", ".join(lengths)}) END AS {UNEQUAL_LENGTHS},
               CASE WHEN {unsorted} THEN {c.BUYER_ID} END AS {UNSORTED_BUYER},
               {last_event} AS {LAST_EVENT_TIME}
        FROM {SEQUENCES_VIEW}"""

    def failing(value: str, condition: str) -> str:
        return failing_rows(SEQUENCES_VIEW, c.BUYER_ID, value, condition)

    return Suite(
        SEQUENCES_VIEW,
        query,
        (
            Check(
                "sequence_lengths_equal",
                f"have {c.PRODUCT_KEYS}/{c.EVENT_TYPES}/{c.EVENT_TIMES} of different lengths",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeNull(column=UNEQUAL_LENGTHS),
                failing(f"concat_ws('/', {', '.join(lengths)})", f"{longest} <> {shortest}"),
            ),
            Check(
                "sequence_length_limit",
                f"lack an array or hold more than {max_length} events",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeBetween(column=LENGTH, min_value=0, max_value=max_length),
                failing(longest, f"{longest} NOT BETWEEN 0 AND {max_length}"),
            ),
            Check(
                "sequence_times_sorted",
                "do not run from the oldest event to the newest",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeNull(column=UNSORTED_BUYER),
                failing(c.EVENT_TIMES, unsorted),
            ),
            Check(
                "sequence_times_before_row",
                "hold an event later than the row itself",
                BUILD_AGAIN,
                gxe.ExpectColumnPairValuesAToBeGreaterThanB(
                    column_A=c.EVENT_TIMESTAMP,
                    column_B=LAST_EVENT_TIME,
                    or_equal=True,
                    ignore_row_if="either_value_is_missing",
                ),
                failing(last_event, f"{last_event} > {c.EVENT_TIMESTAMP} AT TIME ZONE 'UTC'"),
            ),
            Check(
                "one_row_per_buyer_and_time",
                "share buyer and time",
                BUILD_AGAIN,
                gxe.ExpectCompoundColumnsToBeUnique(column_list=[c.BUYER_ID, c.EVENT_TIMESTAMP]),
                failing(c.EVENT_TIMESTAMP, repeated(SEQUENCES_VIEW, f"{c.BUYER_ID}, {c.EVENT_TIMESTAMP}")),
            ),
        ),
    )


def _purchases() -> Suite:
    lengths = [f"coalesce(len({array}), -1)" for array in (c.PURCHASED_KEYS, c.PURCHASED_TIMES)]
    unequal = f"{lengths[0]} <> {lengths[1]}"
    unsorted = f"list_sort({c.PURCHASED_TIMES}) <> {c.PURCHASED_TIMES}"
    # Of the distinct keys, because a shop has far more purchases than products.
    unknown_keys = f"""(SELECT coalesce(list(key), []) FROM (SELECT DISTINCT unnest({c.PURCHASED_KEYS}) AS key
                        FROM {PURCHASE_FEATURES_VIEW})
                        WHERE key NOT IN (SELECT {c.PRODUCT_KEY} FROM {PRODUCTS_VIEW}))"""
    # A part may still hold older rows of a buyer: a product that was merged since is unknown now.
    newest = f"""({c.BUYER_ID}, {c.EVENT_TIMESTAMP}) IN (SELECT ({c.BUYER_ID}, max({c.EVENT_TIMESTAMP}))
                  FROM {PURCHASE_FEATURES_VIEW} GROUP BY {c.BUYER_ID})"""
    unknown = f"{newest} AND list_has_any({c.PURCHASED_KEYS}, {unknown_keys})"
    query = f"""
        SELECT {c.BUYER_ID}, {c.EVENT_TIMESTAMP} AT TIME ZONE 'UTC' AS {c.EVENT_TIMESTAMP},
               CASE WHEN {unequal} THEN concat_ws('/', {", ".join(lengths)}) END AS {UNEQUAL_LENGTHS},
               CASE WHEN {unsorted} THEN {c.BUYER_ID} END AS {UNSORTED_BUYER},
               CASE WHEN {unknown} THEN {c.BUYER_ID} END AS {UNKNOWN_PURCHASE}
        FROM {PURCHASE_FEATURES_VIEW}"""

    def failing(value: str, condition: str) -> str:
        return failing_rows(PURCHASE_FEATURES_VIEW, c.BUYER_ID, value, condition)

    return Suite(
        PURCHASE_FEATURES_VIEW,
        query,
        (
            Check(
                "purchase_lengths_equal",
                f"have {c.PURCHASED_KEYS}/{c.PURCHASED_TIMES} of different lengths",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeNull(column=UNEQUAL_LENGTHS),
                failing(f"concat_ws('/', {', '.join(lengths)})", unequal),
            ),
            Check(
                "purchase_times_sorted",
                "do not run from the oldest purchase to the newest",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeNull(column=UNSORTED_BUYER),
                failing(c.PURCHASED_TIMES, unsorted),
            ),
            Check(
                "purchase_products_known",
                "hold a product that is not in the catalogue",
                BUILD_AGAIN,
                gxe.ExpectColumnValuesToBeNull(column=UNKNOWN_PURCHASE),
                failing(f"list_intersect({c.PURCHASED_KEYS}, {unknown_keys})", unknown),
            ),
            Check(
                "one_row_of_purchases_per_buyer_and_time",
                "share buyer and time",
                BUILD_AGAIN,
                gxe.ExpectCompoundColumnsToBeUnique(column_list=[c.BUYER_ID, c.EVENT_TIMESTAMP]),
                failing(c.EVENT_TIMESTAMP, repeated(PURCHASE_FEATURES_VIEW, f"{c.BUYER_ID}, {c.EVENT_TIMESTAMP}")),
            ),
        ),
    )
