"""Held-out data: the contexts of the validation or test days with their targets, and the events before these days.

Each target is ranked among all products. The kinds of targets are

    all         products with an event before the held-out days, repeat purchases included
    new_items   those of them that the buyer had not bought before
    cold_items  products without any event before the held-out days
    next        all targets that the buyer had not bought before, cold items included; for leave-one-out data sets,
                where dropping the cold targets would drop buyers

Legend: C contexts, E events, N products of the catalogue, T targets.
"""

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from torch import Tensor

from feature_repo import columns as c
from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from feature_repo.time_split import read_time_split
from feature_repo.transforms.events import EVENT_TYPE_CODES, PURCHASE, weight_by_code
from training.data.catalogue import Catalogue
from training.data.contexts import Contexts, NoContextsError, split_contexts
from training.data.histories import UNKNOWN_PRODUCT, Histories
from training.evaluation.metrics import Targets
from training.evaluation.ranker import TrainingEvents
from training.evaluation.rescored_ranker import Chosen, RescorerData
from training.model.encoding import Closeness

ALL, NEW_ITEMS, COLD_ITEMS, NEXT = "all", "new_items", "cold_items", "next"


@dataclass(frozen=True)
class HeldOut:
    """The held-out data of one split.

    Attributes:
        contexts: Contexts with a history; the histories are as long as in serving.
        histories: The full histories of the same contexts, of known products.
        events: All events before `start`; rankers may learn from these.
        start, end: The held-out days.
        event_weights: Weight of each event-type code; the highest is 1.
    """

    contexts: Contexts
    histories: Histories
    events: TrainingEvents
    start: dt.datetime
    end: dt.datetime
    event_weights: Float32Array

    @property
    def start_ms(self) -> int:
        """`start` in milliseconds since 1970."""
        return int(self.start.timestamp() * 1000)

    @property
    def buyers(self) -> Int64Array:
        """(C,) a code of the buyer of each context."""
        codes_C: Int64Array = pd.factorize(self.contexts.buyer_ids)[0].astype(np.int64)
        return codes_C

    @property
    def purchases(self) -> Histories:
        """The purchases before each context: products that are not new to the buyer."""
        return self.histories.where(self.histories.event_types == PURCHASE)

    def sampled(self, max_contexts: int) -> "HeldOut":
        """The contexts of the buyers with the lowest hashes of their ids: a buyer stays in it from day to day."""
        hashes = pd.util.hash_array(self.contexts.buyer_ids)
        # Stable, so that the contexts of one buyer keep their order.
        rows = np.sort(np.argsort(hashes, kind="stable")[:max_contexts])
        return replace(self, contexts=self.contexts.take(rows), histories=self.histories.take(rows))

    def targets(self, kind: str) -> tuple[Int32Array, Histories]:
        """The rows of the contexts with a target of the kind, and these targets."""
        targets = self.contexts.targets
        seen_N = np.bincount(self.events.products, minlength=self.events.n_products) > 0
        kept = np.ones(len(targets.products), dtype=bool)
        if kind != NEXT:
            # Cold items are the targets that were not seen, all other kinds the seen ones.
            kept = seen_N[targets.products] != (kind == COLD_ITEMS)
        if kind in (NEW_ITEMS, NEXT):
            kept &= ~_among(targets, self.purchases, self.events.n_products)
        targets = targets.where(kept)
        rows = np.flatnonzero(targets.lengths > 0)
        return rows.astype(np.int32), targets.take(rows)

    def rescorer_data(self, item_ND: Tensor | None = None) -> RescorerData:
        """What a re-scorer is fitted and applied on; with product vectors, (N, D), including all terms of the model."""
        seen = self._weighted_events
        return RescorerData(
            histories=self._stored_events,
            purchases=self.purchases,
            targets=self._chosen(ALL),
            new_targets=self._chosen(NEW_ITEMS),
            events=self.events,
            as_of_ms=self.start_ms,
            event_weights=self.event_weights,
            buyers=self.buyers,
            tower_events=None if item_ND is None else seen,
            closeness=None if item_ND is None else Closeness(item_ND, seen),
        )

    @property
    def _weighted_events(self) -> Histories:
        """The events of each context's window that have a weight, which are those that the buyer tower sees."""
        windows = self.contexts.histories
        return windows.where(self.event_weights[windows.event_types] > 0)

    @property
    def _stored_events(self) -> Histories:
        """What the online store would hold of each context's buyer: all purchases, and the last events."""
        histories, n_last = self.histories, self.contexts.ends - self.contexts.starts
        to_end = histories.offsets[1:][histories.owners] - np.arange(len(histories.products))
        # The context's window has as many known events as the stored sequence. The last so many of the full history are
        # the same ones.
        last = to_end <= n_last[histories.owners]
        return histories.where(last | (histories.event_types == PURCHASE))

    def _chosen(self, kind: str) -> Chosen | None:
        rows, targets = self.targets(kind)
        return Chosen(rows, targets) if len(rows) else None


