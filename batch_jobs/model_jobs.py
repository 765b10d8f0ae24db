"""The model jobs: train, embed, index and evaluate, each from files to files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo import columns as c
from feature_repo.config import Config
from feature_repo.definitions import TRAINING_SERVICE
from feature_repo.errors import GateRefusedError
from feature_repo.files import read_json, write_json
from feature_repo.paths import shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import VECTORS, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.index import FlatIndex, VectorIndex, build_index
from training.artifacts.index_recall import recall_against_exact
from training.artifacts.lineage import record_source, require_source
from training.artifacts.model import WEIGHTS, ModelCard, load_model
from training.catalogue import item_features, read_catalogue
from training.dataset import read_contexts
from training.encoding import encode_catalogue, resolve_device
from training.evaluate import evaluate
from training.text_features import text_vectors
from training.train import train

INDEX_RECALL_K = (10, 100)


def train_job(config: Config, store: FeatureStore, *, show_progress: bool = True) -> dict[str, Any]:
    """Trains the towers on the features of the last build; returns the model card."""
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    text_NT, encoder_id = text_vectors(config, catalogue, show_progress=show_progress)
    contexts = read_contexts(store, paths.contexts, catalogue, c.TRAIN)
    card = train(
        config,
        catalogue,
        text_NT,
        contexts,
        ModelCard(encoder_id, TRAINING_SERVICE, store.schema_hash, epoch=0),
        paths.model,
        data_version=read_json(paths.feature_report, "tawsiya build-features")["data_version"],
        show_progress=show_progress,
    )
    return {"epoch": card.epoch, "metrics": card.metrics, "n_contexts": len(contexts), "n_products": len(catalogue)}


def embed_job(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Encodes all products with the trained item tower.

    Raises:
        ValueError: The model was trained on another text encoder's vectors.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    model, vocabularies, card = load_model(paths.model)
    text_NT, encoder_id = text_vectors(config, catalogue, show_progress=show_progress)
    if encoder_id != card.text_encoder:
        raise ValueError(
            f"the model was trained on text vectors of {card.text_encoder}, the configuration names {encoder_id}; "
            "run `tawsiya train` again, or name the model's encoder in model.item_tower.text_encoder"
        )
    device = resolve_device(config.inference.device)
    items = item_features(catalogue, text_NT, vocabularies).to(device)
    vectors_ND = encode_catalogue(model.to(device), items, config.inference.batch_size, show_progress=show_progress)
    save_embeddings(paths.embeddings, ProductEmbeddings(vectors_ND.cpu().numpy(), np.array(catalogue.product_ids)))
    record_source(paths.embeddings, paths.model / WEIGHTS)
    return {"n_products": len(catalogue), "dim": vectors_ND.shape[1]}


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
    config: Config, store: FeatureStore, k_values: Sequence[int], *, show_progress: bool = True
) -> dict[str, Any]:
    """Compares the model with the baselines, and keeps the result for the release."""
    paths = shop_paths(config)
    result = evaluate(store, paths, k_values, show_progress=show_progress)
    write_json(paths.evaluation, result)
    return result
