"""Ids of products: which column of the file has those of the events, and which ids are none."""

from collections.abc import Collection, Mapping

import pandas as pd

from batch_jobs.ingestion.product_rules.findings import Findings

MISSING_PRODUCT_ID = "missing_product_id"
_FLOAT = r"\d+\.0"
_ENOUGH = 0.5  # a column with this share of the events' product ids stays, whatever others have


def choose_id_column(candidates: Mapping[str, "pd.Series[str]"], event_ids: Collection[str], findings: Findings) -> str:
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
    lacking = {column: len(found - matched[chosen]) for column, found in matched.items()}
    if chosen != default or any(lacking.values()):
        other = max(lacking, key=lambda column: lacking[column]) if any(lacking.values()) else default
        findings.warn(
            f"{findings.table}: product_id is read from column {chosen!r}, which has {len(matched[chosen]):,} of the "
            f"{len(event_ids):,} product ids of the events, and not from {other!r}, which has {len(matched[other]):,}"
            f"{f' ({lacking[other]:,} of them in no row of the first)' if lacking[other] else ''}; to choose, name the "
            "column in the mapping: products: {columns: {product_id: COLUMN}}"
        )
    return chosen


def whole_numbers(ids: "pd.Series[str]", event_ids: Collection[str]) -> "pd.Series[str]":
    """Ids as whole numbers, if a program has made floats of all of them, and the events have more of the whole numbers.

    A column of whole numbers with a gap is one of floats in pandas, which writes 17.0 for 17.
    """
    known = ids.dropna()
    if known.empty or not known.str.fullmatch(_FLOAT).all():
        return ids
    whole = ids.str.removesuffix(".0")
    return whole if whole.isin(list(event_ids)).sum() > ids.isin(list(event_ids)).sum() else ids
