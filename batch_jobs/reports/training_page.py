"""The report on training runs: loss, learning rate and validation metrics of the newest ones, over each other."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from batch_jobs.console.wording import counted
from batch_jobs.reports.page import (
    NO_VALUE,
    NoRecordsError,
    Page,
    Records,
    ReportKind,
    ReportTable,
    seconds_text,
)
from batch_jobs.reports.plots import SERIES, Chart, Line, line_chart
from batch_jobs.runs.stages import NOT_OF_THE_RESULT
from batch_jobs.runs.training_due import METRIC
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths

SELECTION, REFIT = "selection", "refit"  # phases of a run
_POINTS = 200  # of a curve by step: each is a mean
_SECTIONS = ("model", "training", "event_weights")  # of the settings; others may hold ids of buyers


def read_training_runs(config: Config) -> Records:
    """The newest runs, newest first, from their event files and settings."""
    folder = shop_paths(config).runs
    folders = sorted((path for path in folder.glob("2*Z") if any(path.glob("*/events.*"))), reverse=True)
    if not folders:
        raise NoRecordsError(f"{folder} has no training run yet; run `tawsiya train` first")
    return {"runs": [_read_run(path) for path in folders[:SERIES]], "n_runs": len(folders)}


def _read_run(folder: Path) -> dict[str, Any]:
    settings = yaml.safe_load((folder / "settings.yaml").read_text(encoding="utf-8"))
    phases = {name: _read_phase(folder / name) for name in (SELECTION, REFIT) if (folder / name).is_dir()}
    return {"id": folder.name, "settings": _flat(settings), "phases": phases}


def _read_phase(folder: Path) -> dict[str, Any]:
    """The curves of a phase: {"loss", "rate": [[step, value]], "epochs": {metric: [[epoch, value]]}, "seconds"}."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: all of them
    events.Reload()
    tags = events.Tags()["scalars"]
    times = [event.wall_time for tag in tags for event in events.Scalars(tag)]
    return {
        "loss": _thinned([[event.step, event.value] for event in _events(events, "step/loss")]),
        "rate": _thinned([[event.step, event.value] for event in _events(events, "step/learning_rate")]),
        "epochs": {
            tag.partition("/")[2]: [[event.step, event.value] for event in events.Scalars(tag)]
            for tag in tags
            if tag.startswith("epoch/")
        },
        "seconds": max(times) - min(times) if times else 0.0,
    }


def _events(events: EventAccumulator, tag: str) -> list[Any]:
    return list(events.Scalars(tag)) if tag in events.Tags()["scalars"] else []


def _thinned(points: Sequence[Sequence[float]]) -> list[list[float]]:
    """The means of at most _POINTS groups of neighbours."""
    groups = np.array_split(np.array(points), min(_POINTS, len(points))) if points else []
    return [group.mean(axis=0).tolist() for group in groups]


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """The settings that runs are compared by, by dotted name."""
    flat: dict[str, str] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{name}.{key}", inner)
        elif name not in NOT_OF_THE_RESULT:
            flat[name] = str(value)

    for section in _SECTIONS:
        add(section, settings.get(section, {}))
    return flat


# ---- the page --------------------------------------------------------------------------------------------------------


def training_page(records: Records) -> Page:
    """The page."""
    runs = records["runs"]
    newest, best = runs[0], _best(runs[0])
    return Page(
        subject=f"training run {newest['id']}",
        time=_started(newest["id"]),
        figure=f"{METRIC} {best[1]:.3f} in epoch {best[0]}, {_stop(newest)}" if best else "no epoch was validated",
        content={
            "runs": [run["id"] for run in runs],
            "n_runs": records["n_runs"],
            "table": _table(runs),
            "selection": [chart for chart in _selection_charts(runs) if chart],
            "refit": _step_chart("Loss by step, refit", runs, REFIT, "loss", "loss"),
            "settings": _differences(runs),
        },
    )


TRAINING_REPORT = ReportKind(
    "training", "Training", "Learning curves of the newest training runs, over each other.",
    read_training_runs, training_page,
)  # fmt: skip


