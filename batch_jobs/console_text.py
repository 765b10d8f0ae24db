"""Formats the results of commands as text."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from batch_jobs.commands.job_runner import JobResult
from batch_jobs.console.tables import table_lines
from batch_jobs.release_gate.table import gate_lines
from batch_jobs.runs.shown_metrics import SHOWN_METRICS

SHOWN_WARNINGS = 10
ROW_COUNTS = ("read", "kept", "excluded", "duplicates", "bad")
NO_METRICS = "no metrics: no buyer of the test days has a history and a product to predict"


def ingest_text(report: JobResult) -> str:
    """What `tawsiya ingest` read, kept and left out: counts by table, reasons, warnings."""
    events = report["events"]
    tables = {
        "events": events, "event_log": events.get("event_log"), "products": report["products"],
        "photos": report.get("photos"),
    }  # fmt: skip
    read = {name: counts for name, counts in tables.items() if counts}
    rows = [[name, *(f"{counts[key]:,}" for key in ROW_COUNTS)] for name, counts in read.items()]
    reasons = [
        f"  {name}: {', '.join(f'{reason} {n:,}' for reason, n in counts['reasons'].items())}"
        for name, counts in read.items()
        if counts["reasons"]
    ]
    return "\n".join(
        [
            f"{report['dataset']}: {report['description']}",
            *_table([["rows", *ROW_COUNTS], *rows]),
            *(["reasons of the rows left out:", *reasons] if reasons else []),
            *_warning_lines(report["warnings"]),
        ]
    )


def build_text(report: JobResult) -> str:
    """What `tawsiya build-features` built."""
    changed, rows = report["changed"], report["rows"]
    news = f"built {_counted(changed)}" if any(changed.values()) else "nothing changed; nothing was written"
    lines = [f"{news}; there are {_counted(rows)}", f"features as of {report['as_of']}"]
    return "\n".join([*lines, *_warning_lines(report["warnings"])])


def materialize_text(result: JobResult) -> str:
    """What `tawsiya materialize` wrote to the online store."""
    written = result["written"]
    return f"wrote {_counted(written)}" if any(written.values()) else "nothing changed; nothing was written"


def _counted(counts: Mapping[str, int]) -> str:
    """Numbers of buyers and products, for people."""
    return f"{counts['buyers']:,} buyers and {counts['products']:,} products"


def training_text(result: JobResult) -> str:
    """What `tawsiya train` reached; with a search, its trials first."""
    run = Path(result["run"])
    lines = list(_search_lines(result["search"])) if "search" in result else []
    speed = f", {result['pairs_per_s']:,.0f} pairs per second" if result["pairs_per_s"] else ""
    return "\n".join(
        [
            *lines,
            f"trained on {result['n_contexts']:,} contexts and {result['n_products']:,} products, "
            f"best epoch {result['epoch']}{speed}:",
            *(f"  {metric} {value:.4f}" for metric, value in result["metrics"].items()),
            "re-scorer:",
            *(f"  {name} {value:.4g}" for name, value in result["rescorer"].items()),
            f"curves: {run / 'curves.png'}; all runs: tensorboard --logdir {run.parent}",
        ]
    )


def list_text(result: Mapping[str, Any]) -> str:
    """What `tawsiya recommend` and `tawsiya search` found, a line each."""
    rows = [[f"{item['score']:.3f}", item["product_id"], item["title"]] for item in result["items"]]
    lines = table_lines(rows, right=[0], cut=[2], head=False) if rows else []
    return "\n".join([f"{result['source']}, release {result['release']}", *_search_facts(result["search"]), *lines])


def _search_facts(facts: Mapping[str, Any] | None) -> Iterator[str]:
    if facts is None:
        return
    matching = facts["matching"]
    yield "no product is like this query; popular ones:" if facts["no_match"] else f"{matching} products match"
    if facts["did_you_mean"] is not None:
        yield f"did you mean: {facts['did_you_mean']}"


def _search_lines(search: Mapping[str, Any]) -> Iterator[str]:
    names = list(search["settings"])
    head = ["trial", search["metric"], "epoch", "seconds", "state", *(name.rpartition(".")[2] for name in names)]
    rows = [
        [
            str(trial["trial"]),
            _number(trial["value"], ".4f"),
            _number(trial["epoch"], "d"),
            f"{trial['seconds']:.1f}",
            trial["state"],
            *(_spelled(trial["settings"][name]) for name in names),
        ]
        for trial in search["trials"]
    ]
    yield from _table([head, *rows])
    yield ""
    yield f"best: {search['metric']} {search['value']:.4f}; its settings, also in {search['file']}:"
    yield from (f"  --set {name}={value}" for name, value in search["settings"].items())
    yield ""


def evaluation_text(result: JobResult) -> str:
    """What `tawsiya evaluate` found: a table for each kind of target, the best model first."""
    split, lines = result["split"], []
    for kind in result["targets"]:
        lines += [*kind_lines(result["targets"], kind), ""]
    lines = lines or [NO_METRICS, ""]
    days = f"test {split['test_from'][:10]} to {split['test_to'][:10]}"
    return "\n".join(
        [
            f"{result['n_products']:,} products, all ranked; {days}",
            "",
            *lines,
            f"in brackets: {split['intervals']}",
            f"more metrics and slices: {result['report']}",
        ]
    )


def refresh_text(result: JobResult) -> str:
    """What `tawsiya refresh` did and made; the table of the gate if it refused the release."""
    if "counts" not in result:
        return _refused_text(result)
    made = _made_lines(result, result["evaluation"]["targets"])
    lines = [*made, *_measured_lines(result["evaluation"]), *_change_lines(result["changes"])]
    return "\n".join([*_stage_lines(result["stages"]), "", *lines])


def _measured_lines(evaluation: Mapping[str, Any]) -> list[str]:
    """How a night's metrics were measured: of a sample, and without baselines of its own."""
    sample, baselines = evaluation["split"].get("sample"), evaluation.get("baselines")
    return [
        *([f"metrics of a sample: {sample}"] if sample else []),
        *([f"in the report beside them: baselines of {baselines}"] if baselines else []),
    ]


