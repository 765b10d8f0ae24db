"""Approximate search in two steps: short codes of the products choose candidates, and their vectors rank these.

Legend: B queries, C candidates, K results, N products, D dimensions, S sample to learn from.
"""

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.search.exact_search import (
    ScoresAndPositions,
    as_float32,
    blocks,
    exact_search,
    rank_candidates,
    require_unit_vectors,
)
from training.artifacts.search.index_files import write_index

SAMPLE_SEED = 0
# `value` is for up to so many results; a search for more looks at more in proportion.
RESULTS_OF_VALUE = 100
CODE_BITS = 4  # of product quantisation


class CodedIndex(ABC):
    """Codes of all products, and their vectors, which are read in place.

    The codes are in the memory of each process. What they cost and how much they find is set by one parameter.
    """

    kind: ClassVar[str]
    stored_as: ClassVar[type[faiss.Index]]
    """What FAISS reads from its file."""
    parameter: ClassVar[str]
    """Name of the parameter."""
    values: ClassVar[tuple[int, ...]]
    """The values to choose from, from the cheapest to the dearest."""
    default: ClassVar[int]
    """The value of an index whose value has not been chosen."""
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
        self._vectors_ND = as_float32(vectors_ND)
        self.value = self.default if value is None else value

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

    @abstractmethod
    def _candidates(self, queries_BD: Float32Array, n_candidates: int, value: int, /) -> Int64Array:
        """The candidates of each query, (B, C); -1 where there are fewer."""

    @abstractmethod
    def comparisons(self, queries_BD: Float32Array, /) -> float:
        """Products that a query for up to 100 results is compared with on average, by codes and by vectors together."""

    def n_candidates(self, k: int) -> int:
        """C for K results."""
        return self._scaled(k)

    def with_value(self, value: int) -> Self:
        """The same index with another value of the parameter."""
        index = copy.copy(self)
        index.value = value
        return index

    def save(self, folder: Path) -> None:
        """Writes the codes and the value."""
        write_index(folder, self._codes, {"type": self.kind, "parameter": self.parameter, "value": self.value})

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

    def _set_default(self, value: int) -> None:  # noqa: B027 - nothing to do for most
        """Stores the value in the codes, for a search that names none."""

    def __len__(self) -> int:
        """The number of products."""
        return len(self._vectors_ND)

    @property
    def dim(self) -> int:
        """D."""
        return int(self._vectors_ND.shape[1])

    def search(self, queries_BD: Float32Array, k: int) -> ScoresAndPositions:
        """Inner products and positions of approximately the K best products for each query, best first, each (B, K).

        K is k, or N where that is less. Safe to call from several threads.
        """
        n_candidates = self.n_candidates(k)
        if n_candidates >= len(self):
            return exact_search(self._vectors_ND, queries_BD, k)
        queries_BD = as_float32(queries_BD)
        candidates_BC = self._candidates(queries_BD, n_candidates, self._scaled(k))
        # The scores of the codes are too coarse to rank by; they only choose candidates.
        return rank_candidates(self._vectors_ND, queries_BD, candidates_BC, k)

    def _scaled(self, k: int) -> int:
        return max(self.value, -(-self.value * k // RESULTS_OF_VALUE))


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
