"""What surrounds a request, over a real server."""

import io
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from online_api.observability.logs import REQUEST_ID, AccessLog, buyer_hash, json_logger, log_salt
from online_api.observability.metrics import Metrics
from online_api.observability.middleware import BodyLimit, ObserveRequests, context_of
from tests.serving import serving

MAX_BYTES, TIMEOUT_S = 1000, 0.3
SALT = log_salt({"TAWSIYA_LOG_SALT": "pepper"})

router = APIRouter(prefix="/v1")


@router.get("/buyers/{buyer_id:path}/recommendations")
def recommendations(buyer_id: str, request: Request) -> dict[str, str]:
    context = context_of(request.scope)
    context.buyer_id, context.source = buyer_id, "session"
    context.degraded, context.fallback = ("feature_store", "rules"), "unknown_buyer"
    context.add_stage("search", context.started, context.started + 0.001)
    logging.getLogger("online_api").warning("slow")
    return {"id": context.request_id}


@router.post("/events")
async def events(request: Request) -> dict[str, int]:
    return {"bytes": len(await request.body())}


def tiny_app() -> FastAPI:
    app = FastAPI()
    app.include_router(router, prefix="/shop")
    app.mount("/mounted", FastAPI())

    @app.get("/page")
    def page() -> HTMLResponse:
        return HTMLResponse(
            "", headers={"Content-Security-Policy": "default-src 'self'", "X-Frame-Options": "SAMEORIGIN"}
        )

    @app.get("/cached")
    def cached(response: Response) -> dict[str, str]:
        response.headers["Cache-Control"] = "max-age=60"
        return {}

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("secret")

    @app.get("/torn")
    def torn() -> StreamingResponse:
        def body() -> Iterator[bytes]:
            yield b"begun"
            raise RuntimeError("secret")

        return StreamingResponse(body())

    @app.get("/health")
    def health() -> None:
        return None

    return app


@dataclass
class Watched:
    """A server, and what its middleware recorded."""

    client: httpx.Client
    metrics: Metrics
    log: io.BytesIO

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def line(self) -> dict[str, Any]:
        """The only line; it is written after the answer was sent."""
        while not self.log.getvalue().endswith(b"\n"):
            time.sleep(0.001)
        (line,) = self.lines()
        return line

    def count(self, name: str) -> float:
        text = self.metrics.render()[0].decode()
        return sum(float(value) for value in re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE))


@pytest.fixture
def watched() -> Iterator[Watched]:
    metrics, log = Metrics(), io.BytesIO()
    app = tiny_app()
    app.add_middleware(BodyLimit, metrics=metrics, max_bytes=MAX_BYTES, timeout_s=TIMEOUT_S)
    app.add_middleware(ObserveRequests, metrics=metrics, access_log=AccessLog(json_logger("info", log), SALT))
    with serving(app) as client:
        yield Watched(client, metrics, log)


def test_a_request_is_recorded_with_what_its_handler_knew(watched: Watched) -> None:
    watched.client.get("/shop/v1/buyers/u/1/recommendations?k=5")
    line = watched.line()
    assert line["route"] == "/shop/v1/buyers/{buyer_id}/recommendations"
    assert (line["method"], line["status"], line["source"]) == ("GET", 200, "session")
    assert line["buyer"] == buyer_hash("u/1", SALT)
    assert line["stages_ms"] == {"search": 1.0}
    assert 0 < line["duration_ms"] < 60_000
    labels = 'method="GET",route="/shop/v1/buyers/{buyer_id}/recommendations",status="200"'
    assert watched.count(f"tawsiya_request_seconds_count{{{labels}}}") == 1
    assert watched.count('tawsiya_stage_seconds_sum{stage="search"}') == pytest.approx(0.001)
    assert watched.count('tawsiya_answers_total{source="session"}') == 1
    for part in ("feature_store", "rules"):
        assert watched.count(f'tawsiya_degraded_total{{reason="{part}"}}') == 1
    assert watched.count('tawsiya_fallbacks_total{reason="unknown_buyer"}') == 1


def test_the_record_says_neither_path_nor_query_nor_body(watched: Watched) -> None:
    watched.client.get("/shop/v1/buyers/secret-buyer/recommendations?q=secret-query")
    watched.client.post("/shop/v1/events?q=secret-query", content=b"secret-body")
    watched.client.get("/secret-path")
    while len(watched.lines()) < 3:
        time.sleep(0.001)
    assert b"secret" not in watched.log.getvalue()
    assert b"secret" not in watched.metrics.render()[0]


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/nothing/here", "unmatched", 404),
        ("GET", "/mounted/anything", "/mounted/*", 404),
        ("GET", "/openapi.json", "/openapi.json", 200),
        ("DELETE", "/shop/v1/events", "/shop/v1/events", 405),
    ],
)
def test_routes_are_templates(watched: Watched, method: str, path: str, route: str, status: int) -> None:
    assert watched.client.request(method, path).status_code == status
    line = watched.line()
    assert (line["method"], line["route"], line["status"]) == (method, route, status)


def test_rare_methods_share_a_series(watched: Watched) -> None:
    watched.client.request("PROPFIND", "/page")
    assert watched.line()["method"] == "other"
    assert watched.count('tawsiya_request_seconds_count{method="other",route="/page",status="405"}') == 1


