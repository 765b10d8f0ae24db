"""The search index: against brute force over all products, with and without a vector and with filters."""

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_allclose

from tests.random_release import unit_vectors
from training.artifacts.queries.query_matches import MEANING_WEIGHT
from training.artifacts.queries.vocabulary import Vocabulary
from training.artifacts.search.filtered_search import IndexedVectors
from training.artifacts.search.ngram_index import NgramIndex
from training.artifacts.search.text_search import SearchIndex, build_search_index
from training.artifacts.search.vector_index import IndexType

N_PRODUCTS, DIM = 3000, 16
COLOURS = ["red", "green", "blue", "أحمر", "أخضر"]
THINGS = ["shirt", "shoes", "lamp", "حذاء", "مصباح", "teapot", "notebook"]


def texts() -> list[str]:
    return [f"{COLOURS[n % 5]} {THINGS[n // 5 % 7]} model {n}" for n in range(N_PRODUCTS)]


@pytest.fixture(scope="module", params=["flat", "pq_fastscan"])
def index(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    index_type: IndexType = request.param
    folder = tmp_path_factory.mktemp(index_type)
    build_search_index(folder, texts(), unit_vectors(N_PRODUCTS, DIM), index_type)
    return SearchIndex.load(folder)


@cache
def lexical() -> NgramIndex:
    return NgramIndex.build(texts(), Vocabulary.build(texts()).spell)


def brute_force(query: str, vector_T: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32]:
    scores_N = lexical().scores(query).total()
    return scores_N if vector_T is None else scores_N + MEANING_WEIGHT * (unit_vectors(N_PRODUCTS, DIM) @ vector_T)


@pytest.mark.parametrize("with_vector", [True, False])
@pytest.mark.parametrize("allowed", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("query", ["red shoe", "احمر حذاء", "lamp model 1234", "1234"])
def test_finds_the_best_by_the_sum(index: SearchIndex, query: str, allowed: float, with_vector: bool) -> None:
    vector_T = unit_vectors(1, DIM, seed=9)[0] if with_vector else None
    allowed_N = None if allowed == 1 else np.random.default_rng(1).random(N_PRODUCTS) < allowed
    scores_N = brute_force(query, vector_T)
    if allowed_N is not None:
        scores_N[~allowed_N] = -np.inf
    matches = index.match(query, vector_T)
    top = matches.top(10, allowed_N)
    meaning, spelling = matches.score_terms(top.positions)
    assert_allclose(top.scores, meaning + spelling, rtol=1e-6)
    assert_allclose(top.scores, scores_N[top.positions], atol=1e-5)
    # The best by the sum could be good by both parts and among the first by neither; here they are not missed.
    assert_allclose(top.scores, -np.sort(-scores_N)[:10], atol=1e-5)


def test_few_allowed_products_are_all_found(index: SearchIndex) -> None:
    allowed_N = np.zeros(N_PRODUCTS, dtype=np.bool_)
    allowed_N[[5, 77]] = True
    assert sorted(index.match("green lamp", unit_vectors(1, DIM)[0]).top(10, allowed_N).positions.tolist()) == [5, 77]
    assert len(index.match("green lamp", None).top(10, ~allowed_N & False).positions) == 0


def test_a_query_that_says_nothing_is_empty(index: SearchIndex) -> None:
    assert index.match("щ", None).is_empty
    assert not index.match("щ", unit_vectors(1, DIM)[0]).is_empty
    assert not index.match("lamp", None).is_empty


def test_parts_of_different_products_are_refused(tmp_path: Path) -> None:
    build_search_index(tmp_path, ["a", "b"], unit_vectors(2, DIM), "flat")
    vectors = IndexedVectors(unit_vectors(3, DIM), None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="text vectors of 3 products and n-grams of 2; run `tawsiya index`"):
        SearchIndex(vectors, NgramIndex.load(tmp_path, 2))
