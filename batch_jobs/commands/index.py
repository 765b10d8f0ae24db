"""`tawsiya index`: builds the index of the product vectors, and exports it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job, with_shop_lock

if TYPE_CHECKING:
    from feature_repo.common.config import Config

index_app = typer.Typer(invoke_without_command=True)


@index_app.callback()
def index(
    context: typer.Context, config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """Build the index of the product vectors and the text search of the product texts; or export the former."""
    if context.invoked_subcommand is not None:
        return

    def job(settings: Config) -> JobResult:
        from batch_jobs.build_index import index_job, search_index_job
        from feature_repo.store import feature_store

        with feature_store(settings) as store:
            return index_job(settings, store) | {"search": search_index_job(settings)}

    run_job(with_shop_lock(job), config, overrides, as_json)


@index_app.command("export")
def index_export(
    to: Annotated[Path, typer.Option(metavar="FOLDER", help="New folder for the files")],
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write vectors and index as one FAISS file, with the product ids, for other programs."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.export_index import export_index

        return export_index(settings, to)

    # Under the lock: another job would change the vectors meanwhile.
    run_job(with_shop_lock(job), config, overrides, as_json)
