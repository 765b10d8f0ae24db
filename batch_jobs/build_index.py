"""The index jobs: the vector index of the product embeddings, and the index of the text search."""

from typing import Any

from expectations.gate import require_passed
from expectations.records import FEATURE_STAGE
from feature_repo.common.arrays import Float32Array
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import shop_paths
from training.artifacts.embeddings import VECTORS, load_embeddings
from training.artifacts.lineage import record_source, require_source
from training.artifacts.model import WEIGHTS, load_model
from training.artifacts.search.index_recall import recall_against_exact
from training.artifacts.search.text_search import build_search_index
from training.artifacts.search.vector_index import FlatIndex, VectorIndex, build_index
from training.data.catalogue import read_catalogue, read_search_texts
from training.text.catalogue_text import model_text_vectors

# ADR 0003 measures recall at the same two numbers.
INDEX_RECALL_K = (10, 100)


def index_job(config: Config) -> dict[str, Any]:
    """Builds the vector index of the product embeddings.

    Raises:
        GateRefusedError: The index is approximate and its recall against an exact search is below `index.min_recall`.
    """
    paths = shop_paths(config)
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    vectors_ND = load_embeddings(paths.embeddings).vectors_ND
    index = build_index(vectors_ND, config.index.type)
    # A flat index is exact.
    recall = {} if isinstance(index, FlatIndex) else _checked_recall(index, vectors_ND, config.index.min_recall)
    # Saved only after the gate, so that a refused index leaves the previous one.
    index.save(paths.index)
    record_source(paths.index, paths.embeddings / VECTORS)
    return {"type": index.kind, "n_products": len(index), "dim": index.dim, **recall}


def search_index_job(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Builds the index of the text search.

    Raises:
        GateRefusedError: The features have not passed the data gate.
        ValueError: The model was trained on another text encoder's vectors.
    """
    paths = shop_paths(config)
    catalogue = read_catalogue(paths.product_features)
    require_passed(paths, FEATURE_STAGE)
    _, _, card = load_model(paths.model)
    text_NT = model_text_vectors(config, catalogue, card, show_progress=show_progress)
    search_texts = read_search_texts(paths.product_features)
    build_search_index(paths.search_index, search_texts, text_NT, config.index.type, show_progress=show_progress)
    # Publish refuses an index of other products or of another model's text vectors.
    record_source(paths.search_index, paths.product_features, paths.model / WEIGHTS)
    return {"n_products": len(catalogue)}


def _checked_recall(index: VectorIndex, vectors_ND: Float32Array, min_recall: float) -> dict[str, float]:
    """The recall against an exact search, by its key in the result of the job; raises if it is too low."""
    recall = {f"index_recall@{k}": recall_against_exact(index, vectors_ND, k) for k in INDEX_RECALL_K}
    for name, value in recall.items():
        if value < min_recall:
            raise GateRefusedError(
                f"{name} of the {index.kind} index is {value:.4f}, below index.min_recall={min_recall}; "
                "set index.type=flat for an exact index, or lower the limit"
            )
    return recall
