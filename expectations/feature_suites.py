"""The expectations on the files that are materialized: product features, buyer sequences and buyer purchases."""

from expectations.checks import (
    FILE,
    PRODUCT_FEATURES_VIEW,
    PRODUCTS_VIEW,
    PURCHASE_FEATURES_VIEW,
    ROW,
    SEQUENCES_VIEW,
    Check,
    Fault,
    Rows,
    Suite,
    repeated,
)
from expectations.row_expectation import ExpectRowsToHold
from feature_repo import columns as c
from feature_repo.common.config import Config

BUILD_AGAIN = "run `tawsiya build-features` again; if it comes back, report a defect"


def feature_suites(config: Config) -> tuple[Suite, ...]:
    """The suites of the files that the feature build writes and that are materialized."""
    return _product_features(), _sequences(config.model.buyer_tower.max_interaction_history), _purchases()


def _check(name: str, wording: str, fault: Fault) -> Check:
    return Check(name, wording, BUILD_AGAIN, ExpectRowsToHold(column=name), fault)


def _product_features() -> Suite:
    place = f"{FILE}, {ROW}"
    # The features are the canonical products with two times, so any other difference is a fault.
    other = f"""
        SELECT {c.PRODUCT_ID} FROM (
            SELECT * EXCLUDE ({place}, {c.EVENT_TIMESTAMP}, {c.CREATED_TIMESTAMP}) FROM {PRODUCT_FEATURES_VIEW}
            EXCEPT SELECT * EXCLUDE ({place}) FROM {PRODUCTS_VIEW})
        UNION SELECT {c.PRODUCT_ID} FROM {PRODUCTS_VIEW} ANTI JOIN {PRODUCT_FEATURES_VIEW} USING ({c.PRODUCT_ID})"""
    # A product that is missing in one of the two is a row, too.
    source = f"""
        (SELECT {c.PRODUCT_ID}, f.{c.PRODUCT_KEY}, f.{c.PRICE}, f.{FILE}, f.{ROW}
         FROM {PRODUCT_FEATURES_VIEW} f FULL JOIN {PRODUCTS_VIEW} p USING ({c.PRODUCT_ID}))"""
    with_id = f"{c.PRODUCT_ID} <> ''"
    same_id = repeated(PRODUCT_FEATURES_VIEW, c.PRODUCT_ID)
    return Suite(
        PRODUCT_FEATURES_VIEW,
        (
            _check(
                "feature_product_id_unique",
                "share a product id",
                Fault(f"{with_id} AND {same_id}", c.PRODUCT_ID, counted=with_id),
            ),
            _check(
                "feature_product_key_unique",
                "share a product key",
                Fault(
                    repeated(PRODUCT_FEATURES_VIEW, c.PRODUCT_KEY),
                    c.PRODUCT_KEY,
                    counted=f"{c.PRODUCT_KEY} IS NOT NULL",
                ),
            ),
            _check(
                "feature_price_not_negative",
                "have a price below 0",
                Fault(f"{c.PRICE} < 0", c.PRICE, counted=f"{c.PRICE} IS NOT NULL"),
            ),
            _check(
                "features_match_catalogue",
                "differ from the canonical products, or are missing in one of the two",
                Fault(f"{c.PRODUCT_ID} IN ({other})", "NULL", example=c.PRODUCT_ID),
            ),
        ),
        rows=Rows(source, c.PRODUCT_ID),
    )


