"""Commands for the rights of buyers: forget (erasure) and export (access)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job, with_shop_lock

if TYPE_CHECKING:
    from feature_repo.common.config import Config


def forget(
    buyer: Annotated[list[str] | None, typer.Option(help="Id of the buyer (repeatable)")] = None,
    file: Annotated[Path | None, typer.Option(help="File with one id per line")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase buyers from everything that is stored, and keep their events out from now on; cannot be undone."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.privacy.forget import forget as run
        from batch_jobs.privacy.forget import read_ids
        from feature_repo.common.files import read_utf8

        listed = [line for line in read_utf8(file).splitlines() if line.strip()] if file else []
        return run(settings, read_ids([*(buyer or []), *listed]))

    def show(result: JobResult) -> str:
        from batch_jobs.privacy.forget import forget_text

        return forget_text(result)

    run_job(with_shop_lock(job), config, overrides, as_json, show)


def export(
    buyer: Annotated[str, typer.Option(help="Id of the buyer")],
    to: Annotated[Path | None, typer.Option(help="File to write (default: stdout)")] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print everything that is stored of one buyer as a JSON object, or write it to a file."""

    def job(settings: Config) -> JobResult:
        from batch_jobs.privacy.export import export as run
        from batch_jobs.privacy.export import write_export
        from batch_jobs.privacy.forget import read_ids

        (buyer_id,) = read_ids([buyer])
        content = run(settings, buyer_id)
        return content if to is None else write_export(content, to)

    # On stdout it is JSON in any case: a program or a lawyer reads it, and it has no shorter form.
    # No lock: an answer is owed within a time limit, and a refresh may take hours. Files are replaced as a whole.
    run_job(job, config, overrides, as_json or to is None)
