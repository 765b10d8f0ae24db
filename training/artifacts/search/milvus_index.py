"""Candidates from Milvus, an engine outside this process that may be of many machines.

Legend: B queries, C candidates, N products, D dimensions.
"""

import logging
import time
from pathlib import Path
from typing import Any, ClassVar

import faiss

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.search.candidate_index import CandidateIndex
from training.artifacts.search.exact_search import require_unit_vectors
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_files import write_index
from training.artifacts.search.milvus_collection import (
    REQUEST_S,
    SEARCH_S,
    Engine,
    EngineError,
    MilvusCollection,
)

log = logging.getLogger(__name__)

RETRY_S = 30.0  # of an engine that is away: until then no request waits for it


class MilvusIndex(CandidateIndex):
    """A graph (HNSW) in Milvus chooses candidates, and the vectors here rank them.

    As it is built, an engine that is away is an error. Once loaded, it searches exactly instead, at the cost of `flat`.
    """

    kind: ClassVar[str] = "milvus"
    parameter: ClassVar[str] = "ef"
    values: ClassVar[tuple[int, ...]] = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)
    default: ClassVar[int] = 400
    MOST_CANDIDATES = 16_384  # that Milvus returns; for more, all products are compared

    def __init__(
        self,
        collection: MilvusCollection,
        vectors_ND: Float32Array,
        value: int | None = None,
        *,
        exact_if_away: bool = False,
    ) -> None:
        """Wraps the collection of these vectors; nothing is asked of the engine yet."""
        super().__init__(vectors_ND, value)
        self._collection = collection
        self._exact_if_away = exact_if_away
        self._is_away, self._retry_at = False, 0.0

    @classmethod
    def build(cls, vectors_ND: Float32Array, engine: Engine) -> "MilvusIndex":
        """Copies the vectors to the engine, unless it has them.

        Raises:
            ValueError: The vectors are not (N, D), not finite, not of unit length, or there are none.
            EngineError: The engine is away or refuses.
        """
        require_unit_vectors(vectors_ND)
        if not len(vectors_ND):
            raise ValueError("a milvus index needs products, and there are 0; set index.type=auto or flat")
        collection = MilvusCollection.of(engine, vectors_ND)
        collection.fill(vectors_ND)
        return cls(collection, vectors_ND)

    @classmethod
    def load(cls, settings: dict[str, Any], vectors_ND: Float32Array) -> "MilvusIndex":
        """The index that settings() describes; connects at the first search.

        Raises:
            ValueError: It is of another number of products or dimensions.
        """
        shape = (settings["n_products"], settings["dim"])
        if shape != vectors_ND.shape:
            raise ValueError(
                f"the index is of {shape[0]} products in {shape[1]} dimensions, the product vectors are "
                f"{vectors_ND.shape}; run `tawsiya index` again"
            )
        collection = MilvusCollection(settings["address"], settings["collection"])
        return cls(collection, vectors_ND, settings["value"], exact_if_away=True)

    def settings(self) -> dict[str, Any]:
        """Besides type, parameter and value, where the collection is; there is no secret in it."""
        place = {"address": self._collection.address, "collection": self._collection.name}
        return super().settings() | place | {"n_products": len(self), "dim": self.dim}

    def save(self, folder: Path) -> None:
        """Writes the settings; the FAISS file is that of a flat index, which a program without Milvus can use."""
        write_index(folder, faiss.IndexFlatIP(self.dim), self.settings())

    def exported(self) -> faiss.Index:
        """An exact FAISS index with the vectors in it."""
        return FlatIndex(self._vectors_ND).exported()

    def _candidates(self, queries_BD: Float32Array, n_candidates: int, _value: int) -> Int64Array:
        seconds = SEARCH_S if self._exact_if_away else REQUEST_S
        return self._collection.candidates(queries_BD, n_candidates, len(self), seconds)

    def comparisons(self, _queries_BD: Float32Array) -> float:
        """The candidates, which are compared here; what the engine compares, it does not tell."""
        return float(self.value)

    def _found(self, queries_BD: Float32Array, n_candidates: int, k: int) -> Int64Array | None:
        """As of all indexes; None also for more candidates than Milvus returns.

        A loaded index compares with all products while the engine is away, and logs that it begins.

        Raises:
            EngineError: The engine is away, and the index has just been built.
        """
        if n_candidates > self.MOST_CANDIDATES:
            return None
        if not self._exact_if_away:
            return super()._found(queries_BD, n_candidates, k)
        if time.monotonic() < self._retry_at:
            return None
        try:
            candidates_BC = super()._found(queries_BD, n_candidates, k)
        except EngineError as error:
            self._retry_at = time.monotonic() + RETRY_S
            if not self._is_away:
                log.warning("searching all products exactly, which takes longer: %s", error)
            self._is_away = True
            return None
        if self._is_away:
            log.warning("Milvus at %s answers again", self._collection.address)
        self._is_away = False
        return candidates_BC
