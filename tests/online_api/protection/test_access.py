"""Who may call what: keys, scopes, limits, and what answers say and do not say."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Request

from feature_repo.access.api_keys import api_keys_path, revoke_key
from feature_repo.access.limits import Limit
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.store import FeatureStore
from online_api.app import create_app
from online_api.protection.access import _address
from online_api.runtime import Runtime
from online_api.server import uvicorn_options
from tests.online_api.api_shop import problem_of, wait_for
from tests.online_api.shop_variants import ONE_EVENT, in_folder, make_key, metric, with_settings
from tests.serving import serving

pytestmark = pytest.mark.store

RECOMMENDATIONS = "/v1/buyers/u1/recommendations"
BUYER: dict[str, Any] = {"json": {"buyer_id": "u1"}}
# Every route that needs a scope. What they answer differs; that they were admitted is what counts.
SCOPES = [
    ("GET", RECOMMENDATIONS, {}, Scope.READ),
    ("POST", "/v1/recommendations", BUYER, Scope.READ),
    ("POST", "/retrieve", BUYER, Scope.READ),
    ("POST", "/encode_buyer", BUYER, Scope.READ),
    ("GET", "/v1/products/p1", {}, Scope.READ),
    ("GET", "/v1/products/p1/similar", {}, Scope.READ),
    ("GET", "/v1/buyers/u1/again", {}, Scope.READ),
    ("GET", "/v1/buyers/u1/recent", {}, Scope.READ),
    ("POST", "/v1/cart", {"json": {"product_ids": ["p1"]}}, Scope.READ),
    ("GET", "/v1/products/p1/bought-together", {}, Scope.READ),
    ("GET", "/v1/trending", {}, Scope.READ),
    ("GET", "/v1/new", {}, Scope.READ),
    ("GET", "/v1/on-sale", {}, Scope.READ),
    ("GET", "/v1/suggestions?q=t", {}, Scope.READ),
    ("GET", "/v1/search?q=tea", {}, Scope.READ),
    ("GET", "/metrics", {}, Scope.READ),
    ("POST", "/v1/events", {"json": ONE_EVENT}, Scope.WRITE),
    ("POST", "/v1/buyers/u1/merge", {"json": {"guest_id": "a guest"}}, Scope.WRITE),
    ("GET", "/v1/admin/releases", {}, Scope.ADMIN),
    ("GET", "/v1/inspect/buyers/u1", {}, Scope.ADMIN),
    ("GET", "/v1/inspect/products/p1", {}, Scope.ADMIN),
    ("GET", "/v1/inspect/buyers/u1/compare?release=none", {}, Scope.ADMIN),
    ("GET", "/v1/inspect/products/p1/compare?release=none", {}, Scope.ADMIN),
    ("GET", "/v1/inspect/search?q=tea", {}, Scope.ADMIN),
    ("GET", "/v1/inspect/map", {}, Scope.ADMIN),
    ("POST", "/v1/admin/releases/reload", {}, Scope.ADMIN),
    ("POST", "/v1/admin/releases/rollback", {}, Scope.ADMIN),
]
OPEN = ["/inspect", "/inspect/assets/look.css", "/livez", "/readyz", "/health", "/docs", "/openapi.json"]


@pytest.fixture
def locked(config: Config, runtime: Runtime, tmp_path: Path) -> Iterator[tuple[httpx.Client, dict[Scope, Any]]]:
    """An API with one key for each scope, and their headers."""
    guarded = in_folder(config, tmp_path)
    keys = {scope: make_key(guarded, scope.value, [scope]) for scope in Scope}
    with serving(create_app(guarded, runtime)) as client:
        yield client, keys


# ---- keys and scopes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "url", "options", "scope"), SCOPES, ids=lambda value: str(value)[:40])
def test_without_keys_everything_is_open(
    client: httpx.Client, method: str, url: str, options: dict[str, Any], scope: Scope
) -> None:
    assert client.request(method, url, **options).status_code in (200, 202, 404, 409), scope


@pytest.mark.parametrize(("method", "url", "options", "scope"), SCOPES, ids=lambda value: str(value)[:40])
def test_a_route_admits_its_scope_and_no_other(
    locked: tuple[httpx.Client, dict[Scope, Any]], method: str, url: str, options: dict[str, Any], scope: Scope
) -> None:
    client, keys = locked
    for other in Scope:
        answer = client.request(method, url, **options, headers=keys[other])
        if other is scope:
            assert answer.status_code in (200, 202, 404, 409), answer.text
        else:
            assert f"`{scope}`" in problem_of(answer, 403)["detail"]
    for headers in ({}, {"X-API-Key": "tw_0123456789abcdef_wrong"}, {"X-API-Key": ""}):
        answer = client.request(method, url, **options, headers=headers)
        problem_of(answer, 401)
        assert answer.headers["www-authenticate"] == "ApiKey, Bearer"


def test_the_table_holds_every_route(client: httpx.Client) -> None:
    documented = {
        (method.upper(), path)
        for path, operations in client.get("/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
        if operation.get("security")
    }
    listed = {
        (method, re.sub(r"/u1(?=/|$)", "/{buyer_id}", re.sub("/p1", "/{product_id}", url.partition("?")[0])))
        for method, url, _, _ in SCOPES
    }
    assert listed == documented


@pytest.mark.parametrize("url", OPEN)
def test_probes_and_documentation_need_no_key(locked: tuple[httpx.Client, dict[Scope, Any]], url: str) -> None:
    assert locked[0].get(url).status_code == 200


def test_a_right_id_with_a_wrong_secret_is_no_key(locked: tuple[httpx.Client, dict[Scope, Any]]) -> None:
    client, keys = locked
    token = keys[Scope.READ]["X-API-Key"]
    refused = metric(client, 'tawsiya_rejected_total{reason="unauthorised"}', headers=keys[Scope.READ])
    problem_of(client.get("/v1/trending", headers={"X-API-Key": token[:-1] + ("a" if token[-1] != "a" else "b")}), 401)
    assert metric(client, 'tawsiya_rejected_total{reason="unauthorised"}', headers=keys[Scope.READ]) == refused + 1


def test_a_key_made_while_serving_closes_an_open_api_and_the_last_one_revoked_does_not_open_it(
    config: Config, runtime: Runtime, tmp_path: Path
) -> None:
    shop = in_folder(config, tmp_path)
    with serving(create_app(shop, runtime)) as client:
        assert client.get("/v1/trending").status_code == 200
        headers = make_key(shop, "first", [Scope.READ])
        wait_for(lambda: client.get("/v1/trending").status_code == 401)
        assert client.get("/v1/trending", headers=headers).status_code == 200
        revoke_key(api_keys_path(shop), "first")
        wait_for(lambda: client.get("/v1/trending", headers=headers).status_code == 401)
        time.sleep(1.1)  # one more look at the file of keys
        problem_of(client.get("/v1/trending"), 401)


def test_with_keys_there_is_no_storefront(locked: tuple[httpx.Client, dict[Scope, Any]], client: httpx.Client) -> None:
    assert client.get("/").status_code == 200
    for url in ("/", "/static/shop/main.js"):
        problem_of(locked[0].get(url), 404)


# ---- rate limits -----------------------------------------------------------------------------------------------------

FEW = {"requests_per_second_per_address": 0.01, "burst_per_address": 3}


def test_an_address_is_limited(config: Config, store: FeatureStore, runtime: Runtime, tmp_path: Path) -> None:
    """Two applications share what the address has left, since the buckets lie in Redis."""
    runtime.store.online.redis.delete(f"{store.shop}:rate:address:127.0.0.1")
    shop = with_settings(in_folder(config, tmp_path), api=FEW)
    with ExitStack() as stack:
        one, other = (stack.enter_context(serving(create_app(shop, runtime))) for _ in range(2))
        codes = [client.get("/v1/trending").status_code for client in (one, other, one, other)]
        refused = one.get("/v1/trending")
        assert one.get("/livez").status_code == one.get("/health").status_code == 200
    assert codes == [200, 200, 200, 429]
    assert "try again in" in problem_of(refused, 429)["detail"]
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    runtime.store.online.redis.delete(f"{store.shop}:rate:address:127.0.0.1")


def test_a_key_has_its_own_limit_or_the_configured_one(config: Config, runtime: Runtime, tmp_path: Path) -> None:
    shop = with_settings(in_folder(config, tmp_path), api={"requests_per_second_per_key": 0.01, "burst_per_key": 2})
    plain = make_key(shop, "plain", [Scope.READ])
    special = make_key(shop, "special", [Scope.READ], Limit(rate_per_second=0.01, burst=4))
    with serving(create_app(shop, runtime)) as client:
        codes = {
            name: [client.get("/v1/trending", headers=headers).status_code for _ in range(6)]
            for name, headers in (("plain", plain), ("special", special))
        }
    assert codes == {"plain": [200] * 2 + [429] * 4, "special": [200] * 4 + [429] * 2}


def test_a_missing_scope_costs_the_key_nothing(config: Config, runtime: Runtime, tmp_path: Path) -> None:
    shop = in_folder(config, tmp_path)
    headers = make_key(shop, "reader", [Scope.READ], Limit(rate_per_second=0.01, burst=1))
    with serving(create_app(shop, runtime)) as client:
        for _ in range(3):
            problem_of(client.get("/v1/admin/releases", headers=headers), 403)
        assert client.get("/v1/trending", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("proxies", "codes"), [((), [200, 429]), (("127.0.0.1",), [200, 200]), (("10.0.0.1",), [200, 429])]
)
def test_a_forwarded_address_counts_only_from_a_trusted_one(
    config: Config, store: FeatureStore, runtime: Runtime, tmp_path: Path, proxies: tuple[str, ...], codes: list[int]
) -> None:
    buckets = [f"{store.shop}:rate:address:{host}" for host in ("127.0.0.1", "192.0.2.1", "192.0.2.2")]
    runtime.store.online.redis.delete(*buckets)
    api = {"requests_per_second_per_address": 0.01, "burst_per_address": 1, "trusted_proxies": proxies}
    shop = with_settings(in_folder(config, tmp_path), api=api)
    with serving(create_app(shop, runtime), **uvicorn_options(shop)) as client:
        seen = [
            client.get("/v1/trending", headers={"X-Forwarded-For": host}).status_code
            for host in ("192.0.2.1", "192.0.2.2")
        ]
    runtime.store.online.redis.delete(*buckets)
    assert seen == codes


# ---- what answers say ------------------------------------------------------------------------------------------------

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}
JSON_HEADERS = {"cache-control": "no-store", "content-security-policy": "default-src 'none'; frame-ancestors 'none'"}
SMALL = {"max_body_bytes": 1000, "body_timeout_seconds": 1}
ORIGIN = "https://shop.example"


@pytest.fixture(scope="module")
def small(config: Config, runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An open API for short bodies, with one route that fails, and one foreign origin that may call it."""
    shop = with_settings(in_folder(config, tmp_path_factory.mktemp("small")), api=SMALL | {"cors_origins": [ORIGIN]})
    app = create_app(shop, runtime)

    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("redis://:secret@10.1.2.3 in /var/lib/shop")

    with serving(app) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "method", "url", "options"),
    [
        (200, "GET", "/v1/trending", {}),
        (202, "POST", "/v1/events", {"json": ONE_EVENT}),
        (404, "GET", "/v1/products/gone", {}),
        (404, "GET", "/nowhere", {}),
        (405, "DELETE", "/v1/trending", {}),
        (413, "POST", "/retrieve", {"content": b" " * 1001}),
        (422, "GET", "/v1/trending?k=0", {}),
        (422, "POST", "/retrieve", {"content": b"\xff", "headers": {"Content-Type": "application/json"}}),
        (500, "GET", "/broken", {}),
    ],
)
def test_every_answer_has_the_security_headers(
    small: httpx.Client, status: int, method: str, url: str, options: dict[str, Any]
) -> None:
    answer = small.request(method, url, **options)
    assert answer.status_code == status
    assert (HEADERS | JSON_HEADERS).items() <= answer.headers.items()
    assert len(answer.headers["x-request-id"]) == 32
    if status >= 400:
        problem_of(answer, status)


