"""Middleware for every request: request id, limits of the body, security headers, metrics, log line and trace.

Pure ASGI, because Starlette's BaseHTTPMiddleware creates a task and two queues per request.
"""

import asyncio
import logging
import os
import re
import time
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from online_api.draining import Draining
from online_api.observability.logs import REQUEST_ID, UNMATCHED, AccessLog, RequestContext
from online_api.observability.metrics import Metrics
from online_api.observability.tracing import RequestTracer
from online_api.schemas.problems import MEDIA_TYPE, Problem

log = logging.getLogger(__name__)

CONTEXT_KEY = "context"  # in scope["state"]
# A caller's id is copied into log lines and a response header, so only harmless characters pass.
CALLER_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# A method may be any word. Others than these share one label value, so that callers cannot create metric series.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

RESPONSE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
JSON_RESPONSE_HEADERS = (
    *RESPONSE_HEADERS,
    (b"cache-control", b"no-store"),  # lists differ by buyer and change by the minute
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

COMMON_NAMES = frozenset(name for name, _ in JSON_RESPONSE_HEADERS)


# ---- request id, headers, metrics, log line, trace -------------------------------------------------------------------


def context_of(scope: Scope) -> RequestContext:
    """The context of the request, which ObserveRequests created; handlers add facts to it."""
    context: RequestContext = scope["state"][CONTEXT_KEY]
    return context


class ObserveRequests:
    """The outermost middleware: gives each request an id and a context, and records it at the end.

    It also answers exceptions without a handler with a problem, so that this response has an id and headers, too.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        access_log: AccessLog,
        tracer: RequestTracer | None = None,
        draining: Draining | None = None,
    ) -> None:
        """Wraps `app`; records requests to the metrics, the access log and the tracer; ends connections to drain."""
        self._draining = draining or Draining()
        self._app = app
        self._metrics = metrics
        self._access_log = access_log
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request; passes on other scopes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = RequestContext(_request_id(scope), _method(scope), time.perf_counter())
        scope.setdefault("state", {})[CONTEXT_KEY] = context
        root_path = scope.get("root_path", "")  # before a mount appends its own path to it
        token = REQUEST_ID.set(context.request_id)
        try:
            await self._respond(context, scope, receive, send)
        finally:
            context.ended = time.perf_counter()
            context.route = route_template(scope, root_path)  # routing has put the route into the scope by now
            self._record(context, scope)
            REQUEST_ID.reset(token)

    async def _respond(self, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                context.status = message["status"]
                _add_headers(message, context.request_id)
                if self._draining.active:  # the next request of this connection goes to another server
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        except Exception:
            if started:  # too late for another response; the server logs the error and closes the connection
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


# ---- limits of the body ----------------------------------------------------------------------------------------------


class BodyLimit:
    """Reads the body before the request is handled; refuses bodies that are too large or too slow."""

    def __init__(self, app: ASGIApp, metrics: Metrics, max_bytes: int, timeout_s: float) -> None:
        """Wraps `app`; a body may have `max_bytes` and must arrive within `timeout_s`."""
        self._app = app
        self._metrics = metrics
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one HTTP request; passes on requests without a body and other scopes."""
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
            # The rest of the body may never arrive, so the connection cannot be reused.
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
        """The body, or its beginning if it is too large; None if the caller disconnected."""
        body = bytearray()
        # Counted here as well: a chunked body does not announce its length.
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


# ---- helpers ---------------------------------------------------------------------------------------------------------


async def send_problem(send: Send, status: int, detail: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Sends an error as application/problem+json (RFC 9457), for middleware, which FastAPI's handlers do not cover."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, request_id=REQUEST_ID.get())
    body = problem.model_dump_json(exclude_none=True).encode()
    described = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": described})
    await send({"type": "http.response.body", "body": body})


def route_template(scope: Scope, root_path: str = "") -> str:
    """The template of the matched route, such as /v1/products/{product_id}; never a path from the caller.

    Args:
        scope: The scope after the request was handled.
        root_path: `scope["root_path"]` before that.
    """
    # FastAPI sets the first for routes of included routers; its template has the prefix.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    if route is not None:
        template: str = route.path_format
        return template
    mounted: str = scope.get("root_path", "")[len(root_path) :]
    if mounted:
        return f"{mounted}/*"
    # A plain Starlette route only sets its endpoint. Without parameters, its template is the path.
    if "endpoint" in scope and not scope.get("path_params"):
        path: str = scope["path"]
        return path
    return UNMATCHED


def _request_id(scope: Scope) -> str:
    """The caller's request id if it is well-formed, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and CALLER_REQUEST_ID.fullmatch(value):
            request_id: str = value.decode()
            return request_id
    return os.urandom(16).hex()


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in METHODS else "other"


def _add_headers(message: Message, request_id: str) -> None:
    """Adds the common headers, except those that the application has set."""
    headers = list(message.get("headers", ()))
    present = dict(headers)
    added = _common_headers(present.get(b"content-type", b""))
    if present.keys() & COMMON_NAMES:
        added = tuple(header for header in added if header[0] not in present)
    message["headers"] = [*headers, *added, (b"x-request-id", request_id.encode())]


@lru_cache(64)  # the application has few media types
def _common_headers(content_type: bytes) -> tuple[tuple[bytes, bytes], ...]:
    is_json = content_type.partition(b";")[0].endswith(b"json")
    return JSON_RESPONSE_HEADERS if is_json else RESPONSE_HEADERS


def _announced_length(scope: Scope) -> int | None:
    """The announced length of the body in bytes; None if it is chunked (RFC 9112, section 6.3)."""
    headers = dict(scope["headers"])
    return None if b"transfer-encoding" in headers else int(headers.get(b"content-length", 0))


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that returns the whole body first and then the messages of the original one."""
    first: Message | None = {"type": "http.request", "body": body, "more_body": False}

    async def replayed() -> Message:
        nonlocal first
        if first is None:
            return await receive()
        message, first = first, None
        return message

    return replayed