def _sequences(max_length: int) -> Suite:
    # -1 stands for a missing array, so that it differs from an empty one and from the others.
    lengths = [f"coalesce(len({array}), -1)" for array in (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)]
    longest, shortest = f"greatest({', '.join(lengths)})", f"least({', '.join(lengths)})"
    last_event = f"make_timestamp(1000 * list_max({c.EVENT_TIMES}))"
    row_time = f"{c.EVENT_TIMESTAMP} AT TIME ZONE 'UTC'"
    both_times = ", ".join(f"strftime({time}, '%Y-%m-%dT%H:%M:%S.%f')" for time in (row_time, last_event))
    return Suite(
        SEQUENCES_VIEW,
        (
            _check(
                "sequence_lengths_equal",
                f"have {c.PRODUCT_KEYS}/{c.EVENT_TYPES}/{c.EVENT_TIMES} of different lengths",
                Fault(f"{longest} <> {shortest}", f"concat_ws('/', {', '.join(lengths)})"),
            ),
            _check(
                "sequence_length_limit",
                f"lack an array or hold more than {max_length} events",
                Fault(f"{longest} NOT BETWEEN 0 AND {max_length}", longest),
            ),
            _check(
                "sequence_times_sorted",
                "do not run from the oldest event to the newest",
                Fault(f"list_sort({c.EVENT_TIMES}) <> {c.EVENT_TIMES}", c.EVENT_TIMES, example=c.BUYER_ID),
            ),
            _check(
                "sequence_times_before_row",
                "hold an event later than the row itself",
                Fault(
                    f"{last_event} > {row_time}",
                    last_event,
                    example=f"concat_ws(', ', {both_times})",
                    # An empty sequence has no last event.
                    counted=f"{last_event} IS NOT NULL AND {c.EVENT_TIMESTAMP} IS NOT NULL",
                ),
            ),
            _check("one_row_per_buyer_and_time", *_same_buyer_and_time(SEQUENCES_VIEW)),
        ),
        rows=Rows(SEQUENCES_VIEW, c.BUYER_ID),
    )


def _purchases() -> Suite:
    lengths = [f"coalesce(len({array}), -1)" for array in (c.PURCHASED_KEYS, c.PURCHASED_TIMES)]
    # Of the distinct keys, because a shop has far more purchases than products.
    unknown_keys = f"""(SELECT coalesce(list(key), []) FROM (SELECT DISTINCT unnest({c.PURCHASED_KEYS}) AS key
                        FROM {PURCHASE_FEATURES_VIEW})
                        WHERE key NOT IN (SELECT {c.PRODUCT_KEY} FROM {PRODUCTS_VIEW}))"""
    # A part may still hold older rows of a buyer: a product that was merged since is unknown now.
    newest = f"""({c.BUYER_ID}, {c.EVENT_TIMESTAMP}) IN (SELECT ({c.BUYER_ID}, max({c.EVENT_TIMESTAMP}))
                  FROM {PURCHASE_FEATURES_VIEW} GROUP BY {c.BUYER_ID})"""
    return Suite(
        PURCHASE_FEATURES_VIEW,
        (
            _check(
                "purchase_lengths_equal",
                f"have {c.PURCHASED_KEYS}/{c.PURCHASED_TIMES} of different lengths",
                Fault(f"{lengths[0]} <> {lengths[1]}", f"concat_ws('/', {', '.join(lengths)})"),
            ),
            _check(
                "purchase_times_sorted",
                "do not run from the oldest purchase to the newest",
                Fault(f"list_sort({c.PURCHASED_TIMES}) <> {c.PURCHASED_TIMES}", c.PURCHASED_TIMES, example=c.BUYER_ID),
            ),
            _check(
                "purchase_products_known",
                "hold a product that is not in the catalogue",
                Fault(
                    f"{newest} AND list_has_any({c.PURCHASED_KEYS}, {unknown_keys})",
                    f"list_intersect({c.PURCHASED_KEYS}, {unknown_keys})",
                    example=c.BUYER_ID,
                ),
            ),
            _check("one_row_of_purchases_per_buyer_and_time", *_same_buyer_and_time(PURCHASE_FEATURES_VIEW)),
        ),
        rows=Rows(PURCHASE_FEATURES_VIEW, c.BUYER_ID),
    )


def _same_buyer_and_time(view: str) -> tuple[str, Fault]:
    """The wording and the fault of rows that no rule could choose between."""
    time = f"({c.EVENT_TIMESTAMP} AT TIME ZONE 'UTC')"
    example = f"concat_ws(', ', {c.BUYER_ID}, {time}::VARCHAR)"
    return "share buyer and time", Fault(
        repeated(view, f"{c.BUYER_ID}, {c.EVENT_TIMESTAMP}"), c.EVENT_TIMESTAMP, example=example
    )
