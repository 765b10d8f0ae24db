"""Commands that report: the HTML reports, and what buyers searched for and did not find."""

from __future__ import annotations

import os
import sys
import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job

if TYPE_CHECKING:
    from feature_repo.common.config import Config

report_app = typer.Typer(help="Build and open the HTML reports.", no_args_is_help=True)


class ReportName(StrEnum):
    """A page of the reports."""

    INDEX = "index"
    RELEASE = "release"
    EVALUATION = "evaluation"
    TRAINING = "training"
    DATA = "data"
    DRIFT = "drift"
    RUNS = "runs"


@report_app.command("build")
def report_build(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Build the reports that are missing or older than what they show."""
    run_job(_build, config, overrides, as_json, _built_text)  # reading needs no lock


@report_app.command("open")
def report_open(
    name: Annotated[ReportName, typer.Argument(help="The report to open")] = ReportName.INDEX,
    no_open: Annotated[bool, typer.Option("--no-open", help="Only print the path of the page")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build the reports as `report build`, and open one in the browser."""

    def job(settings: Config) -> JobResult:
        result = _build(settings)
        page = Path(result["reports"]).with_name(f"{name}.html")
        opened = not (no_open or as_json) and _has_screen() and webbrowser.open(page.as_uri())
        return result | {"page": str(page), "opened": opened}

    run_job(job, config, overrides, as_json, lambda result: str(result["page"]))


def _build(settings: Config) -> JobResult:
    from batch_jobs.reports.build import build_reports

    return build_reports(settings)


def _has_screen() -> bool:
    """Whether a browser would show a person something: not for a scheduler, and not over ssh."""
    return sys.stdout.isatty() and (
        sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    )


def _built_text(result: JobResult) -> str:
    built = ", ".join(result["built"]) or "nothing: the reports show the newest records"
    missing = [f"{name}: {why}" for name, why in result["missing"].items()]
    return "\n".join([f"built {built}", *missing, result["reports"]])


# ---- searches --------------------------------------------------------------------------------------------------------

_TITLES = {
    "no_match": "like no product of the shop",
    "filtered": "found, but nothing within the filters",
    "weak": "found by a distant resemblance only",
}


def search_report(
    n: Annotated[int, typer.Option("-n", min=1, help="Number of queries of each kind")] = 20,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the most frequent searches without results."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.upkeep.search_report import search_report as report

        return report(settings, n)

    run_job(job, config, overrides, as_json, _searches_text)


def _searches_text(report: JobResult) -> str:
    from batch_jobs.console.tables import table_lines

    if not report["days"]:
        return "no searches are recorded; the API records them while api.search_log_days is above 0"
    lines = [f"{report['searches']} searches from {report['from']} to {report['to']}"]
    for outcome, title in _TITLES.items():
        found = report[outcome]
        share = found["searches"] / max(report["searches"], 1)
        lines.append(f"\n{title}: {found['searches']} searches, {share:.1%}")
        rows = [[f"{row['count']:,}", row["query"], row["last"]] for row in found["queries"]]
        lines += table_lines([["searches", "query", "last"], *rows], right=[0], cut=[1]) if rows else []
    return "\n".join(lines)
