"""`tawsiya runs`: what the calls of `tawsiya refresh` did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job
from batch_jobs.console.completion import complete_run
from batch_jobs.console_text import run_text, runs_text

if TYPE_CHECKING:
    from feature_repo.common.config import Config

runs_app = typer.Typer(help="Show what the calls of `tawsiya refresh` did.", no_args_is_help=True)


@runs_app.command("list")
def runs_list(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """List the runs, oldest first."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.runs.run_records import list_runs
        from feature_repo.common.paths import shop_paths

        return {"runs": list_runs(shop_paths(settings))}

    run_job(job, config, overrides, as_json, runs_text)  # reading needs no lock


@runs_app.command("show")
def runs_show(
    run_id: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the run; `last` is the newest one", autocompletion=complete_run)
    ],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: each stage with its reason and time, counts, metrics, release, error."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.runs.run_records import read_run
        from feature_repo.common.paths import shop_paths

        return read_run(shop_paths(settings), run_id)

    run_job(job, config, overrides, as_json, run_text)
