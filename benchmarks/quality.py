"""How good the recommendations are: the whole chain on each data set, the model beside the baselines.

    python -m benchmarks.quality [--datasets complete_journey,online_retail] [--seeds 7,8,9] [--json]

Several seeds train several models on one split; the spread of the two-tower's figures is shown beside their mean.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from batch_jobs.refresh import refresh
from feature_repo.config import load_config
from training.ranking import format_table

METRICS = ("recall@20", "ndcg@20")
SHARED_DATA = "TAWSIYA_SHARED_DATA"


def measure(dataset: str, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """{model: {metric: mean over seeds}}, and for the two-tower `metric_min` and `metric_max`."""
    runs = []
    for seed in seeds:
        overrides = [f"data.source={dataset}", "data_dir=var/benchmarks", f"training.seed={seed}"]
        runs.append(refresh(load_config(overrides=overrides))["evaluation"]["models"])
    models = {name: {key: float(np.mean([run[name][key] for run in runs])) for key in METRICS} for name in runs[0]}
    for key in METRICS:
        values = [run["two_tower"][key] for run in runs]
        models["two_tower"] |= {f"{key}_min": min(values), f"{key}_max": max(values)}
    return models


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default="complete_journey,online_retail")
    parser.add_argument("--seeds", default="7", help="separated by commas")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if SHARED_DATA not in os.environ and (shared := Path("../shared/data")).is_dir():
        os.environ[SHARED_DATA] = str(shared.resolve())
    results = {}
    for dataset in options.datasets.split(","):
        if dataset == "online_retail" and SHARED_DATA not in os.environ:
            print(f"{dataset}: skipped, ${SHARED_DATA} is not set", file=sys.stderr)  # noqa: T201
            continue
        results[dataset] = measure(dataset, [int(seed) for seed in options.seeds.split(",")])
        if not options.json:
            columns = [*METRICS, *(f"{key}_{end}" for key in METRICS for end in ("min", "max"))]
            print(f"\n{dataset}\n{format_table(results[dataset], columns)}")  # noqa: T201
    if options.json:
        print(json.dumps(results))  # noqa: T201


if __name__ == "__main__":
    main()
