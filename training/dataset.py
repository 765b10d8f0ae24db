"""What training and evaluation read: contexts with their point-in-time histories, through Feast's training service.

Legend: C contexts, E events, T targets of all contexts.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.files import read_json
from feature_repo.store import FeatureStore
from training.catalogue import Catalogue
from training.histories import UNKNOWN_PRODUCT, Histories

_ROW = "context_row"


@dataclass(frozen=True)
class Contexts:
    """Moments at which a buyer chose something, oldest first.

    Attributes:
        buyer_ids: (C,) object array.
        times_us: (C,) int64 microseconds since 1970, the moment asked about.
        histories: What each buyer had done strictly before, C histories.
        targets: What each buyer chose then, C histories that hold a product once.
    """

    buyer_ids: npt.NDArray[np.object_]
    times_us: npt.NDArray[np.int64]
    histories: Histories
    targets: Histories

    def __len__(self) -> int:
        """The number of contexts, C."""
        return len(self.buyer_ids)

    def take(self, rows: npt.NDArray[np.int64]) -> "Contexts":
        """The contexts of `rows`, in that order."""
        return Contexts(self.buyer_ids[rows], self.times_us[rows], self.histories.take(rows), self.targets.take(rows))


class TimeSplit(NamedTuple):
    """Start and end of the test days; what came before the start is for training."""

    test_from: dt.datetime
    data_end: dt.datetime


def read_time_split(feature_report: Path) -> TimeSplit:
    """The time split of the last feature build; FileNotFoundError names the command that makes it."""
    report = read_json(feature_report, "tawsiya build-features")
    return TimeSplit(*(dt.datetime.fromisoformat(report[field]) for field in TimeSplit._fields))


def read_contexts(store: FeatureStore, path: Path, catalogue: Catalogue, split: str) -> Contexts:
    """Reads the contexts of one split and joins each with its history as of that moment.

    Raises:
        FileNotFoundError: There are no contexts yet.
        ValueError: The split is empty.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya build-features` first")
    table = pq.read_table(path, filters=[(c.SPLIT, "=", split)])
    if table.num_rows == 0:
        raise ValueError(f"{path} has no {split} contexts; check data.test_days against the dates of the events")
    asked = table.select([c.BUYER_ID, c.EVENT_TIMESTAMP]).to_pandas()
    asked[_ROW] = np.arange(len(asked))
    joined = store.historical_sequences(asked).sort_by(_ROW)  # the join returns its rows in any order
    return Contexts(
        buyer_ids=table[c.BUYER_ID].to_numpy(),
        times_us=table[c.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy(),
        histories=_histories(joined, catalogue, joined[c.EVENT_TIMES]),
        targets=_chosen(_histories(table, catalogue, None)),
    )


def _histories(table: pa.Table, catalogue: Catalogue, times: pa.ChunkedArray | None) -> Histories:
    """Arrow list columns as flat arrays; a null list (no history) is an empty one."""
    keys = table[c.PRODUCT_KEYS].combine_chunks()
    lengths = pc.fill_null(pc.list_value_length(keys), 0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat_keys = keys.flatten().to_numpy()
    return Histories(
        offsets=offsets,
        products=catalogue.positions(flat_keys),
        event_types=table[c.EVENT_TYPES].combine_chunks().flatten().to_numpy(),
        event_times=np.zeros(len(flat_keys), np.int64)
        if times is None
        else times.combine_chunks().flatten().to_numpy(),
    )


def _chosen(targets: Histories) -> Histories:
    """Targets once per context (a view and a purchase of one moment are one choice), without products that have left.

    A product that is no longer in the catalogue is no target: nothing could rank it.
    """
    owners = np.repeat(np.arange(len(targets)), np.diff(targets.offsets))
    first = np.zeros(len(owners), dtype=bool)
    first[np.unique(np.stack([owners, targets.products]), axis=1, return_index=True)[1]] = True
    kept = first & (targets.products != UNKNOWN_PRODUCT)
    kept_before = np.concatenate([[0], np.cumsum(kept)])
    return Histories(
        kept_before[targets.offsets], targets.products[kept], targets.event_types[kept], targets.event_times[kept]
    )
