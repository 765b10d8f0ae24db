"""How canonical data changed between two runs: what changed too much.

The gate compares with the last good run (expectations.drift_suite), and refresh with the data of the last training.
"""

from collections.abc import Mapping
from datetime import datetime

from expectations.checks import TOLERATED_ROWS
from expectations.statistics import CanonicalStatistics
from feature_repo.settings.data import ExpectationsConfig


def drifted(limits: ExpectationsConfig, present: CanonicalStatistics, before: CanonicalStatistics) -> dict[str, str]:
    """What changed too much, by the name of the check; empty if nothing did."""
    return {name: what for name, what in drift_findings(limits, present, before).items() if what is not None}


def drift_findings(
    limits: ExpectationsConfig, present: CanonicalStatistics, before: CanonicalStatistics
) -> dict[str, str | None]:
    """What changed too much, by the name of the check; None if nothing did."""
    max_drop = limits.max_drop
    return {
        "events_not_shrunk": _drop(
            max_drop, read=(before.events_read, present.events_read), kept=(before.events_kept, present.events_kept)
        ),
        "products_not_shrunk": _drop(
            max_drop,
            read=(before.products_read, present.products_read),
            kept=(before.products_kept, present.products_kept),
        ),
        "buyers_not_shrunk": _drop(max_drop, kept=(before.buyers, present.buyers)),
        "event_mix_steady": _changes(limits.max_event_mix_change, before.event_mix, present.event_mix, either_way=True),
        "null_rates_steady": _changes(limits.max_null_rate_increase, before.null_rates, present.null_rates),
        "unreadable_shares_steady": _changes(
            limits.max_unreadable_increase, before.unreadable_shares, present.unreadable_shares, from_zero=True
        ),
        "categories_known_before": _new_categories(limits.max_new_category_share, before, present),
        "newest_event_not_older": _older(before.newest_event, present.newest_event),
    }


# ---- comparisons: what changed too much, or None ---------------------------------------------------------------------


def _drop(limit: float, **counts: tuple[int, int]) -> str | None:
    """Names the counts (before, now) that fell by `limit` or more."""
    fallen = [
        f"{now:,} {kind}, before {before:,} ({1 - now / before:.1%} fewer)"
        for kind, (before, now) in counts.items()
        if before - now > TOLERATED_ROWS and 1 - now / before >= limit
    ]
    return "; ".join(fallen) or None


def _changes(
    limit: float,
    before: Mapping[str, float],
    now: Mapping[str, float],
    *,
    either_way: bool = False,
    from_zero: bool = False,
) -> str | None:
    """Names the shares that grew by more than `limit`.

    Args:
        limit: The largest change allowed.
        before: Shares of the good run.
        now: Present shares.
        either_way: Also name shares that fell, and take a missing one for 0.
        from_zero: Take a share that the good run lacks for 0; otherwise a new column is not compared.
    """
    compared = before.keys() | now.keys() if either_way else now.keys() if from_zero else before.keys() & now.keys()
    changed = []
    for name in sorted(compared):
        old, new = before.get(name, 0), now.get(name, 0)
        # Rounded: 0.3 - 0.1 is more than 0.2 in floating point.
        if round(abs(new - old) if either_way else new - old, 9) > limit:
            changed.append(f"{name} {new:.1%}, before {old:.1%}")
    return "; ".join(changed) or None


def _new_categories(limit: float, before: CanonicalStatistics, present: CanonicalStatistics) -> str | None:
    # A shop that had no categories has only new ones.
    if not before.categories:
        return None
    new = {name: count for name, count in present.categories.items() if name not in before.categories}
    share = sum(new.values()) / max(present.products_kept, 1)
    if share <= limit:
        return None
    examples = ", ".join(sorted(new, key=lambda name: -new[name])[:3])
    return f"{share:.1%} of the products are in {len(new):,} new categories, such as {examples}"


def _older(before: str | None, now: str | None) -> str | None:
    if before is None or now is None or datetime.fromisoformat(now) >= datetime.fromisoformat(before):
        return None
    return f"it is of {now}, before of {before}"
