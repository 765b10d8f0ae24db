"""The embedding job: every product becomes a vector."""

from typing import Any

import numpy as np

from batch_jobs.encode_texts import encode_texts
from expectations.gate import require_passed
from expectations.records import FEATURE_STAGE
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from training.artifacts.embeddings import ProductEmbeddings, save_embeddings
from training.artifacts.lineage import record_source
from training.artifacts.model import WEIGHTS, load_model
from training.data.catalogue import read_catalogue
from training.device import resolve_device
from training.model.encoding import encode_catalogue
from training.model.item_features import item_features
from training.text.catalogue_text import model_text_vectors


def embed_job(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Encodes all products with the trained item tower.

    Raises:
        GateRefusedError: The features have not passed the data gate.
        ValueError: The model was trained on another text encoder's vectors.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    require_passed(paths, FEATURE_STAGE)
    model, vocabularies, card = load_model(paths.model)
    encode_texts(config, paths.model)
    text_NT = model_text_vectors(config, catalogue, card, show_progress=show_progress)
    device = resolve_device(config.inference.device)
    items = item_features(catalogue, text_NT, vocabularies).to(device)
    vectors_ND = encode_catalogue(model.to(device), items, config.inference.batch_size, show_progress=show_progress)
    save_embeddings(paths.embeddings, ProductEmbeddings(vectors_ND.cpu().numpy(), np.array(catalogue.product_ids)))
    # Last: a crash before it leaves vectors that later jobs refuse instead of vectors of the wrong model.
    record_source(paths.embeddings, paths.model / WEIGHTS)
    return {"n_products": len(catalogue), "dim": vectors_ND.shape[1]}
