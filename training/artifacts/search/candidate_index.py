"""Approximate search in two steps: something chooses candidates, and the vectors of the products rank these.

Legend: B queries, C candidates, K results, N products, D dimensions.
"""

import copy
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.search.exact_search import ScoresAndPositions, as_float32, exact_search, rank_candidates

# `value` is for up to so many results; a search for more looks at more in proportion.
RESULTS_OF_VALUE = 100


class CandidateIndex(ABC):
    """The vectors of all products, read in place, behind a way to choose candidates.

    What candidates cost and how many of the best are among them is set by one parameter.
    """

    kind: ClassVar[str]
    parameter: ClassVar[str]
    """Name of the parameter."""
    values: ClassVar[tuple[int, ...]]
    """The values to choose from, from the cheapest to the dearest."""
    default: ClassVar[int]
    """The value of an index whose value has not been chosen."""

    def __init__(self, vectors_ND: Float32Array, value: int | None = None) -> None:
        """Keeps the vectors, (N, D), and the value; None takes the default."""
        self._vectors_ND = as_float32(vectors_ND)
        self.value = self.default if value is None else value

    @abstractmethod
    def _candidates(self, queries_BD: Float32Array, n_candidates: int, value: int, /) -> Int64Array:
        """The candidates of each query, (B, C); -1 where there are fewer."""

    @abstractmethod
    def comparisons(self, queries_BD: Float32Array, /) -> float:
        """What a query for up to 100 results costs on average, in products that it is compared with."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes what load_index reads beside the vectors, with the settings."""

    @abstractmethod
    def exported(self) -> faiss.Index:
        """A FAISS index with the vectors in it, for other programs."""

    def settings(self) -> dict[str, Any]:
        """What index_curve.json has of the index itself: its type, parameter and value."""
        return {"type": self.kind, "parameter": self.parameter, "value": self.value}

    def n_candidates(self, k: int) -> int:
        """C for K results."""
        return self._scaled(k)

    def with_value(self, value: int) -> Self:
        """The same index with another value of the parameter."""
        index = copy.copy(self)
        index.value = value
        return index

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
        queries_BD = as_float32(queries_BD)
        candidates_BC = self._found(queries_BD, self.n_candidates(k), k)
        if candidates_BC is None:
            return exact_search(self._vectors_ND, queries_BD, k)
        # What chose the candidates is too coarse to rank by.
        return rank_candidates(self._vectors_ND, queries_BD, candidates_BC, k)

    def candidates(self, queries_BD: Float32Array, k: int) -> Int64Array | None:
        """Positions that hold nearly all of the K nearest, (B, C), -1 where there are fewer; None if that takes all.

        For callers who rank by more than the inner product. C is in proportion to K, while `search` takes no fewer
        than for 100 results.
        """
        n_candidates = max(k, self.n_candidates(RESULTS_OF_VALUE) * k // RESULTS_OF_VALUE)
        return self._found(as_float32(queries_BD), n_candidates, k)

    def k_for_candidates(self, n_candidates: int) -> int:
        """The smallest K for which `candidates` returns at least so many."""
        return min(n_candidates, -(-n_candidates * RESULTS_OF_VALUE // self.n_candidates(RESULTS_OF_VALUE)))

    def _found(self, queries_BD: Float32Array, n_candidates: int, k: int) -> Int64Array | None:
        """The candidates for K results; None to compare with all products."""
        if n_candidates >= len(self):
            return None
        return self._candidates(queries_BD, n_candidates, self._scaled(k))

    def _scaled(self, k: int) -> int:
        return max(self.value, -(-self.value * k // RESULTS_OF_VALUE))
