"""Offline evaluation: the model beside simple baselines, on one global split in time, ranking all products.

The test asks once per buyer, at the start of the test days, for everything that the buyer chooses from then on. Buyers
and products that were not seen before that moment are left out: no model here could know the buyers, and new products
are a question of their own.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import torch

from feature_repo import columns as c
from feature_repo.paths import ShopPaths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.model import WEIGHTS, load_model
from training.baselines import ItemKNN, PersonalFrequency, Popularity, Ranker, RecentPopularity, TrainingEvents
from training.catalogue import Catalogue, read_catalogue, require_same_products
from training.dataset import Contexts, read_contexts, read_time_split
from training.encoding import TwoTowerRanker, encode_buyers
from training.histories import Histories
from training.metrics import CatalogueFacts, Targets
from training.ranking import compare


@dataclass(frozen=True)
class TestSet:
    """What every ranker is asked.

    Attributes:
        contexts: One per test buyer; buyer code b is context b.
        targets: What these buyers chose, each product once.
        events: All events before the test, buyer codes of test buyers first.
        test_from: Start of the test days.
        test_to: End of the data (see batch_jobs.build_features).
    """

    contexts: Contexts
    targets: Targets
    events: TrainingEvents
    test_from: dt.datetime
    test_to: dt.datetime


def evaluate(
    store: FeatureStore, paths: ShopPaths, k_values: Sequence[int], *, show_progress: bool = True
) -> dict[str, Any]:
    """Compares the trained model with the baselines.

    Returns:
        {"split", "n_buyers", "n_products", "models": {name: {"recall@20": ..., ...}}}.

    Raises:
        FileNotFoundError: Features, model or embeddings are missing; the message names the command that makes them.
        ValueError: No test buyer has a history and a known product to predict; or the embeddings are those of other
            products.
    """
    catalogue = read_catalogue(paths.product_features)
    embeddings = load_embeddings(paths.embeddings)
    require_same_products(embeddings.product_ids, catalogue.product_ids)
    test = read_test_set(store, paths, catalogue)
    model, _, _ = load_model(paths.model)
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    item_ND = torch.from_numpy(np.array(embeddings.vectors_ND))
    buyer_BD = encode_buyers(model, item_ND, test.contexts.histories)
    cutoff_ms = int(test.test_from.timestamp() * 1000)
    rankers: list[Ranker] = [
        TwoTowerRanker(buyer_BD, item_ND),
        Popularity(test.events),
        RecentPopularity(test.events, cutoff_ms),
        PersonalFrequency(test.events, cutoff_ms),
        ItemKNN(test.events),
    ]
    facts = CatalogueFacts(
        popularity=test.events.popularity().astype(np.int64),
        categories=pd.factorize(pd.Series(catalogue.categories, dtype="object"))[0],
        vectors=item_ND.numpy(),
    )
    buyers = np.arange(len(test.contexts), dtype=np.int32)
    return {
        "split": {
            "method": "global, by time",
            "test_from": test.test_from.isoformat(),
            "test_to": test.test_to.isoformat(),
            "targets": "all products chosen in the test days, repeats included, of buyers and products seen before",
        },
        "n_buyers": len(buyers),
        "n_products": len(catalogue),
        "models": compare(rankers, buyers, test.targets, list(k_values), facts, show_progress=show_progress),
    }


def read_test_set(store: FeatureStore, paths: ShopPaths, catalogue: Catalogue) -> TestSet:
    """Reads the test contexts, through Feast, and the events before them."""
    test_from, test_to = read_time_split(paths.feature_report)
    contexts = read_contexts(store, paths.contexts, catalogue, c.TEST)
    frame = pq.read_table(paths.events, columns=[c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TIME]).to_pandas()
    before = frame[frame[c.EVENT_TIME] < test_from]
    seen = np.isin(catalogue.product_keys, before[c.PRODUCT_KEY].unique())
    targets = _distinct(contexts.targets, seen)
    rows = np.flatnonzero((np.diff(contexts.histories.offsets) > 0) & (np.diff(targets.offsets) > 0))
    if len(rows) == 0:
        raise ValueError(
            "no test buyer has a history and a product seen before; check data.test_days against the events"
        )
    contexts, targets = contexts.take(rows), targets.take(rows)
    others = pd.Index(before[c.BUYER_ID].unique()).difference(pd.Index(contexts.buyer_ids), sort=True)
    buyers = pd.Index(contexts.buyer_ids).append(others)
    events = TrainingEvents(
        buyers=buyers.get_indexer(before[c.BUYER_ID]).astype(np.int32),
        products=catalogue.positions(before[c.PRODUCT_KEY].to_numpy()),
        event_times=before[c.EVENT_TIME].dt.tz_convert(None).to_numpy("datetime64[ms]").astype(np.int64),
        n_buyers=len(buyers),
        n_products=len(catalogue),
    )
    return TestSet(contexts, Targets(targets.offsets, targets.products), events, test_from, test_to)


def _distinct(targets: Histories, seen_N: npt.NDArray[np.bool_]) -> Histories:
    """Each target once per context, those of `seen_N` only."""
    owners = np.repeat(np.arange(len(targets)), np.diff(targets.offsets))
    pairs = np.unique(np.stack([owners, targets.products], axis=1)[seen_N[targets.products]], axis=0)
    offsets = np.searchsorted(pairs[:, 0], np.arange(len(targets) + 1)).astype(np.int64)
    zeros = np.zeros(len(pairs))
    return Histories(offsets, pairs[:, 1].astype(np.int32), zeros.astype(np.int32), zeros.astype(np.int64))
