"""Training jobs: train the model and fit its re-scorer, optionally after tuning."""

import dataclasses
import logging
import shutil
from collections.abc import Collection
from typing import Any

from batch_jobs.encode_texts import encode_texts
from batch_jobs.feature_build.build_contexts import ensure_contexts
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.definitions import TRAINING_SERVICE
from feature_repo.store import FeatureStore
from feature_repo.time_split import read_time_split
from training.artifacts.model import CHOSEN, ModelCard, load_model
from training.artifacts.scoring.rescorer import Rescorer
from training.data.contexts import NoContextsError
from training.data.dataset import TrainingData, read_training_data
from training.evaluation.fit_rescorer import fit_rescorer
from training.evaluation.held_out import read_held_out
from training.evaluation.validation import SELECTION_METRIC
from training.model.encoding import TwoTowerRanker, encode_buyers, encode_catalogue
from training.model.item_features import item_features
from training.runs.tracking import PICTURE, RunTracker
from training.text.catalogue_text import text_vectors
from training.train import train
from training.tune import BEST, TrialBudget, tune

log = logging.getLogger(__name__)


def train_job(
    config: Config, store: FeatureStore, *, show_progress: bool = True, keep_selection: bool = False
) -> dict[str, Any]:
    """Trains the towers on the features of the last build and fits the re-scorer; returns metrics and counts.

    With `keep_selection`, the model of the selection fit stays in the folder CHOSEN of the model's.
    """
    ensure_contexts(config)
    encode_texts(config)
    data, encoder_id = read_training_data(config, store, show_progress=show_progress)
    card = _card(config, encoder_id, store)
    return _train(config, store, data, card, show_progress=show_progress, keep_selection=keep_selection)


def train_in_worker(config: Config, store: FeatureStore) -> None:
    """The part of `train_job` that every process but the first one runs (see training.runs.distributed)."""
    data, encoder_id = read_training_data(config, store, show_progress=False)
    train(config, data, _card(config, encoder_id, store), shop_paths(config).model, show_progress=False)


def tune_job(
    config: Config,
    store: FeatureStore,
    budget: TrialBudget,
    *,
    fixed: Collection[str] = (),
    show_progress: bool = True,
) -> dict[str, Any]:
    """Tunes the hyper-parameters (see training.tune), then trains with the best ones as `train_job` does.

    Returns:
        The result of train_job, and under "search": metric, value and settings of the best trial, all trials, and the
        file that holds the settings.
    """
    folder = shop_paths(config).tuning
    ensure_contexts(config)
    encode_texts(config)
    data, encoder_id = read_training_data(config, store, show_progress=show_progress)
    card = _card(config, encoder_id, store)
    tuned = tune(config, data, card, folder, budget, fixed=fixed, show_progress=show_progress)
    result = _train(tuned.config, store, data, card, show_progress=show_progress)
    return result | {
        "search": {
            "metric": SELECTION_METRIC,
            "value": tuned.value,
            "settings": tuned.settings,
            "trials": tuned.trials,
            "file": str(folder / BEST),
        }
    }


def _train(
    config: Config,
    store: FeatureStore,
    data: TrainingData,
    card: ModelCard,
    *,
    show_progress: bool,
    keep_selection: bool = False,
) -> dict[str, Any]:
    paths = shop_paths(config)
    with RunTracker(config, SELECTION_METRIC) as tracker:
        card = train(config, data, card, paths.model, tracker=tracker, show_progress=show_progress)
    shutil.copy(tracker.folder / PICTURE, paths.model)
    log.info("fitting the re-scorer")
    rescorer = _fit_on_validation(config, store, data)
    rescorer.save(paths.model)
    # Only the fit of the re-scorer needed the model of the selection fit.
    if not keep_selection:
        shutil.rmtree(paths.model / CHOSEN)
    return {
        "epoch": card.epoch,
        "metrics": card.metrics,
        "rescorer": dataclasses.asdict(rescorer),
        "n_contexts": len(data.contexts),
        "n_products": len(data.catalogue),
        "pairs_per_s": tracker.pairs_per_s,
        "run": str(tracker.folder),
    }


def _card(config: Config, encoder_id: str, store: FeatureStore) -> ModelCard:
    split = read_time_split(shop_paths(config).context_report, "tawsiya train")
    # Training fills in epoch and metrics.
    return ModelCard(
        encoder_id, TRAINING_SERVICE, store.schema_hash, epoch=0, trained_until=split.test_from.isoformat()
    )


def _fit_on_validation(config: Config, store: FeatureStore, data: TrainingData) -> Rescorer:
    """Fits the re-scorer on the validation days, with the model that has not seen them."""
    try:
        held_out = read_held_out(store, config, data.catalogue, c.VALIDATION, data.validation)
    except NoContextsError as error:
        log.warning("the re-scorer is off: %s", error)
        return Rescorer()
    chosen = shop_paths(config).model / CHOSEN
    model, vocabularies, _ = load_model(chosen)
    text_NT = data.text_NT
    # A trained text encoder differs between the two fits; this one belongs to the model above.
    if not config.training.freeze_text_encoder:
        text_NT, _ = text_vectors(config, data.catalogue, chosen, show_progress=False)
    item_ND = encode_catalogue(model, item_features(data.catalogue, text_NT, vocabularies))
    ranker = TwoTowerRanker(encode_buyers(model, item_ND, held_out.contexts), item_ND)
    return fit_rescorer(ranker, held_out.rescorer_data(item_ND), config.training.rescorer_terms)
