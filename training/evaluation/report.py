"""Evaluations as one HTML page: tables, bars with their intervals, curves; several runs side by side.

The file stands alone, without scripts and with nothing to load. All text and every attribute goes through `_tag`,
which escapes it: names of models, runs and slices may hold anything, Arabic included.
"""

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from feature_repo.common.files import replacing

HEADLINES = ("recall", "ndcg")  # drawn, at the largest cut-off
_RUN_STYLES = 5  # how many runs the style sheet tells apart; more than these start over
_LABEL_LETTERS, _LETTER_WIDTH = 28, 7
_BAR_WIDTH, _BAR_HEIGHT, _BAR_GAP, _VALUE_WIDTH, _AXIS_HEIGHT = 560, 16, 10, 56, 24
_LINE_WIDTH, _LINE_HEIGHT, _LINE_MARGIN, _LINE_TOP = 360, 220, 48, 12

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f5f6f4; --surface: #fff; --ink: #17211f; --soft: #56635f; --line: #dfe4e1;
  --run0: #0f766e; --run1: #b45309; --run2: #1d4ed8; --run3: #9d174d; --run4: #4d7c0f;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "Noto Sans Arabic", Tahoma, sans-serif;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #101615; --surface: #19211f; --ink: #e9efed; --soft: #9dada9; --line: #35423f;
    --run0: #2f9e91; --run1: #d98a2b; --run2: #6f9bff; --run3: #e26aa5; --run4: #8fbf3f;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); }
main { max-inline-size: 80rem; margin-inline: auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.6rem; margin: 0 0 0.5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 0.75rem; }
p, figcaption, caption { color: var(--soft); }
p { margin: 0 0 0.75rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0.4rem 1.5rem; list-style: none; margin: 0; padding: 0; }
.legend svg { inline-size: 1.6rem; block-size: 0.8rem; margin-inline-end: 0.5rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 1rem; }
.bars { grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); }
figure, .scroll, details { background: var(--surface); border: 1px solid var(--line); border-radius: 0.6rem; }
figure { margin: 0; padding: 0.75rem 1rem; }
figcaption, caption { font-weight: 600; text-align: start; }
figure svg { display: block; inline-size: 100%; block-size: auto; max-inline-size: 44rem; margin-block-start: 0.4rem; }
.scroll { overflow-x: auto; padding: 0.75rem 1rem; margin-block-start: 1rem; }
.scroll:focus-visible, summary:focus-visible { outline: 3px solid var(--run0); outline-offset: 2px; }
details { margin-block-start: 1rem; }
details .scroll { border: 0; margin: 0; }
summary { cursor: pointer; padding: 0.6rem 1rem; font-weight: 600; color: var(--soft); }
table { border-spacing: 0; font-size: 0.9rem; font-variant-numeric: tabular-nums; min-inline-size: 100%; }
caption { padding-block-end: 0.4rem; font-size: 1rem; white-space: nowrap; }
th, td { padding: 0.35rem 0.6rem; vertical-align: top; text-align: end; }
td, tbody th { white-space: nowrap; }
thead th { color: var(--soft); vertical-align: bottom; border-block-end: 2px solid var(--line); }
th:first-child { position: sticky; inset-inline-start: 0; background: var(--surface); }
th:first-child, th:has(> bdi), td:has(> bdi) { text-align: start; }
.facts td { white-space: normal; }
tbody + tbody tr:first-child > * { border-block-start: 1px solid var(--line); }
small { display: block; color: var(--soft); font-size: 0.78rem; }
svg text { fill: var(--ink); font-size: 13px; }
svg .soft { fill: var(--soft); font-size: 11px; }
.end { text-anchor: end; }
.middle { text-anchor: middle; }
.grid { stroke: var(--line); }
.interval { stroke: var(--ink); stroke-width: 1.5; fill: none; }
rect.bar { stroke: none; fill-opacity: 0.65; }
.curve { stroke-width: 2; }
polyline.curve { fill: none; }
.run0 { fill: var(--run0); stroke: var(--run0); }
.run1 { fill: var(--run1); stroke: var(--run1); }
.run2 { fill: var(--run2); stroke: var(--run2); }
.run3 { fill: var(--run3); stroke: var(--run3); }
.run4 { fill: var(--run4); stroke: var(--run4); }
.curve.run1 { stroke-dasharray: 7 4; }
.curve.run2 { stroke-dasharray: 2 3; }
.curve.run3 { stroke-dasharray: 9 3 2 3; }
.curve.run4 { stroke-dasharray: 12 6; }
"""


class _Markup(str):
    """Text that is HTML already."""


# The policy holds what the module promises: nothing is loaded, nothing runs.
_HEAD = _Markup(
    '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
)
_INTERVALS = "; lines on the bars and numbers in brackets are their confidence intervals."


@dataclass(frozen=True)
class _Row:
    """One model of one run, judged on one target."""

    model: str
    run: str
    place: int  # of the run among the runs
    metrics: Mapping[str, float]
    intervals: Mapping[str, Sequence[float]]
    slices: Mapping[str, Mapping[str, float]]


def write_report(path: Path, runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the page for one evaluation, or for several to compare.

    Args:
        path: the HTML file; an older one is replaced.
        runs: {name of the run: {"split": {fact: value}, "n_products": int, "targets": {target: {"n": buyers,
            "models": {model: {metric: mean}}, "ci": {model: {metric: [low, high]}},
            "slices": {model: {slice: {"n": buyers, metric: mean}}}}}, "curves": {"epochs": [{metric: value}],
            "best_epoch": int}}}; all but "targets" and "models" may be missing, and is left out then.

    Raises:
        ValueError: there is no run, or one without targets.
    """
    if not runs:
        raise ValueError("a report needs at least one run")
    for name, run in runs.items():
        if not run.get("targets"):
            raise ValueError(f"run {name!r} has no targets: evaluate it again with `tawsiya evaluate`")
    targets = dict.fromkeys(target for run in runs.values() for target in run["targets"])
    title = "Evaluation: " + ", ".join(runs)
    page = _tag(
        "html",
        _tag("head", _HEAD, _tag("title", title), _tag("style", _Markup(_STYLE))),
        _tag(
            "body",
            _tag(
                "main",
                _tag("h1", "Evaluation"),
                _legend(list(runs)),
                _facts(runs),
                *(_target(target, runs) for target in targets),
                _curves(runs),
            ),
        ),
        lang="en",
    )
    with replacing(path) as temporary:
        temporary.write_text(f"<!doctype html>\n{page}\n", encoding="utf-8")


