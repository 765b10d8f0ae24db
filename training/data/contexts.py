"""Contexts with their point-in-time histories, read through Feast's training service.

Legend: B buyers, C contexts, E events of all timelines, Z events of the windows of all contexts, T targets of all
contexts. A timeline is the whole history of one buyer.
"""

from bisect import bisect_left
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.arrays import Int64Array
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.context_report import read_context_report
from feature_repo.store import FeatureStore
from feature_repo.transforms.events import EVENT_TYPE_CODES, EVENT_TYPE_NAMES, PURCHASE
from training.data.catalogue import ProductPositions
from training.data.histories import UNKNOWN_PRODUCT, Histories, ranges

DAY_US = 86_400_000_000
_ROW = "context_row"


class NoContextsError(ValueError):
    """A part of the time split has no context to learn from or to measure on."""


@dataclass(frozen=True)
class Contexts:
    """Moments at which a buyer chose products; the contexts of one buyer are adjacent, oldest first.

    The histories of one buyer overlap. Each is a window of the buyer's timeline, so every event is stored once.

    Attributes:
        buyer_ids: (C,) object array.
        times_us: (C,) int64 microseconds since 1970, one before the moment: Feast joins with <=, and the history must
            not contain the targets.
        timelines: The B timelines, with the events that some context sees.
        starts, ends: (C,) int64 positions in the timelines' events; each window holds the last
            `max_interaction_history` events strictly before the moment.
        targets: The products chosen at the moment, C histories with each product once.
    """

    buyer_ids: npt.NDArray[np.object_]
    times_us: Int64Array
    timelines: Histories
    starts: Int64Array
    ends: Int64Array
    targets: Histories

    def __len__(self) -> int:
        """The number of contexts, C."""
        return len(self.buyer_ids)

    @property
    def moments_us(self) -> Int64Array:
        """(C,) microseconds since 1970 at which the targets were chosen."""
        return self.times_us + 1

    @property
    def histories(self) -> Histories:
        """The history of each context, copied out of the timelines."""
        return self.timelines.windows(self.starts, self.ends)

    @property
    def purchases(self) -> Histories:
        """The purchases in the history of each context."""
        histories = self.histories
        return histories.where(histories.event_types == PURCHASE)

    def with_targets(self, targets: Histories) -> "Contexts":
        """The contexts with these targets; contexts without a target are dropped."""
        return replace(self, targets=targets).take(np.flatnonzero(targets.lengths > 0))

    def new_to_the_buyer(self) -> "Contexts":
        """The contexts with only those targets that are not among the purchases of the history."""
        seen_Z, offsets = ranges(self.starts, self.ends)
        is_purchase_Z = self.timelines.event_types[seen_Z] == PURCHASE
        owners_Z = np.repeat(np.arange(len(self)), np.diff(offsets))[is_purchase_Z]
        # One number for each pair of context and product, so that isin compares pairs.
        stride = int(max(self.timelines.products.max(initial=0), self.targets.products.max(initial=0))) + 1
        purchased = np.unique(owners_Z * stride + self.timelines.products[seen_Z[is_purchase_Z]])
        chosen = self.targets.owners * stride + self.targets.products
        return self.with_targets(self.targets.where(np.isin(chosen, purchased, invert=True)))

    def take(self, rows: Int64Array) -> "Contexts":
        """The contexts of `rows`, in that order."""
        return Contexts(
            self.buyer_ids[rows],
            self.times_us[rows],
            self.timelines,
            self.starts[rows],
            self.ends[rows],
            self.targets.take(rows),
        )


# ---- reading ---------------------------------------------------------------------------------------------------------


def split_contexts(store: FeatureStore, config: Config, catalogue: ProductPositions, split: str) -> Contexts:
    """Reads the contexts of one split with the configured history length and targets.

    Raises:
        FileNotFoundError: There are no contexts yet.
        ValueError: The contexts and their sequences are of two builds; or as read_contexts.
    """
    paths = shop_paths(config)
    read_context_report(paths)
    return read_contexts(
        store,
        paths.contexts,
        catalogue,
        split,
        config.model.buyer_tower.max_interaction_history,
        config.data.target_events,
    )


