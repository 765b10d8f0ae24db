"""Scans short codes of the products in the lists nearest to the query.

Legend: B queries, C candidates, L lists, N products, D dimensions.
"""

from typing import ClassVar

import faiss
import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array
from training.artifacts.search.candidate_index import RESULTS_OF_VALUE
from training.artifacts.search.coded_index import CODE_BITS, CodedIndex, n_codes, sample
from training.artifacts.search.exact_search import one_thread


class IvfIndex(CodedIndex):
    """An inverted file: k-means divides the products among lists, and a query scans the lists of the nearest means.

    The codes are of a product's difference from its list's mean, which is smaller than the vector and so better
    described by few bits (Jégou et al. 2011, https://hal.inria.fr/inria-00514462; FAISS IndexIVFPQFastScan).
    """

    kind: ClassVar[str] = "ivf"
    stored_as: ClassVar[type[faiss.Index]] = faiss.IndexIVFPQFastScan
    parameter: ClassVar[str] = "nprobe"
    values: ClassVar[tuple[int, ...]] = (4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
    default: ClassVar[int] = 64
    fewest_products: ClassVar[int] = 2**CODE_BITS
    # For up to 100 results. Where near products lie in many lists, the codes are less exact, too.
    FEWEST_CANDIDATES, CANDIDATES_PER_LIST = 400, 4
    LISTS_PER_ROOT, MOST_LISTS = 4, 16_384
    SAMPLES_PER_LIST, ITERATIONS = 64, 10
    DIMENSIONS_PER_CODE, CODES_LEARNED_FROM = 2, 65_536

    @classmethod
    def _learned(cls, vectors_ND: Float32Array) -> faiss.Index:
        n_products, dim = vectors_ND.shape
        n_lists = cls.n_lists(n_products)
        means = cls._means(sample(vectors_ND, cls.SAMPLES_PER_LIST * n_lists), n_lists)
        n = n_codes(dim, cls.DIMENSIONS_PER_CODE)
        codes = faiss.IndexIVFPQFastScan(means, dim, n_lists, n, CODE_BITS, faiss.METRIC_INNER_PRODUCT)
        codes.by_residual = True
        codes.pq.cp.min_points_per_centroid = 1  # else FAISS warns for a small catalogue
        with one_thread():
            codes.train(sample(vectors_ND, cls.CODES_LEARNED_FROM))
        return codes

    @classmethod
    def _means(cls, sample_SD: Float32Array, n_lists: int) -> faiss.IndexFlatIP:
        dim = sample_SD.shape[1]
        parameters = faiss.ClusteringParameters()
        parameters.niter = cls.ITERATIONS
        parameters.spherical = True  # the means are compared by inner product, so a long one would win too often
        parameters.min_points_per_centroid = 1
        clustering, means = faiss.Clustering(dim, n_lists, parameters), faiss.IndexFlatIP(dim)
        clustering.train(sample_SD, means)
        return means

    @classmethod
    def n_lists(cls, n_products: int) -> int:
        """L, a power of two: scanning means and scanning lists then cost about the same."""
        return int(min(cls.MOST_LISTS, 2 ** max(0, round(np.log2(cls.LISTS_PER_ROOT * n_products**0.5) - 0.5))))

    def n_candidates(self, k: int) -> int:
        """C for K results."""
        return (
            max(self.FEWEST_CANDIDATES, self.CANDIDATES_PER_LIST * self.value)
            * max(k, RESULTS_OF_VALUE)
            // RESULTS_OF_VALUE
        )

    def _candidates(self, queries_BD: Float32Array, n_candidates: int, value: int) -> Int64Array:
        parameters = faiss.SearchParametersIVF(nprobe=min(value, self._codes.nlist))  # type: ignore[call-arg]
        candidates_BC: Int64Array = self._codes.search(queries_BD, n_candidates, params=parameters)[1]
        return candidates_BC

    def _set_default(self, value: int) -> None:
        self._codes.nprobe = min(value, self._codes.nlist)

    def comparisons(self, queries_BD: Float32Array) -> float:
        """Products that a query is compared with: those of its lists by codes, candidates by vectors; and the means."""
        n_probed = min(self.value, self._codes.nlist)
        _, lists_BP = self._codes.quantizer.search(queries_BD, n_probed)
        sizes_L = np.array([self._codes.invlists.list_size(number) for number in range(self._codes.nlist)])
        return float(self._codes.nlist + sizes_L[lists_BP].sum(axis=1).mean() + self.n_candidates(1))
