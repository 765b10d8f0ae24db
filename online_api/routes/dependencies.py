"""What the routes share: their parts, their problems, and how a question becomes an answer."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Request, Response

from online_api.batcher import Batcher
from online_api.lists.list_request import Question, Reply
from online_api.observability.middleware import context_of
from online_api.runtime import Runtime
from online_api.schemas.problems import MEDIA_TYPE

Texts = TypeVar("Texts")
Result = TypeVar("Result")

MEANINGS = {
    401: "No valid API key",
    403: "The API key does not have the scope",
    404: "There is no such thing",
    408: "The body came too slowly",
    409: "Refused by a check; what was live stays live",
    413: "The body is too long",
    422: "The request is not valid",
    429: "Too many requests; see Retry-After",
    503: "Overloaded, or a part is down; see Retry-After",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of errors that a route may answer with."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": MEANINGS[status], "content": content} for status in statuses}


# Errors of routes for everybody with a key, and of those among them that take a body.
READ_PROBLEMS = problems(401, 403, 422, 429, 503)
BODY_PROBLEMS = READ_PROBLEMS | problems(408, 413)


@dataclass(frozen=True)
class Parts:
    """What one worker works with."""

    runtime: Runtime
    batcher: Batcher[Question, Reply]
    text_thread: ThreadPoolExecutor  # one thread: encoding uses all cores as it is


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


PartsOfApp = Annotated[Parts, Depends(_parts)]


def json_answer(payload: dict[str, Any]) -> Response:
    """A payload as it goes out; models would cost ten times as much (see answers.py)."""
    return Response(orjson.dumps(payload), media_type="application/json")


async def answer(request: Request, question: Question) -> Response:
    """The answer to a question, through the micro-batches; a popular one where it takes too long."""
    parts: Parts = request.app.state.parts
    context = context_of(request.scope)
    context.buyer_id = question.buyer_id
    try:
        reply, asked, taken = await parts.batcher.ask(question)
        context.add_stage("queue", asked, taken)
    except TimeoutError:
        reply = await asyncio.to_thread(_in_time, parts, question)
    context.stages += reply.stages
    context.source = reply.source
    context.degraded = reply.payload["degraded"]
    if reply.source in ("popular", "popular_in_filter") and not question.popular:
        context.fallback = context.degraded[0] if context.degraded else "nothing_known"
    return json_answer(reply.payload)


async def from_texts(parts: Parts, work_on: Callable[[Texts], Result], texts: Texts) -> Result | None:
    """What work on texts gives, which encodes them; None where it takes too long."""
    work = asyncio.get_running_loop().run_in_executor(parts.text_thread, work_on, texts)
    try:
        return await asyncio.wait_for(work, parts.runtime.config.api.request_timeout_seconds)
    except TimeoutError:
        return None


def _in_time(parts: Parts, question: Question) -> Reply:
    """What can be answered without the feature store and the model."""
    simple = replace(
        question, popular=True, interactions=(), texts={}, like=None, query=None, found=None, new_only=False
    )
    return parts.runtime.service.answer([replace(simple, degraded=(*question.degraded, "timeout"))])[0]