def test_a_refused_request_has_the_security_headers(locked: tuple[httpx.Client, dict[Scope, Any]]) -> None:
    assert (HEADERS | JSON_HEADERS).items() <= locked[0].get("/v1/trending").headers.items()


@pytest.mark.parametrize("url", ["/", "/static/shop/main.js", "/docs", "/docs/assets/swagger-ui.css"])
def test_pages_have_the_security_headers_too(small: httpx.Client, url: str) -> None:
    answer = small.get(url)
    assert answer.status_code == 200
    assert HEADERS.items() <= answer.headers.items()


def test_the_methods_that_a_route_has_are_named(small: httpx.Client) -> None:
    assert small.delete("/v1/trending").headers["allow"] == "GET"
    assert small.get("/v1/events").headers["allow"] == "POST"


def test_errors_say_nothing_of_the_server(small: httpx.Client) -> None:
    answer = small.get("/broken")
    assert problem_of(answer, 500)["detail"] == "an unexpected error; the server's log has it under the request_id"
    for word in ("secret", "10.1.2.3", "/var", "Traceback", "RuntimeError"):
        assert word not in answer.text


@pytest.mark.parametrize(
    ("given", "echoed"),
    [("order-17.A_b", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ('"><script>', False), ("", False)],
)
def test_a_request_id_is_echoed_only_when_harmless(small: httpx.Client, given: str, echoed: bool) -> None:
    answer = small.get("/v1/trending?k=0", headers={"X-Request-ID": given})
    assert (answer.headers["x-request-id"] == given) is echoed
    assert problem_of(answer, 422)["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_long_is_refused(small: httpx.Client, chunked: bool) -> None:
    body = b'{"interactions": []' + b" " * 1000 + b"}"
    answer = small.post("/retrieve", content=iter([body[:500], body[500:]]) if chunked else body)
    assert "1000 bytes" in problem_of(answer, 413)["detail"]
    assert small.post("/retrieve", json={"interactions": []}).status_code == 200  # the next one is heard


def test_a_body_that_comes_too_slowly_is_refused(small: httpx.Client) -> None:
    with socket.create_connection((small.base_url.host, small.base_url.port or 0), timeout=10) as line:
        line.sendall(b"POST /retrieve HTTP/1.1\r\nHost: shop\r\nContent-Length: 20\r\n\r\n{")
        answer = b""
        while part := line.recv(65536):  # to its end: the connection is closed
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 408


def test_only_configured_origins_may_read_answers(small: httpx.Client) -> None:
    allowed = small.get("/v1/trending", headers={"Origin": ORIGIN})
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert "X-Request-ID" in allowed.headers["access-control-expose-headers"]
    other = small.get("/v1/trending", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_only_configured_origins_may_send_keys(small: httpx.Client) -> None:
    preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    allowed = small.options("/retrieve", headers={"Origin": ORIGIN} | preflight)
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert small.options("/retrieve", headers={"Origin": "https://evil.example"} | preflight).status_code == 400


def test_without_origins_there_is_no_cors(client: httpx.Client) -> None:
    answer = client.get("/v1/trending", headers={"Origin": ORIGIN})
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_log_lines_name_neither_buyers_nor_keys(
    config: Config, runtime: Runtime, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = in_folder(config, tmp_path)
    headers = make_key(shop, "storefront", list(Scope))
    event = {"buyer_id": "private-buyer", "product_id": "p1", "event_type": "view"}
    with serving(create_app(shop, runtime)) as client:
        client.get("/v1/buyers/private-buyer/recommendations", headers=headers)
        client.post("/v1/events", json={"events": [event, event | {"product_id": "unknown"}]}, headers=headers)
        client.post("/v1/recommendations", json={"buyer_id": "private-buyer", "k": 0}, headers=headers)
        client.get("/v1/buyers/private-buyer/recommendations", headers={"X-API-Key": "tw_private-key"})
    written = capfd.readouterr().err
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert [line["status"] for line in lines if "route" in line] == [200, 202, 422, 401]
    assert lines[0]["api_key"] == "storefront"
    assert lines[0]["buyer"]
    for secret in ("private", headers["X-API-Key"], headers["X-API-Key"].split("_", 2)[2]):
        assert secret not in written


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv6_network_has_one_limit(host: str, bucket: str) -> None:
    assert _address(Request({"type": "http", "client": (host, 1), "headers": []})) == bucket
