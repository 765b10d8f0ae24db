"""How fast training is: this loop beside the described system's way, and how it grows with the events.

    python -m benchmarks.training [--dataset amazon_5core] [--json]

Both see the same contexts in the same run. A pair is a history and a product chosen after it. The described way (see
benchmarks.baseline.training) encodes every text of every history in every batch, so it gets few batches.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.baseline.training import pairs_per_second
from benchmarks.quality_data import DATA_SETS, prepared
from feature_repo.common.config import Config
from feature_repo.store import feature_store
from training.artifacts.model import ModelCard
from training.data.contexts import Contexts
from training.data.dataset import TrainingData, read_training_data, selection_contexts
from training.runs.tracking import Tracker
from training.text.catalogue_text import text_encoder_of
from training.train import Phase, fit

DESCRIBED_BATCH, DESCRIBED_BATCHES = 16, 2
SHARES = (0.25, 0.5, 1.0)
EPOCHS = 2  # the first one warms memory up, the second is measured


class Clock(Tracker):
    """When each step ended."""

    def __init__(self) -> None:
        """Has no steps yet."""
        self.ends: list[float] = []

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:  # noqa: ARG002 - a Tracker's
        """Notes the time."""
        self.ends.append(time.perf_counter())


def seconds_per_epoch(config: Config, data: TrainingData, contexts: Contexts) -> float:
    """Of the second epoch, from its first step's end to its last's, for all steps."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        fit(
            config,
            data,
            Phase(Path(folder) / "model", contexts, n_epochs=EPOCHS),
            ModelCard("", "", "", epoch=0),
            tracker=clock,
            show_progress=False,
        )
    ends = clock.ends[len(clock.ends) // EPOCHS :]
    return (ends[-1] - ends[0]) * len(ends) / max(1, len(ends) - 1)


def described(config: Config, data: TrainingData, contexts: Contexts) -> float:
    """Pairs per second of the described way, on an even sample of the contexts."""
    n_pairs = DESCRIBED_BATCH * DESCRIBED_BATCHES
    sample = contexts.take(np.linspace(0, len(contexts) - 1, n_pairs).astype(np.int64))
    histories, offsets = sample.histories, sample.histories.offsets
    return pairs_per_second(
        data.catalogue.texts,
        [histories.products[start:stop].tolist() for start, stop in itertools.pairwise(offsets)],
        sample.targets.products[sample.targets.offsets[:-1]].tolist(),
        text_encoder_of(config),
        batch_size=DESCRIBED_BATCH,
        n_batches=DESCRIBED_BATCHES,
        seed=config.training.seed,
    )


def measure(dataset: str) -> dict[str, Any]:
    """{"pairs_per_s", "described_pairs_per_s", "ratio", "epochs": [{"events", "pairs", "seconds"}]}."""
    config = prepared(dataset, None, cold=False)
    with feature_store(config) as store:
        data, _ = read_training_data(config, store, show_progress=False)
    contexts, _, _ = selection_contexts(data)
    epochs = []
    for share in SHARES:
        part = contexts.take(np.arange(round(len(contexts) * share)))
        pairs = len(part.targets.products)
        seconds = seconds_per_epoch(config, data, part)
        epochs.append({"events": int(part.ends.max()), "pairs": pairs, "seconds": round(seconds, 2)})
    fast = epochs[-1]["pairs"] / epochs[-1]["seconds"]
    slow = described(config, data, contexts.take(np.flatnonzero(contexts.ends > contexts.starts)))
    return {
        "dataset": dataset,
        "pairs_per_s": round(fast),
        "described_pairs_per_s": round(slow, 2),
        "ratio": round(fast / slow),
        "epochs": epochs,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=sorted(DATA_SETS), default="amazon_5core")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = measure(options.dataset)
    if options.json:
        print(json.dumps(result))  # noqa: T201
        return
    print(  # noqa: T201
        f"{result['dataset']}: {result['pairs_per_s']:,} pairs/s, the described way {result['described_pairs_per_s']} "
        f"pairs/s: {result['ratio']:,} times"
    )
    for epoch in result["epochs"]:
        print(f"  {epoch['events']:>9,} events, {epoch['pairs']:>9,} pairs: {epoch['seconds']:.1f} s per epoch")  # noqa: T201


if __name__ == "__main__":
    main()
