"""The best products of several queries in one search: against brute force, on an exact and on an approximate index."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from tests.random_release import unit_vectors
from training.artifacts.scoring.best_products import (
    BestProducts,
    BestQuery,
    OwnProducts,
    PopularityTerm,
    best_products,
)
from training.artifacts.scoring.sparse_term import NO_TERM, SparseTerm
from training.artifacts.search.candidate_index import CandidateIndex
from training.artifacts.search.filtered_search import EXACT_SEARCH_PRODUCTS, IndexedVectors
from training.artifacts.search.vector_index import build_index

N, ROUNDING = 12_000, 1e-6
VECTORS = unit_vectors(N)
TERM = PopularityTerm.of((np.random.default_rng(5).random(N, dtype=np.float32) ** 8).astype(np.float32))
few_examples = settings(max_examples=30)
# The share of allowed products, from 0.01% to all; None is no mask.
SHARES = st.none() | st.floats(-4, 0).map(lambda power: 10**power)
QUERIES = st.lists(
    st.tuples(
        st.integers(0, 10**6),
        st.integers(1, 150),
        SHARES,
        st.booleans(),
        st.integers(0, 40),
        st.integers(0, 20),
        st.integers(0, 600),
    ),
    min_size=1,
    max_size=5,
)
Drawn = tuple[int, int, float | None, bool, int, int, int]


@pytest.fixture(scope="module")
def exact() -> IndexedVectors:
    return IndexedVectors(VECTORS, build_index(VECTORS, "flat"))


@pytest.fixture(scope="module")
def approximate() -> IndexedVectors:
    return IndexedVectors(VECTORS, build_index(VECTORS, "pq_fastscan"))


def query_of(drawn: Drawn) -> BestQuery:
    seed, k, share, is_popular, n_repeats, n_own, n_voted = drawn
    rng = np.random.default_rng(seed)
    repeats, co_occurrence = drawn_term(rng, n_repeats), drawn_term(rng, n_voted)
    allowed_N: BoolArray | None = None if share is None else rng.random(N) < share
    n_allowed = N if allowed_N is None else int(allowed_N.sum())
    [vector_D] = unit_vectors(1, seed=seed)
    own_L = rng.integers(N, size=n_own)
    own = OwnProducts(float(rng.uniform(0.1, 2)), own_L, VECTORS[own_L]) if n_own else None
    return BestQuery(vector_D, k, TERM if is_popular else None, repeats, co_occurrence, own, allowed_N, n_allowed)


def drawn_term(rng: np.random.Generator, n_products: int) -> SparseTerm:
    positions = np.unique(rng.integers(N, size=n_products))
    return SparseTerm(positions, rng.random(len(positions), dtype=np.float32)) if n_products else NO_TERM


def terms_of_all(query: BestQuery) -> tuple[Float32Array, Float32Array, Float32Array, Float32Array]:
    popularity_N = np.zeros(N, dtype=np.float32) if query.popularity is None else query.popularity.term_N
    return VECTORS @ query.vector_D, popularity_N, of_all(query.repeats), of_all(query.co_occurrence)


def of_all(term: SparseTerm) -> Float32Array:
    term_N = np.zeros(N, dtype=np.float32)
    term_N[term.positions] = term.terms
    return term_N


def require_a_list(query: BestQuery, best: BestProducts, *, is_exact: bool) -> None:
    """K distinct allowed products with their own terms, best first; the very best where that is promised."""
    similarity_N, popularity_N, repeat_N, co_occurrence_N = terms_of_all(query)
    positions = best.positions
    assert len(positions) == len(set(positions.tolist())) == min(query.k, query.n_allowed)
    assert query.allowed_N is None or query.allowed_N[positions].all()
    assert_allclose(best.similarity, similarity_N[positions], atol=ROUNDING)
    assert_array_equal(best.popularity, popularity_N[positions])
    assert_array_equal(best.repeat, repeat_N[positions])
    assert_array_equal(best.co_occurrence, co_occurrence_N[positions])
    closeness_N = closeness_of_all(query.own)
    assert_allclose(best.closeness, closeness_N[positions], atol=ROUNDING)
    assert (np.diff(best.scores) <= 0).all()
    if is_exact:
        sums_N = similarity_N + popularity_N + repeat_N + co_occurrence_N
        allowed = np.arange(N) if query.allowed_N is None else np.flatnonzero(query.allowed_N)
        # Only the best by the other terms get the closeness term.
        pool = allowed[np.argsort(-sums_N[allowed])[: query.n_pooled]]
        assert_allclose(best.scores, -np.sort(-(sums_N + closeness_N)[pool])[: query.k], atol=ROUNDING)


def closeness_of_all(own: OwnProducts | None) -> Float32Array:
    """The term of every product."""
    if own is None:
        return np.zeros(N, dtype=np.float32)
    similarity_LN = own.vectors_LD @ VECTORS.T
    for place, product in enumerate(own.positions_L.tolist()):
        similarity_LN[place, product] = 0
    closeness_N: Float32Array = similarity_LN.max(axis=0).clip(min=0) * np.float32(own.weight)
    return closeness_N


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
    queries = [query_of((seed, 20, share, True, 30, 0, 200)) for seed in range(60) for share in (None, 0.9)]
    found = 0
    for query, best in zip(queries, best_products(approximate, queries), strict=True):
        sums_N = np.sum(terms_of_all(query), axis=0)
        worst = -np.sort(-(sums_N if query.allowed_N is None else sums_N[query.allowed_N]))[19]
        found += int((best.scores >= worst - ROUNDING).sum())
    assert found >= 0.999 * 20 * len(queries)


@pytest.mark.parametrize("share", [None, 0.9])
def test_an_index_of_few_candidates_finds_the_pool_of_the_closeness_term(share: float | None) -> None:
    """100 results of this index have 150 candidates. With half of what is asked for, 80% of the products are found."""
    index = build_index(VECTORS, "pq_fastscan")
    assert isinstance(index, CandidateIndex)
    queries = [query_of((seed, 20, share, False, 0, 5, 0)) for seed in range(60)]
    exact, found = (
        best_products(IndexedVectors(VECTORS, one), queries)
        for one in (build_index(VECTORS, "flat"), index.with_value(150))
    )
    n_found = sum(len(np.intersect1d(a.positions, b.positions)) for a, b in zip(exact, found, strict=True))
    assert n_found >= 0.9 * 20 * len(queries)


class Recording:
    """An index that notes how many results it is asked for."""

    def __init__(self, index: CandidateIndex) -> None:
        self.index, self.asked = index, list[int]()

    def k_for_candidates(self, n_candidates: int) -> int:
        return self.index.k_for_candidates(n_candidates)

    def candidates(self, queries_BD: Float32Array, k: int) -> Int64Array | None:
        self.asked.append(k)
        return self.index.candidates(queries_BD, k)


@pytest.mark.parametrize(
    ("value", "share", "n_own", "asked"),
    [
        (800, None, 0, 50),
        # From 50 by a quarter to at least 58 / .9.
        (800, 0.9, 0, 79),
        # 50 results have 400 candidates already.
        (800, None, 5, 50),
        (200, None, 0, 50),
        (200, None, 5, 200),
        # From 200 by a quarter to at least 208 / .9.
        (200, 0.9, 5, 251),
    ],
)
def test_how_many_results_an_index_is_asked_for(value: int, share: float | None, n_own: int, asked: int) -> None:
    index = build_index(VECTORS, "pq_fastscan")
    assert isinstance(index, CandidateIndex)
    recording: Any = Recording(index.with_value(value))
    best_products(IndexedVectors(VECTORS, recording), [query_of((3, 20, share, False, 0, n_own, 0))])
    assert recording.asked == [asked]


def test_of_equal_products_the_first_ones_are_listed() -> None:
    same_ND = np.repeat(unit_vectors(1), 50, axis=0)
    vectors = IndexedVectors(same_ND, build_index(same_ND, "flat"))
    [best] = best_products(vectors, [BestQuery(same_ND[0], 5, None, NO_TERM, NO_TERM, None, None, 50)])
    assert best.positions.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("n_allowed", "k", "n_own"), [(150, 20, 3), (150, 400, 0), (300, 250, 3), (999, 20, 0)])
def test_where_all_products_are_compared_only_allowed_ones_are_listed(n_allowed: int, k: int, n_own: int) -> None:
    vectors_ND, rng = VECTORS[:1000], np.random.default_rng(n_allowed)
    allowed_N = np.zeros(1000, dtype=bool)
    allowed_N[rng.choice(1000, n_allowed, replace=False)] = True
    own_L = rng.integers(1000, size=n_own)
    own = OwnProducts(1.0, own_L, vectors_ND[own_L]) if n_own else None
    query = BestQuery(VECTORS[2000], k, None, NO_TERM, NO_TERM, own, allowed_N, n_allowed)
    [best] = best_products(IndexedVectors(vectors_ND, build_index(vectors_ND, "flat")), [query])
    assert len(set(best.positions.tolist())) == len(best.positions) == min(k, n_allowed)
    assert allowed_N[best.positions].all()
    if own is None:
        similarity_N = np.where(allowed_N, vectors_ND @ VECTORS[2000], -np.inf)
        assert_allclose(best.similarity, -np.sort(-similarity_N)[: len(best.positions)], atol=ROUNDING)


def test_no_query_and_nothing_allowed(exact: IndexedVectors) -> None:
    assert best_products(exact, []) == []
    own = OwnProducts(1.0, np.array([3]), VECTORS[[3]])
    [best] = best_products(
        exact, [BestQuery(VECTORS[0], 5, TERM, NO_TERM, NO_TERM, own, np.zeros(N, dtype=np.bool_), 0)]
    )
    assert best.positions.tolist() == []


# ---- the closeness term ----------------------------------------------------------------------------------------------


def test_closeness_by_hand() -> None:
    # Three events: of product 4, of product 7, and of one that the release does not have.
    vectors_LD = np.array([[1, 0], [0, 1], [0.6, -0.8]], dtype=np.float32)
    own = OwnProducts(2.0, np.array([4, 7, -1]), vectors_LD)
    positions = np.array([4, 7, 0, 1, 2])
    vectors_PD = np.array([[1, 0], [0, 1], [0.8, 0.6], [0.6, -0.8], [-1, 0]], dtype=np.float32)
    # Product 4 is next to the one without a position, 7 next to nothing, and 2 the opposite of product 4.
    assert_allclose(own.closeness(positions, vectors_PD), [1.2, 0, 1.6, 2, 0], atol=ROUNDING)


def test_the_only_product_of_a_history_is_not_close_to_itself() -> None:
    own = OwnProducts(2.0, np.array([4]), np.array([[1, 0]], dtype=np.float32))
    vectors_PD = np.array([[1, 0], [1, 0], [-0.6, 0.8]], dtype=np.float32)
    assert_allclose(own.closeness(np.array([4, 5, 6]), vectors_PD), [0, 2, 0], atol=ROUNDING)


SMALL, SMALL_POOL = 150, 200


@few_examples
@given(seed=st.integers(0, 10**6), k=st.integers(1, SMALL), n_own=st.integers(1, 12), share=st.floats(0.1, 1))
def test_where_the_pool_holds_everything_the_sums_are_the_very_best(
    seed: int, k: int, n_own: int, share: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors_ND, allowed_N = VECTORS[:SMALL], rng.random(SMALL) < share
    lately_N, weight = rng.random(SMALL, dtype=np.float32), float(rng.uniform(0.1, 3))
    own_L = rng.integers(SMALL, size=n_own)
    [vector_D] = unit_vectors(1, seed=seed)
    query = BestQuery(
        vector_D,
        k,
        PopularityTerm.of(lately_N),
        SparseTerm(np.array([5, 9]), np.array([0.5, 2], dtype=np.float32)),
        SparseTerm(np.array([2, 9]), np.array([1, 0.25], dtype=np.float32)),
        OwnProducts(weight, own_L, vectors_ND[own_L]),
        allowed_N,
        int(allowed_N.sum()),
    )
    assert query.n_pooled >= SMALL_POOL

    def score(product: int) -> float:
        near = [float(vectors_ND[one] @ vectors_ND[product]) for one in own_L.tolist() if one != product]
        closest = max([0, *near])
        total = float(vectors_ND[product] @ vector_D) + float(lately_N[product]) + weight * closest
        return total + {2: 1.0, 5: 0.5, 9: 2.25}.get(product, 0)

    [best] = best_products(IndexedVectors(vectors_ND, build_index(vectors_ND, "flat")), [query])
    expected = sorted((score(product) for product in np.flatnonzero(allowed_N).tolist()), reverse=True)[:k]
    assert_allclose(best.scores, expected, atol=1e-5)
    assert_allclose(best.scores, [score(product) for product in best.positions.tolist()], atol=1e-5)


def test_only_the_pool_gets_the_closeness_term() -> None:
    """The product of place 200 is in the pool, that of place 201 is not, and both equal the buyer's own product."""
    n_products, pool = 300, 200
    angles = np.linspace(0, np.pi / 2, n_products)
    vectors_ND = np.zeros((n_products, 8), dtype=np.float32)
    vectors_ND[:, 0], vectors_ND[:, 1] = np.cos(angles), np.sin(angles)
    own_D = np.zeros(8, dtype=np.float32)
    own_D[2] = 1
    for place in (pool - 1, pool):
        vectors_ND[place, 2], vectors_ND[place, 1] = vectors_ND[place, 1], 0
    vectors = IndexedVectors(vectors_ND, build_index(vectors_ND, "flat"))
    toward_first = np.eye(1, 8, dtype=np.float32)[0]
    own = OwnProducts(9.0, np.array([-1]), own_D[None, :])
    [best] = best_products(vectors, [BestQuery(toward_first, 3, None, NO_TERM, NO_TERM, own, None, n_products)])
    assert best.positions.tolist() == [pool - 1, 0, 1]
    # A longer list has a larger pool.
    [best] = best_products(vectors, [BestQuery(toward_first, pool + 1, None, NO_TERM, NO_TERM, own, None, n_products)])
    assert set(best.positions[:2].tolist()) == {pool - 1, pool}


def test_of_products_with_equal_sums_the_first_ones_are_listed_with_closeness_too() -> None:
    same_ND = np.repeat(unit_vectors(1), 50, axis=0)
    vectors = IndexedVectors(same_ND, build_index(same_ND, "flat"))
    own = OwnProducts(1.0, np.array([-1]), same_ND[:1])
    [best] = best_products(vectors, [BestQuery(same_ND[0], 5, None, NO_TERM, NO_TERM, own, None, 50)])
    assert best.positions.tolist() == [0, 1, 2, 3, 4]
    assert_allclose(best.closeness, 1, atol=ROUNDING)
