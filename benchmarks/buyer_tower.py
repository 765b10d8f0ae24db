"""Time to encode one buyer and to explain recommendations, by aggregator, as in a worker of the service.

    python -m benchmarks.buyer_tower [--events 100] [--json]

Random weights and random products of the default sizes, one CPU thread; medians. The goal is 0.7 ms per buyer of 100
events. It needs no data and takes seconds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.tools.machine import machine
from feature_repo.common.config import Config
from training.artifacts.buyer_encoder import BuyerEncoder, History
from training.model.aggregators import AGGREGATORS
from training.model.prefixes import HOUR_MS
from training.model.spec import ModelSpec, VocabularySizes
from training.model.towers import BuyerTower

WARM_UP, REPEATS = 50, 500
K = 10  # products to explain
SEED = 7


def measure(n_events: int) -> dict[str, Any]:
    """The figures of each aggregator, in milliseconds, for histories of `n_events`."""
    torch.set_num_threads(1)
    rows = {name: _measured(_tower(name, n_events), n_events) for name in sorted(AGGREGATORS)}
    return {"events": n_events, "k": K, "goal_ms": 0.7, "machine": machine(), "aggregators": rows}


def _tower(aggregation: str, max_history: int) -> BuyerTower:
    torch.manual_seed(SEED)
    buyer = {"aggregation_method": aggregation, "max_interaction_history": max_history}
    config = Config.model_validate({"model": {"buyer_tower": buyer}})
    spec = ModelSpec.from_config(config, config.model.embedding_dim, VocabularySizes())
    return BuyerTower(spec)


def _measured(tower: BuyerTower, n_events: int) -> dict[str, float]:
    encoder = BuyerEncoder(tower, torch.device("cpu"))
    rng = np.random.default_rng(SEED)
    items_LD = rng.normal(size=(n_events, len(tower.empty))).astype(np.float32)
    items_LD /= np.linalg.norm(items_LD, axis=1, keepdims=True)
    history = History(
        np.arange(n_events),
        items_LD,
        rng.integers(len(tower.event_weights), size=n_events),
        np.sort(rng.integers(365 * 24 * HOUR_MS, size=n_events)),
        encoder.item_logits(items_LD),
    )
    (buyer,) = encoder.encode([history])
    return {
        "encode_ms": _median_ms(lambda: encoder.encode([history])),
        "explain_ms": _median_ms(lambda: encoder.contributions(buyer, items_LD[:K])),
    }


def _median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(WARM_UP + REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[WARM_UP:])


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    lines = [f"{result['events']} events, one thread of {result['machine']['cpu']}; goal {result['goal_ms']} ms"]
    lines += [
        f"{name:<18} encode {figures['encode_ms']:.3f} ms, explain {figures['explain_ms']:.3f} ms"
        for name, figures in result["aggregators"].items()
    ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = measure(options.events)
    print(json.dumps(result) if options.json else table(result))  # noqa: T201


if __name__ == "__main__":
    main()
