"""Buyers of a window of time as the service would have met them: their stored events, and what they chose.

Unlike training.evaluation.held_out, which knows one catalogue, products are named by their keys, so that releases of
different catalogues are measured on the same targets.

Legend: E events, T targets, B buyers.
"""

import datetime as dt
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Int64Array
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal
from feature_repo.common.paths import shop_paths
from feature_repo.settings.data import EvaluationUnit
from feature_repo.transforms.events import EVENT_TYPE_CODES, PURCHASE
from feature_repo.transforms.sequences import EventSequence, select, sequence

MAX_SERVED_BUYERS = 2_000
TARGET = "is_target"


class Window(NamedTuple):
    """A span of time; what happens in it is to be predicted from what was before.

    Attributes:
        start: Its first moment.
        end: The last event that counts; not after it.
    """

    start: dt.datetime
    end: dt.datetime

    @property
    def start_ms(self) -> int:
        """`start` in milliseconds since 1970."""
        return int(self.start.timestamp() * 1000)


class ServedBuyer(NamedTuple):
    """A buyer at one moment.

    Attributes:
        number: Equal for the same buyer; not the buyer's id.
        events: The newest events before the moment, as the online store has them.
        purchases: All purchases before the moment.
        target_keys: (T,) distinct keys of the products chosen then, at least one.
    """

    number: int
    events: EventSequence
    purchases: EventSequence
    target_keys: Int64Array

    def with_targets(self, kept_T: BoolArray) -> "ServedBuyer":
        """The buyer with some of the targets."""
        return self._replace(target_keys=self.target_keys[kept_T])

    @property
    def new_targets(self) -> BoolArray:
        """(T,) whether the buyer had not bought the target before."""
        new_T: BoolArray = np.isin(self.target_keys, self.purchases.product_keys, invert=True)
        return new_T


def read_served_buyers(config: Config, window: Window, *, max_buyers: int = MAX_SERVED_BUYERS) -> list[ServedBuyer]:
    """The buyers with a history before the window and a target in it.

    With `data.evaluation_unit` per_buyer, a buyer counts once, at the start of the window, with everything that follows
    as targets; with per_moment, at each moment with a target within the window.

    Args:
        config: The configuration.
        window: The window.
        max_buyers: Most moments to return; of more buyers, the ones with the lowest hashes of their ids.
    """
    frame = _events(config, window, max_buyers)
    buyers: list[ServedBuyer] = []
    for number, (_, rows) in enumerate(frame.groupby(c.BUYER_ID, sort=False)):
        buyers += _moments(number, rows, window, config)
    if len(buyers) <= max_buyers:
        return buyers
    # The moments of a buyer are adjacent, so an even spacing covers all buyers.
    return [buyers[place] for place in np.linspace(0, len(buyers) - 1, max_buyers).astype(np.int64)]


def _events(config: Config, window: Window, max_buyers: int) -> pd.DataFrame:
    """All events up to the end of the window of a sample of its buyers, in the order of stored sequences.

    Columns: buyer_id, product_key, event_type as code, event_time in milliseconds, and whether it may be a target.
    """
    codes = ", ".join(f"'{name}': {code}" for name, code in EVENT_TYPE_CODES.items())
    types = ", ".join(f"'{name}'" for name in sorted(config.data.target_events))
    is_target = f"{c.EVENT_TYPE} IN ({types}) AND {c.EVENT_TIME} >= $start"
    query = f"""
        WITH known AS (FROM read_parquet($events) WHERE {c.EVENT_TIME} <= $end),
        sample AS (
            SELECT DISTINCT {c.BUYER_ID} FROM known WHERE {is_target}
            ORDER BY hash({c.BUYER_ID}), {c.BUYER_ID} LIMIT $most
        )
        SELECT {c.BUYER_ID}, {c.PRODUCT_KEY}, MAP {{{codes}}}[{c.EVENT_TYPE}]::INTEGER AS {c.EVENT_TYPE},
            epoch_ms({c.EVENT_TIME}) AS {c.EVENT_TIME}, {is_target} AS {TARGET}
        FROM known SEMI JOIN sample USING ({c.BUYER_ID})
        ORDER BY {c.BUYER_ID}, 4, {c.PRODUCT_KEY}, 3
    """
    events = glob_literal(shop_paths(config).events)
    parameters = {"events": events, "start": window.start, "end": window.end, "most": max_buyers}
    with duckdb_session(config, "refresh") as db:
        frame: pd.DataFrame = db.execute(query, parameters).df()
    return frame


def _moments(number: int, rows: pd.DataFrame, window: Window, config: Config) -> Iterator[ServedBuyer]:
    """The moments of one buyer's events at which there is something to predict and to predict it from."""
    events = sequence(*(rows[name].to_numpy() for name in (c.PRODUCT_KEY, c.EVENT_TYPE, c.EVENT_TIME)))
    is_target = rows[TARGET].to_numpy()
    times = events.event_times
    for moment, until in _spans(times[is_target], window, config.data.evaluation_unit):
        first = int(np.searchsorted(times, moment))
        chosen = is_target & (times >= moment) & (times <= until)
        if first == 0 or not chosen.any():
            continue
        place = np.arange(len(times))
        newest = select(events, (place < first) & (place >= first - config.model.buyer_tower.max_interaction_history))
        purchases = select(events, (place < first) & (events.event_types == PURCHASE))
        yield ServedBuyer(number, newest, purchases, np.unique(events.product_keys[chosen]))


def _spans(target_times: Int64Array, window: Window, unit: EvaluationUnit) -> list[tuple[int, int]]:
    """First and last millisecond of the targets of each moment."""
    if unit == "per_buyer":
        return [(window.start_ms, int(target_times[-1]))]
    return [(moment, moment) for moment in np.unique(target_times).tolist()]
