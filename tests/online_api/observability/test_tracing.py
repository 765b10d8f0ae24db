"""Spans of requests, as OpenTelemetry's own SDK sees them."""

import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, Request
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from online_api.observability.logs import AccessLog, json_logger, log_salt
from online_api.observability.metrics import Metrics
from online_api.observability.middleware import ObserveRequests, context_of
from online_api.observability.tracing import RequestTracer, open_tracer
from tests.serving import serving

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def tiny_app() -> FastAPI:
    app = FastAPI()

    @app.get("/buyers/{buyer_id}")
    def recommendations(buyer_id: str, request: Request) -> None:
        context = context_of(request.scope)
        context.source, context.degraded = "session", ["feature_store"]
        context.add_stage("features", context.started + 0.001, context.started + 0.002)
        context.add_stage("search", context.started + 0.002, context.started + 0.005)

    @app.get("/down")
    def down() -> None:
        raise HTTPException(503)

    return app


def trace_of(path: str, headers: dict[str, str] | None = None) -> tuple[dict[str, ReadableSpan], dict[str, Any]]:
    """The spans of one request by name, and its log line."""
    exporter, log, app = InMemorySpanExporter(), io.BytesIO(), tiny_app()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    access_log = AccessLog(json_logger("info", log), log_salt({}))
    app.add_middleware(ObserveRequests, metrics=Metrics(), access_log=access_log, tracer=RequestTracer(provider))
    with serving(app) as client:
        client.get(path, headers=headers)
    return {span.name: span for span in exporter.get_finished_spans()}, json.loads(log.getvalue())


def test_a_request_is_a_span_and_its_stages_are_children() -> None:
    spans, line = trace_of("/buyers/u1?q=secret", headers={"X-Request-ID": "r-1"})
    assert set(spans) == {"GET /buyers/{buyer_id}", "features", "search"}
    request = spans["GET /buyers/{buyer_id}"]
    assert request.kind is SpanKind.SERVER
    assert request.parent is None
    assert request.attributes == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "/buyers/{buyer_id}",
        "tawsiya.request_id": "r-1",
        "tawsiya.source": "session",
        "tawsiya.degraded": ("feature_store",),
    }
    assert request.context is not None
    assert line["trace_id"] == f"{request.context.trace_id:032x}"
    for name, begins_ms, ends_ms in (("features", 1, 2), ("search", 2, 5)):
        stage = spans[name]
        assert stage.parent == request.context
        assert _since(request, stage.start_time) == pytest.approx(begins_ms, abs=0.01)
        assert _since(request, stage.end_time) == pytest.approx(ends_ms, abs=0.01)


def test_the_callers_trace_goes_on() -> None:
    spans, line = trace_of("/buyers/u1", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    request = spans["GET /buyers/{buyer_id}"]
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == PARENT
    assert line["trace_id"] == TRACE


def test_what_the_caller_does_not_sample_makes_no_spans() -> None:
    spans, line = trace_of("/buyers/u1", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert spans == {}
    assert line["trace_id"] == TRACE


def test_a_malformed_traceparent_is_no_parent() -> None:
    spans, _ = trace_of("/buyers/u1", headers={"traceparent": "00-nonsense"})
    assert spans["GET /buyers/{buyer_id}"].parent is None


def test_server_errors_are_marked() -> None:
    spans, _ = trace_of("/down")
    assert spans["GET /down"].status.status_code is StatusCode.ERROR
    spans, _ = trace_of("/nowhere")
    assert spans["GET"].status.status_code is StatusCode.UNSET
    assert spans["GET"].attributes is not None
    assert "http.route" not in spans["GET"].attributes


def test_spans_arrive_at_the_collector() -> None:
    with collector() as (endpoint, received):
        tracer = open_tracer(endpoint + "/")
        assert tracer is not None
        app = tiny_app()
        access_log = AccessLog(json_logger("error"), log_salt({}))
        app.add_middleware(ObserveRequests, metrics=Metrics(), access_log=access_log, tracer=tracer)
        with serving(app) as client:
            client.get("/buyers/u1")
        tracer.close()
    ((path, body),) = received
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    assert names["service.name"] == "tawsiya"
    assert len(resource.scope_spans[0].spans) == 3


def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    done = _run(
        "import online_api.observability.middleware, online_api.observability.tracing, sys\n"
        "assert online_api.observability.tracing.open_tracer('') is None\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    assert done.stdout == "[]\n", done.stderr


def test_the_missing_extra_is_named() -> None:
    done = _run(
        "import sys\n"
        "sys.modules['opentelemetry.sdk'] = None\n"
        "from online_api.observability.tracing import open_tracer\n"
        "open_tracer('http://localhost:4318')"
    )
    assert "ConfigError: api.otlp_endpoint is set, but opentelemetry.sdk" in done.stderr
    assert "pip install 'tawsiya[otel]'" in done.stderr


def _since(request: ReadableSpan, moment: int | None) -> float:
    """Milliseconds from the start of the request."""
    assert request.start_time is not None
    assert moment is not None
    return (moment - request.start_time) / 1e6


def _run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)


@contextmanager
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A collector's address, and the paths and bodies that were posted to it."""
    received: list[tuple[str, bytes]] = []

    class Collect(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Collect) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", received
        finally:
            server.shutdown()
            thread.join()
