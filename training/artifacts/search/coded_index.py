"""Approximate search by codes: short codes of the products choose candidates, and their vectors rank these.

Legend: N products, D dimensions, S sample to learn from.
"""

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np

from feature_repo.common.arrays import Float32Array
from training.artifacts.search.candidate_index import RESULTS_OF_VALUE, CandidateIndex
from training.artifacts.search.exact_search import as_float32, blocks, require_unit_vectors
from training.artifacts.search.index_files import write_index

SAMPLE_SEED = 0
CODE_BITS = 4  # of product quantisation


class CodedIndex(CandidateIndex):
    """Codes of all products, and their vectors, which are read in place.

    The codes are in the memory of each process. What they cost and how much they find is set by one parameter.
    """

    stored_as: ClassVar[type[faiss.Index]]
    """What FAISS reads from its file."""
    fewest_products: ClassVar[int]
    """What the codes are learned from, at least."""

    def __init__(self, codes: faiss.Index, vectors_ND: Float32Array, value: int | None = None) -> None:
        """Wraps the codes of these vectors; raises ValueError if their number or dimension differs."""
        if (codes.ntotal, codes.d) != vectors_ND.shape:
            raise ValueError(
                f"the index is of {codes.ntotal} products in {codes.d} dimensions, the product vectors are "
                f"{vectors_ND.shape}; run `tawsiya index` again"
            )
        self._codes: Any = codes  # the stubs of FAISS 1.15 lack most attributes of its indexes
        super().__init__(vectors_ND, value)

    @classmethod
    def build(cls, vectors_ND: Float32Array) -> Self:
        """Learns the codes from a seeded sample of the vectors and encodes all of them, block by block.

        Raises:
            ValueError: The vectors are not (N, D), not finite, not of unit length, or too few to learn from.
        """
        require_unit_vectors(vectors_ND)
        n_products = len(vectors_ND)
        if n_products < cls.fewest_products:
            raise ValueError(
                f"a {cls.kind} index learns from at least {cls.fewest_products} products, and there are {n_products}; "
                "set index.type=auto or flat"
            )
        codes = cls._learned(vectors_ND)
        cls._add(codes, vectors_ND)
        return cls(codes, vectors_ND)

    @classmethod
    @abstractmethod
    def _learned(cls, vectors_ND: Float32Array) -> faiss.Index:
        """An index without products that has learned its codes."""

    @classmethod
    def _add(cls, codes: faiss.Index, vectors_ND: Float32Array) -> None:
        for block in blocks(vectors_ND):
            codes.add(as_float32(block))

    def save(self, folder: Path) -> None:
        """Writes the codes and the value."""
        write_index(folder, self._codes, self.settings())

    def exported(self) -> faiss.Index:
        """A FAISS index of the codes, with the vectors to rank by, for other programs; it is as large as the vectors.

        It compares at least as many candidates as this one, for any number of results from 10.
        """
        self._set_default(self.value)
        exact = faiss.IndexFlatIP(self.dim)
        for block in blocks(self._vectors_ND):
            exact.add(as_float32(block))
        index = faiss.IndexRefine(self._codes, exact)
        index.k_factor = self.n_candidates(RESULTS_OF_VALUE) / 10
        return index

    def _set_default(self, value: int) -> None:
        """Stores the value in the codes, for a search that names none."""


def sample(vectors_ND: Float32Array, n_rows: int) -> Float32Array:
    """A seeded sample of the vectors, (S, D), in their order; all of them if they are no more."""
    if n_rows >= len(vectors_ND):
        return as_float32(vectors_ND)
    # In order, which a disk reads faster.
    rows = np.sort(np.random.default_rng(SAMPLE_SEED).choice(len(vectors_ND), n_rows, replace=False, shuffle=False))
    return as_float32(vectors_ND[rows])


def n_codes(dim: int, dimensions_per_code: int) -> int:
    """Codes per product; if the dimensions cannot be divided so, each gets a code."""
    return dim // dimensions_per_code if dim % dimensions_per_code == 0 else dim
