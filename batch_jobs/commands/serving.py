"""Commands that answer from the live release: recommend, list, search, serve."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from batch_jobs.commands.job_runner import ConfigOption, JobResult, JsonOption, SetOption, run_job
from batch_jobs.console_text import list_text

if TYPE_CHECKING:
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


class PageList(StrEnum):
    """A list of a shop's pages, named as its route."""

    AGAIN = "again"
    RECENT = "recent"
    CART = "cart"
    BOUGHT_TOGETHER = "bought-together"
    TRENDING = "trending"
    NEW = "new"
    ON_SALE = "on-sale"


_OF_BUYER, _OF_PRODUCTS = (PageList.AGAIN, PageList.RECENT), (PageList.CART, PageList.BOUGHT_TOGETHER)


def list_products(
    kind: Annotated[PageList, typer.Argument(help="Which list")],
    buyer: Annotated[str | None, typer.Option(help="Id of the buyer: for again and recent, optional for cart")] = None,
    product: Annotated[
        list[str] | None, typer.Option(help="Id of the product, or of each in the cart (repeatable)")
    ] = None,
    category: Annotated[list[str] | None, typer.Option(help="Only products of this category (repeatable)")] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=100, help="Number of products")] = 10,
    fill: Annotated[bool, typer.Option("--fill/--no-fill", help="Let other products follow where it has few")] = True,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a list of the shop's pages, as the API does: buy again, bought together, new, on sale, ..."""
    if kind in _OF_BUYER and buyer is None:
        raise typer.BadParameter(f"{kind} is the list of a buyer; name one with --buyer")
    if kind in _OF_PRODUCTS and not product:
        raise typer.BadParameter(f"{kind} needs --product")
    if kind is PageList.BOUGHT_TOGETHER and len(product or ()) > 1:
        raise typer.BadParameter("bought-together is the list of one product; for several, list cart")
    run_job(
        lambda settings: _page_list(settings, kind, buyer, product or [], category or [], k, fill=fill),
        config,
        overrides,
        as_json,
        list_text,
    )


def _page_list(
    settings: Config,
    kind: PageList,
    buyer: str | None,
    products: list[str],
    categories: list[str],
    k: int,
    *,
    fill: bool,
) -> JobResult:
    """The API's response to a request for a list of the shop's pages."""
    from online_api.lists.kinds.list_requests import page_request
    from online_api.runtime import open_runtime

    request = page_request(kind, buyer, products, categories, k, fill=fill)
    with open_runtime(settings) as runtime:
        return runtime.service.answer([request])[0].payload


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
