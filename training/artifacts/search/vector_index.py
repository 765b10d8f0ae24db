"""The vector index: exact or approximate search for the products with the highest inner product.

No index copies the product vectors: it reads the array that it is given. Callers memory-map that array from
`product_embeddings.npy`, so several worker processes share one copy.

Legend: N products, D dimensions.
"""

from pathlib import Path
from typing import Final, Literal, TypeAlias

from feature_repo.common.arrays import Float32Array
from training.artifacts.search.candidate_index import CandidateIndex
from training.artifacts.search.coded_index import CodedIndex
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.hnsw_index import HnswIndex
from training.artifacts.search.index_files import read_index
from training.artifacts.search.ivf_index import IvfIndex
from training.artifacts.search.milvus_collection import Engine
from training.artifacts.search.milvus_index import MilvusIndex
from training.artifacts.search.pq_fastscan_index import PqFastScanIndex

IndexType: TypeAlias = Literal["auto", "flat", "ivf", "hnsw", "pq_fastscan", "milvus"]
VectorIndex: TypeAlias = FlatIndex | CandidateIndex

# Those of this process; MilvusIndex needs an engine.
INDEXES: Final[dict[str, type[FlatIndex] | type[CodedIndex]]] = {
    index.kind: index for index in (FlatIndex, IvfIndex, HnswIndex, PqFastScanIndex)
}
# docs/adr/0014-index-kind-by-size-parameter-by-recall.md has the measurements.
MOST_PRODUCTS_OF_FLAT = 50_000


def build_index(vectors_ND: Float32Array, index_type: IndexType, engine: Engine | None = None) -> VectorIndex:
    """Indexes unit vectors, (N, D); `auto` chooses by N, and `milvus` puts them into `engine`.

    Raises:
        ValueError: The index cannot be built on these vectors; see the build() of each index.
        EngineError: The engine is away or refuses.
    """
    if index_type == "milvus":
        if engine is None:
            raise ValueError("a milvus index needs an engine; set index.address")
        return MilvusIndex.build(vectors_ND, engine)
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
        ValueError: The index is of another number of products or dimensions, or its files are damaged.
    """
    stored, settings = read_index(folder)
    if settings.get("type") == MilvusIndex.kind:
        return MilvusIndex.load(settings, vectors_ND)
    for index_type in CodedIndex.__subclasses__():
        if isinstance(stored, index_type.stored_as):
            return index_type(stored, vectors_ND, settings.get("value"))
    # The file of a flat index has no vectors (see its save), so it says nothing but the type.
    return FlatIndex(vectors_ND)
