"""Memory and time of embedding a catalogue, by number of products: random text vectors, an untrained tower.

    python -m benchmarks.tools.embed_memory [--products 100000 300000] [--known 1000] [--folder DIR] [--json]

Each size runs in a process of its own, with its imports. Every product has a text of its own, whose vector is in the
cache already, in the order of encoding; the encoder itself is not measured. `--known` products have an id embedding,
and all others borrow from them, which takes time in proportion to both. A size needs 3.2 kB of disk per product in
`--folder` meanwhile.

The default takes under a minute; the published figures are of `--products 100000 300000 1000000`.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from batch_jobs.embed_products import ItemEncoder, write_embeddings
from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array
from feature_repo.common.config import Config
from training.artifacts.embeddings import VECTORS
from training.data.catalogue import CatalogueTexts
from training.model.item_features import Vocabularies
from training.model.spec import ModelSpec
from training.model.towers import TwoTower
from training.text.vector_cache import encode_missing, open_cache, waves_to_encode

DIM = 384
ROWS = 65_536
CHUNKS_PER_WRITE = 256
BRANDS, CATEGORIES = tuple(f"brand {number}" for number in range(5000)), tuple(f"shelf {n}" for n in range(500))
FEATURES = "products.parquet"


class RandomVectors:
    """A text encoder whose vectors are random."""

    vectors_id = "random"
    dimension = DIM

    def encode_passages(self, texts: Sequence[str]) -> Float32Array:
        """Random vectors, (N, D)."""
        return np.random.default_rng(len(texts)).standard_normal((len(texts), DIM), np.float32)


def product_tables(n_products: int) -> Iterator[pa.Table]:
    """The product features in parts."""
    rng = np.random.default_rng(1)
    for start in range(0, n_products, ROWS):
        rows = np.arange(start, min(start + ROWS, n_products))
        brands, categories = (rng.choice(names, len(rows)) for names in (BRANDS, CATEGORIES))
        yield pa.table(
            {
                c.PRODUCT_ID: [f"SKU-{row:08d}" for row in rows],
                c.PRODUCT_KEY: rows,
                c.TEXT: [f"حذاء رياضي {row}، running shoe for men, size {row % 50}, by {brands[0]}" for row in rows],
                c.BRAND: brands,
                c.CATEGORY: categories,
                c.PRICE: rng.random(len(rows)) * 100,
            }
        )


def write_shop(folder: Path, n_products: int) -> None:
    """The product features, and the cache of their texts' vectors."""
    writer = None
    for table in product_tables(n_products):
        writer = writer or pq.ParquetWriter(folder / FEATURES, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    cache = open_cache(RandomVectors(), folder)
    for chunks in waves_to_encode(cache, CatalogueTexts(folder / FEATURES)):
        # Not chunk by chunk, as encode_missing does: it waits for the disk each time.
        for start in range(0, len(chunks), CHUNKS_PER_WRITE):
            texts = [text for chunk in chunks[start : start + CHUNKS_PER_WRITE] for text in chunk]
            cache.add(texts, RandomVectors().encode_passages(texts))


def measure(folder: Path, n_products: int, n_known: int) -> dict[str, Any]:
    """Embeds the products in this process; peak resident memory includes the pages of mapped files."""
    start = time.monotonic()
    device = torch.device("cpu")
    vocabularies = Vocabularies(("<UNK>", *BRANDS), ("<UNK>", *CATEGORIES), (), np.arange(n_known, dtype=np.int64))
    model = TwoTower(ModelSpec.from_config(Config(), DIM, vocabularies.sizes))
    cache = encode_missing(CatalogueTexts(folder / FEATURES), RandomVectors(), folder, show_progress=False)
    tower = ItemEncoder(folder / FEATURES, cache, vocabularies, model, device, Config().inference.batch_size)
    write_embeddings(folder / "embeddings", tower)
    return {
        "products": n_products,
        "known": n_known,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "seconds": round(time.monotonic() - start, 1),
        "vectors_mib": round((folder / "embeddings" / VECTORS).stat().st_size / 2**20),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, nargs="+", default=[100_000, 300_000])
    parser.add_argument("--known", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to put the files; default: the temporary folder")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    results = []
    for n_products in options.products:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            for job, more in ((write_shop, ()), (measure, (options.known,))):
                with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                    result = pool.submit(job, Path(folder), n_products, *more).result()
        results.append(result)
        if not options.json:
            print(result)  # noqa: T201
    if options.json:
        print(json.dumps(results))  # noqa: T201


if __name__ == "__main__":
    main()