# ---- Sections --------------------------------------------------------------------------------------------------------
def _legend(runs: Sequence[str]) -> _Markup:
    """Which colour and dash is which run."""

    def sample(place: int) -> _Markup:
        line = _tag("line", x1=0, x2=32, y1=8, y2=8, class_=f"curve {_style(place)}")
        return _tag("svg", line, viewBox="0 0 32 16", aria_hidden="true")

    return _tag("ul", *(_tag("li", sample(place), _name(run)) for place, run in enumerate(runs)), class_="legend")


def _facts(runs: Mapping[str, Mapping[str, Any]]) -> _Markup:
    """What was asked: a line per fact, a column per run."""
    by_run = [_facts_of(run) for run in runs.values()]
    facts = dict.fromkeys(fact for facts in by_run for fact in facts)
    if not facts:
        return _Markup()
    body = [[_name(fact), *(_name(facts_of_run.get(fact, "–")) for facts_of_run in by_run)] for fact in facts]
    table = _table("Split and data", ["Fact", *map(_name, runs)], body, class_="facts")
    return _tag("section", _tag("h2", "What was asked"), table)


def _facts_of(run: Mapping[str, Any]) -> dict[str, str]:
    counts = {"products": run.get("n_products")}
    counts |= {f"buyers, {target}": judged.get("n") for target, judged in run["targets"].items()}
    facts = {fact.replace("_", " "): str(value) for fact, value in run.get("split", {}).items()}
    return facts | {fact: f"{count:,}" for fact, count in counts.items() if count is not None}


