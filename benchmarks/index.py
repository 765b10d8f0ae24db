"""The index types compared: CPU time per query on one thread, recall against exact search, build time, bytes.

    python -m benchmarks.index [--products 20000] [--vectors FILE.npy] [--queries FILE.npy] [--json]

The default is 20,000 random vectors in clusters, 384 dimensions each, and takes half a minute. `--vectors` reads those
of a shop, `var/<shop>/embeddings/product_embeddings.npy`. With more `--products` than the file has, further vectors are
real ones, each moved by half the difference of two others; with fewer, it takes a sample. Queries are those of
`--queries`, or weighted means of five products. Half of them choose the parameter of each index (the cheapest with
recall .99), the other half are timed, one at a time for 100 results, and give the recall.

Times of queries are CPU time, so that other processes do not count; the time of building is that of a clock. Bytes are
those of the index alone, which every process holds; all processes share the one file of vectors.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from benchmarks.tools.machine import machine
from feature_repo.common.arrays import Float32Array
from training.artifacts.search.exact_search import blocks
from training.artifacts.search.flat_index import FlatIndex
from training.artifacts.search.index_files import INDEX_FILE
from training.artifacts.search.index_recall import buyer_like_queries, choose_value, recall_against_exact
from training.artifacts.search.vector_index import INDEXES, VectorIndex, load_index

K = 100
MIN_RECALL = 0.99
DIM, CLUSTER_SIZE, SPREAD = 384, 100, 0.6
QUERIES = 400
MOVED = 0.5


def clustered_vectors(n_products: int, rng: np.random.Generator) -> Float32Array:
    """Unit vectors around random centres, (N, 384)."""
    centres = rng.normal(size=(max(1, n_products // CLUSTER_SIZE), DIM)).astype(np.float32)
    vectors = centres[rng.integers(len(centres), size=n_products)]
    for block in blocks(vectors):
        block += SPREAD * rng.standard_normal(size=block.shape, dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def resized(real_MD: Float32Array, n_products: int, rng: np.random.Generator) -> Float32Array:
    """(N, D): a sample of the real vectors, or all of them and as many perturbed ones as are missing."""
    if n_products <= len(real_MD):
        return np.ascontiguousarray(real_MD[np.sort(rng.permutation(len(real_MD))[:n_products])])
    vectors = np.empty((n_products, real_MD.shape[1]), np.float32)
    vectors[: len(real_MD)] = real_MD
    for block in blocks(vectors[len(real_MD) :]):
        one, plus, minus = rng.integers(len(real_MD), size=(3, len(block)))
        # Differences of real vectors keep the directions in which products differ; random noise would have all alike.
        block[:] = real_MD[one] + MOVED * (real_MD[plus] - real_MD[minus])
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def measure(
    kind: str, vectors_ND: Float32Array, queries_QD: Float32Array, build_threads: int
) -> dict[str, float | int | str]:
    """Figures of one index type: p50 and p99 in milliseconds, recall, seconds of building, bytes; and its parameter."""
    faiss.omp_set_num_threads(build_threads)
    start = time.perf_counter()
    index: VectorIndex = INDEXES[kind].build(vectors_ND)
    build_s = time.perf_counter() - start
    parameter: dict[str, float | int | str] = {}
    if not isinstance(index, FlatIndex):
        index = choose_value(index, vectors_ND, queries_QD, MIN_RECALL, "").index
        parameter = {index.parameter: index.value, "comparisons": index.comparisons(queries_QD)}
    with tempfile.TemporaryDirectory() as folder:
        index.save(Path(folder))
        n_bytes = (Path(folder) / INDEX_FILE).stat().st_size
        index = load_index(Path(folder), vectors_ND)
    faiss.omp_set_num_threads(1)
    judging_QD = queries_QD[1::2]
    ms_Q = [query_ms(index, query_D[None, :]) for query_D in judging_QD]
    return {
        "p50_ms": round(float(np.median(ms_Q)), 4),
        "p99_ms": round(float(np.quantile(ms_Q, 0.99)), 4),
        **{name: round(value, 4) for name, value in recall_against_exact(index, vectors_ND, judging_QD).items()},
        "build_s": round(build_s, 2),
        "bytes": n_bytes,
        **parameter,
    }


def query_ms(index: VectorIndex, query_1D: Float32Array) -> float:
    """CPU time of one query in milliseconds."""
    start = time.thread_time()
    index.search(query_1D, K)
    return (time.thread_time() - start) * 1000


def read_vectors(options: argparse.Namespace) -> tuple[Float32Array, dict[str, Any]]:
    """The vectors, and what they are."""
    rng = np.random.default_rng(0)
    n_perturbed = 0
    if options.vectors is None:
        n_products = options.products or 20_000
        vectors_ND, what = clustered_vectors(n_products, rng), f"random, in clusters of about {CLUSTER_SIZE}"
    else:
        real_MD = np.load(options.vectors, mmap_mode="r", allow_pickle=False)
        vectors_ND = resized(real_MD, options.products or len(real_MD), rng)
        n_perturbed = max(0, len(vectors_ND) - len(real_MD))
        what = f"of {options.vectors.name}" + (
            f", {len(real_MD)} real ones and {n_perturbed} that are real ones perturbed" if n_perturbed else ""
        )
    n_products, dim = vectors_ND.shape
    return vectors_ND, {"what": what, "products": n_products, "perturbed": n_perturbed, "dim": dim}


def read_queries(options: argparse.Namespace, vectors_ND: Float32Array) -> tuple[Float32Array, str]:
    """The queries, and what they are."""
    rng = np.random.default_rng(1)
    if options.queries is None:
        return buyer_like_queries(vectors_ND, QUERIES, rng), "weighted means of five products"
    given_QD = np.load(options.queries, allow_pickle=False)
    return np.ascontiguousarray(given_QD[rng.permutation(len(given_QD))[:QUERIES]]), f"of {options.queries.name}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, help="number of products; default: 20000, or all of --vectors")
    parser.add_argument("--vectors", type=Path, help="unit vectors of products, (N, D) float32")
    parser.add_argument("--queries", type=Path, help="unit vectors of buyers, (Q, D) float32")
    parser.add_argument("--indexes", default=",".join(INDEXES), help="index types, separated by commas")
    parser.add_argument("--build-threads", type=int, default=1, help="threads of building; queries have one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    vectors_ND, facts = read_vectors(options)
    queries_QD, what = read_queries(options, vectors_ND)
    result: dict[str, Any] = {"vectors": facts | {"queries": what}, "indexes": {}, "machine": machine()}
    for kind in options.indexes.split(","):
        result["indexes"][kind] = measure(kind, vectors_ND, queries_QD, options.build_threads)
        print(f"{kind}: {result['indexes'][kind]}", file=sys.stderr if options.json else sys.stdout)
    print(json.dumps(result) if options.json else f"vectors: {result['vectors']}")  # noqa: T201


if __name__ == "__main__":
    main()
