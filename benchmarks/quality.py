"""Recommendation quality: the product's own pipeline on real data, compared with baselines tuned in the same way.

    python -m benchmarks.quality [--dataset complete_journey_small] [--models two_tower,popularity] [--seeds 1] [--json]
    python -m benchmarks.quality --dataset amazon_5core [--data DIR] [--cold]

The default is one household in 64 of The Complete Journey with the two-tower model, popularity and personal frequency,
and takes about a minute; so few buyers show that everything works, not which model is better. `--models all` adds the
other baselines, which can take hours; the published figures are of a larger data set with `--models all --seeds 3`.
Data sets other than The Complete Journey are read from the shared data.

Everything is chosen on the validation days before the test: the two-tower's epochs and re-scorer, each baseline's
parameters and its popularity term. Every kind of target is measured twice. `tv`, as in a shop: what was chosen is then
fitted on the validation days too. `tr`, as most published figures are made: no model is fitted on the validation days
and no popularity counted in them; they are only part of the buyer's history. Every ranking has the popularity term, and
in lists of any products `x_rescored` the repeat term, too; closeness and co-occurrence belong to the two-tower alone.
The results of each model are cached under a hash of everything they depend on, so an interrupted run continues where it
stopped. `two_tower` is the model as served, `two_tower_alone` the inner product alone; their figures are means over the
seeds.

amazon_5core's order within a day is not one of time (see benchmarks.shops.orders). Its figures are therefore also given
with the last events of every history in random order (`shuffled`), and for targets whose id rises or falls.
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from batch_jobs.console_text import kind_lines
from batch_jobs.train_model import train_job
from benchmarks.baselines.tuning import BASELINES, Baseline, Problem, masked, tune
from benchmarks.shops.data_sets import DATA_SETS, SMALL, DataSet, items_file, prepared
from benchmarks.shops.orders import file_order, rises, with_last_shuffled
from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.common.config import Config
from feature_repo.common.files import replacing
from feature_repo.common.paths import shop_paths
from feature_repo.context_report import read_context_report
from feature_repo.store import FeatureStore, feature_store
from training.artifacts.model import CHOSEN, load_model
from training.artifacts.scoring.co_occurrence import (
    DECAY,
    MOST_PRODUCTS_OF_BUYER,
    N_NEIGHBOURS,
    SHRINKAGE,
    CoOccurrence,
)
from training.artifacts.scoring.rescorer import CountedBuyers, Rescorer
from training.data.catalogue import Catalogue, read_catalogue
from training.evaluate import TOWERS_ALONE, TWO_TOWER, split_facts
from training.evaluation.bootstrap import mean_intervals, paired_interval
from training.evaluation.fit_rescorer import fit_rescorer
from training.evaluation.held_out import ALL, COLD_ITEMS, HeldOut, as_targets, read_held_out
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.metrics import accuracy_per_buyer
from training.evaluation.ranker import Ranker
from training.evaluation.ranking import rank_all
from training.evaluation.rescored_ranker import RescoredRanker, RescorerData
from training.model.encoding import TwoTowerRanker, encode_buyers, encode_catalogue
from training.model.item_features import item_features
from training.text.catalogue_text import text_vectors

MAX_TRIALS = {"sasrec": 1, "ials": 6, "ease": 8, "tifu_knn": 8}  # per tuning; the other baselines try their whole grid
K_VALUES = (10, 20)
K = 20
METRIC = f"ndcg@{K}"  # decides the tuning and which baseline is the best
TV, TR = "tv", "tr"  # the validation days are fitted on, or not
# The endings of kinds of targets: all of them, with shuffled histories, and by the order of the ids.
AS_GIVEN, SHUFFLED, RISING, FALLING = "", " shuffled", " rising", " falling"
VIEWS = (AS_GIVEN, SHUFFLED, RISING, FALLING)
MODELS = (TWO_TOWER, *BASELINES)
SMALL_MODELS = f"{TWO_TOWER},popularity,personal_frequency"
SECONDS, PAIRS_PER_S = "seconds", "pairs_per_s"
VERSION = 7  # raise it when the meaning of a cached result changes

log = logging.getLogger("benchmarks.quality")
PerBuyer = dict[str, npt.NDArray[np.float64]]
Results = dict[str, dict[str, PerBuyer]]  # by kind of target, then by model


class Bench:
    """One data set with its evaluation contexts, and a cache of results."""

    def __init__(self, config: Config, store: FeatureStore, dataset: DataSet) -> None:
        """Reads catalogue, text vectors and evaluation contexts."""
        self.config, self.store, self.dataset = config, store, dataset
        self.paths = shop_paths(config)
        self.catalogue: Catalogue = read_catalogue(self.paths.product_features)
        self.text_NT, self.encoder_id = text_vectors(config, self.catalogue, show_progress=False)
        self.validation = read_held_out(store, config, self.catalogue, c.VALIDATION)
        self.test = read_held_out(store, config, self.catalogue, c.TEST)
        self.views = {AS_GIVEN: self.test}
        self.rank_N: Int64Array | None = None
        if dataset.ordered_by_id:
            self.views[SHUFFLED] = with_last_shuffled(self.test)
            self.rank_N = file_order(self.catalogue, items_file(config))
        self.data_version = read_context_report(self.paths)["data_version"]
        self.seconds: dict[str, float] = {}
        self.pairs_per_s: list[float] = []

    def cached(self, model: str, facts: Mapping[str, Any], make: Callable[[], tuple[Results, float]]) -> Results:
        """The results of `make`, read from disk if they were made before from the same facts."""
        protocol = [
            self.data_version,
            list(self.dataset.kinds),
            sorted(self.config.data.target_events),
            self.encoder_id,
        ]
        key = json.dumps([VERSION, model, protocol, facts], sort_keys=True)
        path = self.paths.root / "results" / f"{model}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if not path.is_file():
            start = time.monotonic()
            results, pairs_per_s = make()
            arrays: dict[str, Any] = {
                f"{kind}/{name}/{metric}": values
                for kind, models in results.items()
                for name, metrics in models.items()
                for metric, values in metrics.items()
            }
            arrays |= {SECONDS: np.array(time.monotonic() - start), PAIRS_PER_S: np.array(pairs_per_s)}
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        return self._read(model, path)

    def _read(self, model: str, path: Path) -> Results:
        results: Results = {}
        with np.load(path, allow_pickle=False) as arrays:
            self.seconds[model] = self.seconds.get(model, 0.0) + float(arrays[SECONDS])
            if arrays[PAIRS_PER_S] > 0:
                self.pairs_per_s.append(float(arrays[PAIRS_PER_S]))
            for name in arrays.files:
                if name not in (SECONDS, PAIRS_PER_S):
                    kind, ranker, metric = name.split("/")
                    results.setdefault(kind, {}).setdefault(ranker, {})[metric] = arrays[name]
        return results

    def evaluate(self, rankers: Mapping[str, Sequence[Ranker]], fit: str, view: str) -> Results:
        """Metrics per buyer, by kind of target and ranker; `fit` is TV or TR, the rankers are of `view`."""
        results: Results = {}
        for kind in self.kinds:
            rows, targets = self.test.targets(kind)
            kept_by_ending = {view: np.ones(len(rows), dtype=np.bool_)}
            if self.rank_N is not None and view == AS_GIVEN:
                rises_B = rises(self.test, rows, targets, self.rank_N)
                kept_by_ending |= {RISING: rises_B, FALLING: ~rises_B}
            for ranker in rankers[kind]:
                scored = ranker if kind == ALL else MaskedRanker(ranker, self.test.purchases)
                ranked_BK = rank_all(scored, rows, K, show_progress=False)
                per_buyer = accuracy_per_buyer(ranked_BK, as_targets(targets), K_VALUES)
                for ending, kept_B in kept_by_ending.items():
                    if kept_B.any():
                        of_slice = {metric: values_B[kept_B] for metric, values_B in per_buyer.items()}
                        results.setdefault(f"{kind} {fit}{ending}", {})[ranker.name] = of_slice
        return results

    def test_data(self, fit: str, view: str, item_ND: torch.Tensor | None = None) -> RescorerData:
        """What the re-scorer of a model sees in the test; with TR, popularity is counted before the validation."""
        data = self.views[view].rescorer_data(item_ND)
        return data if fit == TV else _CountedEarlier(**_fields(data), earlier=self.validation.rescorer_data())

    @property
    def kinds(self) -> list[str]:
        """The kinds of targets of the data set, and products without any event if a buyer chose one."""
        return [*self.dataset.kinds, *([COLD_ITEMS] if len(self.test.targets(COLD_ITEMS)[0]) else [])]


@dataclass(frozen=True, kw_only=True)
class _CountedEarlier(RescorerData):
    """The test as the re-scorer sees it, but popularity and co-occurrence are counted in the events of `earlier`."""

    earlier: RescorerData

    def popularity(self, counted: CountedBuyers) -> Float32Array:
        return self.earlier.popularity(counted)

    @cached_property
    def co_occurrence(self) -> CoOccurrence:
        return self.earlier.co_occurrence


def _fields(data: RescorerData) -> dict[str, Any]:
    return {field.name: getattr(data, field.name) for field in fields(data)}


def two_tower(bench: Bench, config: Config) -> Results:
    """Trains with the product's job; evaluates the model as served and the towers alone, for TR and for TV.

    The selection fit has not seen the validation days: its model is that of TR, and the refit's that of TV.
    """

    def make() -> tuple[Results, float]:
        log.info("two_tower, seed %d", config.training.seed)
        trained = train_job(config, bench.store, show_progress=False, keep_selection=True)
        rescorer = Rescorer.load(bench.paths.model)
        results: Results = {}
        for fit, folder in ((TR, bench.paths.model / CHOSEN), (TV, bench.paths.model)):
            model, vocabularies, _ = load_model(folder)
            text_NT = bench.text_NT
            if not config.training.freeze_text_encoder:
                text_NT, _ = text_vectors(config, bench.catalogue, folder, show_progress=False)
            item_ND = encode_catalogue(model, item_features(bench.catalogue, text_NT, vocabularies))
            for view, question in bench.views.items():
                towers = TwoTowerRanker(encode_buyers(model, item_ND, question.contexts), item_ND, TOWERS_ALONE)
                test = bench.test_data(fit, view, item_ND)
                rankers: dict[str, list[Ranker]] = {
                    kind: [RescoredRanker(towers, rescorer, test, new_only=kind != ALL, name=TWO_TOWER), towers]
                    for kind in bench.kinds
                }
                results |= bench.evaluate(rankers, fit, view)
        return results, trained["pairs_per_s"] or 0.0

    sections = (config.model, config.training, config.event_weights)
    settings = [section.model_dump(mode="json") for section in sections]
    # A new term changes the results, like a setting.
    terms = [*sorted(Rescorer.__dataclass_fields__), N_NEIGHBOURS, SHRINKAGE, DECAY, MOST_PRODUCTS_OF_BUYER]
    return bench.cached(TWO_TOWER, {"settings": settings, "terms": terms}, make)


def baseline(bench: Bench, name: str) -> Results:
    """Tunes a baseline on the validation for each kind of target, adds the popularity term, evaluates it on the test.

    In lists of any products also with the repeat term, as `name`_rescored.
    """
    trials = MAX_TRIALS.get(name, 100)

    def make() -> tuple[Results, float]:
        validation = _problem(bench.validation, bench.text_NT)
        chosen = {
            kind: _chosen_on_validation(bench, name, kind, validation, trials)
            # The validation has no cold items to tune on. They are new to every buyer.
            for kind in bench.dataset.kinds
        }
        results: Results = {}
        for view, question in bench.views.items():
            test = _problem(question, bench.text_NT)
            for fit, problem in ((TV, test), (TR, replace(test, events=validation.events))):
                data = bench.test_data(fit, view)
                rankers: dict[str, list[Ranker]] = {}
                for kind, (tuned, terms) in chosen.items():
                    fitted = BASELINES[name].fit(problem, tuned)
                    rankers[kind] = [
                        RescoredRanker(fitted, rescorer, data, new_only=kind != ALL, name=label)
                        for label, rescorer in terms.items()
                    ]
                rankers[COLD_ITEMS] = rankers[bench.dataset.kinds[-1]][:1]
                results |= bench.evaluate(rankers, fit, view)
        return results, 0.0

    grid = {parameter: list(values) for parameter, values in BASELINES[name].grid.items()}
    weights = bench.config.event_weights.model_dump(mode="json")
    return bench.cached(name, {"grid": grid, "trials": trials, "event_weights": weights}, make)


def _chosen_on_validation(
    bench: Bench, name: str, kind: str, validation: Problem, trials: int
) -> tuple[dict[str, Any], dict[str, Rescorer]]:
    """The parameters of a baseline for a kind of target, and by label the terms that are added to it."""
    tuned = _tuned(bench, BASELINES[name], kind, validation, trials)
    on_validation = BASELINES[name].fit(validation, tuned)
    data = bench.validation.rescorer_data()
    terms = {name: fit_rescorer(on_validation, data, ["popularity"])}
    if kind == ALL:
        terms[f"{name}_rescored"] = fit_rescorer(on_validation, data, ["popularity", "repeat"])
    log.info("%s, %s: %s, %s", name, kind, tuned, terms)
    return tuned, terms


def _tuned(bench: Bench, method: Baseline, kind: str, validation: Problem, trials: int) -> dict[str, Any]:
    rows, targets = bench.validation.targets(kind)
    problem = Problem(
        validation.events, validation.histories.take(rows.astype(np.int64)), validation.cutoff_ms, validation.text_NT
    )
    parameters, _ = tune(
        method if kind == ALL else masked(method), problem, as_targets(targets), K, METRIC, max_trials=trials
    )
    return parameters


def _problem(question: HeldOut, text_NT: npt.NDArray[np.float32]) -> Problem:
    return Problem(question.events, question.histories, question.start_ms, text_NT)


def summary(bench: Bench, results: Sequence[Results]) -> dict[str, Any]:
    """Means and intervals by kind of target and model; several results of one model (seeds) are averaged by buyer."""
    targets: dict[str, Any] = {}
    for kind, fit, view in product(bench.kinds, (TV, TR), VIEWS):
        name = f"{kind} {fit}{view}"
        models: dict[str, list[PerBuyer]] = {}
        for result in results:
            for model, per_buyer in result.get(name, {}).items():
                models.setdefault(model, []).append(per_buyer)
        averaged = {
            model: {metric: np.mean([run[metric] for run in runs], axis=0) for metric in runs[0]}
            for model, runs in models.items()
        }
        if averaged:
            # The slices by id are of leave-one-out data, where a buyer has one context.
            whole = view in (AS_GIVEN, SHUFFLED)
            buyers_B = bench.test.buyers[bench.test.targets(kind)[0]] if whole else None
            targets[name] = _described(averaged, models, buyers_B)
    return targets


def _described(
    averaged: dict[str, PerBuyer], runs: dict[str, list[PerBuyer]], buyers_B: Int64Array | None
) -> dict[str, Any]:
    means = {
        model: {name: float(values.mean()) for name, values in metrics.items()} for model, metrics in averaged.items()
    }
    answer: dict[str, Any] = {
        "n": len(next(iter(averaged.values()))[METRIC]),
        "models": means,
        "ci": {model: mean_intervals(metrics, buyers_B) for model, metrics in averaged.items()},
        "seeds": {
            model: [{metric: float(values.mean()) for metric, values in run.items()} for run in of_model]
            for model, of_model in runs.items()
            if len(of_model) > 1
        },
    }
    others = [model for model in means if not model.startswith(TWO_TOWER)]
    if TWO_TOWER in means and others:
        best = max(others, key=lambda model: means[model][METRIC])
        answer["best_baseline"] = {
            "name": best,
            "ratio": means[TWO_TOWER][METRIC] / means[best][METRIC] if means[best][METRIC] else None,
            "difference": {
                name: paired_interval(averaged[TWO_TOWER][name], averaged[best][name], buyers_B)
                for name in averaged[best]
            },
        }
    return answer


def _chosen(models: str) -> list[str]:
    """The models that an option names; `all` leaves out iALS where its library is missing. SystemExit for others."""
    if models == "all":
        chosen = [model for model in MODELS if model != "ials" or find_spec("implicit") is not None]
        if "ials" not in chosen:
            log.warning("ials is left out: the package implicit is not installed")
        return chosen
    if unknown := [model for model in models.split(",") if model not in MODELS]:
        raise SystemExit(f"--models: no model is called {', '.join(unknown)}; there are {', '.join(MODELS)}")
    return models.split(",")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=sorted(DATA_SETS), default=SMALL)
    parser.add_argument("--data", type=Path, help="amazon_5core: a folder with sequences.txt and items.csv")
    parser.add_argument(
        "--cold", action="store_true", help="amazon_5core: hold a tenth of the products out of training"
    )
    parser.add_argument("--models", default=SMALL_MODELS, help=f"`all`, or some of {', '.join(MODELS)}, with commas")
    parser.add_argument("--seeds", type=int, default=1, help="number of two-tower models to train and average")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="section.key=value, as of tawsiya")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    models = _chosen(options.models)
    config = prepared(options.dataset, options.data, cold=options.cold, overrides=options.overrides)
    with feature_store(config) as store:
        bench = Bench(config, store, DATA_SETS[options.dataset])
        results = []
        for model in models:
            if model == TWO_TOWER:
                for seed in range(options.seeds):
                    training = config.training.model_copy(update={"seed": config.training.seed + seed})
                    seeded = config.model_copy(update={"training": training})
                    results.append(two_tower(bench, seeded))
            else:
                results.append(baseline(bench, model))
        answer = {
            "dataset": options.dataset,
            "note": bench.dataset.note,
            "split": split_facts(bench.test.start, bench.test.end),
            "n_products": len(bench.catalogue),
            "targets": summary(bench, results),
            SECONDS: {model: round(seconds, 1) for model, seconds in bench.seconds.items()},
            PAIRS_PER_S: round(float(np.mean(bench.pairs_per_s))) if bench.pairs_per_s else None,
        }
    if options.json:
        print(json.dumps(answer))  # noqa: T201
        return
    for name in answer["targets"]:
        print("\n".join(["", *kind_lines(answer["targets"], name)]))  # noqa: T201


if __name__ == "__main__":
    main()