def _target(target: str, runs: Mapping[str, Mapping[str, Any]]) -> _Markup:
    """All about one target: bars, a table for each cut-off, the slices."""
    rows = _rows(target, runs)
    names = dict.fromkeys(metric for row in rows for metric in row.metrics)
    k_values = sorted({_cut_off(metric) for metric in names}, reverse=True)
    headlines = _headlines(names)
    tables = {k: _metric_table(k, [metric for metric in names if _cut_off(metric) == k], rows, runs) for k in k_values}
    return _tag(
        "section",
        _tag("h2", "Target: ", _name(target)),
        _tag("p", "Means over buyers", _INTERVALS if any(row.intervals for row in rows) else "."),
        _tag("div", *(_bars(metric, rows) for metric in headlines), class_="charts bars"),
        *(table for k, table in tables.items() if k == k_values[0]),
        *(_tag("details", _tag("summary", f"At {k}"), table) for k, table in tables.items() if k != k_values[0]),
        *(_slice_table(metric, rows, runs) for metric in headlines if any(row.slices for row in rows)),
    )


def _rows(target: str, runs: Mapping[str, Mapping[str, Any]]) -> list[_Row]:
    """The models that were judged, best first by the first headline, a model's runs together."""
    rows = []
    for place, (name, run) in enumerate(runs.items()):
        judged = run["targets"].get(target, {"models": {}})
        intervals, slices = judged.get("ci", {}), judged.get("slices", {})
        for model, metrics in judged["models"].items():
            rows.append(_Row(model, name, place, metrics, intervals.get(model, {}), slices.get(model, {})))
    headline = next(iter(_headlines(metric for row in rows for metric in row.metrics)), "")
    best: dict[str, float] = {}
    for row in rows:
        best[row.model] = max(best.get(row.model, -math.inf), row.metrics.get(headline, -math.inf))
    return sorted(rows, key=lambda row: (-best[row.model], row.model, row.place))


def _metric_table(
    k: int, metrics: Sequence[str], rows: Sequence[_Row], runs: Mapping[str, Mapping[str, Any]]
) -> _Markup:
    def cell(row: _Row, metric: str) -> _Markup:
        if metric not in row.metrics:
            return _Markup("–")
        interval = row.intervals.get(metric)
        below = _tag("small", f"[{interval[0]:.4f}, {interval[1]:.4f}]") if interval else ""
        return _join(f"{row.metrics[metric]:.4f}", below)

    head = ["Model", *_run_head(runs), *(metric.rpartition("@")[0].replace("_", " ") for metric in metrics)]
    body = [[_name(row.model), *_run_cell(row.run, runs), *(cell(row, metric) for metric in metrics)] for row in rows]
    return _table(f"Metrics at {k}", head, body)


def _slice_table(metric: str, rows: Sequence[_Row], runs: Mapping[str, Mapping[str, Any]]) -> _Markup:
    slices = dict.fromkeys(name for row in rows for name in row.slices)
    # A run's numbers of buyers are those of any of its models.
    buyers = {row.run: row.slices for row in sorted(rows, key=attrgetter("place")) if row.slices}

    def values(of: Mapping[str, Mapping[str, float]], key: str, form: str) -> list[str]:
        return [format(of[name][key], form) if key in of.get(name, {}) else "–" for name in slices]

    body = [["buyers", *_run_cell(run, runs), *values(of, "n", ",")] for run, of in buyers.items()]
    body += [
        [_name(row.model), *_run_cell(row.run, runs), *values(row.slices, metric, ".4f")] for row in rows if row.slices
    ]
    head = ["Model", *_run_head(runs), *(name.replace("_", " ") for name in slices)]
    return _table(f"{metric} by slice", head, body)


