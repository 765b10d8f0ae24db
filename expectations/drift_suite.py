"""The expectations on how the canonical data changed since the last good run.

The value of each check says what changed too much, and is null if nothing did.
"""

import great_expectations.expectations as gxe

from expectations.checks import DRIFT_VIEW, Check, Suite
from expectations.drift import drift_findings
from expectations.statistics import CanonicalStatistics, GoodRun
from feature_repo.settings.data import ExpectationsConfig

COMPLETE_FILE = (
    "check that the shop's export is complete; if the change is real, `tawsiya validate --accept-drift` takes it over"
)
CHECK_EXPORT = "check the shop's export and the mapping; the next good run takes a real change over"


def drift_suite(limits: ExpectationsConfig, present: CanonicalStatistics, good_run: GoodRun) -> Suite:
    """The suite that compares the present data with a good run."""
    row: dict[str, float | str | None] = {**drift_findings(limits, present, good_run.statistics)}
    return Suite(DRIFT_VIEW, _checks(limits, good_run.validated_at), row)


def _checks(limits: ExpectationsConfig, since: str) -> tuple[Check, ...]:
    kinds = (
        ("events_not_shrunk", f"the events lost {limits.max_drop:.0%} of their rows or more", False),
        ("products_not_shrunk", f"the products lost {limits.max_drop:.0%} of their rows or more", False),
        ("buyers_not_shrunk", f"{limits.max_drop:.0%} of the buyers or more are gone", True),
        ("event_mix_steady", f"a share of an event type changed by more than {limits.max_event_mix_change:.0%}", True),
        (
            "null_rates_steady",
            f"a column's share of missing values rose by more than {limits.max_null_rate_increase:.0%}",
            True,
        ),
        (
            "unreadable_shares_steady",
            f"a share of unreadable values rose by more than {limits.max_unreadable_increase:.0%}",
            True,
        ),
        (
            "categories_known_before",
            f"more than {limits.max_new_category_share:.0%} of the products are in new categories",
            True,
        ),
        ("newest_event_not_older", "the newest event is older than before", True),
    )
    return tuple(
        Check(
            name,
            f"since the last good run ({since}) {wording}",
            CHECK_EXPORT if warns else COMPLETE_FILE,
            gxe.ExpectColumnValuesToBeNull(column=name),
            warns=warns,
        )
        for name, wording, warns in kinds
    )
