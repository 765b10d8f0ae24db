"""Training speed: the product's loop compared with the described system's, and time per epoch by number of events.

    python -m benchmarks.training [--dataset complete_journey_small] [--json]

Both train on the same contexts in the same run. A pair is a history and a product chosen after it. The described system
(see benchmarks.described.training) encodes every text of every history in every batch, so it gets few batches. The
default is one household in 64 of The Complete Journey and takes about a minute; the published figures are of
`--dataset amazon_5core`, which needs the shared data.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.described.training import pairs_per_second
from benchmarks.shops.data_sets import DATA_SETS, SMALL, prepared
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
EPOCHS = 2  # the first is a warm-up, the second is measured


class Clock(Tracker):
    """Records when each step ended."""

    def __init__(self) -> None:
        """Makes a clock that has recorded no step."""
        self.ends: list[float] = []

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:  # noqa: ARG002 - a Tracker's
        """Appends the time at the end of a step to `ends`, in seconds of time.perf_counter."""
        self.ends.append(time.perf_counter())


def seconds_per_epoch(config: Config, data: TrainingData, contexts: Contexts) -> float:
    """Seconds of the second epoch, extrapolated from the time between its first and last step to all steps."""
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
    if len(ends) == 1:  # an epoch of one step: since the end of the epoch before
        return clock.ends[-1] - clock.ends[-2]
    return (ends[-1] - ends[0]) * len(ends) / max(1, len(ends) - 1)


def described(config: Config, data: TrainingData, contexts: Contexts) -> float:
    """Pairs per second of the described system, on an even sample of the contexts."""
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
        _progress(f"{EPOCHS} epochs of {pairs:,} pairs")
        seconds = seconds_per_epoch(config, data, part)
        epochs.append({"events": int(part.ends.max()), "pairs": pairs, "seconds": round(seconds, 2)})
    fast = epochs[-1]["pairs"] / epochs[-1]["seconds"]
    _progress(f"described system: {DESCRIBED_BATCHES} batches of {DESCRIBED_BATCH} pairs")
    slow = described(config, data, contexts.take(np.flatnonzero(contexts.ends > contexts.starts)))
    return {
        "dataset": dataset,
        "pairs_per_s": round(fast),
        "described_pairs_per_s": round(slow, 2),
        "ratio": round(fast / slow),
        "epochs": epochs,
    }


def _progress(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=sorted(DATA_SETS), default=SMALL)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = measure(options.dataset)
    if options.json:
        print(json.dumps(result))  # noqa: T201
        return
    print(  # noqa: T201
        f"{result['dataset']}: {result['pairs_per_s']:,} pairs/s, described system {result['described_pairs_per_s']} "
        f"pairs/s: {result['ratio']:,} times"
    )
    for epoch in result["epochs"]:
        print(f"  {epoch['events']:>9,} events, {epoch['pairs']:>9,} pairs: {epoch['seconds']:.1f} s per epoch")  # noqa: T201


if __name__ == "__main__":
    main()
