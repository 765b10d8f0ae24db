"""Traces of requests, sent to an OpenTelemetry collector if one is configured.

Spans are created after the response is sent, from times that were recorded meanwhile, so tracing does not delay
responses. FastAPI's own tracing stays off, because it records paths and query strings, which contain buyer ids.
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from feature_repo.common.errors import ConfigError
from online_api.observability.logs import UNMATCHED, RequestContext

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

TRACE_CONTEXT = (b"traceparent", b"tracestate")  # https://www.w3.org/TR/trace-context/


class RequestTracer:
    """Creates a server span for each request and a child span for each of its stages."""

    def __init__(self, provider: "TracerProvider") -> None:
        """Creates spans with `provider`, which `close` shuts down."""
        # Imported here and in open_tracer, so that OpenTelemetry is not loaded while tracing is off.
        from opentelemetry.trace import SpanKind, StatusCode, format_trace_id, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("tawsiya")
        self._propagator = TraceContextTextMapPropagator()
        self._server, self._error = SpanKind.SERVER, StatusCode.ERROR
        self._format_trace_id, self._in_context = format_trace_id, set_span_in_context

    def record(self, context: RequestContext, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Creates the spans of a finished request and stores their trace id in `context`.

        Args:
            context: The facts about the request.
            headers: Its ASGI headers; a W3C `traceparent` among them becomes the parent.
        """
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name in TRACE_CONTEXT}
        # Converts times of perf_counter to Unix times, in nanoseconds.
        offset = time.time_ns() - time.perf_counter_ns()
        span = self._tracer.start_span(
            context.method if context.route == UNMATCHED else f"{context.method} {context.route}",
            context=self._propagator.extract(carrier),
            kind=self._server,
            attributes=_attributes(context),
            start_time=offset + _ns(context.started),
        )
        context.trace_id = self._format_trace_id(span.get_span_context().trace_id)
        if span.is_recording():
            self._record_stages(context, span, offset)
        # 4xx is the caller's error: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#status
        if context.status >= 500:
            span.set_status(self._error)
        span.end(offset + _ns(context.ended))

    def _record_stages(self, context: RequestContext, parent: "Span", offset: int) -> None:
        inside = self._in_context(parent)
        for stage, started, ended in context.stages:
            child = self._tracer.start_span(stage, context=inside, start_time=offset + _ns(started))
            child.end(offset + _ns(ended))

    def close(self) -> None:
        """Sends the remaining spans and stops."""
        self._provider.shutdown()


def open_tracer(endpoint: str) -> RequestTracer | None:
    """A tracer that sends batches to a collector in the background; None if no collector is configured.

    Args:
        endpoint: `api.otlp_endpoint`: the base URL of an OTLP/HTTP collector, such as http://localhost:4318, or empty.

    Raises:
        ConfigError: The OpenTelemetry libraries are not installed.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigError(
            f"api.otlp_endpoint is set, but {error.name} is not installed; install the extra with "
            "`pip install 'tawsiya[otel]'`, or leave the setting empty"
        ) from None
    provider = TracerProvider(resource=Resource.create({"service.name": "tawsiya"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    return RequestTracer(provider)


def _attributes(context: RequestContext) -> dict[str, str | int | list[str]]:
    """Attributes by OpenTelemetry's conventions for HTTP, without the path, which may contain a buyer id."""
    attributes: dict[str, str | int | list[str] | None] = {
        "http.request.method": context.method,
        "http.response.status_code": context.status,
        "http.route": None if context.route == UNMATCHED else context.route,
        "tawsiya.request_id": context.request_id,
        "tawsiya.source": context.source,
        "tawsiya.degraded": list(context.degraded) or None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
