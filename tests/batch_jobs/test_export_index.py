"""The exported index: what other programs read."""

import json
from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.testing import assert_allclose

from batch_jobs.export_index import export_index
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from training.artifacts.embeddings import VECTORS, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.lineage import record_source
from training.artifacts.search.vector_index import INDEXES, IndexType, build_index

IDS = [f"ق{number}" for number in range(3000)]


def indexed_shop(folder: Path, kind: IndexType) -> Config:
    config = Config.model_validate({"data_dir": folder})
    paths = shop_paths(config)
    vectors_ND = np.random.default_rng(1).normal(size=(len(IDS), 16)).astype(np.float32)
    vectors_ND /= np.linalg.norm(vectors_ND, axis=1, keepdims=True)
    save_embeddings(paths.embeddings, ProductEmbeddings(vectors_ND, np.array(IDS)))
    build_index(vectors_ND, kind).save(paths.index)
    record_source(paths.index, paths.embeddings / VECTORS)
    return config


@pytest.mark.parametrize("kind", sorted(INDEXES))
def test_faiss_alone_finds_the_products_with_exact_scores(tmp_path: Path, kind: IndexType) -> None:
    config = indexed_shop(tmp_path / "var", kind)
    answer = export_index(config, tmp_path / "exported")
    assert answer == {"folder": str(tmp_path / "exported"), "type": kind, "n_products": 3000, "dim": 16}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["exported", "var"]
    index = faiss.read_index(str(tmp_path / "exported" / "product_index.faiss"))
    ids = np.load(tmp_path / "exported" / "product_ids.npy")
    positions = json.loads((tmp_path / "exported" / "product_id_to_index.json").read_text(encoding="utf-8"))
    assert ids.tolist() == IDS
    assert positions == {product_id: row for row, product_id in enumerate(IDS)}
    vectors_ND = load_embeddings(shop_paths(config).embeddings).vectors_ND
    scores_BK, found_BK = index.search(vectors_ND[:50], 10)
    assert_allclose(scores_BK, np.take_along_axis(vectors_ND[:50] @ vectors_ND.T, found_BK, axis=1), atol=1e-6)
    exact_BK = np.argsort(-vectors_ND[:50] @ vectors_ND.T, axis=1)[:, :10]
    assert np.mean([np.isin(exact, found).mean() for exact, found in zip(exact_BK, found_BK, strict=True)]) > 0.97


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    config = indexed_shop(tmp_path / "var", "flat")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    with pytest.raises(ValueError, match="already exists and is no empty folder; name a new one"):
        export_index(config, tmp_path / "taken")
    assert (tmp_path / "taken" / "letter.txt").read_text() == "dear"
    (tmp_path / "empty").mkdir()
    export_index(config, tmp_path / "empty")
    assert (tmp_path / "empty" / "product_index.faiss").is_file()


def test_an_index_of_other_vectors_is_not_exported(tmp_path: Path) -> None:
    config = indexed_shop(tmp_path / "var", "flat")
    (shop_paths(config).embeddings / VECTORS).write_bytes(b"others")
    with pytest.raises(ValueError, match="run `tawsiya index`"):
        export_index(config, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
