"""What a query matches: the scores of all products for it, and whether it is like any product at all.

    score = MEANING_WEIGHT * cosine of the text vectors + spelling score (see ngram_index.py)

Adding the scores finds more than fusing the ranks (docs/adr/0006). A query that is nearly a title has one spelling
score far above all others; a rank would lose that distance. Candidates are the best products by either score.

Every query has best products, "asdfgh" too. Which of them match it is another question; docs/adr/0020 has how the
limits below were measured.

Legend: N products, K results, P some products, T dimensions of a text vector.
"""

from collections.abc import Sequence
from functools import cached_property, reduce

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from training.artifacts.search.filtered_search import IndexedVectors, Ranked, top_k
from training.artifacts.search.ngram_index import SpellingScores

# 4 to 8 are within .003 hit@1 of each other (ADR 0006).
MEANING_WEIGHT = 6.0
# Candidates by each score: this many per result, and at least the minimum.
SEARCH_POOL_PER_RESULT, SEARCH_POOL_MIN = 5, 100
# A synonym finds products as if they were spelled a little less alike. So a product that is spelled like the query
# itself keeps the highest spelling score.
SYNONYM_WEIGHT = 0.9
# What makes a query and a product alike: this alikeness in spelling, or a cosine this far above the mean.
MIN_ALIKENESS, MIN_ABOVE_MEAN = 0.12, 0.06
NOT_ALIKE = 0.001
WEAK_ALIKENESS = 0.25  # below it, for the report of searches
# Of the best product, what another one needs to match the query: of its alikeness, of its cosine above the mean.
SHARE_OF_BEST, SHARE_OF_NEAREST = 0.5, 0.85


