"""The vector index: exact inner product over product vectors.

Legend: B queries, K results, N products, D dimensions.
"""

from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

INDEX_FILE = "product_index.faiss"


class FlatIndex:
    """FAISS IndexFlatIP: exact; its cost grows with N x D."""

    def __init__(self, index: faiss.Index) -> None:
        """Wraps a FAISS index; make one with build() or load()."""
        self._index = index

    @classmethod
    def build(cls, vectors_ND: npt.NDArray[np.float32]) -> "FlatIndex":
        """An index of unit vectors.

        Raises:
            ValueError: The vectors are not (N, D), not finite, or not of unit length.
        """
        if vectors_ND.ndim != 2 or not np.isfinite(vectors_ND).all():
            raise ValueError(f"product vectors must be a finite (N, D) matrix, not {vectors_ND.shape}")
        norms = np.linalg.norm(vectors_ND, axis=1)
        if len(norms) and np.abs(norms - 1).max() > 1e-3:
            raise ValueError(
                f"product vectors must have unit length; norms reach from {norms.min():.4f} to {norms.max():.4f}"
            )
        index = faiss.IndexFlatIP(vectors_ND.shape[1])
        index.add(np.ascontiguousarray(vectors_ND, dtype=np.float32))
        return cls(index)

    @classmethod
    def load(cls, folder: Path) -> "FlatIndex":
        """Reads an index, memory-mapped; FileNotFoundError names the command that makes it."""
        path = folder / INDEX_FILE
        if not path.is_file():
            raise FileNotFoundError(f"there is no index in {folder}; run `tawsiya index` first")
        return cls(faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

    def save(self, folder: Path) -> None:
        """Writes the index."""
        folder.mkdir(parents=True, exist_ok=True)
        faiss.write_index(self._index, str(folder / INDEX_FILE))

    def __len__(self) -> int:
        """The number of products."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """D."""
        return int(self._index.d)

    def search(
        self, queries_BD: npt.NDArray[np.float32], k: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Scores and positions of the K best products of each query, best first, each (B, K); K is at most N."""
        scores_BK, positions_BK = self._index.search(np.ascontiguousarray(queries_BD, np.float32), min(k, len(self)))
        return scores_BK, positions_BK
