"""Offline evaluation: the model against simple baselines on the test days, ranking all products.

Legend: N products of the catalogue, D dimensions.
"""

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from feature_repo.time_split import read_time_split
from training.artifacts.embeddings import load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.model import CURVES, WEIGHTS, load_model
from training.artifacts.rescorer import Rescorer
from training.baselines.item_knn import ItemKNN
from training.baselines.personal_frequency import PersonalFrequency
from training.baselines.popularity import Popularity, RecentPopularity
from training.data.catalogue import Catalogue, read_catalogue, read_title_languages, require_same_products
from training.data.contexts import NoContextsError
from training.evaluation.bootstrap import LEVEL, RESAMPLES
from training.evaluation.fit_rescorer import RescoredRanker
from training.evaluation.held_out import ALL, COLD_ITEMS, NEW_ITEMS, HeldOut, as_targets, read_held_out
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.metrics import CatalogueFacts
from training.evaluation.ranker import Ranker
from training.evaluation.ranking import RankerResult, measure, rank_all
from training.evaluation.slices import slice_targets
from training.model.encoding import TwoTowerRanker, encode_buyers

log = logging.getLogger(__name__)

TWO_TOWER, TOWERS_ALONE = "two_tower", "two_tower_alone"


def evaluate(
    config: Config, store: FeatureStore, k_values: Sequence[int], *, show_progress: bool = True
) -> dict[str, Any]:
    """Compares the trained model, with and without its re-scorer, with the baselines.

    Returns:
        {"split", "n_products", "targets": {kind: {"n", "models", "ci", "slices"}}, "curves"}: metrics, confidence
        intervals and slices by model. A kind of target (see evaluation.held_out) without targets is omitted: all of
        them if no test buyer has a history and a product to predict.

    Raises:
        FileNotFoundError: Features, model or embeddings are missing; the message names the command that makes them.
        ValueError: The embeddings are of other products.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    item_ND = _product_vectors(paths, catalogue)
    curves = read_json(paths.model / CURVES, "tawsiya train")
    try:
        held_out = read_held_out(store, config, catalogue, c.TEST)
    except NoContextsError as error:
        log.warning("there are no metrics: %s", error)
        times = read_time_split(paths.context_report, "tawsiya train")
        split = split_facts(times.test_from, times.data_end)
        return {"split": split, "n_products": len(catalogue), "targets": {}, "curves": curves}
    model, _, _ = load_model(paths.model)
    towers = TwoTowerRanker(encode_buyers(model, item_ND, held_out.contexts), item_ND, TOWERS_ALONE)
    rescorer, data = Rescorer.load(paths.model), held_out.rescorer_data()
    baselines = _baselines(held_out)
    counts_N = np.bincount(held_out.events.products, minlength=len(catalogue))
    # factorize gives products without a category the code -1, which category_relevance leaves out.
    categories_N, _ = pd.factorize(pd.Series(catalogue.categories, dtype="object"))
    products = CatalogueFacts(counts_N, categories_N, item_ND.numpy())
    languages_N = read_title_languages(paths.product_features)
    targets: dict[str, Any] = {}
    for kind in (ALL, NEW_ITEMS, COLD_ITEMS):
        rows, chosen = held_out.targets(kind)
        if len(rows) == 0:
            continue
        served = RescoredRanker(towers, rescorer, data, new_only=kind != ALL, name=TWO_TOWER)
        rankers: list[Ranker] = [served, towers, *baselines]
        if kind != ALL:
            # Serving with new_only leaves out what the buyer has bought, and every ranker gets the same help.
            rankers = [MaskedRanker(ranker, held_out.purchases) for ranker in rankers]
        kind_targets = as_targets(chosen)
        slices = slice_targets(kind_targets, held_out.histories.lengths[rows], counts_N, languages_N)
        results = {
            ranker.name: measure(
                rank_all(ranker, rows, max(k_values), show_progress=show_progress),
                kind_targets,
                k_values,
                products,
                slices,
            )
            for ranker in rankers
        }
        targets[kind] = _as_json(len(rows), results)
    return {
        "split": split_facts(held_out.start, held_out.end),
        "n_products": len(catalogue),
        "targets": targets,
        "curves": curves,
    }


def _as_json(n_buyers: int, results: Mapping[str, RankerResult]) -> dict[str, Any]:
    return {
        "n": n_buyers,
        "models": {name: result.metrics for name, result in results.items()},
        "ci": {name: result.intervals for name, result in results.items()},
        "slices": {name: result.slices for name, result in results.items()},
    }


def split_facts(start: dt.datetime, end: dt.datetime) -> dict[str, str]:
    """How the data were split and the intervals computed, for readers of the metrics; `start`, `end`: the test days."""
    return {
        "method": "global, by time; all products ranked",
        "test_from": start.isoformat(),
        "test_to": end.isoformat(),
        "intervals": f"{LEVEL:.0%}, percentile bootstrap over buyers, {RESAMPLES} resamples",
    }


def _product_vectors(paths: ShopPaths, catalogue: Catalogue) -> torch.Tensor:
    """(N, D) product vectors of the model; raises ValueError if they are of another model or of other products."""
    embeddings = load_embeddings(paths.embeddings)
    require_same_products(embeddings.product_ids, catalogue.product_ids)
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    # A copy: torch warns about a read-only memory map.
    return torch.from_numpy(np.array(embeddings.vectors_ND))


def _baselines(held_out: HeldOut) -> list[Ranker]:
    """The baselines that fit in seconds; `python -m benchmarks.quality` tunes these and the slower ones."""
    data = (held_out.events, held_out.histories, held_out.start_ms)
    return [Popularity(*data), RecentPopularity(*data), PersonalFrequency(*data), ItemKNN(*data)]