def _started(run_id: str) -> str:
    return f"{run_id[:4]}-{run_id[4:6]}-{run_id[6:8]}T{run_id[9:11]}:{run_id[11:13]}"


def _validated(run: Mapping[str, Any]) -> list[list[float]]:
    """[epoch, value] of the metric that chooses the epoch."""
    points: list[list[float]] = run["phases"].get(SELECTION, {"epochs": {}})["epochs"].get(METRIC, [])
    return points


def _best(run: Mapping[str, Any]) -> tuple[int, float] | None:
    """The epoch that was kept, and its metric."""
    points = _validated(run)
    if not points:
        return None
    epoch, value = max(points, key=lambda point: point[1])
    return int(epoch), value


def _stop(run: Mapping[str, Any]) -> str:
    """Why the selection ended."""
    best, points, settings = _best(run), _validated(run), run["settings"]
    if best is None:
        return "ended before the first epoch was validated"
    done = int(max(epoch for epoch, _ in points))
    if done >= int(settings["training.num_epochs"]):
        return f"all {counted(done, 'epoch')}"
    if done - best[0] >= int(settings["training.patience"]):
        return f"early stop after epoch {done}"
    return f"ended after epoch {done}"


def _selection_charts(runs: Sequence[Mapping[str, Any]]) -> list[Chart | None]:
    names = dict.fromkeys(name for run in runs for name in run["phases"].get(SELECTION, {"epochs": {}})["epochs"])
    metrics = [METRIC, *(name for name in names if name.startswith("recall"))]
    return [
        _step_chart("Loss by step", runs, SELECTION, "loss", "loss"),
        *(_epoch_chart(name, runs) for name in metrics if name in names),
        _step_chart("Learning rate", runs, SELECTION, "rate", "learning rate"),
    ]


def _step_chart(title: str, runs: Sequence[Mapping[str, Any]], phase: str, curve: str, y_label: str) -> Chart | None:
    lines = []
    for place, run in enumerate(runs):
        points = run["phases"].get(phase, {curve: []})[curve]
        if points:
            lines.append(Line([step for step, _ in points], [value for _, value in points], place))
    return line_chart(title, lines, x_label="step", y_label=y_label) if lines else None


def _epoch_chart(metric: str, runs: Sequence[Mapping[str, Any]]) -> Chart:
    """The metric by epoch; a dot marks the epoch that was kept."""
    lines = []
    for place, run in enumerate(runs):
        points, best = run["phases"].get(SELECTION, {"epochs": {}})["epochs"].get(metric, []), _best(run)
        if points:
            xs, ys = [epoch for epoch, _ in points], [value for _, value in points]
            lines.append(Line(xs, ys, place, marked=best[0] if best else None, dotted=True))
    return line_chart(f"{metric} on the validation days", lines, x_label="epoch", y_label=metric, whole_x=True)


def _table(runs: Sequence[Mapping[str, Any]]) -> ReportTable:
    rows = []
    for run in runs:
        best, seconds = _best(run), sum(phase["seconds"] for phase in run["phases"].values())
        kept = [str(best[0]), f"{best[1]:.4f}"] if best else [NO_VALUE, NO_VALUE]
        losses = [_last_loss(run, phase) for phase in (SELECTION, REFIT)]
        rows.append([run["id"], seconds_text(seconds), *kept, _stop(run), *losses])
    heads = ("Run", "Time", "Epoch kept", METRIC, "Ended by", "Loss, selection", "Loss, refit")
    return ReportTable("Runs, newest first", heads, rows, texts=True)


def _last_loss(run: Mapping[str, Any], phase: str) -> str:
    points = run["phases"].get(phase, {"epochs": {}})["epochs"].get("loss", [])
    return f"{points[-1][1]:.4f}" if points else NO_VALUE


def _differences(runs: Sequence[Mapping[str, Any]]) -> ReportTable:
    """The settings in which the runs differ."""
    names = dict.fromkeys(name for run in runs for name in run["settings"])
    by_name = {name: [run["settings"].get(name, NO_VALUE) for run in runs] for name in names}
    rows = [[name, *values] for name, values in by_name.items() if len(set(values)) > 1]
    return ReportTable("Settings that differ", ("Setting", *(run["id"] for run in runs)), rows, texts=True)
