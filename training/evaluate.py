"""Offline evaluation: the released model beside simple baselines, on one global split in time, ranking all products."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import load_embeddings
from training.artifacts.lineage import require_source
from training.artifacts.model import CURVES, WEIGHTS, load_model
from training.artifacts.rescorer import Rescorer
from training.baselines.item_knn import ItemKNN
from training.baselines.personal_frequency import PersonalFrequency
from training.baselines.popularity import Popularity, RecentPopularity
from training.data.catalogue import Catalogue, read_catalogue, read_title_languages, require_same_products
from training.evaluation.bootstrap import LEVEL, RESAMPLES
from training.evaluation.fit_rescorer import RescoredRanker
from training.evaluation.held_out import ALL, COLD_ITEMS, NEW_ITEMS, Question, as_targets, read_held_out
from training.evaluation.judge import judge, rank_all
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.metrics import CatalogueFacts
from training.evaluation.ranker import Ranker
from training.evaluation.slices import slice_targets
from training.model.encoding import TwoTowerRanker, encode_buyers

TWO_TOWER, TOWERS_ALONE = "two_tower", "two_tower_alone"


def evaluate(
    config: Config, store: FeatureStore, k_values: Sequence[int], *, show_progress: bool = True
) -> dict[str, Any]:
    """Compares the trained model, as it is served and without its re-scorer, with the baselines.

    Returns:
        {"split", "n_products", "targets": {kind: {"n", "models", "ci", "slices"}}, "curves"}: metrics, confidence
        intervals and slices by model; a kind of target (see questions) that nobody chose is left out.

    Raises:
        FileNotFoundError: Features, model or embeddings are missing; the message names the command that makes them.
        ValueError: No test buyer has a history and a product to predict; or the embeddings are those of other products.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    item_ND = _released_vectors(paths, catalogue)
    question = read_held_out(store, config, catalogue, c.TEST)
    model, _, _ = load_model(paths.model)
    towers = TwoTowerRanker(encode_buyers(model, item_ND, question.contexts), item_ND, TOWERS_ALONE)
    rescorer = Rescorer.load(paths.model)
    asked = question.rescorer_data()
    baselines = _baselines(question)
    rankers: dict[str, list[Ranker]] = {}
    for kind in (ALL, NEW_ITEMS, COLD_ITEMS):
        served = RescoredRanker(towers, rescorer, asked, new_only=kind != ALL, name=TWO_TOWER)
        rankers[kind] = [served, towers, *baselines]
    return {
        "split": split_facts(question),
        "n_products": len(catalogue),
        "targets": judged(
            question,
            rankers,
            catalogue,
            k_values,
            item_ND,
            read_title_languages(paths.product_features),
            show_progress=show_progress,
        ),
        "curves": read_json(paths.model / CURVES, "tawsiya train"),
    }


def judged(
    question: Question,
    rankers: dict[str, list[Ranker]],
    catalogue: Catalogue,
    k_values: Sequence[int],
    item_ND: torch.Tensor | None,
    languages_N: npt.NDArray[np.str_],
    *,
    show_progress: bool,
) -> dict[str, Any]:
    """The `targets` of an evaluation: what each kind's rankers reach.

    Args:
        question: Of the test.
        rankers: By kind of target; in lists of new or cold products nothing is ranked that the buyer bought before.
        catalogue: The products.
        k_values: Cut-offs.
        item_ND: Product vectors, for diversity; None leaves it out.
        languages_N: The language of each product's title.
        show_progress: Progress bars on stderr.
    """
    counts_N = np.bincount(question.events.products, minlength=len(catalogue))
    facts = CatalogueFacts(
        popularity=counts_N,
        categories=pd.factorize(pd.Series(catalogue.categories, dtype="object"))[0],
        vectors=None if item_ND is None else item_ND.numpy(),
    )
    answers = {}
    for kind, models in rankers.items():
        rows, chosen = question.targets(kind)
        if len(rows) == 0:
            continue
        targets = as_targets(chosen)
        slices = slice_targets(targets, question.histories.lengths[rows], counts_N, languages_N)
        answer: dict[str, Any] = {"n": len(rows), "models": {}, "ci": {}, "slices": {}}
        for ranker in models:
            asked = ranker if kind == ALL else MaskedRanker(ranker, question.bought)
            ranked_BK = rank_all(asked, rows, max(k_values), show_progress=show_progress)
            judgement = judge(ranked_BK, targets, k_values, facts, slices)
            answer["models"][ranker.name] = judgement.metrics
            answer["ci"][ranker.name] = judgement.intervals
            answer["slices"][ranker.name] = judgement.slices
        answers[kind] = answer
    return answers


def split_facts(question: Question) -> dict[str, str]:
    """What a reader of the figures must know."""
    return {
        "method": "global, by time; all products ranked",
        "test_from": question.start.isoformat(),
        "test_to": question.end.isoformat(),
        "intervals": f"{LEVEL:.0%}, percentile bootstrap over buyers, {RESAMPLES} resamples",
    }


def _released_vectors(paths: ShopPaths, catalogue: Catalogue) -> torch.Tensor:
    embeddings = load_embeddings(paths.embeddings)
    require_same_products(embeddings.product_ids, catalogue.product_ids)
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    return torch.from_numpy(np.array(embeddings.vectors_ND))


def _baselines(question: Question) -> list[Ranker]:
    """Those that take seconds; `python -m benchmarks.quality` tunes these and the others."""
    parts = (question.events, question.histories, question.start_ms)
    return [Popularity(*parts), RecentPopularity(*parts), PersonalFrequency(*parts), ItemKNN(*parts)]
