"""The index jobs: the vector index of the product embeddings, and the index of the text search."""

from typing import Any

from expectations.gate import require_passed
from expectations.records import FEATURE_STAGE
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import read_json, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore
from training.artifacts.embeddings import VECTORS, load_embeddings
from training.artifacts.lineage import record_source, require_source
from training.artifacts.model import WEIGHTS, load_model
from training.artifacts.queries.catalogue_suggestions import write_suggestions
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_files import INDEX_CURVE
from training.artifacts.search.index_recall import ChosenIndex, choose_value
from training.artifacts.search.milvus_collection import Engine, drop_unused
from training.artifacts.search.milvus_index import MilvusIndex
from training.artifacts.search.text_search import index_spelling, index_text_vectors, save_text_vectors
from training.artifacts.search.vector_index import build_index
from training.data.catalogue import CatalogueTexts, count_products, read_search_texts
from training.evaluation.index_queries import index_queries
from training.text.catalogue_text import model_text_cache

TIMES = "index_times.json"
VECTORS_READ_AT_ONCE = 65_536  # 100 MB


def index_job(config: Config, store: FeatureStore) -> dict[str, Any]:
    """Builds the vector index of the product embeddings; the parameter of an approximate one is chosen by recall.

    Raises:
        GateRefusedError: The index is approximate and its recall against an exact search is below `index.min_recall`.
        EngineError: `index.type` is `milvus`, and the engine is away or refuses.
    """
    paths = shop_paths(config)
    require_source(paths.embeddings, paths.model / WEIGHTS, "tawsiya embed")
    vectors_ND = load_embeddings(paths.embeddings).vectors_ND
    index = build_index(vectors_ND, config.index.type, _engine(config))
    facts = {"type": index.kind, "n_products": len(index), "dim": index.dim}
    # Saved only after the gate, so that a refused index leaves the previous one.
    if isinstance(index, FlatIndex):
        index.save(paths.index)
    else:
        queries_QD, source = index_queries(config, store, vectors_ND)
        chosen = choose_value(index, vectors_ND, queries_QD, config.index.min_recall, source)
        _require_recall(chosen, config.index.min_recall)
        chosen.save(paths.index)
        # Not in the release: with times in it, no two releases of the same data would be equal.
        write_json(paths.index / TIMES, {"ms_per_query": chosen.ms_per_query})
        facts |= {index.parameter: chosen.index.value, "queries": source}
        facts |= {f"index_{name}": value for name, value in chosen.judged.items()}
    if isinstance(index, MilvusIndex):
        drop_unused(_engine(config), _used_collections(paths))
    record_source(paths.index, paths.embeddings / VECTORS)
    return facts


def _engine(config: Config) -> Engine:
    return Engine(config.index.address, shop_paths(config).root.name)


def _used_collections(paths: ShopPaths) -> set[str]:
    """The collections of all releases and of what the next one will be made from."""
    folders = [paths.index, paths.search_index, *paths.releases.glob("*"), *paths.releases.glob("*/*")]
    curves = [read_json(path, "tawsiya index") for folder in folders if (path := folder / INDEX_CURVE).is_file()]
    return {curve["collection"] for curve in curves if "collection" in curve}


def _require_recall(chosen: ChosenIndex, min_recall: float) -> None:
    if not chosen.reaches(min_recall):
        index = chosen.index
        figures = " and ".join(f"{name} {value:.4f}" for name, value in chosen.judged.items())
        raise GateRefusedError(
            f"the {index.kind} index has {figures} with {index.parameter}={index.value}, below "
            f"index.min_recall={min_recall}; set index.type=flat for an exact index, or lower the limit"
        )


def search_index_job(config: Config, *, show_progress: bool = True) -> dict[str, Any]:
    """Builds the index of the text search.

    Raises:
        GateRefusedError: The features have not passed the data gate.
        ValueError: The model was trained on another text encoder's vectors.
        EngineError: As of index_job.
    """
    paths = shop_paths(config)
    n_products = count_products(paths.product_features)
    require_passed(paths, FEATURE_STAGE)
    model, _, card = load_model(paths.model)
    texts = CatalogueTexts(paths.product_features)
    cache = model_text_cache(config, texts, card, show_progress=show_progress)
    blocks = (cache.read(block) for block in texts.blocks(VECTORS_READ_AT_ONCE))
    save_text_vectors(paths.search_index, (n_products, model.spec.text_dim), blocks)
    index_text_vectors(paths.search_index, config.index.type, _engine(config))
    index_spelling(paths.search_index, read_search_texts(paths.product_features), show_progress=show_progress)
    write_suggestions(paths.search_index, paths.product_features)
    # Publish refuses an index of other products or of another model's text vectors.
    record_source(paths.search_index, paths.product_features, paths.model / WEIGHTS)
    return {"n_products": n_products}
