"""Offline evaluation: the model against simple baselines on the test days, ranking all products.

Legend: N products of the catalogue, D dimensions.
"""

import datetime as dt
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from feature_repo import columns as c
from feature_repo.common.arrays import Int32Array
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from feature_repo.time_split import read_time_split
from training.artifacts.embeddings import load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.model import CURVES, WEIGHTS, load_model
from training.artifacts.scoring.rescorer import Rescorer
from training.baselines.item_knn import ItemKNN
from training.baselines.personal_frequency import PersonalFrequency
from training.baselines.popularity import Popularity, RecentPopularity
from training.data.catalogue import Catalogue, read_catalogue, read_title_languages, require_same_products
from training.data.contexts import NoContextsError
from training.evaluation.bootstrap import LEVEL, RESAMPLES
from training.evaluation.held_out import ALL, COLD_ITEMS, NEW_ITEMS, HeldOut, as_targets, read_held_out
from training.evaluation.masked_ranker import MaskedRanker, SharedScores
from training.evaluation.metrics import CatalogueFacts
from training.evaluation.ranker import Ranker
from training.evaluation.ranking import RankerResult, measure, rank_each
from training.evaluation.rescored_ranker import RescoredRanker, RescorerData
from training.evaluation.slices import slice_targets
from training.model.encoding import TwoTowerRanker, encode_buyers

log = logging.getLogger(__name__)

TWO_TOWER, TOWERS_ALONE = "two_tower", "two_tower_alone"
KINDS = (ALL, NEW_ITEMS, COLD_ITEMS)
SAMPLE_SIZE = "sample"  # of the split: how many of the test contexts were measured
SAMPLED_CONTEXTS = 2_000  # ADR 0015 has their intervals


def evaluate(
    config: Config, store: FeatureStore, k_values: Sequence[int], *, show_progress: bool = True
) -> dict[str, Any]:
    """Compares the trained model, with and without its re-scorer, with the baselines, on all buyers of the test days.

    Returns:
        {"split", "n_products", "targets": {kind: {"n", "models", "ci", "slices"}}, "curves"}: metrics, confidence
        intervals and slices by model. A kind of target (see evaluation.held_out) without targets is omitted: all of
        them if no test buyer has a history and a product to predict.

    Raises:
        FileNotFoundError: Features, model or embeddings are missing; the message names the command that makes them.
        ValueError: The embeddings are of other products.
    """
    return _evaluated(config, store, k_values, _baselines, None, show_progress=show_progress)


def evaluate_model(
    config: Config, store: FeatureStore, k_values: Sequence[int], *, show_progress: bool = True
) -> dict[str, Any]:
    """As evaluate, without baselines and for at most SAMPLED_CONTEXTS contexts, the same ones if the data are."""
    return _evaluated(config, store, k_values, _no_baselines, SAMPLED_CONTEXTS, show_progress=show_progress)


def _evaluated(
    config: Config,
    store: FeatureStore,
    k_values: Sequence[int],
    baselines: Callable[[HeldOut], list[Ranker]],
    max_contexts: int | None,
    *,
    show_progress: bool,
) -> dict[str, Any]:
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    item_ND = _product_vectors(paths, catalogue)
    result: dict[str, Any] = {"n_products": len(catalogue), "targets": {}}
    result["curves"] = read_json(paths.model / CURVES, "tawsiya train")
    try:
        held_out = read_held_out(store, config, catalogue, c.TEST)
    except NoContextsError as error:
        log.warning("there are no metrics: %s", error)
        times = read_time_split(paths.context_report, "tawsiya train")
        return {"split": split_facts(times.test_from, times.data_end)} | result
    split, n_contexts = split_facts(held_out.start, held_out.end), len(held_out.contexts)
    if max_contexts is not None and n_contexts > max_contexts:
        held_out = held_out.sampled(max_contexts)
        split[SAMPLE_SIZE] = f"{max_contexts:,} of {n_contexts:,} test contexts, by a hash of the buyer"
    model, _, _ = load_model(paths.model)
    towers = TwoTowerRanker(encode_buyers(model, item_ND, held_out.contexts), item_ND, TOWERS_ALONE)
    served = _Served(towers, Rescorer.load(paths.model), held_out.rescorer_data(item_ND))
    ranked = _ranked(held_out, served, baselines(held_out), max(k_values), show_progress=show_progress)
    languages_N = read_title_languages(paths.product_features)
    result["targets"] = _measured(held_out, ranked, k_values, catalogue, item_ND, languages_N)
    return {"split": split} | result