def _curves(runs: Mapping[str, Mapping[str, Any]]) -> _Markup:
    """Loss and validation metrics by epoch, the runs in one picture."""
    curves = {name: run.get("curves", {"epochs": []}) for name, run in runs.items()}
    names = dict.fromkeys(metric for curve in curves.values() for epoch in curve["epochs"] for metric in epoch)
    drawn = [metric for metric in ("loss", *_headlines(names)) if metric in names]
    if not drawn:
        return _Markup()
    return _tag(
        "section",
        _tag("h2", "Training"),
        _tag("p", "By epoch, on the training (loss) and validation contexts; the dot is the epoch that was kept."),
        _tag("div", *(_lines(metric, curves) for metric in drawn), class_="charts"),
    )


# ---- Drawings --------------------------------------------------------------------------------------------------------
def _bars(metric: str, rows: Sequence[_Row]) -> _Markup:
    """One bar for each model and run, with its interval."""
    rows = [row for row in rows if metric in row.metrics]
    most = max(max(row.metrics[metric], *row.intervals.get(metric, [0])) for row in rows) or 1
    start = 12 + _LETTER_WIDTH * min(_LABEL_LETTERS, max(len(row.model) for row in rows))
    scale = (_BAR_WIDTH - start - _VALUE_WIDTH) / most
    shapes, top = [], 0
    for model, its_rows in groupby(rows, key=attrgetter("model")):
        shapes.append(_label(model, start - 8, top + 11))
        for row in its_rows:
            shapes.append(_bar(row, metric, start, top, scale))
            top += _BAR_HEIGHT
        top += _BAR_GAP
    axis = [_x_tick(start + scale * tick, f"{tick:g}", top, upto=-4) for tick in _ticks(0, most) if tick <= most]
    alternative = "; ".join(f"{row.model} ({row.run}) {row.metrics[metric]:.4f}" for row in rows)
    return _figure(metric, alternative, [*axis, *shapes], f"0 -6 {_BAR_WIDTH} {top + _AXIS_HEIGHT}")


def _bar(row: _Row, metric: str, start: float, top: float, scale: float) -> _Markup:
    value, interval = row.metrics[metric], row.intervals.get(metric)
    width, height = scale * value, _BAR_HEIGHT - 3
    shapes = [_tag("rect", x=start, y=top, width=_px(width), height=height, class_=f"bar {_style(row.place)}")]
    end = start + width
    if interval:
        low, high = (start + scale * limit for limit in interval)
        middle = top + height / 2
        caps = "".join(f"M{_px(x)} {middle - 4}v8" for x in (low, high))
        shapes.append(_tag("path", d=f"{caps}M{_px(low)} {middle}H{_px(high)}", class_="interval"))
        end = high
    shapes.append(_tag("text", f"{value:.4f}", x=_px(end + 6), y=top + 11, class_="soft"))
    return _join(*shapes)


def _label(model: str, x: float, y: float) -> _Markup:
    short = model if len(model) <= _LABEL_LETTERS else model[: _LABEL_LETTERS - 1] + "…"
    # First-strong isolate: an Arabic name keeps its own order and still ends at the bars.
    return _tag("text", _tag("title", model), f"\u2068{short}\u2069", x=x, y=y, class_="end")


def _lines(metric: str, curves: Mapping[str, Mapping[str, Any]]) -> _Markup:
    """One line for each run over its epochs, with a dot at the best."""
    values = {
        run: {n: epoch[metric] for n, epoch in enumerate(curve["epochs"], 1) if metric in epoch}
        for run, curve in curves.items()
    }
    every = [value for line in values.values() for value in line.values()]
    ticks, last = _ticks(min(every), max(every)), max(max(line, default=1) for line in values.values())
    floor = _LINE_HEIGHT - _AXIS_HEIGHT
    across = (_LINE_WIDTH - _LINE_MARGIN - 16) / max(1, last - 1)
    down = (floor - _LINE_TOP) / (ticks[-1] - ticks[0])

    def x(epoch: int) -> float:
        return _LINE_MARGIN + across * (epoch - 1)

    def y(value: float) -> float:
        return floor - down * (value - ticks[0])

    shapes = [_y_tick(y(tick), f"{tick:g}") for tick in ticks]
    shapes += [_x_tick(x(epoch), str(epoch), floor) for epoch in range(1, last + 1, math.ceil(last / 10))]
    kept = []
    for place, (run, line) in enumerate(values.items()):
        points = " ".join(f"{_px(x(epoch))},{_px(y(value))}" for epoch, value in line.items())
        shapes.append(_tag("polyline", points=points, class_=f"curve {_style(place)}"))
        best = curves[run].get("best_epoch")
        if best in line:
            shapes.append(_tag("circle", cx=_px(x(best)), cy=_px(y(line[best])), r=5, class_=_style(place)))
            kept.append(f"{run} {line[best]:.4f} in epoch {best}")
    return _figure(metric, "; ".join(kept), shapes, f"0 0 {_LINE_WIDTH} {_LINE_HEIGHT}")


