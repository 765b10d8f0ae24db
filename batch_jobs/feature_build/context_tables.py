"""The tables of selected contexts: their targets, and the sequences that their buyers had before them.

The functions are ibis expressions for DuckDB and Spark.
"""

import ibis
from ibis.expr.types import Table, Value

from batch_jobs.feature_build.context_selection import ONE_MICROSECOND
from batch_jobs.feature_build.split_time import UTC_MICROSECONDS
from feature_repo import columns as c
from feature_repo.common.config import EvaluationUnit
from feature_repo.time_split import TimeSplit
from feature_repo.transforms.sequences import POSITION, rolling_sequences

_LOWEST = "lowest"


def contexts_with_targets(positioned: Table, selected: Table, split: TimeSplit, unit: EvaluationUnit) -> Table:
    """The selected contexts with their number of earlier events and their targets.

    Args:
        positioned: All events of the selected buyers, with POSITION.
        selected: buyer_id, event_timestamp and split of the contexts (see context_selection).
        split: The time split.
        unit: `data.evaluation_unit`: whether the targets of validation and test are all events within the days, or
            those of the context's moment.
    """
    validation, test, end = (ibis.literal(moment).cast(UTC_MICROSECONDS) for moment in split)
    positioned = positioned.filter(positioned[c.EVENT_TIMESTAMP] <= end)
    before_test = positioned.filter(positioned[c.EVENT_TIMESTAMP] < test)
    validation_events = before_test.filter(before_test[c.EVENT_TIMESTAMP] >= validation)
    test_events = positioned.filter(positioned[c.EVENT_TIMESTAMP] >= test)
    per_buyer = unit == "per_buyer"
    targets = ibis.union(
        _targets(before_test, c.TRAIN),
        _targets(validation_events, c.VALIDATION, at=validation if per_buyer else None),
        _targets(test_events, c.TEST, at=test if per_buyer else None),
    )
    key = [c.BUYER_ID, c.EVENT_TIMESTAMP, c.SPLIT]
    targets = targets.semi_join(selected, key)
    return targets.group_by(key).agg(
        **{
            c.EVENTS_BEFORE: targets[POSITION].min(),
            c.PRODUCT_KEYS: targets[c.PRODUCT_KEY].collect(order_by=targets[POSITION]),
            c.EVENT_TYPES: targets[c.EVENT_TYPE].collect(order_by=targets[POSITION]),
            c.EVENT_TIMES: targets[c.EVENT_TIME].collect(order_by=targets[POSITION]),
        }
    )


def _targets(events: Table, split: str, at: Value | None = None) -> Table:
    """Events as targets of the context at `at`; if None, each time of events is a moment of its own."""
    moment = (events[c.EVENT_TIMESTAMP] if at is None else at) - ONE_MICROSECOND
    return events.mutate(**{c.EVENT_TIMESTAMP: moment.cast(UTC_MICROSECONDS), c.SPLIT: ibis.literal(split)})


def sequences_before(positioned: Table, contexts: Table, max_length: int) -> Table:
    """Feast's rows of buyer sequences: one per context, as of the context.

    The rows bear the time of the context, not of the last event before it. A build of the served features may lie
    between the two; its row would be the newer one, but lacks the events that arrived after that build.

    Args:
        positioned: All events of the contexts' buyers, with POSITION.
        contexts: buyer_id, event_timestamp and events_before of the contexts.
        max_length: Greatest number of events in a sequence.
    """
    stamp = contexts[c.EVENT_TIMESTAMP]
    # Created at the same time, and not now: the same data give the same bytes, which the data version hashes.
    rows = contexts.select(
        c.BUYER_ID, c.EVENT_TIMESTAMP, **{c.CREATED_TIMESTAMP: stamp, POSITION: contexts[c.EVENTS_BEFORE] - 1}
    ).distinct()
    # Empty, and not left out: a row of the served features would take the place.
    empty = rows.filter(rows[POSITION] < 0).drop(POSITION)
    anchors = rows.filter(rows[POSITION] >= 0)
    sequences = rolling_sequences(_seen(positioned, anchors, max_length), anchors, max_length)
    types = {name: sequences.schema()[name] for name in (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)}
    return sequences.union(empty.mutate(**{name: ibis.literal([], type=kind) for name, kind in types.items()}))


def _seen(positioned: Table, anchors: Table, max_length: int) -> Table:
    """The events from a buyer's first anchor on, and those that its sequence may hold.

    The newest contexts of a long history see little of it.
    """
    lowest = anchors.group_by(c.BUYER_ID).agg(**{_LOWEST: anchors[POSITION].min()})
    joined = positioned.inner_join(lowest, c.BUYER_ID)
    # rolling_sequences reads whole blocks of max_length events: the anchor's and the one before it.
    first = joined[_LOWEST] - joined[_LOWEST] % max_length - max_length
    return joined.filter(joined[POSITION] >= first).drop(_LOWEST)
