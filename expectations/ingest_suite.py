"""The expectations on what ingest has left out and could not read, and on the catalogue as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import great_expectations.expectations as gxe

from expectations.checks import (
    INGEST_VIEW,
    TOLERATED_ROWS,
    UNREADABLE_SHARE,
    VALUES_READABLE,
    Check,
    Suite,
    of_table,
)
from expectations.statistics import CanonicalStatistics, rows_read, unreadable_counts
from feature_repo import columns as c
from feature_repo.ingest_report import BAD, DUPLICATE_PRODUCT_ID, MISSING_BUYER_ID, UNKNOWN_PRODUCT_REASON
from feature_repo.settings.data import ExpectationsConfig

# A warning; `max_unknown_product_share` blocks. Some events of products that the shop has deleted are ordinary.
ORDINARY_UNKNOWN_PRODUCT_SHARE = 0.05

CORRECT_ROWS = "correct the rows in the shop's file, or exclude them in the mapping"
# These have checks of their own.
BAD_EVENTS = f"{of_table('events', kind=BAD)} AND reason NOT IN ('{UNKNOWN_PRODUCT_REASON}', '{MISSING_BUYER_ID}')"
MAP_PRODUCT_ID = (
    "if it is most events, they name their products by another column of the products file than product_id: map that "
    "one as product_id"
)
MAP_BUYER_ID = (
    "events of guests are of no use; if it is most events, another column has the buyers: map that one as buyer_id"
)
CORRECT_VALUES = "correct the values in the shop's file, or map the column with an expression that reads them"


@dataclass(frozen=True)
class _Counts:
    """Numbers of bad rows, from the ingest report."""

    events_read: int
    bad_events: int  # without the following two
    unknown_products: int
    missing_buyers: int
    bad_logged_events: int
    products_read: int
    bad_products: int
    duplicate_ids: int
    bad_photos: int


def ingest_suite(limits: ExpectationsConfig, report: Mapping[str, Any], statistics: CanonicalStatistics) -> Suite:
    """The suite of the ingest report and of the catalogue; a count that the report lacks is 0."""
    counts = _counts(report)
    unreadable = {name: count for name, count in unreadable_counts(report.get("products", {})).items() if count}
    mostly_unreadable = {
        name: count
        for name, count in unreadable.items()
        if count > TOLERATED_ROWS and count > limits.max_unreadable_share * counts.products_read
    }
    row: dict[str, float | str | None] = {
        "bad_event_share": counts.bad_events / max(counts.events_read, 1),
        "unknown_product_share": counts.unknown_products / max(counts.events_read, 1),
        "missing_buyer_share": counts.missing_buyers / max(counts.events_read, 1),
        "bad_product_share": counts.bad_products / max(counts.products_read, 1),
        "duplicate_product_id_share": counts.duplicate_ids / max(counts.products_read, 1),
        "no_bad_events": counts.bad_events,
        "no_missing_buyers": counts.missing_buyers,
        "no_bad_logged_events": counts.bad_logged_events,
        "no_bad_products": counts.bad_products,
        "no_duplicate_product_ids": counts.duplicate_ids,
        "no_bad_photos": counts.bad_photos,
        VALUES_READABLE: _list_counts(unreadable, counts.products_read),
        UNREADABLE_SHARE: _list_counts(mostly_unreadable, counts.products_read),
        "some_product_visible": statistics.visible_products,
        "some_product_in_stock": statistics.available_products,
        "some_price": statistics.priced_products,
        "several_buyers": statistics.buyers,
    }
    checks = (*_share_checks(limits, counts), *_row_checks(), *_value_checks(limits), *_catalogue_checks())
    return Suite(INGEST_VIEW, checks, row)


def _counts(report: Mapping[str, Any]) -> _Counts:
    events, products = report.get("events", {}), report.get("products", {})
    reasons = events.get("reasons", {})
    unknown, nobody = reasons.get(UNKNOWN_PRODUCT_REASON, 0), reasons.get(MISSING_BUYER_ID, 0)
    return _Counts(
        events_read=rows_read(events),
        bad_events=events.get("bad", 0) - unknown - nobody,
        unknown_products=unknown,
        missing_buyers=nobody,
        bad_logged_events=events.get("event_log", {}).get("bad", 0),
        products_read=rows_read(products),
        bad_products=products.get("bad", 0),
        duplicate_ids=products.get("reasons", {}).get(DUPLICATE_PRODUCT_ID, 0),
        bad_photos=report.get("photos", {}).get("bad", 0),
    )


def _list_counts(counts: Mapping[str, int], rows: int) -> str | None:
    """The counts as text, or None if there is none."""
    return "; ".join(f"{name}: {count:,} of {rows:,} products" for name, count in counts.items()) or None


# ---- checks ----------------------------------------------------------------------------------------------------------


def _at_most(name: str, limit: float, rows: int) -> gxe.ExpectColumnMaxToBeBetween:
    """The share is at most `limit`, whatever it is where only few rows are bad."""
    return gxe.ExpectColumnMaxToBeBetween(column=name, max_value=limit if rows > TOLERATED_ROWS else 1)


def _share_checks(limits: ExpectationsConfig, counts: _Counts) -> tuple[Check, ...]:
    bad_events, bad_products = limits.max_bad_event_share, limits.max_bad_product_share
    unknown = limits.max_unknown_product_share
    return (
        Check(
            "bad_event_share",
            f"of the events read are bad (at most {bad_events:.1%} may be)",
            CORRECT_ROWS,
            _at_most("bad_event_share", bad_events, counts.bad_events),
            left_out=BAD_EVENTS,
        ),
        Check(
            "unknown_product_share",
            f"of the events read name a product that is not in the catalogue (at most {unknown:.1%} may)",
            MAP_PRODUCT_ID,
            _at_most("unknown_product_share", unknown, counts.unknown_products),
            left_out=of_table("events", reason=UNKNOWN_PRODUCT_REASON),
        ),
        Check(
            "few_unknown_products",
            f"of the events read name a product that is not in the catalogue "
            f"(more than {ORDINARY_UNKNOWN_PRODUCT_SHARE:.1%} is unusual)",
            MAP_PRODUCT_ID,
            _at_most("unknown_product_share", ORDINARY_UNKNOWN_PRODUCT_SHARE, counts.unknown_products),
            left_out=of_table("events", reason=UNKNOWN_PRODUCT_REASON),
            warns=True,
        ),
        Check(
            "missing_buyer_share",
            f"of the events read name no buyer (at most {limits.max_missing_buyer_share:.1%} may)",
            MAP_BUYER_ID,
            _at_most("missing_buyer_share", limits.max_missing_buyer_share, counts.missing_buyers),
            left_out=of_table("events", reason=MISSING_BUYER_ID),
        ),
        Check(
            "bad_product_share",
            f"of the products read are bad (at most {bad_products:.1%} may be)",
            CORRECT_ROWS,
            _at_most("bad_product_share", bad_products, counts.bad_products),
            left_out=of_table("products", kind=BAD),
        ),
        # Catches an id column with wrongly few values; without it only the events of lost products would show this.
        Check(
            "duplicate_product_id_share",
            f"of the products read repeat an earlier id (at most {bad_products:.1%} may)",
            "give each row an id of its own, or map the column that has one",
            _at_most("duplicate_product_id_share", bad_products, counts.duplicate_ids),
            left_out=of_table("products", reason=DUPLICATE_PRODUCT_ID),
        ),
    )


def _row_checks() -> tuple[Check, ...]:
    """Warnings about single rows."""
    kinds = (
        ("no_bad_events", "bad events, which are left out", BAD_EVENTS),
        (
            "no_missing_buyers",
            "events that name no buyer, which are left out",
            of_table("events", reason=MISSING_BUYER_ID),
        ),
        (
            "no_bad_logged_events",
            "bad events in the event log, which are left out",
            of_table(c.Origin.EVENT_LOG.value, kind=BAD),
        ),
        ("no_bad_products", "bad products, which are left out", of_table("products", kind=BAD)),
        (
            "no_duplicate_product_ids",
            "products that repeat an earlier id, which are left out",
            of_table("products", reason=DUPLICATE_PRODUCT_ID),
        ),
        ("no_bad_photos", "bad photo rows, which are left out", of_table("photos", kind=BAD)),
    )
    return tuple(
        Check(
            name,
            wording,
            CORRECT_ROWS,
            gxe.ExpectColumnMaxToBeBetween(column=name, max_value=0),
            left_out=left_out,
            warns=True,
        )
        for name, wording, left_out in kinds
    )


def _value_checks(limits: ExpectationsConfig) -> tuple[Check, ...]:
    return (
        Check(
            VALUES_READABLE,
            "values that cannot be read, and are left empty",
            CORRECT_VALUES,
            gxe.ExpectColumnValuesToBeNull(column=VALUES_READABLE),
            warns=True,
        ),
        Check(
            UNREADABLE_SHARE,
            f"values that cannot be read in more than {limits.max_unreadable_share:.1%} of the products",
            CORRECT_VALUES,
            gxe.ExpectColumnValuesToBeNull(column=UNREADABLE_SHARE),
        ),
    )


def _catalogue_checks() -> tuple[Check, ...]:
    """Warnings about a catalogue or a shop of which nothing can be recommended, or nothing be learned."""
    kinds = (
        ("some_product_visible", 1, "products are not hidden", "map the right column as `hidden`: 1 hides a product"),
        ("some_product_in_stock", 1, "products are in stock", "map the right column as `stock`"),
        ("some_price", 1, "products have a price", "map the right column as `price`"),
        ("several_buyers", 2, "buyers have events", "map the right column as `buyer_id`"),
    )
    return tuple(
        Check(name, wording, remedy, gxe.ExpectColumnMaxToBeBetween(column=name, min_value=minimum), warns=True)
        for name, minimum, wording, remedy in kinds
    )