class QueryMatches:
    """The scores of all products for one query.

    Attributes:
        mean_cosine: The mean cosine of query and products; 0 without a text vector.
    """

    def __init__(
        self,
        text_vectors: IndexedVectors,
        spellings: Sequence[SpellingScores],
        query_vector_T: Float32Array | None,
        *,
        mean_cosine: float = 0.0,
        has_known_word: bool = False,
        corrected: "tuple[str, QueryMatches] | None" = None,
    ) -> None:
        """Keeps what a query was compared with.

        Args:
            text_vectors: The text vectors of the products.
            spellings: How similar query and products are spelled; after the query's own, those of its synonyms.
            query_vector_T: The query's text vector, if it has one.
            mean_cosine: The mean cosine of query and products. That of text encoders is high for any query, so only
                what is above it says something.
            has_known_word: Whether a product has one of its words.
            corrected: The corrected query, if a word was mistyped, and its matches.
        """
        self._text_vectors, self._query_vector_T, self.mean_cosine = text_vectors, query_vector_T, mean_cosine
        own, *others = (spelling.total() for spelling in spellings)
        self._spelling_N = reduce(np.maximum, (np.float32(SYNONYM_WEIGHT) * total_N for total_N in others), own)
        self._alikenesses = [spelling.alikeness() for spelling in spellings]
        self._most_alike = max((float(alikeness_N.max(initial=0)) for alikeness_N in self._alikenesses), default=0.0)
        self._has_known_word, self._corrected = has_known_word, corrected

    @cached_property
    def is_empty(self) -> bool:
        """Whether the query is like no product: in no word, not in spelling, and not in meaning (docs/adr/0020)."""
        if self._has_known_word or self._most_alike >= MIN_ALIKENESS:
            return False
        return self._query_vector_T is None or not self._near_in_meaning.size

    @property
    def is_weak(self) -> bool:
        """Whether the query is like some product, but only just: no product has a word of it."""
        return not (self.is_empty or self._has_known_word or self._most_alike >= WEAK_ALIKENESS)

    @cached_property
    def matching(self) -> BoolArray:
        """Which products match the query, (N,): those that are at least half as alike as the best one.

        Alike in spelling, or, for the products nearest in meaning, in meaning (docs/adr/0020).
        """
        matching_N = np.zeros(len(self._spelling_N), dtype=np.bool_)
        if self.is_empty:
            return matching_N
        for alikeness_N, threshold in zip(self._alikenesses, self.alikeness_limits, strict=True):
            matching_N |= alikeness_N >= threshold
        if self._query_vector_T is not None:
            matching_N[self._near_in_meaning] = True
        return matching_N

    @property
    def alikeness_limits(self) -> list[float]:
        """From which alikeness on a product matches by spelling: the query itself, then each of its synonyms."""
        # With a known word, the best may be below the minimum: one word is little of a long product text.
        least = min(MIN_ALIKENESS, self._most_alike) if self._has_known_word else MIN_ALIKENESS
        return [
            max(least, SHARE_OF_BEST * float(alikeness_N.max(initial=0)), NOT_ALIKE)
            for alikeness_N in self._alikenesses
        ]

    @property
    def cosine_limit(self) -> float | None:
        """From which cosine on a product matches by meaning; None without a text vector."""
        if self._query_vector_T is None:
            return None
        return self.mean_cosine + self._least_above_mean

    def near_in_meaning(self, positions: Int64Array) -> BoolArray:
        """Which of P products match by meaning, (P,)."""
        if self._query_vector_T is None:
            return np.zeros(len(positions), dtype=np.bool_)
        near_P: BoolArray = np.isin(positions, self._near_in_meaning)
        return near_P

    @property
    def correction(self) -> str | None:
        """The query with mistyped words corrected, whether or not products match the result; None if no word is."""
        return None if self._corrected is None else self._corrected[0]

    def did_you_mean(self, allowed_N: BoolArray | None = None) -> str | None:
        """The query with mistyped words corrected; None if no word is, or no (allowed) product matches the result."""
        if self._corrected is None:
            return None
        query, matches = self._corrected
        matching_N = matches.matching if allowed_N is None else matches.matching & allowed_N
        return query if matching_N.any() else None

    def top(self, k: int, allowed_N: BoolArray | None = None) -> Ranked:
        """The K best (allowed) products, best first; fewer only if fewer are allowed."""
        pool = max(SEARCH_POOL_PER_RESULT * k, SEARCH_POOL_MIN)
        positions = self._best_by_spelling(pool, allowed_N)
        if self._query_vector_T is not None:
            if allowed_N is None:
                nearest = self._nearest if pool == SEARCH_POOL_MIN else self._search(pool)
            else:
                n_allowed = int(allowed_N.sum())
                nearest = self._text_vectors.nearest_allowed(self._query_vector_T, pool, allowed_N, n_allowed)
            # A product found by one score gets its other score too, so that both ways are compared by the same sum.
            positions = np.union1d(positions, nearest.positions)
        meaning, spelling = self.score_terms(positions)
        return top_k(positions, meaning + spelling, k)

    def score_terms(self, positions: Int64Array) -> tuple[Float32Array, Float32Array]:
        """The meaning and the spelling term of the scores of P products, each (P,)."""
        if self._query_vector_T is None:
            return np.zeros(len(positions), dtype=np.float32), self._spelling_N[positions]
        cosines = self._text_vectors.similarity(self._query_vector_T, positions)
        return np.float32(MEANING_WEIGHT) * cosines, self._spelling_N[positions]

    @cached_property
    def _nearest(self) -> Ranked:
        """The products nearest in meaning, of all."""
        return self._search(SEARCH_POOL_MIN)

    def _search(self, k: int) -> Ranked:
        assert self._query_vector_T is not None
        (nearest,) = self._text_vectors.nearest(self._query_vector_T[None, :], k)
        return nearest

    @property
    def _near_in_meaning(self) -> Int64Array:
        """The products whose cosine is far enough above the mean, and not far below the best one."""
        positions, cosines = self._nearest
        near: Int64Array = positions[cosines - self.mean_cosine >= self._least_above_mean]
        return near

    @property
    def _least_above_mean(self) -> float:
        above = self._nearest.scores - self.mean_cosine
        return max(MIN_ABOVE_MEAN, SHARE_OF_NEAREST * float(above.max(initial=0)))

    def _best_by_spelling(self, k: int, allowed_N: BoolArray | None) -> Int64Array:
        if allowed_N is None:
            return top_k(np.arange(len(self._spelling_N)), self._spelling_N, k).positions
        positions = np.flatnonzero(allowed_N)
        return top_k(positions, self._spelling_N[positions], k).positions
