"""The model jobs: train, embed, index and evaluate, each from files to files."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from feature_repo import columns as c
from feature_repo.config import Config
from feature_repo.definitions import TRAINING_SERVICE
from feature_repo.files import read_json, write_json
from feature_repo.paths import shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import VECTORS, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.index import FlatIndex
from training.artifacts.lineage import record_source, require_source
from training.artifacts.model import WEIGHTS, ModelCard, load_model
from training.catalogue import item_features, read_catalogue
from training.dataset import read_contexts
from training.encoding import encode_catalogue, resolve_device
from training.evaluate import evaluate
from training.text_features import text_vectors
from training.train import train


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
    """Builds the vector index over the product embeddings."""
    paths = shop_paths(config)
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    embeddings = load_embeddings(paths.embeddings)
    index = FlatIndex.build(np.asarray(embeddings.vectors_ND))
    index.save(paths.index)
    record_source(paths.index, paths.embeddings / VECTORS)
    return {"type": config.index.type, "n_products": len(index), "dim": index.dim}


def evaluate_job(
    config: Config, store: FeatureStore, k_values: Sequence[int], *, show_progress: bool = True
) -> dict[str, Any]:
    """Compares the model with the baselines, and keeps the result for the release."""
    paths = shop_paths(config)
    result = evaluate(store, paths, k_values, show_progress=show_progress)
    write_json(paths.evaluation, result)
    return result
