"""Exact search among all products.

Legend: B queries, K results, N products, D dimensions.
"""

from pathlib import Path
from typing import ClassVar

import faiss

from feature_repo.common.arrays import Float32Array
from training.artifacts.search.exact_search import (
    ScoresAndPositions,
    as_float32,
    blocks,
    exact_search,
    require_unit_vectors,
)
from training.artifacts.search.index_files import write_index


class FlatIndex:
    """Exact search: compares the query with every product, at a cost proportional to N x D."""

    kind: ClassVar[str] = "flat"

    def __init__(self, vectors_ND: Float32Array) -> None:
        """Wraps vectors that build() has checked before."""
        self._vectors_ND = as_float32(vectors_ND)

    @classmethod
    def build(cls, vectors_ND: Float32Array) -> "FlatIndex":
        """Indexes unit vectors; raises ValueError if they are not (N, D), not finite, or not of unit length."""
        require_unit_vectors(vectors_ND)
        return cls(vectors_ND)

    def save(self, folder: Path) -> None:
        """Writes an empty FAISS index, which records the index type; the vectors are stored in a file of their own."""
        write_index(folder, faiss.IndexFlatIP(self.dim), {"type": self.kind})

    def exported(self) -> faiss.Index:
        """A FAISS index with the vectors in it, for other programs; it takes as much memory as they do."""
        index = faiss.IndexFlatIP(self.dim)
        for block in blocks(self._vectors_ND):
            index.add(block)
        return index

    def __len__(self) -> int:
        """The number of products."""
        return len(self._vectors_ND)

    @property
    def dim(self) -> int:
        """D."""
        return int(self._vectors_ND.shape[1])

    def search(self, queries_BD: Float32Array, k: int) -> ScoresAndPositions:
        """Inner products and positions of the K best products for each query, best first, each (B, K).

        K is k, or N if that is less. Safe to call from several threads.
        """
        return exact_search(self._vectors_ND, queries_BD, k)

    def candidates(self, _queries_BD: Float32Array, _k: int) -> None:
        """None: it compares with all products, see CandidateIndex."""
        return

    def k_for_candidates(self, n_candidates: int) -> int:
        """The same number: it chooses no candidates, see CandidateIndex."""
        return n_candidates
