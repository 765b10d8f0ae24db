"""Shared by the routes: the services of a worker, the documented errors, and the responses of list routes."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Request, Response

from feature_repo import columns as c
from online_api.batcher import Batcher
from online_api.inspection.inspection_thread import Inspections
from online_api.lists.languages import Languages, wanted_languages
from online_api.lists.list_request import ListRequest, ListResult
from online_api.observability.middleware import context_of
from online_api.protection.access import require_own_buyer
from online_api.runtime import Runtime
from online_api.schemas.problems import MEDIA_TYPE
from online_api.schemas.requests import PAGE_PARAMETER
from online_api.search.query_fields import search_outcome

TextT = TypeVar("TextT")
EncodedT = TypeVar("EncodedT")

ACCEPT_LANGUAGE = "Accept-Language"
JSON_HEADERS = ((b"content-type", b"application/json"),)
VARY = ((b"vary", ACCEPT_LANGUAGE.encode()),)  # caches must not give one caller's language to another
PROBLEM_DESCRIPTIONS = {
    401: "The request has no valid API key or buyer token",
    403: "The API key does not have the required scope, or the buyer token is of another buyer",
    404: "The resource does not exist",
    408: "The body did not arrive in time",
    409: "A check refused the change; the live release stays live",
    413: "The body is too large",
    415: "The body is not plain application/json",
    422: "The request is not valid",
    429: "Too many requests; see Retry-After",
    503: "The service is overloaded, or a part of it is down; see Retry-After",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI documentation of a route's errors."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": PROBLEM_DESCRIPTIONS[status], "content": content} for status in statuses}


# Errors of routes that need a key, and of those among them that take a body.
READ_PROBLEMS = problems(401, 403, 422, 429, 503)
BODY_PROBLEMS = READ_PROBLEMS | problems(408, 413, 415)


@dataclass(frozen=True)
class Services:
    """The services of one worker process.

    Attributes:
        runtime: The service and its parts.
        batcher: Collects list requests into batches for the service.
        text_thread: Encodes texts; one thread, because encoding one text uses all cores.
        inspections: Answers the inspection routes.
    """

    runtime: Runtime
    batcher: Batcher[ListRequest, ListResult]
    text_thread: ThreadPoolExecutor
    inspections: Inspections


def services_of(request: Request) -> Services:
    """The services of the worker that handles a request."""
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


def json_response(payload: dict[str, Any], headers: Sequence[tuple[bytes, bytes]] = ()) -> Response:
    """A response with plain values; pydantic models would take ten times as long (see schemas/responses.py)."""
    body = orjson.dumps(payload)
    response = Response()
    # Starlette would encode each header and search the others for it.
    response.body = body
    response.raw_headers = [*JSON_HEADERS, (b"content-length", b"%d" % len(body)), *headers]
    return response


def localised_response(payload: dict[str, Any], products: Sequence[dict[str, Any]]) -> Response:
    """A response whose products have titles in the caller's language, with the headers that say so (RFC 9110)."""
    languages = {product[c.TITLE_LANGUAGE] for product in products} - {None}
    if not languages:
        return json_response(payload, VARY)
    return json_response(payload, (*VARY, (b"content-language", ", ".join(sorted(languages)).encode("latin-1"))))


def caller_languages(request: Request, lang: str | None) -> Languages:
    """The languages of a request with the parameter `lang`."""
    return wanted_languages(lang, request.headers.get(ACCEPT_LANGUAGE))


async def list_response(request: Request, list_request: ListRequest, lang: str | None) -> Response:
    """Answers a list request in a micro-batch; with popular products if it waits for too long.

    Args:
        request: The HTTP request.
        list_request: The list request, without the caller's languages.
        lang: The parameter of the request.
    """
    require_own_buyer(request, list_request.buyer_id)
    services = services_of(request)
    services.runtime.service.check_currency(list_request.filters)
    # Here and not in the routes, so that every list has pages. Bodies have set it already.
    token = list_request.page or request.query_params.get(PAGE_PARAMETER)
    languages = caller_languages(request, lang)
    if languages or token:
        list_request = replace(list_request, languages=languages, page=token)
    list_request, page = services.runtime.pages.open(list_request)
    context = context_of(request.scope)
    context.buyer_id = list_request.buyer_id
    try:
        result, queued, started = await services.batcher.submit(list_request)
        context.add_stage("queue", queued, started)
    except TimeoutError:
        # In a thread and not through the queue, which has just made it late.
        result = await asyncio.to_thread(_popular_after_timeout, services, list_request)
    services.runtime.pages.close(page, result.payload, list_request.k)
    context.stages += result.stages
    context.source = result.source
    context.degraded = result.payload["degraded"]
    if result.source == "personalised" and not list_request.shown:
        product_ids = (item[c.PRODUCT_ID] for item in result.payload["items"])
        services.runtime.metrics.recent_lists.add(str(list_request.buyer_id), product_ids)
    if list_request.query is not None and result.resolved is not None:
        _record_search(services.runtime, list_request.query, result)
    if (shadow := services.runtime.shadow) is not None:
        shadow.offer(context.request_id, result)
    # /v1/trending has asked for popular products, so for it they are no fallback.
    if result.source in ("popular", "popular_in_filter") and not list_request.popular:
        context.fallback = context.degraded[0] if context.degraded else "nothing_known"
    return localised_response(result.payload, result.payload["items"])


def _record_search(runtime: Runtime, query: str, result: ListResult) -> None:
    outcome = search_outcome(result)
    runtime.metrics.searches(outcome).inc()
    runtime.searches.record(query, outcome)


async def on_text_thread(services: Services, encode: Callable[[TextT], EncodedT], texts: TextT) -> EncodedT | None:
    """Runs a function that encodes texts on the text thread; None if it takes longer than a request may."""
    encoding = asyncio.get_running_loop().run_in_executor(services.text_thread, encode, texts)
    try:
        # A thread cannot be interrupted: after a time-out it finishes this text before it takes the next one.
        return await asyncio.wait_for(encoding, services.runtime.config.api.request_timeout_seconds)
    except TimeoutError:
        return None


def _popular_after_timeout(services: Services, list_request: ListRequest) -> ListResult:
    popular = replace(list_request.popular_only(), degraded=(*list_request.degraded, "timeout"))
    return services.runtime.service.answer([popular])[0]