def read_contexts(
    store: FeatureStore,
    path: Path,
    catalogue: ProductPositions,
    split: str,
    max_length: int,
    target_events: Collection[str] = EVENT_TYPE_NAMES,
) -> Contexts:
    """Reads the contexts of one split and joins them, point-in-time, with the buyers' events.

    Args:
        store: The feature store.
        path: The contexts.
        catalogue: Products by position; events of other products are dropped, as in serving.
        split: A value of SPLIT.
        max_length: Longest history, `model.buyer_tower.max_interaction_history`.
        target_events: Event types that count as targets.

    Raises:
        FileNotFoundError: There are no contexts yet.
        ValueError: The split is empty, or the sequences were built for other contexts.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya train` first")
    table = pq.read_table(path, filters=[(c.SPLIT, "=", split)])
    if table.num_rows == 0:
        raise NoContextsError(f"{path} has no {split} contexts; check data.test_days against the dates of the events")
    # The file has contexts by time. _covering and _shuffled need those of a buyer together, oldest first.
    table = table.sort_by([(c.BUYER_ID, "ascending"), (c.EVENT_TIMESTAMP, "ascending")])
    rows = table.select([c.BUYER_ID, c.EVENT_TIMESTAMP, c.EVENTS_BEFORE]).to_pandas()
    buyers, _ = pd.factorize(rows[c.BUYER_ID])
    timelines, starts, ends = _timelines(store, rows, buyers.astype(np.int64), max_length, catalogue)
    times_us = table[c.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    # Checked again after the build and the join, because a leak of the future would only show as good metrics.
    _require_past(timelines, starts, ends, times_us, path)
    codes = [EVENT_TYPE_CODES[name] for name in target_events]
    return Contexts(
        buyer_ids=rows[c.BUYER_ID].to_numpy(dtype=object),
        times_us=times_us,
        timelines=timelines,
        starts=starts,
        ends=ends,
        targets=_chosen(_histories(table, catalogue), codes),
    )


# ---- join with the histories -----------------------------------------------------------------------------------------


def _timelines(
    store: FeatureStore, contexts: pd.DataFrame, buyers: Int64Array, max_length: int, catalogue: ProductPositions
) -> tuple[Histories, Int64Array, Int64Array]:
    """The timelines, and the start and end of each context's window.

    The sequences of adjacent contexts share most of their events. So Feast joins only some contexts, whose sequences
    together hold every event that any context sees.
    """
    before = contexts[c.EVENTS_BEFORE].to_numpy()
    joined_rows = _covering(buyers, before, max_length)
    entities = contexts.iloc[joined_rows][[c.BUYER_ID, c.EVENT_TIMESTAMP]].assign(**{_ROW: joined_rows})
    joined = store.historical_sequences(entities).sort_by(_ROW)  # the join returns its rows in any order
    rows = _histories(joined, catalogue)
    # Before unknown products are dropped: events are numbered by their count in the feature store.
    if not np.array_equal(rows.lengths, np.minimum(before[joined_rows], max_length)):
        raise ValueError("the buyer sequences are not those of the contexts; run `tawsiya train` to build them again")
    # Two sequences share an event if its number among the buyer's events is the same.
    stride = int(before.max(initial=0)) + 1
    last = (buyers * stride + before)[joined_rows]
    events, _ = ranges(last - rows.lengths, last)
    # Sequences overlap. unique keeps one copy of each event, sorted by buyer and number.
    places, first = np.unique(events, return_index=True)
    timelines = Histories(
        np.searchsorted(places, np.arange(buyers.max(initial=-1) + 2) * stride).astype(np.int64),
        rows.products[first],
        rows.event_types[first],
        rows.event_times[first],
    )
    window_ends = buyers * stride + before
    starts = np.searchsorted(places, window_ends - np.minimum(before, max_length))
    ends = np.searchsorted(places, window_ends)
    # Only now, because the numbers above count events of unknown products too.
    known = timelines.products != UNKNOWN_PRODUCT
    # The number of kept events before each old position is its new position.
    kept_before = np.concatenate([[0], np.cumsum(known)]).astype(np.int64)
    return timelines.where(known), kept_before[starts], kept_before[ends]


def _covering(buyers: Int64Array, before: Int64Array, max_length: int) -> Int64Array:
    """The fewest contexts whose sequences hold every event that any context sees; contexts sorted by buyer and time.

    The search goes backwards from each buyer's last context. The sequence of a context with n events before it holds
    the events n - max_length to n - 1, so the next one is the earliest context with at least n - max_length events
    before it. If there is none, no context sees the events in between (a basket of more than max_length events), and
    the next one is the latest context before the gap.
    """
    rows: list[int] = []
    bounds = np.flatnonzero(np.diff(buyers, prepend=-1, append=-1))
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        counts = before[start:stop].tolist()
        place = len(counts) - 1
        while place >= 0 and counts[place] > 0:
            rows.append(start + place)
            lowest = counts[place] - max_length
            if lowest <= 0:
                break
            place = min(bisect_left(counts, lowest), place - 1)
            # place - 1 is the case of a gap: bisect_left has found `place` itself.
    return np.sort(np.array(rows, dtype=np.int64))


def _require_past(timelines: Histories, starts: Int64Array, ends: Int64Array, times_us: Int64Array, path: Path) -> None:
    """Raises ValueError if a history contains an event at or after the moment of its context."""
    filled = np.flatnonzero(ends > starts)
    # Events have milliseconds, times_us microseconds.
    leaking = filled[timelines.event_times[ends[filled] - 1] * 1000 > times_us[filled]]
    if len(leaking):
        raise ValueError(
            f"{len(leaking)} contexts of {path} would see their own future; delete it and run `tawsiya train` again"
        )


# ---- lists of events and targets -------------------------------------------------------------------------------------


def _histories(table: pa.Table, catalogue: ProductPositions) -> Histories:
    """Arrow list columns as histories; a null list is an empty history."""
    keys = table[c.PRODUCT_KEYS].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(keys), 0).to_numpy()
    return Histories(
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        products=catalogue.positions(keys.flatten().to_numpy()),
        event_types=table[c.EVENT_TYPES].combine_chunks().flatten().to_numpy(),
        event_times=table[c.EVENT_TIMES].combine_chunks().flatten().to_numpy(),
    )


def _chosen(targets: Histories, codes: Collection[int]) -> Histories:
    """The targets with one of the event types; a view and a purchase of one product at one moment are one target.

    A product that is no longer in the catalogue is no target, because no ranker could rank it.
    """
    targets = targets.where((targets.products != UNKNOWN_PRODUCT) & np.isin(targets.event_types, list(codes)))
    return distinct(targets)


def distinct(targets: Histories) -> Histories:
    """Each product of a history once, at the place of its first event of the strongest type."""
    owners = targets.owners
    # Higher codes are stronger types: view, cart, purchase.
    order = np.lexsort((targets.event_times, -targets.event_types, targets.products, owners))
    pairs = np.stack([owners, targets.products])[:, order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = np.any(pairs[:, 1:] != pairs[:, :-1], axis=0)
    kept = np.zeros(len(order), dtype=bool)
    kept[order[first]] = True
    return targets.where(kept)
