"""The vector index: the products with the highest inner product, found exactly or nearly so.

No kind holds the product vectors: each reads the array that it is given, which callers map from
`product_embeddings.npy`, so that several worker processes share one copy of them.

Legend: B queries, C candidates, K results, N products, D dimensions.
"""

from pathlib import Path
from typing import Final, Literal, TypeAlias

import faiss
import numpy as np
import numpy.typing as npt

IndexType: TypeAlias = Literal["auto", "flat", "pq_fastscan"]
Found: TypeAlias = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

INDEX_FILE = "product_index.faiss"
# Here an exact search of one query takes 2.7 ms on one thread (384 dimensions) and pq_fastscan 0.3 ms.
MOST_PRODUCTS_OF_FLAT = 50_000


class FlatIndex:
    """Exact: compares a query with every product; its cost grows with N x D."""

    kind: Final = "flat"

    def __init__(self, vectors_ND: npt.NDArray[np.float32]) -> None:
        """An index of vectors that build() has checked once."""
        self._vectors_ND = np.ascontiguousarray(vectors_ND, np.float32)  # a view, not a copy, of a mapped file

    @classmethod
    def build(cls, vectors_ND: npt.NDArray[np.float32]) -> "FlatIndex":
        """An index of unit vectors; ValueError where they are not (N, D), not finite, or not of unit length."""
        _require_unit_vectors(vectors_ND)
        return cls(vectors_ND)

    def save(self, folder: Path) -> None:
        """Writes an empty FAISS index, which says the kind; the vectors have a file of their own."""
        _write(faiss.IndexFlatIP(self.dim), folder)

    def __len__(self) -> int:
        """The number of products."""
        return len(self._vectors_ND)

    @property
    def dim(self) -> int:
        """D."""
        return int(self._vectors_ND.shape[1])

    def search(self, queries_BD: npt.NDArray[np.float32], k: int) -> Found:
        """Inner products and positions of the K best products of each query, best first, each (B, K).

        K is k, or N where that is less. Safe to call from several threads.
        """
        return _exact_search(self._vectors_ND, queries_BD, k)


