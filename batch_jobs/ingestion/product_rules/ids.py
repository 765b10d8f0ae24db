"""Ids of products: which column of the file has those of the events, and which ids are none."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from batch_jobs.ingestion.product_rules.findings import Findings

INVALID_PRODUCT_ID, MISSING_PRODUCT_ID = "invalid_product_id", "missing_product_id"
_MOST = 0.5  # a column with this share of the events' product ids is the right one, whatever others have


class IdColumn(NamedTuple):
    """A column that may hold the product ids.

    Attributes:
        name: Its heading.
        matched: The ids of events that it has.
    """

    name: str
    matched: frozenset[str]


def choose_id_column(candidates: Sequence[IdColumn], event_ids: frozenset[str], findings: Findings) -> str:
    """The name of the column to read the product ids from, and a warning if another one has more of the events' ids.

    The first candidate stays, unless it has less than half of the events' ids and another has more: a running number
    matches many ids by accident.

    Args:
        candidates: The columns, best heading first; one alone is taken as it is.
        event_ids: The distinct product ids of the events.
        findings: Gets the warning.
    """
    default = candidates[0]
    best = max(candidates, key=lambda candidate: len(candidate.matched))
    if len(best.matched) == len(default.matched):
        chosen, other = default, max(candidates[1:], key=lambda candidate: len(candidate.matched - default.matched))
        if len(other.matched - default.matched) == 0:
            return default.name
    elif len(default.matched) >= _MOST * len(event_ids):
        chosen, other = default, best
    else:
        chosen, other = best, default
    of_all = f"of {len(event_ids):,} product ids of the events"
    findings.warn(
        f"{findings.file}: product_id is read from column {chosen.name!r}, which has {len(chosen.matched):,} {of_all}; "
        f"column {other.name!r} has {len(other.matched):,}, {len(other.matched - chosen.matched):,} of which the first "
        "lacks. To choose, declare it in the mapping: products: {columns: {product_id: COLUMN}}"
    )
    return chosen.name


def without_zero_fraction(ids: "pd.Series[str]") -> "pd.Series[str]":
    """Ids as whole numbers, if a program has made all of them floats: 17.0 is 17."""
    known = ids.dropna()
    if known.empty or not known.str.fullmatch(r"\d+\.0").all():
        return ids
    return ids.str.removesuffix(".0")
