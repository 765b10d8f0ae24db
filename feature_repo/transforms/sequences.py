"""Buyer sequences: built from events offline, and merged from stored and pushed events online.

A sequence is three arrays of equal length, oldest event first: product keys, event types (codes) and event times
(milliseconds). Events of one time are ordered by product key, then by event type, so that the offline and the online
store agree on every position.
"""

from typing import NamedTuple

import ibis
import numpy as np
import numpy.typing as npt
from ibis.expr.types import Table

from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Int32Array, Int64Array

_HISTORY = "history"
_ARRAYS = {c.PRODUCT_KEYS: c.PRODUCT_KEY, c.EVENT_TYPES: c.EVENT_TYPE, c.EVENT_TIMES: c.EVENT_TIME}


# ---- sequences in memory ---------------------------------------------------------------------------------------------


class EventSequence(NamedTuple):
    """E events of one buyer, oldest first.

    Attributes:
        product_keys: (E,) int64.
        event_types: (E,) int32, codes.
        event_times: (E,) int64, milliseconds since 1970, UTC.
    """

    product_keys: Int64Array
    event_types: Int32Array
    event_times: Int64Array


def sequence(product_keys: npt.ArrayLike, event_types: npt.ArrayLike, event_times: npt.ArrayLike) -> EventSequence:
    """Makes a sequence of three lists of equal length; their order stays."""
    return EventSequence(
        np.asarray(product_keys, dtype=np.int64), np.asarray(event_types, np.int32), np.asarray(event_times, np.int64)
    )


EMPTY_SEQUENCE = sequence([], [], [])


def merge_sequences(first: EventSequence, second: EventSequence, max_length: int | None = None) -> EventSequence:
    """Merges two sequences in order, each (product, type, time) once; `max_length` limits the result to the newest."""
    keys = np.concatenate([first.product_keys, second.product_keys])
    types = np.concatenate([first.event_types, second.event_types])
    times = np.concatenate([first.event_times, second.event_times])
    # lexsort sorts by its last key first: time, then product key, then type.
    order = np.lexsort((types, keys, times))
    keys, types, times = keys[order], types[order], times[order]
    distinct = np.ones(len(keys), dtype=np.bool_)  # the first event is never a duplicate
    distinct[1:] = (keys[1:] != keys[:-1]) | (types[1:] != types[:-1]) | (times[1:] != times[:-1])
    # None stays None: everything.
    newest = slice(max_length and -max_length, None)
    return EventSequence(keys[distinct][newest], types[distinct][newest], times[distinct][newest])


def select(events: EventSequence, mask: BoolArray) -> EventSequence:
    """The events where `mask`, (E,) bool, is true."""
    return EventSequence(events.product_keys[mask], events.event_types[mask], events.event_times[mask])


def difference(first: EventSequence, second: EventSequence) -> EventSequence:
    """The events of the first sequence that are not in the second."""
    excluded = set(zip(*(column.tolist() for column in second), strict=True))
    events = zip(*(column.tolist() for column in first), strict=True)
    return select(first, np.array([event not in excluded for event in events], dtype=np.bool_))


# ---- sequences of a whole table --------------------------------------------------------------------------------------


def latest_sequences(events: Table, max_length: int) -> Table:
    """Each buyer's newest sequence.

    It holds all events in memory, so large tables are given part by part.

    Args:
        events: buyer_id, product_key, event_type as code, event_time in milliseconds.
        max_length: Greatest number of events in a sequence.

    Returns:
        One row per buyer: buyer_id and the three arrays.
    """
    # Structs sort by their fields, one after the other: the order of merge_sequences.
    order = {column: events[column] for column in (c.EVENT_TIME, c.PRODUCT_KEY, c.EVENT_TYPE)}
    histories = events.group_by(c.BUYER_ID).agg(**{_HISTORY: ibis.struct(order).collect()})
    # In two steps, so that the sort occurs once in the query and not in each array.
    histories = histories.mutate(**{_HISTORY: histories[_HISTORY].sort()})
    newest = histories[_HISTORY][ibis.greatest(histories[_HISTORY].length() - max_length, 0) :]
    arrays = {array: newest.map(lambda event, column=column: event[column]) for array, column in _ARRAYS.items()}
    return histories.select(c.BUYER_ID, **arrays)


def purchase_lists(events: Table) -> Table:
    """All purchases of each buyer who has one, each product once per time, oldest first.

    Args:
        events: As for latest_sequences, of purchases alone.

    Returns:
        One row per buyer: buyer_id, purchased_keys and purchased_times.
    """
    # Two units in one order are one purchase, online (merge_sequences) as well.
    distinct = events.select(c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TIME).distinct()
    order = {column: distinct[column] for column in (c.EVENT_TIME, c.PRODUCT_KEY)}
    histories = distinct.group_by(c.BUYER_ID).agg(**{_HISTORY: ibis.struct(order).collect()})
    histories = histories.mutate(**{_HISTORY: histories[_HISTORY].sort()})
    return histories.select(
        c.BUYER_ID,
        **{
            c.PURCHASED_KEYS: histories[_HISTORY].map(lambda event: event[c.PRODUCT_KEY]),
            c.PURCHASED_TIMES: histories[_HISTORY].map(lambda event: event[c.EVENT_TIME]),
        },
    )
