"""The report on the evaluation: the model against the baselines, with intervals and slices; runs side by side."""

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batch_jobs.reports.page import NO_VALUE, Page, Records, ReportKind, ReportTable, moment
from batch_jobs.reports.plots import SERIES, Chart, Estimate, interval_chart
from batch_jobs.runs.training_due import KIND, MODEL
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import shop_paths
from training.artifacts.release import METRICS, list_releases

MEASURED_BASELINES = "baselines"  # evaluate_model.BASELINES, whose module loads torch; a test compares
HEADLINES = ("recall", "ndcg")  # drawn as charts, at the largest cut-off
_KINDS = {"all": "all purchases", "new_items": "products new to the buyer", "cold_items": "products new to the shop"}

Evaluations = Mapping[str, Mapping[str, Any]]


def read_evaluations(config: Config) -> Records:
    """The last evaluation, that of the baselines if it has none itself, those to compare with, and the releases'."""
    paths = shop_paths(config)
    present = read_json(paths.evaluation, "tawsiya evaluate")
    runs = {paths.root.name: present}
    if MEASURED_BASELINES in present:
        runs[f"baselines of {present[MEASURED_BASELINES]}"] = read_json(paths.baselines, "tawsiya refresh")
    if paths.compared_evaluations.is_file():
        runs |= read_json(paths.compared_evaluations, "tawsiya evaluate --compare OTHER.json")
    releases = {}
    for release in list_releases(paths.releases):
        measured = json.loads((paths.releases / release["name"] / METRICS).read_text(encoding="utf-8"))
        releases[release["name"]] = {"live": release["live"], "metrics": measured}
    measured_at = dt.datetime.fromtimestamp(paths.evaluation.stat().st_mtime, dt.UTC)
    return {"measured_at": measured_at.isoformat(), "runs": runs, "releases": releases}


def evaluation_page(records: Records) -> Page:
    """The page; whatever a run lacks is left out, but "targets", which may be empty: nobody could be asked.

    Of `records`, "runs" is {name: {"split": {fact: value}, "n_products": int, "targets": {target: {"n": buyers,
    "models": {model: {metric: mean}}, "ci": {model: {metric: [low, high]}}, "slices": {model: {slice: {"n": buyers,
    metric: mean}}}}}}}, the present one first.
    """
    runs: Evaluations = records["runs"]
    present = next(iter(runs.values()))
    targets = dict.fromkeys(target for run in runs.values() for target in run["targets"])
    split = present.get("split", {})
    return Page(
        subject=f"the test days {split['test_from'][:10]} to {split['test_to'][:10]}" if split else "the test days",
        time=records["measured_at"],
        figure=_figure(present["targets"]),
        content={
            "runs": list(runs),
            "facts": ReportTable("Split and data", ("Fact", *runs), _facts(runs), texts=True),
            "targets": [_target(target, runs) for target in targets],
            "history": _history(records["releases"]),
        },
    )


EVALUATION_REPORT = ReportKind(
    "evaluation", "Evaluation", "The model against the baselines on the test days, with intervals and slices.",
    read_evaluations, evaluation_page,
)  # fmt: skip


def _figure(targets: Mapping[str, Any]) -> str:
    """The model's headline beside that of the best baseline."""
    if KIND not in targets:
        return "nobody to measure on"
    models = targets[KIND]["models"]
    metric = _headlines(models[MODEL])[-1]
    others = {name: values[metric] for name, values in models.items() if not name.startswith(MODEL)}
    text = f"{metric} {models[MODEL][metric]:.3f}"
    if not others:
        return text
    best = max(others, key=lambda name: others[name])
    return f"{text}, best baseline {others[best]:.3f} ({best})"


# ---- tables ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Row:
    """The metrics of one model of one run on one target."""

    model: str
    run: str
    place: int  # of the run among the runs
    metrics: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]
    slices: Mapping[str, Mapping[str, float]]


def _facts(runs: Evaluations) -> list[list[str]]:
    """Each fact with its value in each run."""
    by_run = [_facts_of(run) for run in runs.values()]
    facts = dict.fromkeys(fact for facts in by_run for fact in facts)
    return [[fact, *(facts.get(fact, NO_VALUE) for facts in by_run)] for fact in facts]


def _facts_of(run: Mapping[str, Any]) -> dict[str, str]:
    counts = {"products": run.get("n_products")}
    counts |= {f"buyers, {_KINDS.get(target, target)}": result.get("n") for target, result in run["targets"].items()}
    facts = {fact.replace("_", " "): str(value) for fact, value in run.get("split", {}).items()}
    return facts | {fact: f"{count:,}" for fact, count in counts.items() if count is not None}


def _target(target: str, runs: Evaluations) -> dict[str, Any]:
    """The charts and tables of one target: a metric table for each cut-off, the largest first, then the slices."""
    rows = _rows(target, runs)
    names = dict.fromkeys(metric for row in rows for metric in row.metrics)
    headlines, sliced = _headlines(names), [row for row in rows if row.slices]
    cut_offs = sorted({_cut_off(metric) for metric in names}, reverse=True)
    return {
        "name": _KINDS.get(target, target),
        "has_intervals": any(row.intervals for row in rows),
        "charts": [_metric_chart(metric, rows) for metric in headlines],
        "metrics": [_metric_table(k, [metric for metric in names if _cut_off(metric) == k], rows) for k in cut_offs],
        "slices": [_slice_table(metric, sliced) for metric in headlines if sliced],
        "sliced_models": [row.model for row in _drawn(sliced)],
        "slice_charts": [_slice_chart(metric, sliced) for metric in headlines if sliced],
    }


