"""Ids of products: which column of the file has those of the events, and which ids are none."""

from collections.abc import Collection, Mapping

import pandas as pd

from batch_jobs.ingestion.product_rules.findings import Findings

INVALID_PRODUCT_ID, MISSING_PRODUCT_ID = "invalid_product_id", "missing_product_id"
_ENOUGH = 0.5  # a column with this share of the events' product ids stays, whatever others have


def choose_id_column(
    candidates: Mapping[str, "pd.Series[str]"], event_ids: Collection[str], findings: Findings
) -> str:
    """The column to read the product ids from, with a warning if another one has ids of events that it lacks.

    The first column stays, unless it has less than half of the events' ids and another one has more: a running number
    matches many ids by accident.

    Args:
        candidates: The ids in each column by its name, the likeliest column first.
        event_ids: The distinct product ids of the events.
        findings: Gets the warning.
    """
    matched = {column: set(event_ids) & set(ids.dropna()) for column, ids in candidates.items()}
    default = next(iter(matched))
    best = max(matched, key=lambda column: len(matched[column]))
    chosen = default if len(matched[default]) >= _ENOUGH * len(event_ids) else best
    other = max(matched, key=lambda column: len(matched[column] - matched[chosen]))
    if chosen != default or matched[other] - matched[chosen]:
        other = other if matched[other] - matched[chosen] else default
        findings.warn(
            f"{findings.file}: product_id is read from column {chosen!r}, which has {len(matched[chosen]):,} of the "
            f"{len(event_ids):,} product ids of the events; column {other!r} has {len(matched[other]):,}, among them "
            f"{len(matched[other] - matched[chosen]):,} that {chosen!r} lacks. To choose, name the column in the mapping: "
            "products: {columns: {product_id: COLUMN}}"
        )
    return chosen


def without_zero_fraction(ids: "pd.Series[str]") -> "pd.Series[str]":
    """Ids as whole numbers, if a program has made all of them floats: 17.0 is 17."""
    known = ids.dropna()
    if known.empty or not known.str.fullmatch(r"\d+\.0").all():
        return ids
    return ids.str.removesuffix(".0")
