"""Product embeddings on disk: vectors, their product ids, and a map from id to row for other tools.

Legend: N products, D dimensions.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array

VECTORS, IDS, ID_TO_INDEX = "product_embeddings.npy", "product_ids.npy", "product_id_to_index.json"


@dataclass(frozen=True)
class ProductEmbeddings:
    """The unit vectors of all products.

    Attributes:
        vectors_ND: (N, D) float32.
        product_ids: (N,) unicode array.
    """

    vectors_ND: Float32Array
    product_ids: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        """Raises ValueError if the arrays differ in length."""
        if len(self.vectors_ND) != len(self.product_ids):
            raise ValueError(f"{len(self.vectors_ND)} vectors for {len(self.product_ids)} product ids")


def save_embeddings(folder: Path, embeddings: ProductEmbeddings) -> None:
    """Writes the three files; the ids come last, so a folder with ids is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / IDS).unlink(missing_ok=True)
    # Without pickle throughout: loading a pickled array can run code.
    np.save(folder / VECTORS, embeddings.vectors_ND, allow_pickle=False)
    positions = {str(product_id): row for row, product_id in enumerate(embeddings.product_ids)}
    (folder / ID_TO_INDEX).write_text(json.dumps(positions, ensure_ascii=False), encoding="utf-8")
    np.save(folder / IDS, embeddings.product_ids, allow_pickle=False)


def load_embeddings(folder: Path) -> ProductEmbeddings:
    """Reads the embeddings with memory-mapped vectors; FileNotFoundError names the command that makes them."""
    if not (folder / IDS).is_file():
        raise FileNotFoundError(f"there are no product embeddings in {folder}; run `tawsiya embed` first")
    # Mapped, so that the workers of the API share one copy in memory (ADR 0003).
    vectors_ND = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    return ProductEmbeddings(vectors_ND, np.load(folder / IDS, allow_pickle=False))
