"""The index types compared: CPU time per query on one thread, recall against exact search, build time, bytes.

    python -m benchmarks.index [--products 20000] [--vectors FILE.npy] [--json]

The default is 20,000 random vectors in clusters, 384 dimensions each, and takes seconds; the published figures are of
`--products 100000`. `--vectors` reads those of a shop, `var/<shop>/embeddings/product_embeddings.npy`. Queries are
weighted means of a few products. Bytes are those of the index alone: every process holds the codes of pq_fastscan, and
all processes share the one file of vectors.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

from training.artifacts.search.index_recall import buyer_like_queries, recall_against_exact
from training.artifacts.search.vector_index import INDEX_FILE, INDEXES, VectorIndex, load_index

K_VALUES = (10, 100)
DIM, CLUSTER_SIZE, SPREAD = 384, 100, 0.6
QUERIES = 200


def clustered_vectors(n_products: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Unit vectors around random centres, (N, 384)."""
    centres = rng.normal(size=(max(1, n_products // CLUSTER_SIZE), DIM)).astype(np.float32)
    vectors = centres[rng.integers(len(centres), size=n_products)]
    vectors += SPREAD * rng.normal(size=vectors.shape).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def measure(index_type: type[VectorIndex], vectors_ND: npt.NDArray[np.float32]) -> dict[str, float]:
    """Build time in seconds, bytes on disk, and by k the CPU time per query in milliseconds and the recall."""
    start = time.perf_counter()
    built = index_type.build(vectors_ND)
    figures = {"build_seconds": time.perf_counter() - start}
    with tempfile.TemporaryDirectory() as folder:
        built.save(Path(folder))
        figures["bytes"] = (Path(folder) / INDEX_FILE).stat().st_size
        index = load_index(Path(folder), vectors_ND)
    for k in K_VALUES:
        figures[f"ms_per_query_k{k}"] = query_ms(index, vectors_ND, k)
        figures[f"recall@{k}"] = recall_against_exact(index, vectors_ND, k)
    return figures


def query_ms(index: VectorIndex, vectors_ND: npt.NDArray[np.float32], k: int) -> float:
    """Median CPU time of single queries in milliseconds; other processes do not count."""
    queries_QD = buyer_like_queries(vectors_ND, QUERIES, np.random.default_rng(1))
    seconds = []
    for row in range(QUERIES):
        start = time.thread_time()
        index.search(queries_QD[row : row + 1], k)
        seconds.append(time.thread_time() - start)
    return float(np.median(seconds)) * 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    faiss.omp_set_num_threads(1)
    if options.vectors:
        vectors_ND = np.load(options.vectors, mmap_mode="r", allow_pickle=False)
    else:
        vectors_ND = clustered_vectors(options.products, np.random.default_rng(0))
    result = {
        "vectors": {"products": len(vectors_ND), "dim": vectors_ND.shape[1], "bytes": vectors_ND.nbytes},
        **{kind: measure(index_type, vectors_ND) for kind, index_type in INDEXES.items()},
    }
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))  # noqa: T201


if __name__ == "__main__":
    main()
