"""What surrounds every request: its id, its limits, the headers of its answer, and the record of it.

Pure ASGI, because Starlette's BaseHTTPMiddleware costs a task and two queues per request.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Sequence
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from online_api.observability.logs import REQUEST_ID, UNMATCHED, AccessLog, RequestContext
from online_api.observability.metrics import Metrics
from online_api.observability.tracing import RequestTracer
from online_api.schemas.problems import MEDIA_TYPE, Problem

log = logging.getLogger(__name__)

CONTEXT = "context"  # its key in scope["state"], and so its name in request.state
CALLERS_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# Any word may be a method; a caller must not make a new series of each.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

EVERY_ANSWER = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
JSON_ANSWER = (
    *EVERY_ANSWER,
    (b"cache-control", b"no-store"),  # answers differ by buyer and by the minute
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


def context_of(scope: Scope) -> RequestContext:
    """The request's context, for handlers to add to; `ObserveRequests` has put it there."""
    context: RequestContext = scope["state"][CONTEXT]
    return context


class ObserveRequests:
    """The outermost middleware: gives each request an id and a context, and records it when it is over.

    An exception that nothing else handled becomes a problem here, so that its answer has id and headers like any other.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, access_log: AccessLog, tracer: RequestTracer | None = None
    ) -> None:
        """Takes where the record goes."""
        self._app = app
        self._metrics = metrics
        self._access_log = access_log
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, and passes on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_request_id(scope), _method(scope), time.perf_counter())
        scope.setdefault("state", {})[CONTEXT] = context
        root_path = scope.get("root_path", "")
        token = REQUEST_ID.set(context.request_id)
        try:
            await self._answer(context, scope, receive, send)
        finally:
            context.ended = time.perf_counter()
            context.route = route_template(scope, root_path)
            self._record(context, scope)
            REQUEST_ID.reset(token)

    async def _answer(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                context.status = message["status"]
                _add_headers(message, context.request_id)
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            if started:  # too late for a problem; the server logs the error and cuts the connection
                raise
            log.exception("request %s failed", context.request_id)
            detail = "an unexpected error; the server's log has it under the request_id"
            await send_problem(send_with_headers, 500, detail)

    def _record(self, context: RequestContext, scope: Scope) -> None:
        metrics = self._metrics
        seconds = context.ended - context.started
        metrics.request_seconds(context.route, context.method, context.status).observe(seconds)
        for stage, started, ended in context.stages:
            metrics.stage_seconds(stage).observe(ended - started)
        if context.source is not None:
            metrics.answers(context.source).inc()
        if context.fallback is not None:
            metrics.fallbacks(context.fallback).inc()
        for part in context.degraded:
            metrics.degraded(part).inc()
        if self._tracer is not None:
            self._tracer.record(context, scope["headers"])
        self._access_log.write(context)


class BodyLimit:
    """Reads the body of a request before it is handled, and refuses one that is too large or that comes too slowly."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_bytes: int, timeout_s: float) -> None:
        """Takes the limits: the size of a body, and the time until all of it must be here."""
        self._app = app
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request, and passes on what has no body."""
        length = _announced_length(scope) if scope["type"] == "http" else 0
        if length == 0:
            await self._app(scope, receive, send)
        elif length is not None and length > self._max_bytes:
            await self._refuse_large(send)
        else:
            await self._read_first(scope, receive, send)

    async def _read_first(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                body = await self._read(receive)
        except TimeoutError:
            self._metrics.rejected("too_slow").inc()
            # Closed, because the rest may never come.
            close = [(b"connection", b"close")]
            await send_problem(send, 408, f"the body was not complete within {self._timeout_s:g} s", close)
            return
        if body is None:
            return
        if len(body) > self._max_bytes:
            await self._refuse_large(send)
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, receive: Receive) -> bytes | None:
        """The body, or as much of it as shows that it is too large; None where the caller went away."""
        body = bytearray()
        while len(body) <= self._max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return bytes(body)

    async def _refuse_large(self, send: Send) -> None:
        self._metrics.rejected("too_large").inc()
        await send_problem(send, 413, f"the body may have {self._max_bytes} bytes at most")


async def send_problem(send: Send, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Sends an error as application/problem+json (RFC 9457), from where FastAPI's handlers do not reach."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=REQUEST_ID.get())
    body = problem.model_dump_json(exclude_none=True).encode()
    described = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": body})


def route_template(scope: Scope, root_path: str = "") -> str:
    """The template of the route that answered, such as /v1/products/{product_id}; never a path that a caller chose.

    Args:
        scope: The request's, after it was handled.
        root_path: What `scope["root_path"]` was before.
    """
    # Set by FastAPI for routers that are included: the template with the prefix of the inclusion.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    if route is not None:
        template: str = route.path_format
        return template
    mounted: str = scope.get("root_path", "")[len(root_path) :]
    if mounted:
        return f"{mounted}/*"
    # A plain route of Starlette leaves its endpoint only. Where it has no parameters, its template is the path.
    if "endpoint" in scope and not scope.get("path_params"):
        path: str = scope["path"]
        return path
    return UNMATCHED


def _request_id(scope: Scope) -> str:
    """The caller's id where it is a harmless one, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and CALLERS_ID.fullmatch(value):
            callers: str = value.decode()
            return callers
    return uuid.uuid4().hex


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else "other"


def _add_headers(message: Message, request_id: str) -> None:
    """Adds the headers of every answer, except those that the application has set itself."""
    headers = list(message.get("headers", ()))
    present = dict(headers)
    is_json = present.get(b"content-type", b"").partition(b";")[0].endswith(b"json")
    headers += [header for header in (JSON_ANSWER if is_json else EVERY_ANSWER) if header[0] not in present]
    headers.append((b"x-request-id", request_id.encode()))
    message["headers"] = headers


def _announced_length(scope: Scope) -> int | None:
    """Bytes of the body, None where it comes in chunks; HTTP/1.1 knows no other bodies (RFC 9112, section 6.3)."""
    headers = dict(scope["headers"])
    return None if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the whole body first, and then what `receive` has."""
    first: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replayed() -> Message:
        nonlocal first
        if first is None:
            return await receive()
        message, first = first, None
        return message

    return replayed
