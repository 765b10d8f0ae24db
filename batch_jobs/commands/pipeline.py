"""Commands that run the whole pipeline: refresh, demo."""

from __future__ import annotations

import logging
import shlex
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job
from batch_jobs.commands.serving import recommend_to_buyer, run_server
from batch_jobs.console.completion import complete_source
from batch_jobs.console_text import demo_text, prices_text, refresh_text
from batch_jobs.runs.run_log import LogFormat

if TYPE_CHECKING:
    from feature_repo.common.config import Config

log = logging.getLogger(__name__)

SAMPLE_K = 10  # recommendations that the demo prints


class Part(StrEnum):
    """A part of the pipeline that runs alone."""

    PRICES = "prices"


def refresh(
    only: Annotated[
        Part | None, typer.Option(help="Only bring prices, stock and visibility to the online store")
    ] = None,
    feed: Annotated[
        Path | None, typer.Option(help="With --only prices: read this file instead of the shop's products")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Publish the release although its gate refuses it; needs --reason")
    ] = False,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; recorded with the release")] = None,
    log_format: Annotated[LogFormat, typer.Option(help="Lines for people, or JSON objects")] = "text",
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline, from raw files to a live release; for a scheduler. Skips what has not changed."""
    if force != bool(reason and reason.strip()):
        raise typer.BadParameter("--force and --reason TEXT go together")
    if only and force:
        raise typer.BadParameter("--only prices makes no release, so there is none to force")
    if feed and not only:
        raise typer.BadParameter("--feed is for --only prices")

    def job(settings: Config) -> JobResult:
        log.info("loading libraries ...")
        from batch_jobs.refresh import refresh as run
        from batch_jobs.refresh import refresh_prices

        if only:
            return refresh_prices(settings, feed=feed)
        return run(settings, forced_because=reason if force else None)

    run_job(job, config, overrides, as_json, prices_text if only else refresh_text, log_format)


def demo(
    dataset: Annotated[
        str | None, typer.Option(help="Source to use (default: data.source)", autocompletion=complete_source)
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="The whole data set instead of its subset")] = False,
    serve_after: Annotated[bool, typer.Option("--serve/--no-serve", help="Start the API at the end")] = True,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the whole pipeline on real data, show what it recommends, and serve it."""
    chosen = [f"data.source={dataset}"] if dataset else []
    chosen += ["data.use_subset=false"] if full else []
    # Last, so that the user's --set wins over the options.
    chosen += overrides or []

    def job(settings: Config) -> JobResult:
        log.info("loading libraries ...")
        if serve_after:
            # First, because the pipeline takes minutes and would end with a server that cannot start.
            from online_api.server import require_can_listen

            require_can_listen(settings)
        from batch_jobs.refresh import refresh as run

        result = run(settings)
        evaluation = result.pop("evaluation")
        address = f"http://{settings.api.host}:{settings.api.port}"
        return result | {"metrics": evaluation["targets"], "sample": _sample(settings), "address": address}

    def show(result: JobResult) -> str:
        command = ["tawsiya", "serve", *(["--config", str(config)] if config else [])]
        command += [word for setting in chosen for word in ("--set", setting)]
        return demo_text(result, shlex.join(command), serving=serve_after)

    run_job(job, config, chosen, as_json, show)
    # A job of its own: the result is printed before the server blocks.
    if serve_after:
        run_job(run_server, config, chosen, as_json)


def _sample(settings: Config) -> JobResult:
    """Recommendations for the buyer who acted last in the data."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from feature_repo import columns as c
    from feature_repo.common.paths import shop_paths

    events = pq.read_table(shop_paths(settings).events, columns=[c.BUYER_ID, c.EVENT_TIME])
    last = pc.index(events[c.EVENT_TIME], pc.max(events[c.EVENT_TIME])).as_py()
    result = recommend_to_buyer(settings, events[c.BUYER_ID][last].as_py(), SAMPLE_K)
    shown = (c.PRODUCT_ID, c.TITLE, "score")
    items = [{name: item[name] for name in shown} for item in result["items"]]
    return {c.BUYER_ID: result[c.BUYER_ID], "recommendations": items}
