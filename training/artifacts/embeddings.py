"""Product embeddings on disk: vectors, their product ids, and a map from id to row for other tools.

They are written block by block: a catalogue need not fit in memory.

Legend: N products, M products of a block, D dimensions.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array, TextArray
from feature_repo.common.files import replacing

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
    """Writes the three files."""
    vectors_ND, ids_N = embeddings.vectors_ND, embeddings.product_ids
    save_embedding_blocks(folder, vectors_ND.shape, [vectors_ND], [ids_N], width=ids_N.dtype.itemsize // 4)


def save_embedding_blocks(
    folder: Path,
    shape: tuple[int, ...],
    vector_blocks: Iterable[Float32Array],
    id_blocks: Iterable[TextArray],
    *,
    width: int,
) -> None:
    """Writes the three files from blocks; the ids come last, so a folder with ids is complete.

    Args:
        folder: Where to write.
        shape: (N, D).
        vector_blocks: (M, D) float32 each, N rows together.
        id_blocks: (M,) each, N ids together.
        width: The number of characters of the longest id.

    Raises:
        ValueError: The blocks have another number of rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / IDS).unlink(missing_ok=True)
    save_blocks(folder / VECTORS, shape, "<f4", vector_blocks)
    with replacing(folder / ID_TO_INDEX) as temporary, temporary.open("w", encoding="utf-8") as file:
        save_blocks(folder / IDS, shape[:1], f"<U{max(width, 1)}", _noting_positions(id_blocks, file))


def _noting_positions(id_blocks: Iterable[TextArray], file: TextIO) -> Iterator[TextArray]:
    """The blocks as they come; meanwhile writes the JSON object of all positions, whose dictionary would take a GB."""
    row, separator = 0, "{"
    for ids_M in id_blocks:
        for product_id in ids_M.tolist():
            file.write(f"{separator}{json.dumps(product_id, ensure_ascii=False)}: {row}")
            row, separator = row + 1, ", "
        yield ids_M
    file.write("}" if row else "{}")


def save_blocks(path: Path, shape: tuple[int, ...], dtype: str, blocks: Iterable[npt.NDArray[Any]]) -> None:
    """Writes an array as np.save does; plain writes, because the pages of a mapped file would count as memory."""
    rows = 0
    with replacing(path) as temporary, temporary.open("wb") as file:
        # Without pickle: loading a pickled array can run code.
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)
            rows += len(block)
        if rows != shape[0]:
            raise ValueError(f"{path.name} is to have {shape[0]} rows and got {rows}")


def load_embeddings(folder: Path) -> ProductEmbeddings:
    """Reads the embeddings with memory-mapped vectors; FileNotFoundError names the command that makes them."""
    if not (folder / IDS).is_file():
        raise FileNotFoundError(f"there are no product embeddings in {folder}; run `tawsiya embed` first")
    # Mapped, so that the workers of the API share one copy in memory (ADR 0003).
    vectors_ND = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
    return ProductEmbeddings(vectors_ND, np.load(folder / IDS, allow_pickle=False))
