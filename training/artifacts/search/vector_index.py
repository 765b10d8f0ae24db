"""The vector index: exact or approximate search for the products with the highest inner product.

No index copies the product vectors: it reads the array that it is given. Callers memory-map that array from
`product_embeddings.npy`, so several worker processes share one copy.

Legend: B queries, C candidates, K results, N products, D dimensions.
"""

from pathlib import Path
from typing import Final, Literal, TypeAlias

import faiss
import numpy as np

from feature_repo.common.arrays import Float32Array, Int64Array

IndexType: TypeAlias = Literal["auto", "flat", "pq_fastscan"]
ScoresAndPositions: TypeAlias = tuple[Float32Array, Int64Array]

INDEX_FILE = "product_index.faiss"
# At this size an exact search takes 2.7 ms per query on one thread (384 dimensions), pq_fastscan 0.3 ms.
MOST_PRODUCTS_OF_FLAT = 50_000


class FlatIndex:
    """Exact search: compares the query with every product, at a cost proportional to N x D."""

    kind: Final = "flat"

    def __init__(self, vectors_ND: Float32Array) -> None:
        """Wraps vectors that build() has checked before."""
        self._vectors_ND = np.ascontiguousarray(vectors_ND, np.float32)  # a view, not a copy, of a mapped file

    @classmethod
    def build(cls, vectors_ND: Float32Array) -> "FlatIndex":
        """Indexes unit vectors; raises ValueError if they are not (N, D), not finite, or not of unit length."""
        _require_unit_vectors(vectors_ND)
        return cls(vectors_ND)

    def save(self, folder: Path) -> None:
        """Writes an empty FAISS index, which records the index type; the vectors are stored in a file of their own."""
        _write(faiss.IndexFlatIP(self.dim), folder)

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
        return _exact_search(self._vectors_ND, queries_BD, k)


class PqFastScanIndex:
    """Approximate search: scans short codes of all products for candidates and re-ranks these by exact inner product.

    The codes are 4-bit product quantisation, scanned with lookup tables in SIMD registers (André et al. 2015,
    "Cache locality is not enough"; FAISS IndexPQFastScan). They take D/4 bytes per product. Each process holds its own
    copy, because FAISS reads them into aligned memory and cannot map them.
    """

    kind: Final = "pq_fastscan"

    BITS = 4
    # docs/adr/0003-index-by-size.md has the measurements.
    DIMENSIONS_PER_CODE = 2
    CANDIDATES, CANDIDATES_PER_RESULT = 200, 8

    def __init__(self, codes: faiss.IndexPQFastScan, vectors_ND: Float32Array) -> None:
        """Wraps the codes of these vectors; raises ValueError if their number or dimension differs."""
        if (codes.ntotal, codes.d) != vectors_ND.shape:
            raise ValueError(
                f"the index is of {codes.ntotal} products in {codes.d} dimensions, the product vectors are "
                f"{vectors_ND.shape}; run `tawsiya index` again"
            )
        self._codes = codes
        # FAISS takes contiguous float32 only.
        self._vectors_ND = np.ascontiguousarray(vectors_ND, np.float32)

    @classmethod
    def build(cls, vectors_ND: Float32Array) -> "PqFastScanIndex":
        """Learns the quantiser from a seeded sample of the vectors and encodes all of them.

        Raises:
            ValueError: The vectors are not (N, D), not finite, not of unit length, or too few to learn from.
        """
        _require_unit_vectors(vectors_ND)
        n_products, dim = vectors_ND.shape
        if n_products < 2**cls.BITS:
            raise ValueError(
                f"a pq_fastscan index learns from at least {2**cls.BITS} products, and there are {n_products}; "
                "set index.type=auto or flat"
            )
        # An odd dimension cannot be divided into pairs and gets a code for each dimension.
        n_codes = dim // cls.DIMENSIONS_PER_CODE if dim % cls.DIMENSIONS_PER_CODE == 0 else dim
        codes = faiss.IndexPQFastScan(dim, n_codes, cls.BITS, faiss.METRIC_INNER_PRODUCT)
        codes.pq.cp.min_points_per_centroid = 1  # else FAISS warns once per code for a small catalogue
        codes.qbs = 2  # scanning for two queries at a time takes a quarter less than FAISS's own choice
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

    def search(self, queries_BD: Float32Array, k: int) -> ScoresAndPositions:
        """Inner products and positions of approximately the K best products for each query, best first, each (B, K).

        K is k, or N where that is less. Safe to call from several threads.
        """
        n_candidates = self.CANDIDATES + self.CANDIDATES_PER_RESULT * k
        if n_candidates >= len(self):
            return _exact_search(self._vectors_ND, queries_BD, k)
        queries_BD = np.ascontiguousarray(queries_BD, np.float32)
        _, candidates_BC = self._codes.search(queries_BD, n_candidates)
        scores_BC = self._inner_products(queries_BD, candidates_BC)
        # The scan's own 8-bit scores are too coarse to rank by; they only choose candidates.
        best_BK = np.argsort(-scores_BC, axis=1)[:, :k]
        scores_BK = np.take_along_axis(scores_BC, best_BK, axis=1)
        positions_BK = np.take_along_axis(candidates_BC, best_BK, axis=1)
        # The scan drops products with the lowest possible 8-bit score: for a query of zeros, all of them.
        short_B = (candidates_BC < 0).any(axis=1)
        if short_B.any():
            scores_BK[short_B], positions_BK[short_B] = _exact_search(self._vectors_ND, queries_BD[short_B], k)
        return scores_BK, positions_BK

    def _inner_products(self, queries_BD: Float32Array, candidates_BC: Int64Array) -> Float32Array:
        """Inner products with the candidates, (B, C); minus infinity for -1, which marks a missing candidate.

        Reads the vectors in place: gathering them by NumPy indexing first takes nearly twice as long.
        """
        scores_BC = np.empty(candidates_BC.shape, np.float32)
        arrays = (scores_BC, queries_BD, self._vectors_ND, candidates_BC)
        pointers = [faiss.swig_ptr(array) for array in arrays]
        # The stubs of FAISS 1.15 lack this function.
        faiss.fvec_inner_products_by_idx(*pointers, self.dim, *scores_BC.shape)  # type: ignore[attr-defined]
        return scores_BC


