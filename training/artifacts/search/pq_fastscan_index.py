"""Scans short codes of all products.

Legend: B queries, C candidates, N products, D dimensions.
"""

from typing import ClassVar

import faiss

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.search.coded_index import CODE_BITS, CodedIndex, n_codes, sample
from training.artifacts.search.exact_search import one_thread


class PqFastScanIndex(CodedIndex):
    """Product quantisation in 4 bits, scanned with lookup tables in SIMD registers.

    André et al. 2015, "Cache locality is not enough"; FAISS IndexPQFastScan. The codes take D/4 or
    D/8 bytes per product. FAISS reads them into aligned memory and cannot map them.
    """

    kind: ClassVar[str] = "pq_fastscan"
    stored_as: ClassVar[type[faiss.Index]] = faiss.IndexPQFastScan
    parameter: ClassVar[str] = "candidates"
    values: ClassVar[tuple[int, ...]] = (150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)
    default: ClassVar[int] = 1000
    fewest_products: ClassVar[int] = 2**CODE_BITS
    LEARNED_FROM = 65_536
    # Codes of more products do not fit in a CPU's cache, and then the scan takes as long as reading them.
    DIMENSIONS_PER_CODE, DIMENSIONS_PER_CODE_OF_MANY = 2, 4
    MANY_PRODUCTS = 250_000

    def __init__(self, codes: faiss.Index, vectors_ND: Float32Array, value: int | None = None) -> None:
        """As CodedIndex; scans for four queries at a time."""
        super().__init__(codes, vectors_ND, value)
        # FAISS's own choice takes a third longer, two queries a seventh (ADR 0018).
        self._codes.qbs = 4

    @classmethod
    def _learned(cls, vectors_ND: Float32Array) -> faiss.Index:
        n_products, dim = vectors_ND.shape
        many = n_products > cls.MANY_PRODUCTS
        per_code = cls.DIMENSIONS_PER_CODE_OF_MANY if many else cls.DIMENSIONS_PER_CODE
        codes = faiss.IndexPQFastScan(dim, n_codes(dim, per_code), CODE_BITS, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.min_points_per_centroid = 1  # else FAISS warns once per code for a small catalogue
        with one_thread():
            codes.train(sample(vectors_ND, cls.LEARNED_FROM))
        return codes

    def _candidates(self, queries_BD: Float32Array, n_candidates: int, _value: int) -> Int64Array:
        # The scan leaves out products with the lowest possible 8-bit score: for a query of zeros, all of them.
        candidates_BC: Int64Array = self._codes.search(queries_BD, n_candidates)[1]
        return candidates_BC

    def comparisons(self, _queries_BD: Float32Array) -> float:
        """Products that a query is compared with: all by their codes, candidates by their vectors."""
        return float(len(self) + self.value)
