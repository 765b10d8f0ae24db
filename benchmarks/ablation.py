"""The contribution of each part of the model: each removed or exchanged alone, on the same buyers and seeds.

    python -m benchmarks.ablation [--dataset complete_journey_small] [--row "logQ 1" --row ...] [--all-rows] [--seeds 1]
                                  [--json]

Each row is a two-tower model of its own, trained and evaluated as in benchmarks.quality, with its results cached in the
same way. Differences to the default model are per buyer, averaged over the seeds, with paired intervals. Rows about
negatives and logQ need sampled candidates, so they differ from the default in both where it takes all products; uniform
event weights apply to the re-scorer, too.

The default is one row, `plain attention`, with one seed on one household in 64 of The Complete Journey, and takes about
a minute; the published figures are of `--dataset ga4_merch --all-rows --seeds 3` and the same on online_retail.
"""

import argparse
import json
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality import METRIC, TV, Bench, PerBuyer, two_tower
from benchmarks.shops.data_sets import DATA_SETS, SMALL, prepared
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.store import feature_store
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from training.evaluate import TOWERS_ALONE, TWO_TOWER
from training.evaluation.bootstrap import paired_interval

REFERENCE = "default"
SMALL_ROWS = ("plain attention",)
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
    """{kind: {row: {"mean", "difference", "interval"}}} of `ndcg@20`; `no re-scorer`: the default's towers alone."""
    config = prepared(dataset, None, cold=False)
    with feature_store(config) as store:
        bench = Bench(config, store, DATA_SETS[dataset])
        rows = {row: INGREDIENTS[row] for row in (REFERENCE, *names)}
        runs = {row: _runs(bench, config, overrides, seeds) for row, overrides in rows.items()}
    answers: dict[str, Any] = {}
    for kind in bench.kinds:
        buyers_B = bench.test.buyers[bench.test.targets(kind)[0]]
        values = {row: _mean(of_row, kind, TWO_TOWER) for row, of_row in runs.items()}
        values["no re-scorer"] = _mean(runs[REFERENCE], kind, TOWERS_ALONE)
        answers[kind] = {
            row: {
                "mean": float(of_row.mean()),
                "difference": float((of_row - values[REFERENCE]).mean()),
                "interval": paired_interval(of_row, values[REFERENCE], buyers_B),
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
    """The data settings of a prepared configuration, as `--set` values."""
    data = config.data.model_dump(mode="json", exclude_none=True)
    return [f"data_dir={config.data_dir}", *(f"data.{key}={json.dumps(value)}" for key, value in data.items())]


def _mean(runs: Sequence[dict[str, dict[str, PerBuyer]]], kind: str, model: str) -> Any:
    return np.mean([run[f"{kind} {TV}"][model][METRIC] for run in runs], axis=0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=sorted(DATA_SETS), default=SMALL)
    parser.add_argument("--row", action="append", choices=INGREDIENTS, dest="rows", help="a row; may be repeated")
    parser.add_argument("--all-rows", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    rows = INGREDIENTS if options.all_rows else options.rows or SMALL_ROWS
    answers = measure(options.dataset, rows, options.seeds)
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