VectorIndex: TypeAlias = FlatIndex | PqFastScanIndex

INDEXES: Final[dict[str, type[VectorIndex]]] = {index.kind: index for index in (FlatIndex, PqFastScanIndex)}


# ---- building and loading --------------------------------------------------------------------------------------------


def build_index(vectors_ND: Float32Array, index_type: IndexType) -> VectorIndex:
    """Indexes unit vectors, (N, D); `auto` chooses flat for up to 50,000 products and pq_fastscan above.

    Raises:
        ValueError: The index cannot be built on these vectors; see the build() of each index.
    """
    if index_type == "auto":
        index_type = "flat" if len(vectors_ND) <= MOST_PRODUCTS_OF_FLAT else "pq_fastscan"
    return INDEXES[index_type].build(vectors_ND)


def load_index(folder: Path, vectors_ND: Float32Array) -> VectorIndex:
    """Loads the index that was saved in `folder`.

    Args:
        folder: Folder of the index.
        vectors_ND: The vectors that it was built on, (N, D); they are read in place, so callers should memory-map them.

    Raises:
        FileNotFoundError: The folder has no index; the message names the command that builds it.
        ValueError: The index is of another number of products or dimensions.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise FileNotFoundError(f"there is no index in {folder}; run `tawsiya index` first")
    stored = faiss.read_index(str(path))
    # The file of a flat index has no vectors (see save), so it says nothing but the type.
    return PqFastScanIndex(stored, vectors_ND) if isinstance(stored, faiss.IndexPQFastScan) else FlatIndex(vectors_ND)


def _require_unit_vectors(vectors_ND: Float32Array) -> None:
    if vectors_ND.ndim != 2 or not np.isfinite(vectors_ND).all():
        raise ValueError(f"product vectors must be a finite (N, D) matrix, not {vectors_ND.shape}")
    norms = np.linalg.norm(vectors_ND, axis=1)
    if len(norms) and np.abs(norms - 1).max() > 1e-3:
        raise ValueError(
            f"product vectors must have unit length; norms range from {norms.min():.4f} to {norms.max():.4f}"
        )


def _exact_search(vectors_ND: Float32Array, queries_BD: Float32Array, k: int) -> ScoresAndPositions:
    scores_BK, positions_BK = faiss.knn(queries_BD, vectors_ND, min(k, len(vectors_ND)), faiss.METRIC_INNER_PRODUCT)
    return scores_BK, positions_BK


def _write(index: faiss.Index, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    faiss.write_index(index, str(folder / INDEX_FILE))
