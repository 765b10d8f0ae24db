"""Writes evaluations as one HTML page: tables, bars with confidence intervals, curves; several runs side by side.

This module computes numbers and positions; templates/report.html.j2 holds the markup and escapes all text.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from feature_repo.common.files import replacing

HEADLINES = ("recall", "ndcg")  # drawn as charts, at the largest cut-off
_RUN_STYLES = 5  # the style sheet distinguishes this many runs, then starts over
_MISSING = "–"
# Sizes of the charts in pixels of the viewBox. A letter takes about 7 at the style sheet's 13px; longer names are cut.
_LABEL_LETTERS, _LETTER_WIDTH = 28, 7
_BAR_WIDTH, _BAR_HEIGHT, _BAR_GAP, _VALUE_WIDTH, _AXIS_HEIGHT = 560, 16, 10, 56, 24
_LINE_WIDTH, _LINE_HEIGHT, _LINE_MARGIN, _LINE_TOP = 360, 220, 48, 12

_TEMPLATES = Environment(
    loader=PackageLoader("training.evaluation"),
    # Names of models, runs and slices come from files and may contain markup.
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    # A misspelt name in the template is an error and not an empty string.
    undefined=StrictUndefined,
)

Runs = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Row:
    """The metrics of one model of one run on one target."""

    model: str
    run: str
    place: int  # of the run among the runs
    metrics: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]
    slices: Mapping[str, Mapping[str, float]]


def write_report(path: Path, runs: Runs) -> None:
    """Writes the page for one evaluation, or for several to compare.

    Args:
        path: The HTML file; an existing one is replaced.
        runs: {name of the run: {"split": {fact: value}, "n_products": int, "targets": {target: {"n": buyers,
            "models": {model: {metric: mean}}, "ci": {model: {metric: [low, high]}},
            "slices": {model: {slice: {"n": buyers, metric: mean}}}}}, "curves": {"epochs": [{metric: value}],
            "best_epoch": int}}}; everything but "targets" and "models" is optional and omitted if missing.

    Raises:
        ValueError: There is no run, or one without targets.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    for name, run in runs.items():
        # They may be empty: a young shop may have nothing to measure on.
        if "targets" not in run:
            raise ValueError(f"run {name!r} has no targets: evaluate it again with `tawsiya evaluate`")
    targets = dict.fromkeys(target for run in runs.values() for target in run["targets"])
    page = _TEMPLATES.get_template("report.html.j2").render(
        runs=[{"name": name, "style": _style(place)} for place, name in enumerate(runs)],
        facts=_facts(runs),
        targets=[_target(target, runs) for target in targets],
        curves=_curves(runs),
    )
    with replacing(path) as temporary:
        temporary.write_text(page.lstrip() + "\n", encoding="utf-8")


# ---- Tables ----------------------------------------------------------------------------------------------------------
def _facts(runs: Runs) -> list[tuple[str, list[str]]]:
    """Each fact with its value in each run."""
    by_run = [_facts_of(run) for run in runs.values()]
    facts = dict.fromkeys(fact for facts in by_run for fact in facts)
    return [(fact, [facts.get(fact, _MISSING) for facts in by_run]) for fact in facts]


def _facts_of(run: Mapping[str, Any]) -> dict[str, str]:
    counts = {"products": run.get("n_products")}
    counts |= {f"buyers, {target}": result.get("n") for target, result in run["targets"].items()}
    facts = {fact.replace("_", " "): str(value) for fact, value in run.get("split", {}).items()}
    return facts | {fact: f"{count:,}" for fact, count in counts.items() if count is not None}


def _target(target: str, runs: Runs) -> dict[str, Any]:
    """The charts and tables of one target: a metric table for each cut-off, the largest first, then the slices."""
    rows = _rows(target, runs)
    names = dict.fromkeys(metric for row in rows for metric in row.metrics)
    headlines = _headlines(names)
    cut_offs = sorted({_cut_off(metric) for metric in names}, reverse=True)
    return {
        "name": target,
        "has_intervals": any(row.intervals for row in rows),
        "charts": [_bar_chart(metric, rows) for metric in headlines],
        "metrics": [_metric_table(k, [metric for metric in names if _cut_off(metric) == k], rows) for k in cut_offs],
        "slices": [_slice_table(metric, rows) for metric in headlines if any(row.slices for row in rows)],
    }


def _rows(target: str, runs: Runs) -> list[_Row]:
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
            return _MISSING, ""
        interval = row.intervals.get(metric)
        return f"{row.metrics[metric]:.4f}", f"[{interval[0]:.4f}, {interval[1]:.4f}]" if interval else ""

    models = [
        (model, [{"run": row.run, "cells": [cell(row, metric) for metric in metrics]} for row in group])
        for model, group in groupby(rows, key=attrgetter("model"))
    ]
    titles = [metric.rpartition("@")[0].replace("_", " ") for metric in metrics]
    return {"k": k, "titles": titles, "models": models}


def _slice_table(metric: str, rows: Sequence[_Row]) -> dict[str, Any]:
    rows = [row for row in rows if row.slices]
    slices = dict.fromkeys(name for row in rows for name in row.slices)

    def line(row: _Row, key: str, form: str) -> dict[str, Any]:
        values = [format(row.slices[name][key], form) if key in row.slices.get(name, {}) else None for name in slices]
        return {"run": row.run, "cells": [_MISSING if value is None else value for value in values]}

    # All models of a run have the same numbers of buyers.
    one_per_run = {row.run: row for row in sorted(rows, key=attrgetter("place"))}
    models = [("", [line(row, "n", ",") for row in one_per_run.values()])]
    models += [
        (model, [line(row, metric, ".4f") for row in group]) for model, group in groupby(rows, key=attrgetter("model"))
    ]
    return {"metric": metric, "titles": [name.replace("_", " ") for name in slices], "models": models}