def _rows(target: str, runs: Evaluations) -> list[_Row]:
    """The rows of all models, the best model by the first headline first, the runs of one model together."""
    rows = []
    for place, (name, run) in enumerate(runs.items()):
        result = run["targets"].get(target, {"models": {}})
        intervals, slices = result.get("ci", {}), result.get("slices", {})
        for model, metrics in result["models"].items():
            rows.append(_Row(model, name, place, metrics, intervals.get(model, {}), slices.get(model, {})))
    headline = next(iter(_headlines(metric for row in rows for metric in row.metrics)), "")
    best: dict[str, float] = {}
    for row in rows:
        best[row.model] = max(best.get(row.model, -math.inf), row.metrics.get(headline, -math.inf))
    return sorted(rows, key=lambda row: (-best[row.model], row.model, row.place))


def _metric_table(k: int, metrics: Sequence[str], rows: Sequence[_Row]) -> dict[str, Any]:
    def cell(row: _Row, metric: str) -> tuple[str, str]:
        if metric not in row.metrics:
            return NO_VALUE, ""
        interval = row.intervals.get(metric)
        return f"{row.metrics[metric]:.4f}", f"[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""

    titles = [metric.rpartition("@")[0].replace("_", " ") for metric in metrics]
    return {
        "k": k,
        "titles": titles,
        "rows": [(row.model, row.run, [cell(row, name) for name in metrics]) for row in rows],
    }


def _slice_table(metric: str, rows: Sequence[_Row]) -> dict[str, Any]:
    slices = dict.fromkeys(name for row in rows for name in row.slices)

    def cells(row: _Row, key: str, form: str) -> list[str]:
        return [format(row.slices[name][key], form) if key in row.slices.get(name, {}) else NO_VALUE for name in slices]

    # All models of a run have the same numbers of buyers.
    one_per_run = {row.run: row for row in sorted(rows, key=lambda row: row.place)}
    lines = [("buyers", row.run, cells(row, "n", ",")) for row in one_per_run.values()]
    lines += [(row.model, row.run, cells(row, metric, ".4f")) for row in rows]
    return {"metric": metric, "titles": [name.replace("_", " ") for name in slices], "rows": lines}


def _history(releases: Mapping[str, Any]) -> dict[str, Any] | None:
    """The model of each release, newest first, as it was measured when the release was made; None without releases."""
    measured = {
        name: release for name, release in reversed(list(releases.items())) if KIND in release["metrics"]["targets"]
    }
    if not measured:
        return None
    names = dict.fromkeys(name for release in measured.values() for name in _metrics_of(release)[0])
    metrics = _headlines(names)
    rows = [_release_row(name, release, metrics) for name, release in measured.items()]
    estimates = [
        Estimate(_made_at(name, live=release["live"]), values[metrics[-1]], intervals.get(metrics[-1]))
        for name, release in measured.items()
        for values, intervals in [_metrics_of(release)]
        if metrics[-1] in values
    ]
    heads = ["Release", "Live", "Measured to", "Buyers", *metrics]
    return {
        "table": ReportTable("Metrics by release", heads, rows, texts=True),
        "chart": interval_chart(f"{metrics[-1]} by release", estimates, x_label=metrics[-1]),
    }


def _metrics_of(release: Mapping[str, Any]) -> tuple[Mapping[str, float], Mapping[str, Sequence[float]]]:
    """The metrics of a release's model, and their intervals."""
    result = release["metrics"]["targets"][KIND]
    return result["models"][MODEL], result.get("ci", {}).get(MODEL, {})


def _release_row(name: str, release: Mapping[str, Any], metrics: Sequence[str]) -> list[str]:
    values, intervals = _metrics_of(release)
    shown = [_with_interval(values, intervals, metric) for metric in metrics]
    until, buyers = release["metrics"]["split"]["test_to"], release["metrics"]["targets"][KIND]["n"]
    return [name, "live" if release["live"] else "", moment(until), f"{buyers:,}", *shown]


def _made_at(name: str, *, live: bool) -> str:
    """When a release was made, from its name: 11-30 13:28."""
    return f"{name[4:6]}-{name[6:8]} {name[9:11]}:{name[11:13]}{' live' if live else ''}"


def _with_interval(metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]], metric: str) -> str:
    if metric not in metrics:
        return NO_VALUE
    interval = intervals.get(metric)
    return f"{metrics[metric]:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


# ---- charts ----------------------------------------------------------------------------------------------------------


def _metric_chart(metric: str, rows: Sequence[_Row]) -> Chart:
    """Each model with its interval, the runs of a model in one row of the chart."""
    estimates = [
        Estimate(row.model, row.metrics[metric], row.intervals.get(metric), row.place)
        for row in rows
        if metric in row.metrics
    ]
    return interval_chart(f"{metric} by model", estimates, x_label=metric)


def _drawn(rows: Sequence[_Row]) -> list[_Row]:
    """The best models of the first run that has slices: as many as there are colours."""
    return [row for row in rows if row.place == min(other.place for other in rows)][:SERIES]


def _slice_chart(metric: str, rows: Sequence[_Row]) -> Chart:
    """The best models by slice."""
    estimates = [
        Estimate(name.replace("_", " "), values[metric], place=place)
        for place, row in enumerate(_drawn(rows))
        for name, values in row.slices.items()
        if metric in values
    ]
    return interval_chart(f"{metric} by slice", estimates, x_label=metric)


def _cut_off(metric: str) -> int:
    return int(metric.rpartition("@")[2])


def _headlines(metrics: Iterable[str]) -> list[str]:
    """The headline metrics among `metrics` at the largest cut-off: ["recall@20", "ndcg@20"]."""
    names = [metric for metric in metrics if metric.partition("@")[0] in HEADLINES]
    largest = max(map(_cut_off, names), default=0)
    return [f"{headline}@{largest}" for headline in HEADLINES if f"{headline}@{largest}" in names]
