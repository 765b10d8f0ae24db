"""Since when the shop offers a product."""

import pandas as pd

from batch_jobs.ingestion.product_rules.findings import Findings
from feature_repo import columns as c
from feature_repo.transforms.values.times import TimeReader, UnreadableTimeError

# Its name has no "unreadable_": too many of these are no reason to refuse a catalogue.
UNKNOWN_LISTING_DATE = "unknown_listing_date"


def read_listed_at(
    frame: pd.DataFrame, times: TimeReader, now_ms: int, findings: Findings
) -> "pd.Series[pd.Timestamp]":
    """When the shop first offered each product, null if unknown; a time that is still to come is unknown, too."""
    moments = [None if text is None else _milliseconds(text, times, now_ms) for text in frame[c.LISTED_AT]]
    listed_at = pd.Series(moments, index=frame.index, dtype="Int64")
    findings.count(UNKNOWN_LISTING_DATE, frame[c.LISTED_AT].where(listed_at.isna()))
    findings.warn_of(UNKNOWN_LISTING_DATE, "it is left empty; write a past date such as 2026-03-01")
    return pd.to_datetime(listed_at, unit="ms", utc=True)


def _milliseconds(text: str, times: TimeReader, now_ms: int) -> int | None:
    try:
        moment = times.milliseconds(text)
    except UnreadableTimeError:
        return None
    return moment if moment <= now_ms else None