def test_probes_are_counted_and_not_logged(watched: Watched) -> None:
    watched.client.get("/health")
    watched.client.get("/page")
    assert watched.line()["route"] == "/page"
    assert watched.count('tawsiya_request_seconds_count{method="GET",route="/health",status="200"}') == 1


def test_a_callers_id_is_kept(watched: Watched) -> None:
    answer = watched.client.get("/shop/v1/buyers/u1/recommendations", headers={"X-Request-ID": "web-1.a_B"})
    assert answer.headers["x-request-id"] == answer.json()["id"] == "web-1.a_B"
    assert watched.line()["request_id"] == "web-1.a_B"


@pytest.mark.parametrize("callers", ["", "a b", "x" * 65, 'a"b', "h\xe9"])
def test_an_id_that_might_do_harm_is_replaced(watched: Watched, callers: str) -> None:
    answer = watched.client.get("/page", headers={b"X-Request-ID": callers.encode("latin-1")})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


def test_requests_without_an_id_get_different_ones(watched: Watched) -> None:
    assert len({watched.client.get("/page").headers["x-request-id"] for _ in range(3)}) == 3


def test_lines_written_while_a_request_runs_carry_its_id(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str | None] = []

    def note_id(_: logging.LogRecord) -> bool:
        seen.append(REQUEST_ID.get())
        return True

    caplog.handler.addFilter(note_id)
    watched.client.get("/shop/v1/buyers/u1/recommendations", headers={"X-Request-ID": "r-1"})
    assert seen == ["r-1"]  # although the handler ran in a thread of its own


def test_json_answers_carry_all_security_headers(watched: Watched) -> None:
    headers = watched.client.get("/shop/v1/buyers/u1/recommendations").headers
    expected = {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
        "cross-origin-resource-policy": "same-origin",
        "cache-control": "no-store",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    }
    assert expected.items() <= headers.items()


def test_headers_of_the_application_stay(watched: Watched) -> None:
    page = watched.client.get("/page").headers
    assert page["content-security-policy"] == "default-src 'self'"
    assert page["x-frame-options"] == "SAMEORIGIN"
    assert page["x-content-type-options"] == "nosniff"
    assert "cache-control" not in page  # a page may be cached
    assert watched.client.get("/cached").headers["cache-control"] == "max-age=60"


def test_an_unexpected_error_says_nothing_but_its_id(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    answer = watched.client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in answer.text
    problem = answer.json()
    assert problem["title"] == "Internal Server Error"
    assert problem["request_id"] == answer.headers["x-request-id"] == watched.line()["request_id"]
    assert watched.line()["status"] == 500
    assert problem["request_id"] in caplog.text
    assert caplog.text.count("RuntimeError: secret") == 1


def test_an_answer_that_fails_on_its_way_is_cut(watched: Watched) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        watched.client.get("/torn")
    assert watched.line()["route"] == "/torn"


def test_bodies_up_to_the_limit_arrive_whole(watched: Watched) -> None:
    def chunks() -> Iterator[bytes]:
        yield from [b"x" * 250] * 4

    for content in (b"", b"x", b"x" * MAX_BYTES, chunks()):
        answer = watched.client.post("/shop/v1/events", content=content)
        assert answer.status_code == 200
    assert answer.json() == {"bytes": MAX_BYTES}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_larger_body_is_refused(watched: Watched, chunked: bool) -> None:
    content = b"x" * (MAX_BYTES + 1)
    answer = watched.client.post("/shop/v1/events", content=iter([content]) if chunked else content)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["detail"] == "the body may have 1000 bytes at most"
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert watched.count('tawsiya_rejected_total{reason="too_large"}') == 1
    assert watched.line()["status"] == 413


def test_a_caller_of_a_refused_body_may_go_on(watched: Watched) -> None:
    for _ in range(2):
        assert watched.client.post("/shop/v1/events", content=b"x" * 5_000_000).status_code == 413
        assert watched.client.post("/shop/v1/events", content=b"x").status_code == 200


def test_a_body_that_is_announced_too_large_is_refused_unread(watched: Watched) -> None:
    with connected(watched) as caller:
        caller.sendall(b"POST /shop/v1/events HTTP/1.1\r\nHost: shop\r\nContent-Length: 1001\r\n\r\n")
        assert caller.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_slow_body_is_refused(watched: Watched) -> None:
    with connected(watched) as caller:
        caller.sendall(b"POST /shop/v1/events HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\n\r\nslow")
        answer = b"".join(iter(lambda: caller.recv(1000), b""))  # up to the end: the server closes the connection
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body was not complete within 0.3 s" in answer
    assert watched.count('tawsiya_rejected_total{reason="too_slow"}') == 1


def test_a_caller_that_leaves_is_recorded_as_such(watched: Watched) -> None:
    with connected(watched) as caller:
        caller.sendall(b"POST /shop/v1/events HTTP/1.1\r\nHost: shop\r\nContent-Length: 9\r\n\r\nbye")
    assert watched.line()["status"] == 499
    assert watched.count('tawsiya_rejected_total{reason="too_slow"}') == 0


def connected(watched: Watched) -> socket.socket:
    url = watched.client.base_url
    assert url.port is not None
    return socket.create_connection((url.host, url.port), timeout=30)
