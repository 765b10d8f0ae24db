"""The best products by similarity plus the terms of the re-scorer, for several buyers in one search.

Of all products, those that can be among the best are the nearest, the recently popular, the buyer's own and those that
buyers of these also chose. Their sums are exact. Where the index is exact or few products are allowed, all allowed
products are compared, so that the result is the best of all by these terms; else ADR 0018 measures how often it is. The
closeness term, which costs an inner product for each event of the buyer, is then added to the best of them only (ADR
0023).

Legend: B queries, K results, C candidates of one query, P some products, N products, L events, D dimensions.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from training.artifacts.scoring.rescorer import CLOSENESS_POOL
from training.artifacts.scoring.sparse_term import SparseTerm
from training.artifacts.search.filtered_search import (
    FEWEST_RESULTS,
    SHARE_READ_IN_ORDER,
    IndexedVectors,
    VectorQuery,
    top_k,
)
from training.artifacts.search.index_recall import ROUNDING

# The nearest products that must be among the candidates, per result; and so many times as many recently popular ones,
# which cost little: all requests read the same vectors. ADR 0018 measures what these find.
RESCORER_POOL_PER_RESULT, POPULAR_PER_NEAREST = 2, 20
# The index is asked for at least so many candidates per product of the closeness pool; ADR 0025 measures what fewer
# miss.
CANDIDATES_PER_POOLED = 2
RECENTLY_POPULAR_POOL = 5_000  # the recently popular products to choose from
SUMS_AT_ONCE = 4_000_000  # of an exact comparison; 16 MB


class OwnProducts(NamedTuple):
    """The closeness term of one buyer: the products of the history (see artifacts.scoring.rescorer).

    Attributes:
        weight: Weight of the term, positive.
        positions_L: (L,) positions of the products; -1 for a product that the release does not have.
        vectors_LD: (L, D) their unit vectors.
    """

    weight: float
    positions_L: Int64Array
    vectors_LD: Float32Array

    def closeness(self, positions: Int64Array, vectors_PD: Float32Array) -> Float32Array:
        """The closeness term of P products, (P,), given their vectors."""
        similarity_LP = self.vectors_LD @ vectors_PD.T
        # A product is near to the others of the history, not to itself.
        similarity_LP[self.positions_L[:, None] == positions] = 0
        # Not below 0, as a product outside the pool has it.
        closeness: Float32Array = np.maximum(similarity_LP.max(axis=0), 0) * np.float32(self.weight)
        return closeness


class PopularityTerm(NamedTuple):
    """The popularity term of all products, for lists of any products or for lists of new products only.

    Attributes:
        term_N: (N,) float32.
        best: Positions of the RECENTLY_POPULAR_POOL products with the largest positive terms, largest first.
    """

    term_N: Float32Array
    best: Int64Array

    @classmethod
    def of(cls, term_N: Float32Array) -> "PopularityTerm":
        """Sorts the products by their terms."""
        # Stable, so that equal terms keep the order of positions and repeated requests get the same list.
        order = np.argsort(-term_N, kind="stable")[: min(RECENTLY_POPULAR_POOL, int((term_N > 0).sum()))]
        return cls(term_N, order.astype(np.int64))

    def largest(self, k: int, allowed_N: BoolArray | None = None) -> Int64Array:
        """The K (allowed) products with the largest terms; fewer if fewer have a positive term."""
        return (self.best if allowed_N is None else self.best[allowed_N[self.best]])[:k]


class BestQuery(NamedTuple):
    """For whom the best products are wanted, how many, and among which.

    Attributes:
        vector_D: (D,) unit vector.
        k: K.
        popularity: The popularity term; None for a list by similarity alone.
        repeats: The repeat term.
        co_occurrence: The co-occurrence term.
        own: The closeness term; None for a list without it.
        allowed_N: (N,) which products are allowed; None allows all.
        n_allowed: Number of allowed products.
    """

    vector_D: Float32Array
    k: int
    popularity: PopularityTerm | None
    repeats: SparseTerm
    co_occurrence: SparseTerm
    own: OwnProducts | None
    allowed_N: BoolArray | None
    n_allowed: int

    @property
    def n_pooled(self) -> int:
        """How many of the best products by the other terms get the closeness term; K if there is none."""
        return self.k if self.own is None else max(CLOSENESS_POOL, self.k)


class BestProducts(NamedTuple):
    """K products in descending order of the sum of their terms, each (K,)."""

    positions: Int64Array
    similarity: Float32Array
    popularity: Float32Array
    repeat: Float32Array
    co_occurrence: Float32Array
    closeness: Float32Array

    @property
    def scores(self) -> Float32Array:
        """The sums, (K,)."""
        return self.similarity + self.popularity + self.repeat + self.co_occurrence + self.closeness

    def first(self, k: int) -> "BestProducts":
        """The first K products."""
        return self.at(slice(k))

    def at(self, places: Int64Array | slice) -> "BestProducts":
        """Some of the products, in that order."""
        terms = (self.similarity, self.popularity, self.repeat, self.co_occurrence, self.closeness)
        return BestProducts(self.positions[places], *(term[places] for term in terms))


def rescorer_pool(k: int) -> int:
    """The number of nearest products that must be among the candidates of the K best."""
    return max(RESCORER_POOL_PER_RESULT * k, FEWEST_RESULTS)


def best_products(vectors: IndexedVectors, queries: Sequence[BestQuery]) -> list[BestProducts]:
    """For each query, the K allowed products with the largest sums; of equal ones, those of the lower positions.

    Fewer only if fewer are allowed. The closeness term is added to those that are the best without it.
    """
    if not queries:
        return []
    candidates = vectors.candidates([_nearest_of(vectors, query) for query in queries])
    exact = [row for row, nearest in enumerate(candidates) if nearest is None]
    compared = dict(zip(exact, _best_of_all(vectors, [queries[row] for row in exact]), strict=True))
    pools = [
        _distinct(compared[row] if nearest is None else nearest, query)
        for row, (query, nearest) in enumerate(zip(queries, candidates, strict=True))
    ]
    pools_BC = np.full((len(pools), max(map(len, pools))), -1, dtype=np.int64)
    for row, pool in enumerate(pools):
        pools_BC[row, : len(pool)] = pool
    similarity_BC = vectors.similarities(np.stack([query.vector_D for query in queries]), pools_BC)
    return [
        _best(vectors, query, pool, similarity_C[: len(pool)])
        for query, pool, similarity_C in zip(queries, pools, similarity_BC, strict=True)
    ]


def _nearest_of(vectors: IndexedVectors, query: BestQuery) -> VectorQuery:
    n_nearest = rescorer_pool(query.k)
    if query.own is not None:
        n_nearest = max(n_nearest, vectors.k_for_candidates(CANDIDATES_PER_POOLED * query.n_pooled))
    return VectorQuery(query.vector_D, n_nearest, query.allowed_N, query.n_allowed)


def _distinct(nearest: Int64Array, query: BestQuery) -> Int64Array:
    """The candidates of a query, each once, ascending: the nearest, the recently popular, those with another term."""
    parts = [nearest]
    for term in (query.repeats, query.co_occurrence):
        allowed = term.positions if query.allowed_N is None else term.positions[query.allowed_N[term.positions]]
        parts.append(allowed)
    if query.popularity is not None:
        parts.append(query.popularity.largest(POPULAR_PER_NEAREST * rescorer_pool(query.k), query.allowed_N))
    positions = np.sort(np.concatenate(parts))
    # np.unique takes ten times as long for so few.
    is_first = np.empty(len(positions), dtype=np.bool_)
    is_first[:1] = True
    np.not_equal(positions[1:], positions[:-1], out=is_first[1:])
    return positions[is_first]


def _best(vectors: IndexedVectors, query: BestQuery, positions: Int64Array, similarity: Float32Array) -> BestProducts:
    """The K best of some distinct products, which are ascending."""
    nothing = np.zeros_like(similarity)
    popularity = nothing if query.popularity is None else query.popularity.term_N[positions]
    sparse = (query.repeats.of_ascending(positions), query.co_occurrence.of_ascending(positions))
    products = BestProducts(positions, similarity, popularity, *sparse, nothing)
    if query.own is not None:
        # Ascending again, so that of products with equal sums the first ones stay the first.
        pool = products.at(np.sort(_places_of_best(products, query.n_pooled)))
        products = pool._replace(closeness=query.own.closeness(pool.positions, vectors[pool.positions]))
    return products.at(_places_of_best(products, query.k))


def _places_of_best(products: BestProducts, k: int) -> Int64Array:
    return top_k(np.arange(len(products.positions)), products.scores, k).positions


def _best_of_all(vectors: IndexedVectors, queries: Sequence[BestQuery]) -> Iterable[Int64Array]:
    """For each query, its best allowed products by similarity and popularity, and equally good ones.

    They are K, or as many as get the closeness term.
    """
    best: list[Int64Array] = [query.repeats.positions[:0] for query in queries]
    rows_of: dict[int | None, list[int]] = {}
    for row, query in enumerate(queries):
        # A mask that allows more needs all vectors read anyway. Such queries share one comparison, whatever their
        # masks: each list of new products has its own.
        key = id(query.allowed_N) if query.n_allowed <= len(vectors) // SHARE_READ_IN_ORDER else None
        rows_of.setdefault(key, []).append(row)
    for key, rows in rows_of.items():
        allowed_N = None if key is None else queries[rows[0]].allowed_N
        positions = None if allowed_N is None else np.flatnonzero(allowed_N)
        n_rows = max(1, SUMS_AT_ONCE // len(vectors)) if len(vectors) else 1
        for start in range(0, len(rows), n_rows):
            some = rows[start : start + n_rows]
            sums_BP = vectors.all_similarities(np.stack([queries[row].vector_D for row in some]), positions)
            for row, sums_P in zip(some, sums_BP, strict=True):
                best[row] = _largest_sums(queries[row], sums_P, positions)
    return best


def _largest_sums(query: BestQuery, sums_P: Float32Array, positions: Int64Array | None) -> Int64Array:
    if query.popularity is not None:
        term_N = query.popularity.term_N
        sums_P = sums_P + (term_N if positions is None else term_N[positions])
    if positions is None and query.allowed_N is not None:
        sums_P = np.where(query.allowed_N, sums_P, np.float32(-np.inf))
    n_best = query.n_pooled
    if n_best < query.n_allowed:
        # These sums are rounded otherwise than the final ones.
        places = np.flatnonzero(sums_P >= np.partition(sums_P, -n_best)[-n_best] - ROUNDING)
    else:
        places = np.flatnonzero(sums_P > -np.inf)
    return places if positions is None else positions[places]