def prices_text(result: JobResult) -> str:
    """What `tawsiya refresh --only prices` changed."""
    counts = result["counts"]
    return "\n".join(
        [
            *_stage_lines(result["stages"]),
            "",
            f"{counts['kept']:,} of {counts['read']:,} rows used for {', '.join(counts['columns'])}: "
            f"{counts['changed']:,} products changed after {result['seconds']['total']:.0f} s",
            f"rows left out, with their reasons: {result['quarantine']}",
            *_warning_lines(result["warnings"]),
        ]
    )


def runs_text(result: JobResult) -> str:
    """The runs, a line each."""
    if not result["runs"]:
        return "this shop (data.source) has no run yet; `tawsiya refresh` makes one"
    rows = [
        [run["id"], run["kind"], run["state"], _number(run.get("seconds"), ".0f"), run.get("release") or "-"]
        for run in result["runs"]
    ]
    return "\n".join(_table([["run", "kind", "state", "seconds", "release"], *rows]))


def run_text(run: JobResult) -> str:
    """One run."""
    metrics = {f"{kind} {name}": value for kind, of in run.get("metrics", {}).items() for name, value in of.items()}
    shown = [f"{name}: {run[name]}" for name in ("release", "forced_because", "quarantine", "report") if run.get(name)]
    return "\n".join(
        [
            f"{run['kind']} {run['id']}: {run['state']}, {run['started']} to {run['ended'] or 'now'}",
            *([f"error: {run['error']}"] if run.get("error") else []),
            *_stage_lines(run["stages"]),
            *(f"{name}: {_counted_value(value)}" for name, value in run.get("counts", {}).items()),
            *(f"{name}: {value:.4f}" for name, value in metrics.items()),
            *shown,
            *(_change_lines(run["changes"]) if "changes" in run else []),
        ]
    )


