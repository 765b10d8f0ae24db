"""The rows of the contexts of one bucket: their targets, and the sequences that their buyers had before them.

Both are windows of the bucket's events, which lie in arrays, sorted by buyer and time. So a search finds each window
and slices copy it: no window functions, no lists to sort, no joins.

Legend: B buyers, C contexts, E events.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo import columns as c
from feature_repo.common.arrays import Int64Array
from training.data.histories import ranges

_ARRAYS = {c.PRODUCT_KEYS: c.PRODUCT_KEY, c.EVENT_TYPES: c.EVENT_TYPE, c.EVENT_TIMES: c.EVENT_TIME}
_TIMESTAMP = pa.timestamp("us", "UTC")
_KEY = [(c.BUYER_ID, pa.string()), (c.EVENT_TIMESTAMP, _TIMESTAMP)]
_EVENTS = [
    (c.PRODUCT_KEYS, pa.list_(pa.int64())),
    (c.EVENT_TYPES, pa.list_(pa.int32())),
    (c.EVENT_TIMES, pa.list_(pa.int64())),
]
CONTEXT_SCHEMA = pa.schema([*_KEY, (c.SPLIT, pa.string()), (c.EVENTS_BEFORE, pa.int64()), *_EVENTS])
SEQUENCE_SCHEMA = pa.schema([*_KEY, (c.CREATED_TIMESTAMP, _TIMESTAMP), *_EVENTS])


class ContextWindows(NamedTuple):
    """Where the events of each context lie among those of the bucket, (C,) each.

    Attributes:
        first: The buyer's first event.
        moment: The first event that is not before the context's moment: the end of the history, and the first target.
        end: The end of the targets.
    """

    first: Int64Array
    moment: Int64Array
    end: Int64Array


def find_windows(events: pa.Table, contexts: pa.Table, target_ends: Mapping[str, int]) -> ContextWindows:
    """Finds the events of each context.

    Args:
        events: buyer_id, product_key, event_type and event_time (see tables.encode_events), in the order of buyers and
            of their sequences.
        contexts: buyer_id, event_timestamp and split (see context_selection); each buyer has events.
        target_ends: The parts of the time split whose contexts have all events before a time, in milliseconds, as
            targets; those of the others are the events of the context's moment.
    """
    ids = events[c.BUYER_ID].combine_chunks().dictionary_encode()
    times = events[c.EVENT_TIME].to_numpy()
    first, last = int(times.min()), int(times.max())
    stride = last - first + 2

    def places(buyers: Int64Array, moments: Int64Array) -> Int64Array:
        """One number for buyer and time, in the order of the events."""
        return buyers * stride + np.clip(moments - first, 0, stride - 1)

    # In the order of their ids, because the events are.
    events_E = places(ids.indices.to_numpy().astype(np.int64), times)
    buyers_C = pc.index_in(contexts[c.BUYER_ID], value_set=ids.dictionary).to_numpy().astype(np.int64)
    # Events have milliseconds, and a context lies one microsecond before its moment.
    moments_C = (contexts[c.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy() + 1) // 1000
    ends_C = moments_C + 1
    for split, end in target_ends.items():
        ends_C[pc.equal(contexts[c.SPLIT], split).to_numpy()] = end
    return ContextWindows(
        np.searchsorted(events_E, buyers_C * stride),
        np.searchsorted(events_E, places(buyers_C, moments_C)),
        np.searchsorted(events_E, places(buyers_C, ends_C)),
    )


def context_rows(events: pa.Table, contexts: pa.Table, windows: ContextWindows) -> pa.Table:
    """The contexts with their number of earlier events and their targets."""
    counted = contexts.append_column(c.EVENTS_BEFORE, pa.array(windows.moment - windows.first))
    return _with_lists(counted, events, windows.moment, windows.end)


def sequence_rows(events: pa.Table, contexts: pa.Table, windows: ContextWindows, max_length: int) -> pa.Table:
    """Feast's rows of buyer sequences: one per context, as of the context.

    The rows bear the time of the context, not of the last event before it. A build of the served features may lie
    between the two; its row would be the newer one, but lacks the events that arrived after that build. So contexts
    without earlier events have a row too, an empty one.

    Args:
        events: See find_windows.
        contexts: Those of the rows; no two of one buyer and time.
        windows: Their windows.
        max_length: Greatest number of events in a sequence.
    """
    # Created at the same time, and not now: the same data give the same bytes, which the data version hashes.
    key = contexts.select([c.BUYER_ID, c.EVENT_TIMESTAMP])
    stamped = key.append_column(c.CREATED_TIMESTAMP, contexts[c.EVENT_TIMESTAMP])
    return _with_lists(stamped, events, np.maximum(windows.first, windows.moment - max_length), windows.moment)


def _with_lists(rows: pa.Table, events: pa.Table, starts: Int64Array, ends: Int64Array) -> pa.Table:
    """Adds the events starts[i]:ends[i] to row i, as lists of product keys, types and times."""
    places, offsets = ranges(starts, ends)
    for name, column in _ARRAYS.items():
        values = events[column].to_numpy()[places]
        rows = rows.append_column(name, pa.ListArray.from_arrays(offsets.astype(np.int32), values))
    return rows
