"""Memory of training by number of events: random contexts on disk, trained by the product's own loop.

    python -m benchmarks.training_memory [--events 100000 1000000] [--products 10000] [--steps 10] [--json]

Each size runs in a process of its own. The first steps of an epoch suffice: by then everything that grows with the
events is in memory (the order of the contexts, their weights, the pages of the timelines that batches read). For
comparison: the size of the same histories as pairs in memory, each chosen product with its history of up to 100 events.

The default takes under a minute; the published figures are of `--events 1000000 10000000 --products 100000 --steps 60`.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.common.config_loading import load_config
from training.artifacts.model import ModelCard
from training.data.catalogue import Catalogue
from training.data.context_cache import cached_contexts
from training.data.contexts import DAY_US, Contexts
from training.data.dataset import TrainingData, selection_contexts
from training.data.histories import Histories
from training.runs.tracking import Speed, Tracker
from training.train import Phase, fit

EVENTS_PER_BUYER, BASKET, DAYS = 200, 4, 365
BYTES_PER_EVENT = 16  # product, type and time
MIB = 2**20


class EnoughStepsError(Exception):
    """Ends a run after enough steps."""


class Stop(Tracker):
    """Ends a run after a number of steps."""

    def __init__(self, steps: int) -> None:
        """Takes the number of steps."""
        self.steps, self.speed = steps, Speed()

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:  # noqa: ARG002 - a Tracker's
        """Counts the step; raises EnoughStepsError after the last."""
        self.speed.step(n_pairs)
        if step + 1 == self.steps:
            raise EnoughStepsError


def random_contexts(n_events: int, n_products: int) -> Contexts:
    """Contexts of buyers with equally many baskets, one context per basket; products follow Zipf's law."""
    rng = np.random.default_rng(7)
    n_buyers = n_events // EVENTS_PER_BUYER
    n_baskets = EVENTS_PER_BUYER // BASKET
    times_us = np.sort(rng.integers(0, DAYS * DAY_US, (n_buyers, n_baskets)), axis=1) // 1000 * 1000
    shelf = n_products // BASKET  # a basket has one product of each shelf, so none twice
    products = rng.zipf(1.2, (n_buyers * n_baskets, BASKET)) % shelf + np.arange(BASKET) * shelf
    products = products.ravel()
    offsets = np.arange(n_buyers + 1, dtype=np.int64) * EVENTS_PER_BUYER
    timelines = Histories(
        offsets,
        products.astype(np.int32),
        np.full(len(products), 2, dtype=np.int32),
        np.repeat(times_us.ravel() // 1000, BASKET),
    )
    ends = (offsets[:-1, None] + np.arange(n_baskets) * BASKET).ravel()
    return Contexts(
        buyer_ids=np.repeat(np.array([f"buyer {number}" for number in range(n_buyers)], dtype=object), n_baskets),
        times_us=times_us.ravel(),
        timelines=timelines,
        starts=np.maximum(np.repeat(offsets[:-1], n_baskets), ends - 100),
        ends=ends,
        targets=timelines.windows(ends, ends + BASKET),
    )


def measure(n_events: int, n_products: int, steps: int) -> dict[str, Any]:
    """Trains some steps in this process; peak resident memory in MiB includes mapped files."""
    config = load_config(overrides=["training.candidates=sampled"])
    numbers = range(n_products)
    catalogue = Catalogue(
        product_ids=[str(number) for number in numbers],
        product_keys=np.arange(n_products, dtype=np.int64),
        texts=[""] * n_products,
        brands=[None] * n_products,
        categories=[None] * n_products,
        prices=np.full(n_products, np.nan),
    )
    text_NT = np.random.default_rng(1).normal(size=(n_products, config.model.embedding_dim)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "training_set"
        # In another process: making the contexts takes memory too.
        writer = multiprocessing.get_context("spawn").Process(target=_write, args=(written, n_events, n_products))
        writer.start()
        writer.join()
        contexts = cached_contexts(written, str(n_events), _not_again)
        data = TrainingData(catalogue, text_NT, contexts, contexts.take(np.arange(1)), DAYS * DAY_US, "random")
        _, early, _ = selection_contexts(data)
        stop = Stop(steps)
        with suppress(EnoughStepsError):
            phase = Phase(Path(folder) / "model", early, n_epochs=1)
            fit(config, data, phase, ModelCard("", "", "", epoch=0), tracker=stop, show_progress=False)
        pair_bytes = int((contexts.ends - contexts.starts) @ contexts.targets.lengths) * BYTES_PER_EVENT
        return {
            "events": n_events,
            "contexts": len(contexts),
            "pairs": len(contexts.targets.products),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "on_disk_mib": round(sum(path.stat().st_size for path in written.rglob("*.npy")) / MIB),
            "as_pairs_mib": round(pair_bytes / MIB),
            "pairs_per_s": round(stop.speed.pairs_per_s or 0),
        }


def _write(folder: Path, n_events: int, n_products: int) -> None:
    cached_contexts(folder, str(n_events), lambda: random_contexts(n_events, n_products))


def _not_again() -> Contexts:
    raise AssertionError("the contexts were written by another process")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--products", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    results = []
    for n_events in options.events:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            results.append(pool.submit(measure, n_events, options.products, options.steps).result())
    if options.json:
        print(json.dumps(results))  # noqa: T201
        return
    for result in results:
        print(  # noqa: T201
            f"{result['events']:>12,} events, {result['pairs']:,} pairs: peak {result['peak_mib']:,} MiB, on disk "
            f"{result['on_disk_mib']:,}, as pairs {result['as_pairs_mib']:,}; {result['pairs_per_s']:,} pairs/s"
        )


if __name__ == "__main__":
    main()