# ---- lists -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _RankedLists:
    """The lists of every ranker.

    Attributes:
        rows: (R,) the contexts with a target, ascending.
        any_products: (R, K) lists of any products, by the name of the ranker.
        new_products: (R, K) lists without what the buyer has bought.
    """

    rows: Int32Array
    any_products: dict[str, Int32Array]
    new_products: dict[str, Int32Array]

    def of(self, kind: str, rows: Int32Array) -> dict[str, Int32Array]:
        """The lists of some of the contexts for a kind of target.

        Serving with new_only leaves out what the buyer has bought, and every ranker gets the same help.
        """
        places = np.searchsorted(self.rows, rows)
        lists = self.any_products if kind == ALL else self.new_products
        return {name: lists_RK[places] for name, lists_RK in lists.items()}


class _Served(NamedTuple):
    """The model as it is served.

    Attributes:
        towers: The inner product of the towers.
        rescorer: The weights of the terms.
        data: What the terms are computed from.
    """

    towers: Ranker
    rescorer: Rescorer
    data: RescorerData


def _ranked(
    held_out: HeldOut, served: _Served, baselines: list[Ranker], k: int, *, show_progress: bool
) -> _RankedLists:
    """Ranks all products for every context with a target, once for all kinds of targets and all cut-offs."""
    rows = np.unique(np.concatenate([held_out.targets(kind)[0] for kind in KINDS]))
    any_products: dict[str, Int32Array] = {}
    new_products: dict[str, Int32Array] = {}
    for base in (served.towers, *baselines):
        # One base at a time: its scores of a chunk stay in memory while all lists are made of them.
        scores = SharedScores(base)
        of_any: list[Ranker] = [scores]
        of_new: list[Ranker] = [scores]
        if base is served.towers:
            for new_only, rankers in ((False, of_any), (True, of_new)):
                rankers.insert(
                    0, RescoredRanker(scores, served.rescorer, served.data, new_only=new_only, name=TWO_TOWER)
                )
        masked = [MaskedRanker(ranker, held_out.purchases) for ranker in of_new]
        lists = rank_each([*of_any, *masked], rows, k, show_progress=show_progress)
        names = [ranker.name for ranker in of_any]
        any_products |= dict(zip(names, lists[: len(names)], strict=True))
        new_products |= dict(zip(names, lists[len(names) :], strict=True))
    return _RankedLists(rows, any_products, new_products)


# ---- figures ---------------------------------------------------------------------------------------------------------


def _measured(
    held_out: HeldOut,
    ranked: _RankedLists,
    k_values: Sequence[int],
    catalogue: Catalogue,
    item_ND: torch.Tensor,
    languages_N: npt.NDArray[np.str_],
) -> dict[str, Any]:
    """The figures of each kind of target that there is."""
    counts_N = np.bincount(held_out.events.products, minlength=len(catalogue))
    # factorize gives products without a category the code -1, which category_relevance leaves out.
    categories_N, _ = pd.factorize(pd.Series(catalogue.categories, dtype="object"))
    products = CatalogueFacts(counts_N, categories_N, item_ND.numpy())
    buyers_C = held_out.buyers
    figures: dict[str, Any] = {}
    for kind in KINDS:
        rows, chosen = held_out.targets(kind)
        if len(rows):
            targets = as_targets(chosen)
            slices = slice_targets(targets, held_out.histories.lengths[rows], counts_N, languages_N)
            lists = ranked.of(kind, rows)
            results = {
                name: measure(lists_BK, targets, k_values, products, slices, buyers_C[rows])
                for name, lists_BK in lists.items()
            }
            figures[kind] = _as_json(len(rows), results)
    return figures


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


def _no_baselines(_: HeldOut) -> list[Ranker]:
    return []
