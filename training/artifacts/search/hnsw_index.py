"""Walks a graph of near products.

Legend: B queries, C candidates, N products, D dimensions.
"""

from typing import ClassVar

import faiss

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.search.coded_index import CodedIndex, sample
from training.artifacts.search.exact_search import one_thread


class HnswIndex(CodedIndex):
    """A graph whose edges lead to near products (Malkov and Yashunin 2016, https://arxiv.org/abs/1603.09320).

    Distances on the way are those of codes of 8 bits per dimension, D bytes per product (FAISS IndexHNSWSQ): with
    the vectors themselves, FAISS would keep a copy of them in each process.
    """

    kind: ClassVar[str] = "hnsw"
    stored_as: ClassVar[type[faiss.Index]] = faiss.IndexHNSWSQ
    parameter: ClassVar[str] = "efSearch"
    values: ClassVar[tuple[int, ...]] = (100, 150, 200, 300, 400, 600, 800, 1200, 1600)
    default: ClassVar[int] = 400
    fewest_products: ClassVar[int] = 16
    NEIGHBOURS, EF_CONSTRUCTION = 16, 80

    @classmethod
    def _learned(cls, vectors_ND: Float32Array) -> faiss.Index:
        dim, bits = vectors_ND.shape[1], faiss.ScalarQuantizer.QT_8bit
        codes = faiss.IndexHNSWSQ(dim, bits, cls.NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)  # type: ignore[arg-type]
        codes.hnsw.efConstruction = cls.EF_CONSTRUCTION
        codes.train(sample(vectors_ND, 65_536))
        return codes

    @classmethod
    def _add(cls, codes: faiss.Index, vectors_ND: Float32Array) -> None:
        # With several threads, the graph depends on which is first.
        with one_thread():
            super()._add(codes, vectors_ND)

    def _candidates(self, queries_BD: Float32Array, n_candidates: int, value: int) -> Int64Array:
        parameters = faiss.SearchParametersHNSW(efSearch=value)  # type: ignore[attr-defined]
        candidates_BC: Int64Array = self._codes.search(queries_BD, n_candidates, params=parameters)[1]
        return candidates_BC

    def _set_default(self, value: int) -> None:
        self._codes.hnsw.efSearch = value

    def comparisons(self, queries_BD: Float32Array) -> float:
        """Products that a query is compared with: those on the way by their codes, candidates by their vectors."""
        # Counted by FAISS for the whole process; nothing else searches while an index is built.
        statistics = faiss.cvar.hnsw_stats  # type: ignore[attr-defined]
        before = statistics.ndis
        self._candidates(queries_BD, self.value, self.value)
        return float(statistics.ndis - before) / len(queries_BD) + self.value