class PqFastScanIndex:
    """Scans short codes of all products for candidates, and ranks those by their exact inner product.

    The codes are 4-bit product quantisation, scanned with the lookup tables in SIMD registers (André et al. 2015,
    "Cache locality is not enough"; FAISS IndexPQFastScan). They take D/4 bytes per product, and each process has a copy
    of them: FAISS reads them into aligned memory and cannot map them.
    """

    kind: Final = "pq_fastscan"

    BITS = 4
    # docs/adr/0003-index-by-size.md has the measurements.
    DIMENSIONS_PER_CODE = 2
    CANDIDATES, CANDIDATES_PER_RESULT = 200, 8

    def __init__(self, codes: faiss.IndexPQFastScan, vectors_ND: npt.NDArray[np.float32]) -> None:
        """An index of the codes of these vectors; ValueError where the codes are of others."""
        if (codes.ntotal, codes.d) != vectors_ND.shape:
            raise ValueError(
                f"the index is of {codes.ntotal} products in {codes.d} dimensions, the product vectors are "
                f"{vectors_ND.shape}; run `tawsiya index` again"
            )
        self._codes = codes
        self._vectors_ND = np.ascontiguousarray(vectors_ND, np.float32)

    @classmethod
    def build(cls, vectors_ND: npt.NDArray[np.float32]) -> "PqFastScanIndex":
        """Learns the codes from a seeded sample of the vectors, and codes all of them.

        Raises:
            ValueError: The vectors are not (N, D), not finite or not of unit length, or too few to learn from.
        """
        _require_unit_vectors(vectors_ND)
        n_products, dim = vectors_ND.shape
        if n_products < 2**cls.BITS:
            raise ValueError(
                f"a pq_fastscan index learns from at least {2**cls.BITS} products, and there are {n_products}; "
                "set index.type=auto or flat"
            )
        n_codes = dim // cls.DIMENSIONS_PER_CODE if dim % cls.DIMENSIONS_PER_CODE == 0 else dim
        codes = faiss.IndexPQFastScan(dim, n_codes, cls.BITS, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.min_points_per_centroid = 1  # a small catalogue is no reason for a warning per code
        codes.qbs = 2  # Two queries of a batch at a time: the scan takes a quarter less than with FAISS's own choice.
        codes.train(vectors_ND)
        codes.add(vectors_ND)
        return cls(codes, vectors_ND)

    def save(self, folder: Path) -> None:
        """Writes the codes."""
        _write(self._codes, folder)

    def __len__(self) -> int:
        """The number of products."""
        return len(self._vectors_ND)

    @property
    def dim(self) -> int:
        """D."""
        return int(self._vectors_ND.shape[1])

    def search(self, queries_BD: npt.NDArray[np.float32], k: int) -> Found:
        """Inner products and positions of nearly the K best products of each query, best first, each (B, K).

        K is k, or N where that is less. Safe to call from several threads.
        """
        n_candidates = self.CANDIDATES + self.CANDIDATES_PER_RESULT * k
        if n_candidates >= len(self):
            return _exact_search(self._vectors_ND, queries_BD, k)
        queries_BD = np.ascontiguousarray(queries_BD, np.float32)
        _, candidates_BC = self._codes.search(queries_BD, n_candidates)
        scores_BC = self._inner_products(queries_BD, candidates_BC)
        best_BK = np.argsort(-scores_BC, axis=1)[:, :k]
        scores_BK = np.take_along_axis(scores_BC, best_BK, axis=1)
        positions_BK = np.take_along_axis(candidates_BC, best_BK, axis=1)
        # The scan leaves out products whose 8-bit score is the lowest possible; for a query of zeros that is all.
        short_B = (candidates_BC < 0).any(axis=1)
        if short_B.any():
            scores_BK[short_B], positions_BK[short_B] = _exact_search(self._vectors_ND, queries_BD[short_B], k)
        return scores_BK, positions_BK

    def _inner_products(
        self, queries_BD: npt.NDArray[np.float32], candidates_BC: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Inner products with the candidates, (B, C); minus infinity for -1, which stands for none.

        Reads the vectors in place. Gathering them first, as indexing does, takes nearly twice as long.
        """
        scores_BC = np.empty(candidates_BC.shape, np.float32)
        arrays = (scores_BC, queries_BD, self._vectors_ND, candidates_BC)
        pointers = [faiss.swig_ptr(array) for array in arrays]
        # The function lacks in the stubs of FAISS 1.15.
        faiss.fvec_inner_products_by_idx(*pointers, self.dim, *scores_BC.shape)  # type: ignore[attr-defined]
        return scores_BC


VectorIndex: TypeAlias = FlatIndex | PqFastScanIndex

INDEXES: Final[dict[str, type[VectorIndex]]] = {index.kind: index for index in (FlatIndex, PqFastScanIndex)}


def build_index(vectors_ND: npt.NDArray[np.float32], index_type: IndexType) -> VectorIndex:
    """An index over unit vectors, (N, D); `auto` is flat for up to 50,000 products and pq_fastscan for more.

    Raises:
        ValueError: The vectors cannot be indexed that way; see the build() of each kind.
    """
    if index_type == "auto":
        index_type = "flat" if len(vectors_ND) <= MOST_PRODUCTS_OF_FLAT else "pq_fastscan"
    return INDEXES[index_type].build(vectors_ND)


def load_index(folder: Path, vectors_ND: npt.NDArray[np.float32]) -> VectorIndex:
    """The index that was saved in `folder`, over the vectors that it was built on.

    Args:
        folder: Where the index was saved.
        vectors_ND: The product vectors, (N, D), best memory-mapped: they are read in place.

    Raises:
        FileNotFoundError: There is none; the message names the command that makes it.
        ValueError: Its codes are of another number of products or dimensions.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise FileNotFoundError(f"there is no index in {folder}; run `tawsiya index` first")
    stored = faiss.read_index(str(path))
    return PqFastScanIndex(stored, vectors_ND) if isinstance(stored, faiss.IndexPQFastScan) else FlatIndex(vectors_ND)


def _require_unit_vectors(vectors_ND: npt.NDArray[np.float32]) -> None:
    """ValueError where the vectors are not (N, D), not finite, or not of unit length."""
    if vectors_ND.ndim != 2 or not np.isfinite(vectors_ND).all():
        raise ValueError(f"product vectors must be a finite (N, D) matrix, not {vectors_ND.shape}")
    norms = np.linalg.norm(vectors_ND, axis=1)
    if len(norms) and np.abs(norms - 1).max() > 1e-3:
        raise ValueError(
            f"product vectors must have unit length; norms reach from {norms.min():.4f} to {norms.max():.4f}"
        )


def _exact_search(vectors_ND: npt.NDArray[np.float32], queries_BD: npt.NDArray[np.float32], k: int) -> Found:
    scores_BK, positions_BK = faiss.knn(queries_BD, vectors_ND, min(k, len(vectors_ND)), faiss.METRIC_INNER_PRODUCT)
    return scores_BK, positions_BK


def _write(index: faiss.Index, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    faiss.write_index(index, str(folder / INDEX_FILE))
