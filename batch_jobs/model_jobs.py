"""The model jobs: train, embed, index and evaluate, each from files to files."""

import dataclasses
import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import read_json, write_json
from feature_repo.common.paths import shop_paths
from feature_repo.definitions import TRAINING_SERVICE
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import VECTORS, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.lineage import record_source, require_source
from training.artifacts.model import WEIGHTS, ModelCard, load_model
from training.artifacts.rescorer import Rescorer
from training.artifacts.search.index_recall import recall_against_exact
from training.artifacts.search.text_search import build_search_index
from training.artifacts.search.vector_index import FlatIndex, VectorIndex, build_index
from training.data.catalogue import Catalogue, item_features, read_catalogue, read_search_texts
from training.data.context_cache import cached_contexts
from training.data.contexts import read_time_split
from training.device import resolve_device
from training.evaluate import evaluate
from training.evaluation.fit_rescorer import fit_rescorer
from training.evaluation.held_out import read_held_out, split_contexts
from training.evaluation.report import write_report
from training.model.encoding import TwoTowerRanker, encode_buyers, encode_catalogue
from training.runs.distributed import first_process_first
from training.runs.tracking import PICTURE, RunTracker
from training.text.catalogue_text import text_vectors
from training.train import CHOSEN, SELECTION_METRIC, TrainingData, train
from training.tune import BEST, search

log = logging.getLogger(__name__)

INDEX_RECALL_K = (10, 100)


def train_job(config: Config, store: FeatureStore, *, show_progress: bool = True) -> dict[str, Any]:
    """Trains the towers on the features of the last build and fits the re-scorer; returns what the model reached."""
    data, encoder_id = training_data(config, store, show_progress=show_progress)
    return _train(config, store, data, _card(encoder_id, store), show_progress=show_progress)


def train_in_worker(config: Config, store: FeatureStore) -> None:
    """What a process beside the first one does of `train_job` (see training.runs.distributed)."""
    data, encoder_id = training_data(config, store, show_progress=False)
    train(config, data, _card(encoder_id, store), shop_paths(config).model, show_progress=False)


def search_job(
    config: Config,
    store: FeatureStore,
    *,
    n_trials: int,
    minutes: float | None = None,
    kept: Collection[str] = (),
    show_progress: bool = True,
) -> dict[str, Any]:
    """Searches for better settings (see training.tune), and trains with the best as `train_job` does.

    Returns:
        What train_job returns, and `search`: metric, value and settings of the best trial, all trials, and the file
        that holds the settings.
    """
    folder = shop_paths(config).search
    data, encoder_id = training_data(config, store, show_progress=show_progress)
    card = _card(encoder_id, store)
    found = search(
        config, data, card, folder, n_trials=n_trials, minutes=minutes, kept=kept, show_progress=show_progress
    )
    answer = _train(found.config, store, data, card, show_progress=show_progress)
    return answer | {
        "search": {
            "metric": SELECTION_METRIC,
            "value": found.value,
            "settings": found.settings,
            "trials": found.trials,
            "file": str(folder / BEST),
        }
    }


def _train(
    config: Config, store: FeatureStore, data: TrainingData, card: ModelCard, *, show_progress: bool
) -> dict[str, Any]:
    paths = shop_paths(config)
    with RunTracker(config, SELECTION_METRIC) as tracker:
        card = train(config, data, card, paths.model, tracker=tracker, show_progress=show_progress)
    shutil.copy(tracker.folder / PICTURE, paths.model)
    log.info("fitting the re-scorer")
    rescorer = fit_on_validation(config, store, data)
    rescorer.save(paths.model)
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


def _card(encoder_id: str, store: FeatureStore) -> ModelCard:
    return ModelCard(encoder_id, TRAINING_SERVICE, store.schema_hash, epoch=0)


@first_process_first()
def training_data(config: Config, store: FeatureStore, *, show_progress: bool) -> tuple[TrainingData, str]:
    """What training reads, and the id of the text encoder."""
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    text_NT, encoder_id = text_vectors(config, catalogue, show_progress=show_progress)
    log.info("joining the histories of the training contexts")
    report = read_json(paths.feature_report, "tawsiya build-features")
    version = " ".join([report["data_version"], store.schema_hash, *sorted(config.data.target_events)])
    contexts = cached_contexts(paths.training_set, version, lambda: split_contexts(store, config, catalogue, c.TRAIN))
    validation = split_contexts(store, config, catalogue, c.VALIDATION)
    start = read_time_split(paths.feature_report).validation_from
    return TrainingData(catalogue, text_NT, contexts, validation, int(start.timestamp() * 1e6), version), encoder_id