def _stage_lines(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each stage did, and why."""
    return [
        f"{stage['stage']}: skipped, {stage['why']}"
        if stage["state"] == "skipped"
        else f"{stage['stage']}: {stage['state']}, {_number(stage.get('seconds'), '.1f')} s ({stage['why']})"
        for stage in stages
    ]


def _change_lines(changes: Mapping[str, Any] | None) -> list[str]:
    """What changed since an earlier run."""
    if changes is None:
        return ["the first finished run: there is none to compare with"]
    counts = [f"{name} {_arrow(pair, ',')}" for name, pair in changes["counts"].items()]
    metrics = [f"{name} {_arrow(pair, '.4f')}" for name, pair in changes["metrics"].items()]
    release = [f"release {' -> '.join(changes['release'])}"] if changes["release"] else []
    found = [*counts, *metrics, *release]
    if not found:
        return [f"nothing changed since run {changes['since']}"]
    return [f"changed since run {changes['since']}:", *(f"  {text}" for text in found)]


def _arrow(pair: Sequence[float | None], form: str) -> str:
    return " -> ".join(_number(value, form) for value in pair)


def _counted_value(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else f"{value:,}"


def demo_text(result: JobResult, serve_command: str, *, serving: bool) -> str:
    """What `tawsiya demo` made, and what comes next; with `serving` the API follows."""
    if "counts" not in result:
        return _refused_text(result)
    sample = result["sample"]
    sample_rows = [[f"  {item['score']:.3f}", item["title"]] for item in sample["recommendations"]]
    lines = [
        *_made_lines(result, result["metrics"]),
        "",
        f"For buyer {sample['buyer_id']}:",
        *table_lines(sample_rows, right=[0], cut=[1], head=False),
        "",
    ]
    if serving:
        lines += [f"Open {result['address']} - Ctrl-C stops it; start it again without training: {serve_command}"]
    else:
        lines += [f"Serve it on {result['address']}, until Ctrl-C: {serve_command}"]
    return "\n".join(lines)


def _gate_summary(gate: Mapping[str, Any] | None) -> list[str]:
    """What the gate said of a release that is live; nothing if the release is not new."""
    if gate is None:
        return []
    if "forced" in gate:
        return [f"the gate refused it; it was forced ({gate['forced']['reason']})", *gate_lines(gate)]
    return [f"gate: {note}" for note in gate["notes"]]


def _refused_text(result: JobResult) -> str:
    """The judgement on a release that the gate refused."""
    page = [f"its lists beside those of the live release: {result['shadow']}"] if result["shadow"] else []
    return "\n".join([f"release {result['release']}:", *gate_lines(result["gate"]), *page])


def _made_lines(result: JobResult, targets: Mapping[str, Any]) -> list[str]:
    """What a run of the whole pipeline read, left out and reached: counts, quarantine, metrics and report."""
    counts = result["counts"]
    merged = f" ({counts['merged']:,} more were merged into them)" if counts["merged"] else ""
    return [
        f"{result['dataset']}: {counts['events']:,} events of {counts['buyers']:,} buyers, "
        f"{counts['products']:,} products{merged}",
        f"bad rows: {counts['quarantined']:,}; every row left out, with its reason: {result['quarantine']}",
        f"release {result['release']} is live after {result['seconds']['total']:.0f} s; record: {result['record']}",
        *_gate_summary(result["gate"]),
        "",
        *(kind_lines(targets, next(iter(targets))) if targets else [NO_METRICS]),
        f"reports: {result['report']}",
        *([f"its lists beside those of the release before: {result['shadow']}"] if result["shadow"] else []),
        *_warning_lines(result["warnings"]),
    ]


def _warning_lines(warnings: Sequence[str]) -> list[str]:
    if not warnings:
        return []
    hidden = len(warnings) - SHOWN_WARNINGS
    more = [f"  and {hidden:,} more; --json prints all"] if hidden > 0 else []
    return ["warnings:", *(f"  {warning}" for warning in warnings[:SHOWN_WARNINGS]), *more]


def kind_lines(targets: Mapping[str, Any], kind: str) -> list[str]:
    """One kind of target: a line for each model, with intervals."""
    judged = targets[kind]
    models, intervals = judged["models"], judged["ci"]
    k = max(int(metric.rpartition("@")[2]) for metrics in models.values() for metric in metrics)
    columns = [f"{name}@{k}" for name in SHOWN_METRICS]
    rows = [
        [model, *(_with_interval(metrics[column], intervals[model][column]) for column in columns)]
        for model, metrics in sorted(models.items(), key=lambda item: -item[1][columns[0]])
    ]
    return [f"{kind}, {judged['n']:,} buyers", *_table([["model", *columns], *rows])]


def _with_interval(value: float, interval: Sequence[float]) -> str:
    return f"{value:.4f} [{interval[0]:.3f}, {interval[1]:.3f}]"


def _spelled(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first column names the row and whose others are numbers."""
    return table_lines(rows, right=range(1, len(rows[0])))
