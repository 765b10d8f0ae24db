"""CPU time of what search does beside comparing and ranking: matches, facets, corrections, synonyms, suggestions.

    python -m benchmarks.queries.additions [--products 10000] [--queries 100] [--json]

The catalogue and the queries are those of benchmarks.search_latency, without its text encoder: a query's vector is a
random one. Figures are CPU time on one thread. The published ones are of `--products 100000 --queries 300`.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from benchmarks.index import clustered_vectors
from benchmarks.search_latency import SEED, WARM_UP, K, some_words
from benchmarks.shops.synthetic_shop import synthetic_products
from benchmarks.tools.machine import machine
from feature_repo import columns as c
from feature_repo.transforms.keys import product_keys
from feature_repo.transforms.text import product_text
from online_api.lists.live_catalogue import LiveCatalogue
from online_api.schemas.requests import NO_FILTERS, Filters
from online_api.search.facets import facets_of
from training.artifacts.product_table import ProductTable, write_arrow
from training.artifacts.queries.catalogue_suggestions import catalogue_suggestions
from training.artifacts.queries.suggestion_index import SuggestionIndex
from training.artifacts.search.text_search import QuerySynonyms, SearchIndex, build_search_index


def measure(n_products: int, n_queries: int) -> dict[str, Any]:
    """Median and 99th percentile of the milliseconds of each addition."""
    rng = np.random.default_rng(SEED)
    products = _products(n_products, rng)
    texts = [product_text(*pair) for pair in zip(products[c.TITLE].to_pylist(), products[c.DESCRIPTION].to_pylist())]  # noqa: B905
    vectors_NT = clustered_vectors(n_products, rng)
    queries = [some_words(texts[place], rng) for place in rng.integers(n_products, size=WARM_UP + n_queries)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_search_index(folder, texts, vectors_NT, "auto", show_progress=True)
        started = time.monotonic()
        SuggestionIndex.build(catalogue_suggestions(products)).save(folder)
        seconds = time.monotonic() - started
        write_arrow(folder / "products.arrow", products)
        faiss.omp_set_num_threads(1)
        catalogue = LiveCatalogue(ProductTable(folder / "products.arrow", folder / "none"), None)
        index, suggestions = SearchIndex.load(folder), SuggestionIndex.load(folder)
        assert suggestions is not None
        scores_S = suggestions.of_products(rng.random(n_products).astype(np.float32))
        rows = [_times(index, suggestions, scores_S, catalogue, query, vectors_NT[place]) for place, query in
                enumerate(queries)][WARM_UP:]  # fmt: skip
    ms = {stage: [row[stage] for row in rows] for stage in rows[0]}
    return {
        "products": n_products,
        "suggestions": len(scores_S),
        "suggestions_built_in_s": round(seconds, 1),
        "p50_ms": {stage: float(np.median(values)) for stage, values in ms.items()},
        "p99_ms": {stage: float(np.quantile(values, 0.99)) for stage, values in ms.items()},
        "machine": machine(),
    }


def _products(n_products: int, rng: np.random.Generator) -> pa.Table:
    products = synthetic_products(n_products, rng)
    product_ids = [f"p{number}" for number in range(n_products)]
    return pa.table(
        {
            c.PRODUCT_ID: product_ids,
            c.PRODUCT_KEY: product_keys(product_ids),
            **{name: products[name] for name in (c.TITLE, c.DESCRIPTION, c.BRAND, c.CATEGORY, c.PRICE)},
            c.PHOTO: pa.nulls(n_products, pa.string()),
            c.STOCK: np.ones(n_products, dtype=np.int64),
            c.HIDDEN: np.zeros(n_products, dtype=np.bool_),
        }
    )


def _times(
    index: SearchIndex,
    suggestions: SuggestionIndex,
    scores_S: Any,
    catalogue: LiveCatalogue,
    query: str,
    vector_T: Any,
) -> dict[str, float]:
    matches = index.match(query, vector_T)
    typo = query[:2] + query[3:]
    typed = query[: max(2, len(query) // 2)]
    filters = Filters(categories=(next(iter(catalogue.conditions.categories.code_of)),))
    catalogue.select(filters)
    return {
        "search without encoding": _ms(lambda: index.match(query, vector_T).top(K)),
        "ranking": _ms(lambda: matches.top(K)),
        "matching": _ms(lambda: matches.matching.sum()),
        "facets": _ms(lambda: facets_of(catalogue, NO_FILTERS, matches.matching, lambda _: None)),
        "facets under a filter": _ms(
            lambda: facets_of(catalogue, filters, matches.matching, lambda other: catalogue.select(other).allowed_N)
        ),
        "compare": _ms(lambda: index.match(query, vector_T)),
        "compare, mistyped": _ms(lambda: index.match(typo, vector_T)),
        "compare, one synonym": _ms(lambda: index.match(query, vector_T, QuerySynonyms((query[::-1],)))),
        "suggest": _ms(lambda: suggestions.complete(typed, 8, scores_S)),
        "suggest, one letter": _ms(lambda: suggestions.complete(query[:1], 8, scores_S)),
        "suggest, mistyped": _ms(lambda: suggestions.complete(typo.split()[0], 8, scores_S)),
    }


def _ms(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return 1000 * (time.thread_time() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = measure(options.products, options.queries)
    if options.json:
        print(json.dumps(result))  # noqa: T201
        return
    print(f"{result['products']} products, {result['suggestions']} suggestions ({result['suggestions_built_in_s']} s)")  # noqa: T201
    for stage, p50 in result["p50_ms"].items():
        print(f"{stage:26} p50 {p50:7.2f} ms, p99 {result['p99_ms'][stage]:7.2f} ms")  # noqa: T201


if __name__ == "__main__":
    main()