# ---- Charts ----------------------------------------------------------------------------------------------------------
def _bar_chart(metric: str, rows: Sequence[_Row]) -> dict[str, Any]:
    """One bar for each model and run, with its confidence interval."""
    rows = [row for row in rows if metric in row.metrics]
    # `or 1` for a metric that is 0 throughout.
    most = max(max(row.metrics[metric], *row.intervals.get(metric, [0])) for row in rows) or 1
    start = 12 + _LETTER_WIDTH * min(_LABEL_LETTERS, max(len(row.model) for row in rows))
    scale = (_BAR_WIDTH - start - _VALUE_WIDTH) / most
    labels, bars, top = [], [], 0
    for model, group in groupby(rows, key=attrgetter("model")):
        short = model if len(model) <= _LABEL_LETTERS else model[: _LABEL_LETTERS - 1] + "…"
        labels.append({"model": model, "short": short, "x": start - 8, "y": top + 11})
        for row in group:
            bars.append(_bar(row, metric, start, top, scale))
            top += _BAR_HEIGHT
        top += _BAR_GAP
    return {
        "metric": metric,
        "summary": "; ".join(f"{row.model} ({row.run}) {row.metrics[metric]:.4f}" for row in rows),
        "view_box": f"0 -6 {_BAR_WIDTH} {top + _AXIS_HEIGHT}",
        "start": start,
        "floor": top,
        "ticks": [{"at": _px(start + scale * tick), "text": f"{tick:g}"} for tick in _ticks(0, most) if tick <= most],
        "labels": labels,
        "bars": bars,
    }


def _bar(row: _Row, metric: str, start: float, top: float, scale: float) -> dict[str, Any]:
    value, interval = row.metrics[metric], row.intervals.get(metric)
    width, height, path = scale * value, _BAR_HEIGHT - 3, ""
    end = start + width
    if interval:
        low, high = (start + scale * limit for limit in interval)
        middle = top + height / 2
        caps = "".join(f"M{_px(x)} {middle - 4}v8" for x in (low, high))
        path, end = f"{caps}M{_px(low)} {middle}H{_px(high)}", high
    return {
        "y": top,
        "width": _px(width),
        "height": height,
        "style": _style(row.place),
        "interval": path,
        "text": f"{value:.4f}",
        "text_x": _px(end + 6),
    }


def _curves(runs: Runs) -> list[dict[str, Any]]:
    """A chart of the loss and of each headline metric by epoch, with all runs in it."""
    curves = {name: run.get("curves", {"epochs": []}) for name, run in runs.items()}
    names = dict.fromkeys(metric for curve in curves.values() for epoch in curve["epochs"] for metric in epoch)
    return [_line_chart(metric, curves) for metric in ("loss", *_headlines(names)) if metric in names]


def _line_chart(metric: str, curves: Runs) -> dict[str, Any]:
    """One line for each run over its epochs, with a dot at the best epoch."""
    values = {
        run: {n: epoch[metric] for n, epoch in enumerate(curve["epochs"], 1) if metric in epoch}
        for run, curve in curves.items()
    }
    every = [value for line in values.values() for value in line.values()]
    ticks, last = _ticks(min(every), max(every)), max(max(line, default=1) for line in values.values())
    floor = _LINE_HEIGHT - _AXIS_HEIGHT
    across = (_LINE_WIDTH - _LINE_MARGIN - 16) / max(1, last - 1)
    down = (floor - _LINE_TOP) / (ticks[-1] - ticks[0])

    def x(epoch: int) -> str:
        return _px(_LINE_MARGIN + across * (epoch - 1))

    def y(value: float, shift: float = 0) -> str:
        return _px(floor - down * (value - ticks[0]) + shift)

    lines, kept = [], []
    for place, (run, line) in enumerate(values.items()):
        points = " ".join(f"{x(epoch)},{y(value)}" for epoch, value in line.items())
        best = curves[run].get("best_epoch")
        dot = (x(best), y(line[best])) if best in line else None
        lines.append({"points": points, "style": _style(place), "best": dot})
        if best in line:
            kept.append(f"{run} {line[best]:.4f} in epoch {best}")
    return {
        "metric": metric,
        "summary": "; ".join(kept),
        "view_box": f"0 0 {_LINE_WIDTH} {_LINE_HEIGHT}",
        "left": _LINE_MARGIN,
        "right": _LINE_WIDTH - 8,
        "floor": floor,
        "y_ticks": [{"at": y(tick), "text_at": y(tick, 4), "text": f"{tick:g}"} for tick in ticks],
        "x_ticks": [{"at": x(epoch), "text": epoch} for epoch in range(1, last + 1, math.ceil(last / 10))],
        "lines": lines,
    }


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that span `low` to `high`."""
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    power = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if 4 * factor * power >= high - low)
    # The tolerance absorbs rounding: 0.3 / 0.1 is slightly less than 3.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * n for n in range(first, last + 1)]


def _style(place: int) -> str:
    return f"run{place % _RUN_STYLES}"


def _px(length: float) -> str:
    return f"{length:.1f}"


def _cut_off(metric: str) -> int:
    return int(metric.rpartition("@")[2])


def _headlines(metrics: Iterable[str]) -> list[str]:
    """The headline metrics among `metrics` at the largest cut-off: ["recall@20", "ndcg@20"]."""
    names = [metric for metric in metrics if metric.partition("@")[0] in HEADLINES]
    largest = max(map(_cut_off, names), default=0)
    return [f"{headline}@{largest}" for headline in HEADLINES if f"{headline}@{largest}" in names]
