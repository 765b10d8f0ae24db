"""`tawsiya report`: the HTML reports."""

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
    """Whether a browser would show a person something: not for a scheduler, nor in a pipe, nor without a display."""
    return sys.stdout.isatty() and (
        sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    )


def _built_text(result: JobResult) -> str:
    built = ", ".join(result["built"]) or "nothing: the reports show the newest records"
    missing = [f"{name}: {why}" for name, why in result["missing"].items()]
    return "\n".join([f"built {built}", *missing, result["reports"]])
