"""What every vector index must do, whichever there are: they are found, not listed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo.settings.release import IndexConfig
from training.artifacts.search.candidate_index import CandidateIndex
from training.artifacts.search.coded_index import CodedIndex
from training.artifacts.search.filtered_search import EXACT_SEARCH_PRODUCTS, IndexedVectors
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_recall import buyer_like_queries, recall_against_exact
from training.artifacts.search.milvus_collection import Engine
from training.artifacts.search.milvus_index import MilvusIndex
from training.artifacts.search.vector_index import INDEXES, IndexType, VectorIndex, load_index
from training.artifacts.search.vector_index import build_index as build_index_in

N, DIM = 3000, 16  # so many that no index may look at all of them where it has a shorter way
EMPTY = np.empty((0, DIM), dtype=np.float32)

MILVUS = pytest.param(
    "milvus",
    marks=pytest.mark.skipif(find_spec("milvus_lite") is None, reason="the extra `milvus` is not installed"),
)
every_index = pytest.mark.parametrize("kind", [*sorted(INDEXES), MILVUS])


def unit_vectors(n: int, dim: int = DIM, seed: int = 1) -> npt.NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


# Not a fixture: Hypothesis calls the tests many times.
FOLDER = TemporaryDirectory(ignore_cleanup_errors=True)
ENGINE = Engine(str(Path(FOLDER.name) / "milvus.db"), "contracts")
VECTORS, QUERIES = unit_vectors(N), unit_vectors(30, seed=2)


@pytest.fixture(scope="module", autouse=True)
def _no_folder_is_left() -> Iterator[None]:
    yield
    FOLDER.cleanup()


def build_index(vectors_ND: npt.NDArray[np.float32], kind: Any) -> VectorIndex:
    return build_index_in(vectors_ND, kind, ENGINE)


def test_every_index_is_registered_and_can_be_configured() -> None:
    assert set(INDEXES.values()) == {FlatIndex, *CodedIndex.__subclasses__()}
    assert set(CandidateIndex.__subclasses__()) == {CodedIndex, MilvusIndex}
    assert all(index.kind == kind for kind, index in INDEXES.items())
    configurable = set(get_args(IndexConfig.model_fields["type"].annotation))
    assert configurable == set(get_args(IndexType)) == {"auto", MilvusIndex.kind, *INDEXES}


@every_index
@settings(max_examples=25)
@given(
    n=st.integers(16, 900),
    dim=st.integers(1, 9),
    k=st.integers(1, 950),
    n_queries=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_scores_are_exact_inner_products_in_falling_order(
    kind: Any, n: int, dim: int, k: int, n_queries: int, seed: int
) -> None:
    vectors_ND, queries_BD = unit_vectors(n, dim, seed), unit_vectors(n_queries, dim, seed + 1)
    scores_BK, positions_BK = build_index(vectors_ND, kind).search(queries_BD, k)
    assert scores_BK.shape == positions_BK.shape == (n_queries, min(k, n))
    assert (scores_BK.dtype, positions_BK.dtype) == (np.dtype(np.float32), np.dtype(np.int64))
    assert_allclose(np.take_along_axis(queries_BD @ vectors_ND.T, positions_BK, axis=1), scores_BK, atol=1e-6)
    assert (np.diff(scores_BK, axis=1) <= 0).all()
    assert all(len(set(row)) == len(row) for row in positions_BK.tolist())


@every_index
def test_it_finds_nearly_all_that_an_exact_search_finds(kind: Any) -> None:
    index = build_index(VECTORS, kind)
    assert (len(index), index.dim, index.kind) == (N, DIM, kind)
    exact_QK = np.argsort(-QUERIES @ VECTORS.T, axis=1)[:, :10]
    _, found_QK = index.search(QUERIES, 10)
    n_found = sum(len(set(exact) & set(found)) for exact, found in zip(exact_QK, found_QK, strict=True))
    assert n_found >= 0.95 * exact_QK.size
    assert recall_against_exact(index, VECTORS, buyer_like_queries(VECTORS), [10])["recall@10"] >= 0.95


@every_index
@pytest.mark.parametrize("k", [0, 1, 10, N - 1, N, N + 1, 3 * N])
def test_k_best_or_all(kind: Any, k: int) -> None:
    scores_BK, positions_BK = build_index(VECTORS, kind).search(QUERIES[:2], k)
    assert scores_BK.shape == positions_BK.shape == (2, min(k, N))
    if k >= N:
        assert_array_equal(np.sort(positions_BK, axis=1), [np.arange(N)] * 2)


@every_index
def test_one_alone_equals_one_among_many(kind: Any) -> None:
    index = build_index(VECTORS, kind)
    scores_BK, positions_BK = index.search(QUERIES, 20)
    alone = [index.search(query_1D, 20) for query_1D in QUERIES[:, None]]
    assert_array_equal(np.concatenate([positions for _, positions in alone]), positions_BK)
    assert_allclose(np.concatenate([scores for scores, _ in alone]), scores_BK, atol=1e-6)


@every_index
@pytest.mark.parametrize("n_candidates", [100, 400, 1999])
def test_k_for_candidates_is_the_smallest_with_so_many(kind: Any, n_candidates: int) -> None:
    index = build_index(VECTORS, kind)
    if isinstance(index, FlatIndex):
        assert index.k_for_candidates(n_candidates) == n_candidates
        return
    for value in (index.values[0], index.default, index.values[-1]):
        valued = index.with_value(value)
        k = valued.k_for_candidates(n_candidates)
        candidates_BC, fewer_BC = valued.candidates(QUERIES[:2], k), valued.candidates(QUERIES[:2], k - 1)
        assert candidates_BC is not None
        assert fewer_BC is not None
        assert fewer_BC.shape[1] < n_candidates <= candidates_BC.shape[1]


@every_index
def test_no_queries_give_no_results(kind: Any) -> None:
    scores_BK, positions_BK = build_index(VECTORS, kind).search(EMPTY, 5)
    assert scores_BK.shape == positions_BK.shape == (0, 5)


def index_or_refusal(kind: Any, n: int) -> tuple[VectorIndex, str]:
    """The index, or what its refusal said and the index that it advised."""
    try:
        return build_index(unit_vectors(n), kind), ""
    except ValueError as error:
        return build_index(unit_vectors(n), "auto"), str(error)


@every_index
@pytest.mark.parametrize("n", [0, 1, 15])
def test_a_catalogue_too_small_is_searched_or_refused_with_the_remedy(kind: Any, n: int) -> None:
    index, refusal = index_or_refusal(kind, n)
    assert not refusal or (f"there are {n}" in refusal and "index.type=auto or flat" in refusal)
    scores_BK, positions_BK = index.search(QUERIES, 20)
    assert scores_BK.shape == positions_BK.shape == (30, n)
    assert_array_equal(np.sort(positions_BK, axis=1), [np.arange(n)] * 30)


@every_index
def test_a_query_of_zeros_and_a_catalogue_of_equals_get_their_k(kind: Any) -> None:
    zeros_BD = np.stack([np.zeros(DIM, dtype=np.float32), QUERIES[0]])
    scores_BK, positions_BK = build_index(VECTORS, kind).search(zeros_BD, 10)
    assert_array_equal(scores_BK[0], np.zeros(10))
    equals_ND = np.repeat(unit_vectors(2), N // 2, axis=0)
    _, of_equals_BK = build_index(equals_ND, kind).search(QUERIES, 300)
    for row in [*positions_BK.tolist(), *of_equals_BK.tolist()]:
        assert min(row) >= 0
        assert len(set(row)) == len(row)


@every_index
def test_building_and_searching_are_deterministic(kind: Any, tmp_path: Path) -> None:
    one, other = build_index(VECTORS, kind), build_index(VECTORS.copy(), kind)
    for first, again in zip(one.search(QUERIES, 10), other.search(QUERIES, 10), strict=True):
        assert_array_equal(first, again)
    one.save(tmp_path / "one")
    other.save(tmp_path / "other")
    assert [path.read_bytes() for path in (tmp_path / "one").iterdir()] == [
        path.read_bytes() for path in (tmp_path / "other").iterdir()
    ]


@every_index
def test_saved_and_loaded_over_mapped_vectors_it_is_the_same(kind: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "vectors.npy", VECTORS)
    mapped_ND = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    built = build_index(VECTORS, kind)
    built.save(tmp_path)
    loaded = load_index(tmp_path, mapped_ND)
    assert type(loaded) is type(built)
    assert (len(loaded), loaded.dim, loaded.kind) == (N, DIM, kind)
    for written, read in zip(built.search(QUERIES, 10), loaded.search(QUERIES, 10), strict=True):
        assert_array_equal(written, read)


@every_index
def test_it_keeps_no_copy_of_the_vectors(kind: Any, tmp_path: Path) -> None:
    given_ND = unit_vectors(N, 384)
    build_index(given_ND, kind).save(tmp_path)
    # The largest are the codes of hnsw, a byte per dimension, with its graph.
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < given_ND.nbytes / 2
    index, queries_BD = load_index(tmp_path, given_ND), unit_vectors(30, 384, seed=2)
    given_ND[:] = unit_vectors(N, 384, seed=3)  # what changes in place shows in the scores
    scores_BK, positions_BK = index.search(queries_BD, 10)
    assert_allclose(np.take_along_axis(queries_BD @ given_ND.T, positions_BK, axis=1), scores_BK, atol=1e-6)


@every_index
@pytest.mark.parametrize("share", [0.002, 0.3, 0.9])
def test_a_search_among_allowed_products_finds_the_best_of_them(kind: Any, share: float) -> None:
    vectors_ND = unit_vectors(2 * EXACT_SEARCH_PRODUCTS)
    indexed = IndexedVectors(vectors_ND, build_index(vectors_ND, kind))
    allowed_N = np.random.default_rng(5).random(len(vectors_ND)) < share
    n_found = 0
    for query_D in QUERIES:
        ranked = indexed.nearest_allowed(query_D, 20, allowed_N, int(allowed_N.sum()))
        exact_N = np.where(allowed_N, vectors_ND @ query_D, -np.inf)
        best = np.argsort(-exact_N)[:20]
        assert allowed_N[ranked.positions].all()
        assert len(set(ranked.positions.tolist())) == min(20, int(allowed_N.sum()))
        assert_allclose(ranked.scores, exact_N[ranked.positions], atol=1e-6)
        n_found += len(set(best[: len(ranked.positions)].tolist()) & set(ranked.positions.tolist()))
    assert n_found >= 0.95 * len(QUERIES) * min(20, int(allowed_N.sum()))


@pytest.mark.parametrize("kind", [*sorted(set(INDEXES) - {"flat"}), MILVUS])
def test_dearer_values_find_more_and_compare_more(kind: Any, tmp_path: Path) -> None:
    vectors_ND = unit_vectors(20_000, 32)
    queries_BD = unit_vectors(100, 32, seed=2)
    index = build_index(vectors_ND, kind)
    assert isinstance(index, CandidateIndex)
    cheap, dear = (index.with_value(value) for value in (index.values[0], index.values[-1]))
    cheap_recall, dear_recall = (
        recall_against_exact(one, vectors_ND, queries_BD)["recall@100"] for one in (cheap, dear)
    )
    assert cheap_recall < dear_recall
    assert dear_recall > 0.99
    assert cheap.comparisons(queries_BD) < dear.comparisons(queries_BD)
    cheap.save(tmp_path)
    loaded = load_index(tmp_path, vectors_ND)
    assert isinstance(loaded, CandidateIndex)
    assert loaded.value == cheap.value


@every_index
def test_several_threads_may_search_at_once(kind: Any) -> None:
    index = build_index(VECTORS, kind)
    expected = [index.search(query_1D, 20) for query_1D in QUERIES[:, None]]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: index.search(QUERIES[row % 30, None], 20), range(600)))
    for row, (scores_BK, positions_BK) in enumerate(answers):
        assert_array_equal(scores_BK, expected[row % 30][0])
        assert_array_equal(positions_BK, expected[row % 30][1])
