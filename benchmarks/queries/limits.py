"""Which queries are like no product: the share of true queries that is rejected, and of random letters that is not.

    python -m benchmarks.queries.limits [--products CSV --queries CSV] [--sample 2000] [--json]

The files are those of benchmarks.search. Random letters are 500 seeded queries, of one to three words of four to ten
letters each, half of them Arabic. Each is judged by spelling alone and with the text encoder.
"""

import json
import string
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.search import parsed, read
from benchmarks.shops.bench_shop import DATA_DIR
from feature_repo.common.config_loading import load_config
from feature_repo.transforms.normalise import normalise
from training.artifacts.search.text_search import SearchIndex, build_search_index
from training.text.catalogue_text import text_encoder_of

N_NONSENSE, SEED = 500, 5
ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهوي"


def nonsense(rng: np.random.Generator) -> list[str]:
    """Queries of random letters, half of them Latin and half Arabic."""

    def word(letters: str) -> str:
        return "".join(rng.choice(list(letters), rng.integers(4, 11)))

    return [
        " ".join(word(letters) for _ in range(rng.integers(1, 4)))
        for letters in (string.ascii_lowercase, ARABIC)
        for _ in range(N_NONSENSE // 2)
    ]


def measure(texts: list[str], queries: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """The share of queries that are like no product, by kind of query and of search."""
    encoder = text_encoder_of(load_config(overrides=[f"data_dir={DATA_DIR}", *overrides]))
    with tempfile.TemporaryDirectory() as name:
        build_search_index(Path(name), texts, encoder.encode_passages(texts, show_progress=True), "auto")
        index = SearchIndex.load(Path(name))
        kinds = {"true": queries, "random letters": nonsense(np.random.default_rng(SEED))}
        rejected = {}
        for kind, of_kind in kinds.items():
            vectors_QT = encoder.encode_queries([normalise(query) for query in of_kind], show_progress=True)
            rejected[kind] = _rejected(index, of_kind, vectors_QT)
    return {"rejected": rejected, "n_queries": len(queries), "n_nonsense": N_NONSENSE, "n_products": len(texts)}


def _rejected(index: SearchIndex, queries: Sequence[str], vectors_QT: npt.NDArray[np.float32]) -> dict[str, float]:
    by_spelling = [index.match(query, None).is_empty for query in queries]
    with_encoder = [index.match(*pair).is_empty for pair in zip(queries, vectors_QT, strict=True)]
    return {"by spelling": float(np.mean(by_spelling)), "with the text encoder": float(np.mean(with_encoder))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    options = parsed(__doc__, arguments)
    texts, queries, _ = read(options.products, options.queries, options.sample or None)
    result = measure(texts, queries, options.overrides)
    if options.json:
        print(json.dumps(result))  # noqa: T201
        return
    for kind, shares in result["rejected"].items():
        print(f"{kind:16}" + ", ".join(f"{share:.4f} {name}" for name, share in shares.items()))  # noqa: T201


if __name__ == "__main__":
    main()
