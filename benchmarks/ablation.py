"""What each ingredient of the model is worth: each one taken away or exchanged alone, on the same buyers and seeds.

    python -m benchmarks.ablation --dataset online_retail [--row "logQ 1" --row ...] [--seeds 3] [--json]

Each row is a two-tower of its own, trained and judged as in benchmarks.quality (and kept as there). The differences to
the default are of each buyer's metric, averaged over the seeds, with paired intervals. Negatives and logQ ask for
sampled candidates, so those rows differ from the default in both where it takes all products; uniform event weights are
the re-scorer's too.
"""

import argparse
import json
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality import METRIC, Bench, PerBuyer, two_tower
from benchmarks.quality_data import DATA_SETS, prepared
from feature_repo.common.config import Config, load_config
from feature_repo.store import feature_store
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from training.evaluate import TOWERS_ALONE, TWO_TOWER
from training.evaluation.bootstrap import paired_interval

REFERENCE = "default"
UNIFORM = tuple(f"event_weights.{name}=1" for name in EVENT_TYPE_NAMES)
ITEM, BUYER = "model.item_tower", "model.buyer_tower"
INGREDIENTS: Mapping[str, Sequence[str]] = {
    REFERENCE: (),
    "no text residual": (f"{ITEM}.text_residual=false",),
    "no id embedding": (f"{ITEM}.id_embedding=false",),
    "no id dropout": (f"{ITEM}.id_dropout=0",),
    "no brand, category, price": (f"{ITEM}.use_categorical_features=false",),
    "plain attention": (f"{BUYER}.aggregation_method=attention",),
    "weighted average": (f"{BUYER}.aggregation_method=weighted_avg",),
    "transformer": (f"{BUYER}.aggregation_method=transformer",),
    "event weights as configured": (f"{BUYER}.learn_event_weights=false",),
    "uniform event weights": (f"{BUYER}.learn_event_weights=false", *UNIFORM),
    "all contexts alike": ("training.half_life_days=0",),
    "sampled candidates": ("training.candidates=sampled",),
    "4 random negatives": ("training.candidates=sampled", "training.num_negatives=4"),
    "1 hard negative": ("training.candidates=sampled", "training.num_hard_negatives=1"),
    "logQ 1": ("training.candidates=sampled", "training.logq_exponent=1"),
    "logQ 0.5": ("training.candidates=sampled", "training.logq_exponent=0.5"),
    "learned temperature": ("training.learn_temperature=true",),
    "no refit": ("training.refit=false",),
}


def measure(dataset: str, names: Collection[str], seeds: int) -> dict[str, Any]:
    """{kind: {row: {"mean", "difference", "interval"}}} of `ndcg@20`; `no re-scorer` is the default's towers alone."""
    config = prepared(dataset, None, cold=False)
    with feature_store(config) as store:
        bench = Bench(config, store, DATA_SETS[dataset])
        rows = {row: INGREDIENTS[row] for row in (REFERENCE, *names)}
        runs = {row: _runs(bench, config, overrides, seeds) for row, overrides in rows.items()}
    answers: dict[str, Any] = {}
    for kind in bench.kinds:
        values = {row: _mean(of_row, kind, TWO_TOWER) for row, of_row in runs.items()}
        values["no re-scorer"] = _mean(runs[REFERENCE], kind, TOWERS_ALONE)
        answers[kind] = {
            row: {
                "mean": float(of_row.mean()),
                "difference": float((of_row - values[REFERENCE]).mean()),
                "interval": paired_interval(of_row, values[REFERENCE]),
            }
            for row, of_row in values.items()
        }
    return answers


def _runs(bench: Bench, config: Config, overrides: Sequence[str], seeds: int) -> list[dict[str, dict[str, PerBuyer]]]:
    changed = load_config(overrides=[*_as_overrides(config), *overrides])
    return [
        two_tower(
            bench,
            changed.model_copy(
                update={"training": changed.training.model_copy(update={"seed": changed.training.seed + seed})}
            ),
        )
        for seed in range(seeds)
    ]


def _as_overrides(config: Config) -> list[str]:
    """The data of a prepared configuration, as `--set` has them."""
    data = config.data.model_dump(mode="json", exclude_none=True)
    return [f"data_dir={config.data_dir}", *(f"data.{key}={json.dumps(value)}" for key, value in data.items())]


def _mean(runs: Sequence[dict[str, dict[str, PerBuyer]]], kind: str, model: str) -> Any:
    return np.mean([run[kind][model][METRIC] for run in runs], axis=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=sorted(DATA_SETS), default="online_retail")
    parser.add_argument("--row", action="append", choices=INGREDIENTS, dest="rows", help="beside the default; else all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    answers = measure(options.dataset, options.rows or INGREDIENTS, options.seeds)
    if options.json:
        print(json.dumps(answers))  # noqa: T201
        return
    for kind, rows in answers.items():
        print(f"\n{options.dataset}, {kind}: {METRIC}, {options.seeds} seeds")  # noqa: T201
        for row, figures in sorted(rows.items(), key=lambda item: -item[1]["mean"]):
            low, high = figures["interval"]
            print(f"  {row:28} {figures['mean']:.4f}  {figures['difference']:+.4f}  [{low:+.4f}, {high:+.4f}]")  # noqa: T201


if __name__ == "__main__":
    main()
