"""The index job: which index it builds, what it measures, and what it refuses."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_jobs import build_index
from batch_jobs.build_index import index_job
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import write_json
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store
from training.artifacts.embeddings import VECTORS, ProductEmbeddings, load_embeddings, save_embeddings
from training.artifacts.lineage import record_source, require_source
from training.artifacts.model import WEIGHTS
from training.artifacts.search.coded_index import CodedIndex
from training.artifacts.search.index_files import INDEX_CURVE
from training.artifacts.search.index_recall import buyer_like_queries
from training.artifacts.search.milvus_collection import EngineError
from training.artifacts.search.pq_fastscan_index import PqFastScanIndex
from training.artifacts.search.vector_index import load_index

pytestmark = pytest.mark.store


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


def run(config: Config) -> dict[str, Any]:
    with feature_store(config) as store:
        return index_job(config, store)


@pytest.fixture
def product_like_buyers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries for shops that have nothing but vectors."""
    monkeypatch.setattr(
        build_index, "index_queries", lambda _config, _store, vectors_ND: (buyer_like_queries(vectors_ND), "made up")
    )


def test_a_small_shop_gets_an_exact_index(tmp_path: Path) -> None:
    config = embedded_shop(tmp_path, 40)
    assert run(config) == {"type": "flat", "n_products": 40, "dim": 16}
    paths = shop_paths(config)
    require_source(paths.index, paths.embeddings / VECTORS, "tawsiya index")
    assert load_index(paths.index, load_embeddings(paths.embeddings).vectors_ND).kind == "flat"


@pytest.mark.usefixtures("product_like_buyers")
@pytest.mark.parametrize(
    ("kind", "parameter"), [("ivf", "nprobe"), ("hnsw", "efSearch"), ("pq_fastscan", "candidates")]
)
def test_the_cheapest_parameter_that_finds_enough_is_chosen(tmp_path: Path, kind: str, parameter: str) -> None:
    config = embedded_shop(tmp_path, 6000, type=kind, min_recall=0.97)
    answer = run(config)
    assert (answer["type"], answer["n_products"], answer["dim"], answer["queries"]) == (kind, 6000, 16, "made up")
    paths = shop_paths(config)
    curve = json.loads((paths.index / INDEX_CURVE).read_text())
    assert (curve["type"], curve["parameter"], curve["value"]) == (kind, parameter, answer[parameter])
    assert curve["queries"] == {"what": "made up", "choosing": 250, "judging": 250}
    assert curve["judged"]["recall@100"] == pytest.approx(answer["index_recall@100"], abs=1e-5)
    assert min(curve["judged"].values()) >= 0.97
    points = curve["curve"]
    dearer = [point["value"] for point in points if min(point["recall@10"], point["recall@100"]) >= 0.97]
    assert curve["value"] >= min(dearer)
    assert curve["value"] < points[-1]["value"] or len(dearer) == 1
    assert [point["comparisons"] for point in points] == sorted(point["comparisons"] for point in points)
    index = load_index(paths.index, load_embeddings(paths.embeddings).vectors_ND)
    assert isinstance(index, CodedIndex)
    assert (index.kind, index.value) == (kind, answer[parameter])


@pytest.mark.usefixtures("product_like_buyers")
def test_the_curve_of_equal_vectors_is_equal(tmp_path: Path) -> None:
    curves = []
    for folder in (tmp_path / "one", tmp_path / "other"):
        config = embedded_shop(folder, 3000, type="pq_fastscan", min_recall=0.9)
        run(config)
        curves.append((shop_paths(config).index / INDEX_CURVE).read_bytes())
    assert curves[0] == curves[1]


@pytest.mark.usefixtures("product_like_buyers")
def test_an_index_that_finds_too_little_is_refused_and_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PqFastScanIndex, "values", (20, 40))
    config = embedded_shop(tmp_path, 5000, type="pq_fastscan")
    refused = (
        r"the pq_fastscan index has recall@10 0\.\d+ and recall@100 0\.\d+ with candidates=40, below "
        r"index\.min_recall=0\.99; set index\.type=flat"
    )
    with pytest.raises(GateRefusedError, match=refused):
        run(config)
    assert not shop_paths(config).index.exists()


@pytest.mark.usefixtures("product_like_buyers")
@pytest.mark.skipif(find_spec("milvus_lite") is None, reason="the extra `milvus` is not installed")
def test_milvus_keeps_the_collections_of_releases_and_of_the_newest_index(tmp_path: Path) -> None:
    address = str(tmp_path / "milvus.db")
    curves: list[dict[str, Any]] = []
    for n_products in (1000, 1100, 1200):
        shutil.rmtree(tmp_path / "shop", ignore_errors=True)
        config = embedded_shop(tmp_path / "shop", n_products, type="milvus", address=address, min_recall=0.9)
        paths = shop_paths(config)
        for curve in curves[:1]:  # of a release
            (paths.releases / "one").mkdir(parents=True)
            write_json(paths.releases / "one" / INDEX_CURVE, curve)
        answer = run(config)
        curve = json.loads((paths.index / INDEX_CURVE).read_text())
        assert (answer["type"], answer["ef"], curve["parameter"]) == ("milvus", curve["value"], "ef")
        assert (curve["address"], curve["n_products"], curve["dim"]) == (address, n_products, 16)
        assert min(curve["judged"].values()) >= 0.9
        curves.append(curve)
    from pymilvus import MilvusClient

    assert sorted(MilvusClient(address).list_collections()) == sorted(curves[row]["collection"] for row in (0, 2))
    index = load_index(paths.index, load_embeddings(paths.embeddings).vectors_ND)
    assert (index.kind, index.search(np.eye(16, dtype=np.float32), 5)[0].shape) == ("milvus", (16, 5))


@pytest.mark.skipif(find_spec("milvus_lite") is None, reason="the extra `milvus` is not installed")
def test_milvus_that_is_away_leaves_the_previous_index(tmp_path: Path) -> None:
    config = embedded_shop(tmp_path, 40, type="milvus", address="http://127.0.0.1:1")
    with pytest.raises(EngineError, match=r"Milvus at index\.address=http://127\.0\.0\.1:1: Fail connecting"):
        run(config)
    assert not shop_paths(config).index.exists()


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ({"type": "milvus"}, "needs index.address"),
        ({"address": "http://root:secret@milvus:19530"}, "TAWSIYA_MILVUS_TOKEN"),
        ({"address": "http://milvus:19530?token=secret"}, "TAWSIYA_MILVUS_TOKEN"),
    ],
)
def test_an_engine_needs_an_address_without_secrets(index: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.model_validate({"index": index})


def test_too_few_products_for_codes_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"at least 16 products, and there are 3; set index\.type=auto or flat"):
        run(embedded_shop(tmp_path, 3, type="pq_fastscan"))