def _x_tick(x: float, text: str, floor: float, upto: float | None = None) -> _Markup:
    """A number under the drawing; with `upto` also a line up through it."""
    line = _Markup() if upto is None else _tag("line", x1=_px(x), x2=_px(x), y1=upto, y2=floor, class_="grid")
    return _join(line, _tag("text", text, x=_px(x), y=floor + 15, class_="soft middle"))


def _y_tick(y: float, text: str) -> _Markup:
    line = _tag("line", x1=_LINE_MARGIN, x2=_LINE_WIDTH - 8, y1=_px(y), y2=_px(y), class_="grid")
    return _join(line, _tag("text", text, x=_LINE_MARGIN - 8, y=_px(y + 4), class_="soft end"))


def _figure(metric: str, alternative: str, shapes: Iterable[_Markup], view_box: str) -> _Markup:
    drawing = _tag("svg", _tag("title", f"{metric}: {alternative}"), *shapes, viewBox=view_box, role="img")
    return _tag("figure", _tag("figcaption", metric), drawing)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, three to six, from `low` or below to `high` or above."""
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    power = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if 4 * factor * power >= high - low)
    # A hair of tolerance: 0.3 / 0.1 is just below 3.
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * n for n in range(first, last + 1)]


# ---- Markup ----------------------------------------------------------------------------------------------------------
def _tag(name: str, *children: str, **attributes: object) -> _Markup:
    """An element; children that are not markup are escaped. class_ stands for class, aria_label for aria-label."""
    spelled = {key.rstrip("_").replace("_", "-"): html.escape(str(value)) for key, value in attributes.items()}
    opening = "".join(f' {key}="{value}"' for key, value in spelled.items())
    return _Markup(f"<{name}{opening}>{_join(*children)}</{name}>")


def _join(*parts: str) -> _Markup:
    return _Markup("".join(part if isinstance(part, _Markup) else html.escape(part) for part in parts))


def _table(caption: str, head: Sequence[str], body: Sequence[Sequence[str]], class_: str = "values") -> _Markup:
    """A table whose first column names its rows, once where rows that follow each other share the name.

    It scrolls sideways, by keyboard too, where it is too wide.
    """
    table = _tag(
        "table",
        _tag("caption", caption),
        _tag("thead", _tag("tr", *(_tag("th", cell, scope="col") for cell in head))),
        *(_rows_of_one_name(name, [cells for _, *cells in rows]) for name, rows in groupby(body, key=itemgetter(0))),
        class_=class_,
    )
    return _tag("div", table, class_="scroll", role="region", aria_label=caption, tabindex=0)


def _rows_of_one_name(name: str, rows: Sequence[Sequence[str]]) -> _Markup:
    head = _tag("th", name, scope="rowgroup" if len(rows) > 1 else "row", rowspan=len(rows))
    cells = [_join(*(_tag("td", cell) for cell in row)) for row in rows]
    return _tag("tbody", _tag("tr", head, cells[0]), *(_tag("tr", row) for row in cells[1:]))


def _name(text: str) -> _Markup:
    """Text of any direction that leaves the direction of its surroundings alone."""
    return _tag("bdi", text)


def _run_head(runs: Mapping[str, Any]) -> list[str]:
    return [_name("Run")] if len(runs) > 1 else []


def _run_cell(run: str, runs: Mapping[str, Any]) -> list[str]:
    return [_name(run)] if len(runs) > 1 else []


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
