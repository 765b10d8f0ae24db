"""Buyer sequences: how they are cut from events offline, and how stored and pushed ones are joined online.

A sequence is three arrays of one length, oldest event first: product keys, event types (codes), event times (ms).
Events of one moment order by product key, then by event type, so that both stores agree on every position.
"""

from typing import NamedTuple

import ibis
import numpy as np
import numpy.typing as npt
from ibis.expr.types import IntegerColumn, Table

from feature_repo import columns as c

POSITION = "position"  # place of an event in its buyer's whole history, from 0
_BLOCK, _PREVIOUS_BLOCK, _TAKE = "block", "previous_block", "take"
_ARRAYS = {c.PRODUCT_KEYS: c.PRODUCT_KEY, c.EVENT_TYPES: c.EVENT_TYPE, c.EVENT_TIMES: c.EVENT_TIME}


class Sequence(NamedTuple):
    """One buyer's events, oldest first."""

    product_keys: npt.NDArray[np.int64]
    event_types: npt.NDArray[np.int32]
    event_times: npt.NDArray[np.int64]


def sequence(product_keys: npt.ArrayLike, event_types: npt.ArrayLike, event_times: npt.ArrayLike) -> Sequence:
    """A sequence of three lists, in the order given."""
    return Sequence(
        np.asarray(product_keys, dtype=np.int64), np.asarray(event_types, np.int32), np.asarray(event_times, np.int64)
    )


EMPTY_SEQUENCE = sequence([], [], [])


def merge_sequences(first: Sequence, second: Sequence, max_length: int | None = None) -> Sequence:
    """The last `max_length` (or all) events of two sequences together: ordered, each (product, type, time) once."""
    keys = np.concatenate([first.product_keys, second.product_keys])
    types = np.concatenate([first.event_types, second.event_types])
    times = np.concatenate([first.event_times, second.event_times])
    order = np.lexsort((types, keys, times))
    keys, types, times = keys[order], types[order], times[order]
    repeated = (np.diff(keys) == 0) & (np.diff(types) == 0) & (np.diff(times) == 0)
    distinct = np.concatenate([[True], ~repeated])[: len(keys)]
    last = slice(max_length and -max_length, None)
    return Sequence(keys[distinct][last], types[distinct][last], times[distinct][last])


def select(events: Sequence, kept: npt.NDArray[np.bool_]) -> Sequence:
    """The events for which `kept` is true."""
    return Sequence(events.product_keys[kept], events.event_types[kept], events.event_times[kept])


def without(first: Sequence, second: Sequence) -> Sequence:
    """The events of the first sequence that the second does not hold."""
    held = set(zip(*(column.tolist() for column in second), strict=True))
    events = zip(*(column.tolist() for column in first), strict=True)
    return select(first, np.array([event not in held for event in events], dtype=np.bool_))


def with_positions(events: Table) -> Table:
    """Adds POSITION to events (buyer_id, product_key, event_type code, event_time in ms)."""
    order = [c.EVENT_TIME, c.PRODUCT_KEY, c.EVENT_TYPE]
    return events.mutate(**{POSITION: ibis.row_number().over(group_by=c.BUYER_ID, order_by=order)})


def rolling_sequences(positioned: Table, anchors: Table, max_length: int) -> Table:
    """The sequence that ends at each anchor.

    The same ibis expression runs on DuckDB and on Spark. Its cost is linear in events and anchors, however long one
    buyer's history is: events are collected once into blocks of `max_length`, and an anchor reads at most two blocks.

    Args:
        positioned: Events as with_positions returns them.
        anchors: buyer_id, POSITION (of the last event to include) and any further columns, which are kept.
        max_length: Longest sequence.

    Returns:
        The anchors' columns without POSITION, and the three arrays.
    """
    in_block = positioned.mutate(**{_BLOCK: _block(positioned, max_length)})
    blocks = in_block.group_by([c.BUYER_ID, _BLOCK]).agg(
        **{array: in_block[column].collect(order_by=in_block[POSITION]) for array, column in _ARRAYS.items()}
    )
    previous = blocks.rename({_PREVIOUS_BLOCK: _BLOCK, **{f"previous_{array}": array for array in _ARRAYS}})
    located = anchors.mutate(
        **{
            _BLOCK: _block(anchors, max_length),
            _PREVIOUS_BLOCK: _block(anchors, max_length) - 1,
            _TAKE: anchors[POSITION] % max_length + 1,
        }
    )
    joined = located.inner_join(blocks, [c.BUYER_ID, _BLOCK]).left_join(previous, [c.BUYER_ID, _PREVIOUS_BLOCK])
    take = joined[_TAKE]
    arrays = {}
    for array in _ARRAYS:
        current = joined[array][:take]
        # A buyer's first block has none before it. Of a previous block, full by construction, the events from `take`
        # on are still within max_length.
        before = joined[f"previous_{array}"]
        arrays[array] = before.isnull().ifelse(current, before[take:].concat(current))
    kept = [name for name in anchors.columns if name != POSITION]
    return joined.select(*kept, **arrays)


def _block(table: Table, max_length: int) -> IntegerColumn:
    return (table[POSITION] / max_length).floor().cast("int64")
