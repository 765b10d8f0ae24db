"""Search for products by a text query: by meaning and by spelling, combined in one score.

    score = MEANING_WEIGHT * cosine of the text vectors + spelling score (see ngram_index.py)

Adding the scores finds more than fusing the ranks (docs/adr/0006). A query that is nearly a title has one spelling
score far above all others; a rank would lose that distance. Candidates are the best products by either score.

Legend: N products, K results, P some products, T dimensions of a text vector.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int64Array
from training.artifacts.embeddings import save_blocks
from training.artifacts.search.filtered_search import IndexedVectors, Ranked, top_k
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_recall import buyer_like_queries, choose_value
from training.artifacts.search.milvus_collection import Engine
from training.artifacts.search.ngram_index import NgramIndex
from training.artifacts.search.vector_index import IndexType, build_index, load_index

TEXT_VECTORS = "text_vectors.npy"
# 4 to 8 are within .003 hit@1 of each other (ADR 0006).
MEANING_WEIGHT = 6.0
# Candidates by each score: this many per result, and at least the minimum.
SEARCH_POOL_PER_RESULT, SEARCH_POOL_MIN = 5, 100
# The recall that the parameter of an approximate index is chosen by. What it misses, spelling may find.
MIN_RECALL = 0.99


class QueryMatches:
    """The scores of all products for one query."""

    def __init__(
        self, text_vectors: IndexedVectors, spelling_N: Float32Array, query_vector_T: Float32Array | None
    ) -> None:
        """Keeps the text vectors of the products, the spelling scores, and the query's text vector if it has one."""
        self._text_vectors, self._spelling_N, self._query_vector_T = text_vectors, spelling_N, query_vector_T

    @property
    def is_empty(self) -> bool:
        """Whether the query matches no product: it has no text vector, and no product is spelled like it."""
        return self._query_vector_T is None and not self._spelling_N.any()

    def top(self, k: int, allowed_N: BoolArray | None = None) -> Ranked:
        """The K best (allowed) products, best first; fewer only if fewer are allowed."""
        pool = max(SEARCH_POOL_PER_RESULT * k, SEARCH_POOL_MIN)
        positions = self._best_by_spelling(pool, allowed_N)
        if self._query_vector_T is not None:
            if allowed_N is None:
                (nearest,) = self._text_vectors.nearest(self._query_vector_T[None, :], pool)
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
        meaning = np.float32(MEANING_WEIGHT) * self._text_vectors.similarity(self._query_vector_T, positions)
        return meaning, self._spelling_N[positions]

    def _best_by_spelling(self, k: int, allowed_N: BoolArray | None) -> Int64Array:
        if allowed_N is None:
            return top_k(np.arange(len(self._spelling_N)), self._spelling_N, k).positions
        positions = np.flatnonzero(allowed_N)
        return top_k(positions, self._spelling_N[positions], k).positions


class SearchIndex:
    """Text vectors and n-grams of all products; read-only and safe to use from several threads."""

    def __init__(self, text_vectors: IndexedVectors, ngrams: NgramIndex) -> None:
        """Combines two indexes of the same products; raises ValueError if their numbers of products differ."""
        if len(text_vectors) != len(ngrams):
            raise ValueError(
                f"the search index has text vectors of {len(text_vectors)} products and n-grams of {len(ngrams)}; "
                "run `tawsiya index`"
            )
        self._text_vectors, self._ngrams = text_vectors, ngrams

    @classmethod
    def load(cls, folder: Path) -> "SearchIndex":
        """Memory-maps the files of build_search_index."""
        vectors_NT = np.load(folder / TEXT_VECTORS, mmap_mode="r", allow_pickle=False)
        text_vectors = IndexedVectors(vectors_NT, load_index(folder, vectors_NT))
        return cls(text_vectors, NgramIndex.load(folder, len(text_vectors)))

    def match(self, query: str, query_vector_T: Float32Array | None) -> QueryMatches:
        """Compares a query with all products.

        Args:
            query: The query as it was typed.
            query_vector_T: Its text vector; None searches by spelling alone.
        """
        return QueryMatches(self._text_vectors, self._ngrams.scores(query), query_vector_T)


def build_search_index(
    folder: Path,
    texts: list[str],
    vectors_NT: Float32Array,
    index_type: IndexType,
    engine: Engine | None = None,
    *,
    show_progress: bool = False,
) -> None:
    """Writes the search index of N products, from their texts and unit text vectors, (N, T); see build_index."""
    save_text_vectors(folder, vectors_NT.shape, [vectors_NT])
    index_text_vectors(folder, index_type, engine)
    NgramIndex.build(texts, show_progress=show_progress).save(folder)


def save_text_vectors(folder: Path, shape: tuple[int, ...], blocks: Iterable[Float32Array]) -> None:
    """Writes the unit text vectors of a search index; `shape` is (N, T), and each block has rows of it, in order."""
    save_blocks(folder / TEXT_VECTORS, shape, "<f4", blocks)


def index_text_vectors(folder: Path, index_type: IndexType, engine: Engine | None = None) -> None:
    """Indexes the vectors of save_text_vectors, memory-mapped."""
    vectors_NT = np.load(folder / TEXT_VECTORS, mmap_mode="r", allow_pickle=False)
    index = build_index(vectors_NT, index_type, engine)
    if isinstance(index, FlatIndex):
        index.save(folder)
    else:
        queries_QT = buyer_like_queries(vectors_NT)
        choose_value(index, vectors_NT, queries_QT, MIN_RECALL, "weighted means of five text vectors").save(folder)
