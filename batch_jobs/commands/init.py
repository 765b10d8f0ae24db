"""`tawsiya init`: sets up a shop by five questions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job
from batch_jobs.console.completion import complete_source
from feature_repo.common.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from feature_repo.common.config import Config


def init(
    name: Annotated[str | None, typer.Option(help="Name of the shop: of its mapping file and its folder")] = None,
    platform: Annotated[
        str | None,
        typer.Option(
            help="Where the files come from: a mapping of config/sources, or csv for any other",
            autocompletion=complete_source,
        ),
    ] = None,
    events: Annotated[Path | None, typer.Option(help="File of events or orders")] = None,
    products: Annotated[Path | None, typer.Option(help="File of products")] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Time zone of times that name none, such as Africa/Cairo")
    ] = None,
    date_order: Annotated[
        str | None, typer.Option(help="day_first or month_first, where no date of the files proves it")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the mapping file of this name")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set up a shop: write its mapping file and the settings that name it; asks for what no option says."""
    from batch_jobs.ingestion.files.parts import table_parts
    from batch_jobs.ingestion.init_shop import mapping_file
    from batch_jobs.ingestion.source_mapping import mapping_path
    from feature_repo.transforms.values.times import TimeReader

    shop = name or _answer(
        "Name of the shop, in small letters", "my_shop", lambda text: mapping_file(text, replace=replace)
    )
    files = {
        "source": platform
        or _answer("Platform: woocommerce, shopify, salla, zid, ...; csv: any other", "csv", mapping_path)
    }
    usual = _usual_files(files["source"])
    for key, given, question in (
        ("events_path", events, "File of events or orders"),
        ("products_path", products, "File of products"),
    ):
        path = str(given) if given else _answer(question, usual.get(key, ""), lambda text: table_parts(Path(text)))
        if path != usual.get(key):
            files[key] = path
    files["timezone"] = timezone or _answer(
        "Time zone of times that name none, such as Africa/Cairo", "UTC", TimeReader
    )
    if date_order:
        files["date_order"] = date_order
    settings = [*(overrides or ()), *(f"data.{key}={value}" for key, value in files.items())]

    def job(settings: Config) -> JobResult:
        from batch_jobs.ingestion.init_shop import init_shop

        return init_shop(settings, shop, replace=replace)

    def show(result: JobResult) -> str:
        from batch_jobs.ingestion.init_shop import init_text

        return init_text(result)

    run_job(job, config, settings, as_json, show)


def _usual_files(platform: str) -> dict[str, str]:
    """Where the mapping of a platform looks for its files; nothing without such a mapping, which the job reports."""
    from batch_jobs.ingestion.source_mapping import load_mapping

    try:
        mapping = load_mapping(platform)
    except ConfigError:
        return {}
    tables = {"events_path": mapping.events, "products_path": mapping.products}
    return {key: str(Path(mapping.folder) / table.path) for key, table in tables.items()}


def _answer(question: str, default: str, check: Callable[[str], object]) -> str:
    """What the user answers; asks again after an answer that `check` refuses. The default where nobody can answer."""
    if not sys.stdin.isatty():
        return default

    while True:
        answer: str = typer.prompt(question, default=default, err=True).strip()
        try:
            check(answer)
        except (ConfigError, ValueError, OSError) as error:
            typer.echo(f"error: {error}", err=True)
        else:
            return answer
