"""What callers hear whose request is not plain JSON, and load balancers that ask with HEAD."""

import gzip

import httpx
import pytest

pytestmark = pytest.mark.store

BODY = b'{"events": []}'


@pytest.mark.parametrize("content_type", ["text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "x"])
def test_another_content_type_is_named(client: httpx.Client, content_type: str) -> None:
    # navigator.sendBeacon sends text/plain.
    for path in ("/v1/events", "/v1/recommendations"):
        answer = client.post(path, content=BODY, headers={"content-type": content_type})
        assert (answer.status_code, answer.json()["detail"]) == (415, "send content-type: application/json")


def test_a_missing_content_type_is_named(client: httpx.Client) -> None:
    answer = client.post("/v1/events", content=BODY)
    assert (answer.status_code, answer.json()["detail"]) == (415, "send content-type: application/json")


def test_a_compressed_body_is_named(client: httpx.Client) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = client.post("/v1/events", content=gzip.compress(BODY), headers=headers)
    assert answer.status_code == 415
    assert answer.json()["detail"] == "content-encoding 'gzip' is not supported; send the body uncompressed"
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.shop+json"]
)
def test_json_is_read(client: httpx.Client, content_type: str) -> None:
    headers = {"content-type": content_type, "content-encoding": "identity"}
    assert client.post("/v1/events", content=BODY, headers=headers).status_code == 202


def test_no_body_at_all_is_an_invalid_request(client: httpx.Client) -> None:
    assert client.post("/v1/events").status_code == 422


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health"])
def test_load_balancers_may_ask_with_head(client: httpx.Client, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
