"""The report on runs of `tawsiya refresh`: stages, their times, why each ran or was skipped, failures."""

from collections.abc import Mapping, Sequence
from typing import Any

from batch_jobs.reports.page import (
    NO_VALUE,
    NoRecordsError,
    Page,
    Records,
    ReportKind,
    ReportTable,
    moment,
    seconds_text,
)
from batch_jobs.reports.plots import SERIES, Chart, stacked_chart
from batch_jobs.runs.run_records import DONE, ERROR, RUNNING, list_runs
from batch_jobs.runs.stage_runner import SKIPPED
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths

SHOWN_RUNS, RUNS_IN_DETAIL = 30, 10
RUNS_IN_CHART = 15
_OTHERS = "all other stages"


def read_run_records(config: Config) -> Records:
    """The records of the newest runs, newest first."""
    paths = shop_paths(config)
    runs = list_runs(paths)
    if not runs:
        raise NoRecordsError(f"{paths.refreshes} has no run yet; run `tawsiya refresh` first")
    return {"runs": runs[: -SHOWN_RUNS - 1 : -1]}


def runs_page(records: Records) -> Page:
    """The page."""
    runs = records["runs"]
    newest, parts = runs[0], _times(runs[:RUNS_IN_CHART])
    return Page(
        subject=f"run {newest['id']}",
        time=newest["started"],
        figure=_outcome(newest),
        wrong=newest["state"] not in (DONE, RUNNING),
        content={
            "legend": list(parts),
            "chart": _chart(runs[:RUNS_IN_CHART], parts),
            "runs": _table(runs),
            "details": [_detail(run) for run in runs[:RUNS_IN_DETAIL]],
        },
    )


RUNS_REPORT = ReportKind(
    "runs", "Runs", "What each run of tawsiya refresh did, how long it took, and why.", read_run_records, runs_page
)


def _outcome(run: Mapping[str, Any]) -> str:
    if run["state"] == RUNNING:
        return f"at work: {run['stages'][-1]['stage']}" if run["stages"] else "at work"
    where = "" if run["state"] == DONE or not run["stages"] else f" in {run['stages'][-1]['stage']}"
    return f"{run['state']}{where}, {_duration(run)}"


def _duration(run: Mapping[str, Any]) -> str:
    return seconds_text(run["seconds"]) if "seconds" in run else NO_VALUE


# ---- times -----------------------------------------------------------------------------------------------------------


def _times(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """The seconds of each run by stage: the stages that take longest in all, then all others together."""
    by_run = [_seconds_by_stage(run) for run in runs]
    stages = dict.fromkeys(stage for seconds in by_run for stage in seconds)  # as they ran
    times = {stage: [seconds.get(stage, 0.0) for seconds in by_run] for stage in stages}
    longest = sorted(times, key=lambda stage: -sum(times[stage]))[: SERIES - 1]
    others = [
        sum(lengths) for lengths in zip(*(times.pop(stage) for stage in stages if stage not in longest), strict=True)
    ]
    return times | ({_OTHERS: others} if others else {})


def _seconds_by_stage(run: Mapping[str, Any]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for stage in run["stages"]:
        # A stage that failed has none.
        seconds[stage["stage"]] = seconds.get(stage["stage"], 0.0) + stage.get("seconds", 0.0)
    return seconds


def _chart(runs: Sequence[Mapping[str, Any]], parts: Mapping[str, Sequence[float]]) -> Chart:
    labels = [f"{run['started'][5:10]} {run['started'][11:16]} {run['kind']}" for run in runs]
    return stacked_chart("Time by stage", labels, parts, x_label="seconds")


# ---- tables ----------------------------------------------------------------------------------------------------------


def _table(runs: Sequence[Mapping[str, Any]]) -> ReportTable:
    heads = ("Run", "Kind", "State", "Started", "Time", "Stages run", "Skipped", "Release", "Error")
    return ReportTable("Runs, newest first", heads, [_row(run) for run in runs], texts=True)


def _row(run: Mapping[str, Any]) -> list[str]:
    skipped = sum(stage["state"] == SKIPPED for stage in run["stages"])
    stages = [str(len(run["stages"]) - skipped), str(skipped)]
    texts = [run.get("release", NO_VALUE), run.get(ERROR, "")]
    return [run["id"], run["kind"], run["state"], moment(run["started"]), _duration(run), *stages, *texts]


def _detail(run: Mapping[str, Any]) -> dict[str, Any]:
    heads = ("Stage", "State", "Time", "Processor", "Why")
    rows = [
        [
            stage["stage"], stage["state"],
            *(seconds_text(stage[name]) if stage.get(name) else NO_VALUE for name in ("seconds", "cpu_seconds")),
            stage["why"],
        ]
        for stage in run["stages"]
    ]  # fmt: skip
    # A run of prices alone counts rows, and lists the columns that it brought.
    counts = [
        (name, f"{count:,}" if isinstance(count, int) else ", ".join(count))
        for name, count in run.get("counts", {}).items()
    ]
    stages = ReportTable(f"Stages of {run['id']}", heads, rows, texts=True)
    return {"id": run["id"], "outcome": _outcome(run), "error": run.get(ERROR), "counts": counts, "stages": stages}
