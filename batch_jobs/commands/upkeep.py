"""Commands for the operator: backup, restore, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import (
    FAILED,
    ConfigOption,
    JobResult,
    JsonOption,
    SetOption,
    run_job,
    with_shop_lock,
)

if TYPE_CHECKING:
    from feature_repo.common.config import Config


def backup(
    to: Annotated[Path, typer.Option(help="File to write, or folder in which a file is written")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the shop to one file: data, releases, accepted events, online store; the API may go on serving."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.upkeep.backup import backup as run

        return run(settings, to)

    run_job(with_shop_lock(job), config, overrides, as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="File that `tawsiya backup` wrote")],
    force: Annotated[bool, typer.Option("--force", help="Replace what the shop has; stop the API first")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make the shop from a backup, after every file in it was verified."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.upkeep.restore import restore as run

        return run(settings, file, force=force)

    run_job(with_shop_lock(job), config, overrides, as_json)


def doctor(
    clean: Annotated[
        bool, typer.Option("--clean", help="First delete what is over a limit or left by killed jobs")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether the shop can serve, and what takes disk space; exit code 1 if there is a problem."""
    results: list[JobResult] = []

    def job(settings: Config) -> JobResult:
        from batch_jobs.doctor.examine import doctor as run
        from batch_jobs.upkeep.retention import clean as delete
        from feature_repo.common.lock import shop_lock

        deleted = {}
        if clean:
            with shop_lock(settings):
                deleted = {"deleted_bytes": delete(settings)}
        results.append(run(settings) | deleted)
        return results[0]

    def show(result: JobResult) -> str:
        from batch_jobs.doctor.examine import doctor_text

        return doctor_text(result)

    run_job(job, config, overrides, as_json, show)
    if not results[0]["healthy"]:
        raise typer.Exit(FAILED)
