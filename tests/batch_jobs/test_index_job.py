"""The index job: which index it builds, what it measures, and what it refuses."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_jobs.build_index import index_job
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import shop_paths
from training.artifacts.embeddings import VECTORS, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.lineage import record_source, require_source
from training.artifacts.model import WEIGHTS
from training.artifacts.search.vector_index import load_index


def embedded_shop(folder: Path, n_products: int, **index: Any) -> Config:
    """A shop whose products are embedded: random unit vectors of 16 dimensions."""
    config = Config.model_validate({"data_dir": folder, "index": index})
    paths = shop_paths(config)
    paths.model.mkdir(parents=True)
    (paths.model / WEIGHTS).write_bytes(b"weights")
    vectors_ND = np.random.default_rng(1).normal(size=(n_products, 16)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    save_embeddings(paths.embeddings, ProductEmbeddings(vectors_ND, np.arange(n_products).astype(str)))
    record_source(paths.embeddings, paths.model / WEIGHTS)
    return config


def test_a_small_shop_gets_an_exact_index(tmp_path: Path) -> None:
    config = embedded_shop(tmp_path, 40)
    assert index_job(config) == {"type": "flat", "n_products": 40, "dim": 16}
    paths = shop_paths(config)
    require_source(paths.index, paths.embeddings / VECTORS, "tawsiya index")
    assert load_index(paths.index, load_embeddings(paths.embeddings).vectors_ND).kind == "flat"


def test_the_recall_of_an_approximate_index_is_measured(tmp_path: Path) -> None:
    config = embedded_shop(tmp_path, 5000, type="pq_fastscan")
    answer = index_job(config)
    assert (answer["type"], answer["n_products"], answer["dim"]) == ("pq_fastscan", 5000, 16)
    assert 0.95 <= answer["index_recall@10"] < 1
    assert 0.95 <= answer["index_recall@100"] < 1
    paths = shop_paths(config)
    assert load_index(paths.index, load_embeddings(paths.embeddings).vectors_ND).kind == "pq_fastscan"


def test_an_index_that_finds_too_little_is_refused_and_not_written(tmp_path: Path) -> None:
    config = embedded_shop(tmp_path, 5000, type="pq_fastscan", min_recall=1)
    refused = r"index_recall@10 of the pq_fastscan index is 0\.9\d+, below index\.min_recall=1\.0; set index\.type=flat"
    with pytest.raises(GateRefusedError, match=refused):
        index_job(config)
    assert not shop_paths(config).index.exists()


def test_too_few_products_for_pq_fastscan_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 16 products, and there are 3; set index\.type=auto or flat"):
        index_job(embedded_shop(tmp_path, 3, type="pq_fastscan"))