# ---- reading ---------------------------------------------------------------------------------------------------------


def read_held_out(
    store: FeatureStore, config: Config, catalogue: Catalogue, split: str, contexts: Contexts | None = None
) -> HeldOut:
    """Reads the held-out data of the validation or the test days.

    Args:
        store: The feature store.
        config: The configuration.
        catalogue: The products.
        split: VALIDATION or TEST.
        contexts: The split's contexts, if the caller has read them already.

    Raises:
        FileNotFoundError: The features are missing; the message names the command that makes them.
        NoContextsError: No buyer of the split has a history and a product to predict.
    """
    paths = shop_paths(config)
    times = read_time_split(paths.context_report, "tawsiya train")
    start = times.validation_from if split == c.VALIDATION else times.test_from
    end = times.test_from if split == c.VALIDATION else times.data_end
    if contexts is None:
        contexts = split_contexts(store, config, catalogue, split)
    contexts = contexts.take(np.flatnonzero((contexts.ends > contexts.starts) & (contexts.targets.lengths > 0)))
    if len(contexts) == 0:
        raise NoContextsError(f"no {split} buyer has a history and a product to predict; check data.test_days")
    timelines, codes, buyers = _timelines(paths, catalogue, end)
    before = timelines.event_times < int(start.timestamp() * 1000)
    weights = np.asarray(weight_by_code(config.event_weights), dtype=np.float32)
    return HeldOut(
        contexts=contexts,
        histories=_full_histories(timelines, buyers.get_indexer(pd.Index(contexts.buyer_ids)), contexts.times_us),
        events=TrainingEvents(
            codes[before], timelines.products[before], timelines.event_times[before], len(buyers), len(catalogue)
        ),
        start=start,
        end=end,
        # Recommender scales the weights in the same way: the fitted repeat weight is for this scale.
        event_weights=weights / weights.max(),
    )


def as_targets(histories: Histories) -> Targets:
    """The products of histories as targets of the metrics; no history may be empty."""
    return Targets(histories.offsets, histories.products)


def _timelines(
    paths: ShopPaths, catalogue: Catalogue, end: dt.datetime
) -> tuple[Histories, Int32Array, "pd.Index[str]"]:
    """The events of known products up to `end`: as one history per buyer, the buyer code of each event, the buyers."""
    frame = pq.read_table(paths.events, columns=[c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TYPE, c.EVENT_TIME]).to_pandas()
    frame[c.EVENT_TYPE] = frame[c.EVENT_TYPE].map(EVENT_TYPE_CODES).astype(np.int32)
    # The order of sequences in the feature store (transforms/sequences.py), events of equal time included.
    frame = frame.sort_values([c.BUYER_ID, c.EVENT_TIME, c.PRODUCT_KEY, c.EVENT_TYPE])
    frame[c.PRODUCT_KEY] = catalogue.positions(frame[c.PRODUCT_KEY].to_numpy())
    frame = frame[(frame[c.PRODUCT_KEY] != UNKNOWN_PRODUCT) & (frame[c.EVENT_TIME] <= end)]
    buyers = pd.Index(frame[c.BUYER_ID].unique())
    codes = buyers.get_indexer(frame[c.BUYER_ID]).astype(np.int32)
    timelines = Histories(
        np.searchsorted(codes, np.arange(len(buyers) + 1)).astype(np.int64),
        frame[c.PRODUCT_KEY].to_numpy(dtype=np.int32),
        frame[c.EVENT_TYPE].to_numpy(dtype=np.int32),
        frame[c.EVENT_TIME].dt.tz_convert(None).to_numpy("datetime64[ms]").astype(np.int64),
    )
    return timelines, codes, buyers


def _full_histories(timelines: Histories, owners: Int64Array, times_us: Int64Array) -> Histories:
    """All events of each context's buyer before the context."""
    starts, stops = timelines.offsets[owners], timelines.offsets[owners + 1]
    ends = [
        # times_us lies a microsecond before the moment. Events have milliseconds, so those of the moment are left out.
        start + np.searchsorted(timelines.event_times[start:stop], time_us // 1000, side="right")
        for start, stop, time_us in zip(starts, stops, times_us, strict=True)
    ]
    return timelines.windows(starts, np.array(ends, dtype=np.int64))


def _among(targets: Histories, others: Histories, n_products: int) -> BoolArray:
    """(T,) whether each target's product is in the other history of the same context."""
    # One number for each pair of context and product, so that isin compares pairs.
    keys = targets.owners * n_products + targets.products
    return np.isin(keys, others.owners * n_products + others.products)
