"""Search: products that a query means, and products that it is spelled like, on one scale.

    score = MEANING * cosine of the text vectors + lexical score (see lexical.py)

Adding scores finds more than fusing ranks (docs/adr/0006): a query that is nearly a title has one lexical score far
above all others, and that distance is lost when only its rank counts. Candidates are the best by either part.

Legend: N products, K results, T dimensions of a text vector.
"""

from pathlib import Path

import numpy as np

from training.artifacts.search.filtered_search import Allowed, Floats, NearestProducts, Positions, Ranked, best
from training.artifacts.search.ngram_index import LexicalIndex
from training.artifacts.search.vector_index import IndexType, build_index, load_index

TEXT_VECTORS = "text_vectors.npy"
MEANING = 6.0
POOL, SMALLEST_POOL = 5, 100  # so many times K candidates by each part, and so many at least


class Found:
    """What one query has to do with the products; `top` and `parts` are two ways to look at it."""

    def __init__(self, vectors: NearestProducts, lexical_N: Floats, vector_T: Floats | None) -> None:
        """Takes the lexical scores, and the query's vector where there is one."""
        self._vectors, self._lexical_N, self._vector_T = vectors, lexical_N, vector_T

    @property
    def is_empty(self) -> bool:
        """Whether the query says nothing about any product."""
        return self._vector_T is None and not self._lexical_N.any()

    def top(self, k: int, allowed_N: Allowed | None = None) -> Ranked:
        """The K best (allowed) products, best first; fewer only where fewer are allowed."""
        pool = max(POOL * k, SMALLEST_POOL)
        positions = self._spelled_alike(pool, allowed_N)
        if self._vector_T is not None:
            if allowed_N is None:
                (near,) = self._vectors.nearest(self._vector_T[None, :], pool)
            else:
                near = self._vectors.nearest_allowed(self._vector_T, pool, allowed_N, int(allowed_N.sum()))
            positions = np.union1d(positions, near.positions)
        meaning, spelling = self.parts(positions)
        return best(positions, meaning + spelling, k)

    def parts(self, positions: Positions) -> tuple[Floats, Floats]:
        """What meaning and spelling contribute to the scores of some products."""
        if self._vector_T is None:
            return np.zeros(len(positions), dtype=np.float32), self._lexical_N[positions]
        meaning = np.float32(MEANING) * self._vectors.similarity(self._vector_T, positions)
        return meaning, self._lexical_N[positions]

    def _spelled_alike(self, k: int, allowed_N: Allowed | None) -> Positions:
        if allowed_N is None:
            return best(np.arange(len(self._lexical_N)), self._lexical_N, k).positions
        positions = np.flatnonzero(allowed_N)
        return best(positions, self._lexical_N[positions], k).positions


class SearchIndex:
    """Text vectors and n-grams of all products; read-only and safe to use from several threads."""

    def __init__(self, vectors: NearestProducts, lexical: LexicalIndex) -> None:
        """Takes both, of the same products; ValueError where they are not."""
        if len(vectors) != len(lexical):
            raise ValueError(f"{len(vectors)} text vectors and words of {len(lexical)} products; run `tawsiya index`")
        self._vectors, self._lexical = vectors, lexical

    @classmethod
    def load(cls, folder: Path) -> "SearchIndex":
        """Maps what build_search_index has written."""
        vectors_NT = np.load(folder / TEXT_VECTORS, mmap_mode="r", allow_pickle=False)
        vectors = NearestProducts(vectors_NT, load_index(folder, vectors_NT))
        return cls(vectors, LexicalIndex.load(folder, len(vectors)))

    def find(self, query: str, vector_T: Floats | None) -> Found:
        """Compares a query with all products.

        Args:
            query: As it was typed.
            vector_T: Its text vector; None searches by spelling alone.
        """
        return Found(self._vectors, self._lexical.scores(query), vector_T)


def build_search_index(
    folder: Path, texts: list[str], vectors_NT: Floats, index_type: IndexType, *, show_progress: bool = False
) -> None:
    """Writes the search index of N products, from their texts and unit text vectors, (N, T)."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / TEXT_VECTORS, vectors_NT, allow_pickle=False)
    build_index(vectors_NT, index_type).save(folder)
    LexicalIndex.build(texts, show_progress=show_progress).save(folder)
