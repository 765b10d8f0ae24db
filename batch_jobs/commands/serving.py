"""Commands that answer from the live release: recommend, search, serve."""

from dataclasses import replace
from typing import Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job
from batch_jobs.console_text import list_text
from feature_repo.common.config import Config


def recommend(
    buyer: Annotated[str, typer.Option(help="Id of the buyer")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Number of products")] = 10,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Recommend products to one buyer, as the API does."""
    run_job(lambda settings: recommend_to_buyer(settings, buyer, k), config, overrides, as_json, list_text)


def search(
    query: Annotated[str, typer.Argument(help="Text of the search, in Arabic, English or both")],
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Number of products")] = 10,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search products by text, as the API does."""

    def job(settings: Config) -> JobResult:
        from online_api.runtime import open_runtime

        with open_runtime(settings) as runtime:
            # The API loads its text encoder in the background; here the search waits for it.
            runtime.service.texts.load(runtime.keeper.live.recommender)
            return runtime.service.answer([replace(runtime.service.search_request(query), k=k)])[0].payload

    run_job(job, config, overrides, as_json, list_text)


def recommend_to_buyer(settings: Config, buyer: str, k: int) -> JobResult:
    """The API's response to a request for `k` products for a buyer, from the live release."""
    from online_api.lists.list_request import ListRequest
    from online_api.runtime import open_runtime

    with open_runtime(settings) as runtime:
        return runtime.service.answer([ListRequest(buyer_id=buyer, k=k)])[0].payload


def serve(config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False) -> None:
    """Serve the live release over HTTP until interrupted."""
    run_job(run_server, config, overrides, as_json)


def run_server(settings: Config) -> None:
    """Serves the live release over HTTP until interrupted."""
    from online_api.server import serve as run

    run(settings)