def fit_on_validation(config: Config, store: FeatureStore, data: TrainingData) -> Rescorer:
    """The re-scorer that suits the model which has not seen the validation days."""
    question = read_held_out(store, config, data.catalogue, c.VALIDATION, data.validation)
    chosen = shop_paths(config).model / CHOSEN
    model, vocabularies, _ = load_model(chosen)
    text_NT = data.text_NT
    if not config.training.freeze_text_encoder:
        text_NT, _ = text_vectors(config, data.catalogue, chosen, show_progress=False)
    item_ND = encode_catalogue(model, item_features(data.catalogue, text_NT, vocabularies))
    ranker = TwoTowerRanker(encode_buyers(model, item_ND, question.contexts), item_ND)
    return fit_rescorer(ranker, question.asked())


def embed_job(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Encodes all products with the trained item tower.

    Raises:
        ValueError: The model was trained on another text encoder's vectors.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    model, vocabularies, card = load_model(paths.model)
    text_NT = _model_text_vectors(config, catalogue, card, show_progress=show_progress)
    device = resolve_device(config.inference.device)
    items = item_features(catalogue, text_NT, vocabularies).to(device)
    vectors_ND = encode_catalogue(model.to(device), items, config.inference.batch_size, show_progress=show_progress)
    save_embeddings(paths.embeddings, ProductEmbeddings(vectors_ND.cpu().numpy(), np.array(catalogue.product_ids)))
    record_source(paths.embeddings, paths.model / WEIGHTS)
    return {"n_products": len(catalogue), "dim": vectors_ND.shape[1]}


def _model_text_vectors(
    config: Config, catalogue: Catalogue, card: ModelCard, *, show_progress: bool
) -> npt.NDArray[np.float32]:
    """Text vectors by the encoder of the trained model, (N, T); ValueError where it is not the one that is there."""
    text_NT, encoder_id = text_vectors(config, catalogue, shop_paths(config).model, show_progress=show_progress)
    if encoder_id != card.text_encoder:
        raise ValueError(
            f"the model was trained on text vectors of {card.text_encoder}, the configuration names {encoder_id}; "
            "run `tawsiya train` again, or name the model's encoder in model.item_tower.text_encoder"
        )
    return text_NT


def index_job(config: Config) -> dict[str, Any]:
    """Builds the vector index over the product embeddings.

    Raises:
        GateRefusedError: It is not exact, and finds less than `index.min_recall` of what an exact search finds.
    """
    paths = shop_paths(config)
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    vectors_ND = load_embeddings(paths.embeddings).vectors_ND
    index = build_index(vectors_ND, config.index.type)
    recall = {} if isinstance(index, FlatIndex) else _index_recall(index, vectors_ND, config.index.min_recall)
    index.save(paths.index)
    record_source(paths.index, paths.embeddings / VECTORS)
    return {"type": index.kind, "n_products": len(index), "dim": index.dim, **recall}


def search_index_job(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Builds the index that finds products by what a buyer types.

    Raises:
        ValueError: The model was trained on another text encoder's vectors.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    _, _, card = load_model(paths.model)
    text_NT = _model_text_vectors(config, catalogue, card, show_progress=show_progress)
    words_N = read_search_texts(paths.product_features)
    build_search_index(paths.search_index, words_N, text_NT, config.index.type, show_progress=show_progress)
    record_source(paths.search_index, paths.product_features, paths.model / WEIGHTS)
    return {"n_products": len(catalogue)}


def _index_recall(index: VectorIndex, vectors_ND: npt.NDArray[np.float32], min_recall: float) -> dict[str, float]:
    """Measured recall against an exact search, by the name under which the job answers it."""
    recall = {f"index_recall@{k}": recall_against_exact(index, vectors_ND, k) for k in INDEX_RECALL_K}
    for name, value in recall.items():
        if value < min_recall:
            raise GateRefusedError(
                f"{name} of the {index.kind} index is {value:.4f}, below index.min_recall={min_recall}; "
                "set index.type=flat for an exact index, or lower the limit"
            )
    return recall


def evaluate_job(
    config: Config,
    store: FeatureStore,
    k_values: Sequence[int],
    *,
    others: Mapping[str, Mapping[str, Any]] | None = None,
    show_progress: bool = True,
) -> dict[str, Any]:
    """Compares the model with the baselines; keeps the result for the release, and as a page.

    Args:
        config: The configuration.
        store: The feature store.
        k_values: Cut-offs.
        others: Evaluations to show beside this one on the page, by name.
        show_progress: Progress bars on stderr.
    """
    paths = shop_paths(config)
    result = evaluate(config, store, k_values, show_progress=show_progress)
    write_json(paths.evaluation, result)
    write_report(paths.evaluation_report, {paths.root.name: result, **(others or {})})
    return result
