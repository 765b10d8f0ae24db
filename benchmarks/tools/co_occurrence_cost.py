"""What the co-occurrence term costs: counting all events for a release, and the term of one list.

    python -m benchmarks.tools.co_occurrence_cost [--events 400000] [--products 20000] [--json]

Random events: some buyers are far more active than others, and each has three shelves with products of falling
popularity. The default takes a few seconds; the published figures are of `--events 4000000 --products 100000`.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence

import numpy as np

from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.data.histories import DAY_MS

EVENTS_PER_BUYER, PRODUCTS_PER_SHELF, SHELVES_OF_BUYER, DAYS = 40, 500, 3, 400
LENGTHS, LISTS = (5, 20, 100), 500


def counted(n_events: int, n_products: int) -> tuple[CoOccurrence, float]:
    """The table of random events, and the seconds that counting took."""
    rng = np.random.default_rng(1)
    n_buyers, n_shelves = max(1, n_events // EVENTS_PER_BUYER), max(1, n_products // PRODUCTS_PER_SHELF)
    activity = rng.lognormal(0, 1.2, n_buyers)
    buyers = rng.choice(n_buyers, n_events, p=activity / activity.sum())
    shelves = rng.integers(0, n_shelves, (n_buyers, SHELVES_OF_BUYER))
    shelf = shelves[buyers, rng.integers(0, SHELVES_OF_BUYER, n_events)]
    width = n_products // n_shelves
    products = shelf * width + (width * rng.random(n_events) ** 3).astype(np.int64)
    times = rng.integers(0, DAYS * DAY_MS, n_events)
    start = time.perf_counter()
    table = CoOccurrence.of_events(buyers, products, times, n_products)
    return table, time.perf_counter() - start


def microseconds_of_a_list(table: CoOccurrence, length: int) -> float:
    """The mean time of `votes` for a history of that many events, each of another product and moment."""
    rng = np.random.default_rng(2)
    histories = [rng.choice(len(table.positions_NM), length, replace=False) for _ in range(LISTS)]
    times = np.arange(length) * DAY_MS
    start = time.perf_counter()
    for positions in histories:
        table.votes(positions, times)
    return (time.perf_counter() - start) / LISTS * 1e6


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--products", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    table, seconds = counted(options.events, options.products)
    result = {
        "events": options.events,
        "products": options.products,
        "count_seconds": round(seconds, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "list_us": {length: round(microseconds_of_a_list(table, length)) for length in LENGTHS},
    }
    print(json.dumps(result) if options.json else result)  # noqa: T201


if __name__ == "__main__":
    main()
