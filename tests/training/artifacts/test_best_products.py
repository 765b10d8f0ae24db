"""The best products of several queries in one search: against brute force, on an exact and on an approximate index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo.common.arrays import BoolArray, Float32Array
from tests.random_release import unit_vectors
from training.artifacts.best_products import (
    NO_REPEATS,
    BestProducts,
    BestQuery,
    PopularityTerm,
    Repeats,
    best_products,
)
from training.artifacts.search.filtered_search import EXACT_SEARCH_PRODUCTS, IndexedVectors
from training.artifacts.search.vector_index import build_index

N, ROUNDING = 12_000, 1e-6
VECTORS = unit_vectors(N)
TERM = PopularityTerm.of((np.random.default_rng(5).random(N, dtype=np.float32) ** 8).astype(np.float32))
few_examples = settings(max_examples=30)
# The share of allowed products, from 0.01% to all; None is no mask.
SHARES = st.none() | st.floats(-4, 0).map(lambda power: 10**power)
QUERIES = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(1, 100), SHARES, st.booleans(), st.integers(0, 40)),
    min_size=1,
    max_size=5,
)
Drawn = tuple[int, int, float | None, bool, int]


@pytest.fixture(scope="module")
def exact() -> IndexedVectors:
    return IndexedVectors(VECTORS, build_index(VECTORS, "flat"))


@pytest.fixture(scope="module")
def approximate() -> IndexedVectors:
    return IndexedVectors(VECTORS, build_index(VECTORS, "pq_fastscan"))


def query_of(drawn: Drawn) -> BestQuery:
    seed, k, share, is_popular, n_repeats = drawn
    rng = np.random.default_rng(seed)
    positions = np.unique(rng.integers(N, size=n_repeats))
    repeats = Repeats(positions, rng.random(len(positions), dtype=np.float32)) if n_repeats else NO_REPEATS
    allowed_N: BoolArray | None = None if share is None else rng.random(N) < share
    n_allowed = N if allowed_N is None else int(allowed_N.sum())
    [vector_D] = unit_vectors(1, seed=seed)
    return BestQuery(vector_D, k, TERM if is_popular else None, repeats, allowed_N, n_allowed)


def terms_of_all(query: BestQuery) -> tuple[Float32Array, Float32Array, Float32Array]:
    repeat_N = np.zeros(N, dtype=np.float32)
    repeat_N[query.repeats.positions] = query.repeats.terms
    popularity_N = np.zeros(N, dtype=np.float32) if query.popularity is None else query.popularity.term_N
    return VECTORS @ query.vector_D, popularity_N, repeat_N


def require_a_list(query: BestQuery, best: BestProducts, *, is_exact: bool) -> None:
    """K distinct allowed products with their own terms, best first; the very best where that is promised."""
    similarity_N, popularity_N, repeat_N = terms_of_all(query)
    positions = best.positions
    assert len(positions) == len(set(positions.tolist())) == min(query.k, query.n_allowed)
    assert query.allowed_N is None or query.allowed_N[positions].all()
    assert_allclose(best.similarity, similarity_N[positions], atol=ROUNDING)
    assert_array_equal(best.popularity, popularity_N[positions])
    assert_array_equal(best.repeat, repeat_N[positions])
    assert (np.diff(best.scores) <= 0).all()
    if is_exact:
        sums_N = similarity_N + popularity_N + repeat_N
        allowed = sums_N if query.allowed_N is None else sums_N[query.allowed_N]
        assert_allclose(best.scores, -np.sort(-allowed)[: query.k], atol=ROUNDING)


@few_examples
@given(QUERIES)
def test_an_exact_index_gives_the_very_best_sums(exact: IndexedVectors, drawn: list[Drawn]) -> None:
    queries = [query_of(one) for one in drawn]
    for query, best in zip(queries, best_products(exact, queries), strict=True):
        require_a_list(query, best, is_exact=True)


@few_examples
@given(QUERIES)
def test_an_approximate_index_fills_k_and_is_exact_for_few(approximate: IndexedVectors, drawn: list[Drawn]) -> None:
    queries = [query_of(one) for one in drawn]
    for query, best in zip(queries, best_products(approximate, queries), strict=True):
        require_a_list(query, best, is_exact=query.n_allowed <= EXACT_SEARCH_PRODUCTS)


@few_examples
@given(QUERIES)
def test_a_list_does_not_depend_on_the_others_of_its_batch(approximate: IndexedVectors, drawn: list[Drawn]) -> None:
    queries = [query_of(one) for one in drawn]
    for query, together in zip(queries, best_products(approximate, queries), strict=True):
        [alone] = best_products(approximate, [query])
        for column, column_alone in zip(together, alone, strict=True):
            assert_array_equal(column, column_alone)


def test_an_approximate_index_misses_next_to_nothing(approximate: IndexedVectors) -> None:
    queries = [query_of((seed, 20, share, True, 30)) for seed in range(60) for share in (None, 0.9)]
    found = 0
    for query, best in zip(queries, best_products(approximate, queries), strict=True):
        similarity_N, popularity_N, repeat_N = terms_of_all(query)
        sums_N = similarity_N + popularity_N + repeat_N
        worst = -np.sort(-(sums_N if query.allowed_N is None else sums_N[query.allowed_N]))[19]
        found += int((best.scores >= worst - ROUNDING).sum())
    assert found >= 0.999 * 20 * len(queries)


def test_of_equal_products_the_first_ones_are_listed() -> None:
    same_ND = np.repeat(unit_vectors(1), 50, axis=0)
    vectors = IndexedVectors(same_ND, build_index(same_ND, "flat"))
    [best] = best_products(vectors, [BestQuery(same_ND[0], 5, None, NO_REPEATS, None, 50)])
    assert best.positions.tolist() == [0, 1, 2, 3, 4]


def test_no_query_and_nothing_allowed(exact: IndexedVectors) -> None:
    assert best_products(exact, []) == []
    [best] = best_products(exact, [BestQuery(VECTORS[0], 5, TERM, NO_REPEATS, np.zeros(N, dtype=np.bool_), 0)])
    assert best.positions.tolist() == []
