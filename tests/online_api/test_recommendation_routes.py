"""What a storefront reads, through real HTTP, Feast and Valkey."""

from http import HTTPStatus
from typing import Any

import httpx
import numpy as np
import pytest
from api_shop import DIM, N_PRODUCTS

POPULAR = ["p4", "p3", "p2", "p1", "p5"]


def interaction(product_id: str, event_type: str = "view", **more: Any) -> dict[str, Any]:
    return {"product_id": product_id, "event_type": event_type, **more}


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["product_id"] for item in answer.json()["items"]]


def retrieve(client: httpx.Client, *interactions: dict[str, Any], **more: Any) -> httpx.Response:
    return client.post("/retrieve", json={"interactions": list(interactions), **more})


def encode(client: httpx.Client, *interactions: dict[str, Any], **more: Any) -> Any:
    answer = client.post("/encode_buyer", json={"interactions": list(interactions), **more})
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["embedding"])


def test_health_names_release_and_parts(client: httpx.Client) -> None:
    health = client.get("/health").json()
    assert health.pop("release")
    assert health == {"status": "ok", "products": N_PRODUCTS, "embedding_dim": DIM, "feature_store": "ok"}


def test_stored_history_gives_personalised_products(client: httpx.Client) -> None:
    answer = client.get("/v1/buyers/u1/recommendations", params={"k": 3})
    assert len(ids(answer)) == 3
    body = answer.json()
    assert (body["buyer_id"], body["source"]) == ("u1", "personalised")
    assert body["release"] == client.get("/health").json()["release"]
    scores = [item["score"] for item in body["items"]]
    assert scores == sorted(scores, reverse=True)
    # The same history as interactions of a request is the same buyer, so it gives the same products.
    session = retrieve(client, interaction("p1"), interaction("p1", "add_to_cart"), k=3)
    assert ids(session) == ids(answer)
    assert session.json()["source"] == "session"


def test_two_buyers_get_their_own(client: httpx.Client) -> None:
    first, second = (client.get(f"/v1/buyers/{buyer}/recommendations").json() for buyer in ("u1", "u2"))
    assert [item["score"] for item in first["items"]] != [item["score"] for item in second["items"]]


def test_bought_products_may_come_back(client: httpx.Client) -> None:
    assert "p3" in ids(client.get("/v1/buyers/u2/recommendations", params={"k": 100}))


def test_arabic_arrives_intact(client: httpx.Client) -> None:
    answer = retrieve(client, interaction("p1"))
    assert "هاتف ذكي ١٢٨ جيجا".encode() in answer.content
    product = next(item for item in answer.json()["items"] if item["product_id"] == "p1")
    del product["score"]
    assert product == {
        "product_id": "p1",
        "title": "هاتف ذكي ١٢٨ جيجا",
        "description": "شاشة ٦ بوصة",
        "brand": "نور",
        "category": "phones",
        "photo": None,
        "price": 799.5,
    }
    plain = next(item for item in answer.json()["items"] if item["product_id"] == "p5")
    assert (plain["brand"], plain["category"], plain["price"]) == (None, None, None)


@pytest.mark.parametrize("buyer_id", ["nobody", "لا أحد", "a/b", "x" * 256])
def test_unknown_buyer_gets_popular_products(client: httpx.Client, buyer_id: str) -> None:
    answer = client.get(f"/v1/buyers/{buyer_id}/recommendations")
    assert ids(answer) == POPULAR
    assert (answer.json()["buyer_id"], answer.json()["source"]) == (buyer_id, "popular")


def test_retrieve_falls_back_step_by_step(client: httpx.Client) -> None:
    stored = retrieve(client, buyer_id="u1")
    assert ids(client.post("/retrieve", json={"buyer_id": "u1"})) == ids(stored)
    assert stored.json()["source"] == "personalised"
    assert ids(stored) == ids(client.get("/v1/buyers/u1/recommendations"))
    for answer in (
        retrieve(client),
        retrieve(client, buyer_id="nobody"),
        retrieve(client, interaction("gone"), buyer_id="u1"),
    ):
        assert answer.json()["source"] == "popular"
        assert ids(answer) == POPULAR


def test_unknown_products_are_skipped(client: httpx.Client) -> None:
    known = encode(client, interaction("p1"), interaction("p3", "purchase"))
    mixed = encode(client, interaction("p1"), interaction("gone"), interaction("p3", "purchase"))
    np.testing.assert_array_equal(known, mixed)


def test_buyer_vector_has_unit_length(client: httpx.Client) -> None:
    vectors = [encode(client, interaction("p1")), encode(client), encode(client, buyer_id="u2")]
    for vector in vectors:
        assert vector.shape == (DIM,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(encode(client, interaction("gone")), encode(client))
    answer = client.post("/encode_buyer", json={"interactions": []}).json()
    assert answer["embedding_dim"] == DIM


@pytest.mark.parametrize("spelling", ["Add to Cart", "ADD-TO-CART", "addToCart", "add_to_cart"])
def test_event_types_in_any_spelling(client: httpx.Client, spelling: str) -> None:
    expected = encode(client, interaction("p1"), interaction("p2", "add_to_cart"))
    np.testing.assert_array_equal(encode(client, interaction("p1"), interaction("p2", spelling)), expected)


@pytest.mark.parametrize("time", ["2024-03-01T10:00:00Z", "2024-03-01 12:00:00+02:00", 1709287200, 1709287200000, None])
def test_timestamps_in_any_usual_form(client: httpx.Client, time: object) -> None:
    assert retrieve(client, interaction("p1", timestamp=time)).status_code == 200


def test_k_limits(client: httpx.Client) -> None:
    for k in (0, 101, "many"):
        assert client.get("/v1/buyers/u1/recommendations", params={"k": k}).status_code == 422
        assert retrieve(client, interaction("p1"), k=k).status_code == 422
    assert len(ids(client.get("/v1/buyers/u1/recommendations", params={"k": 1}))) == 1
    assert len(ids(retrieve(client, interaction("p1"), k=100))) == N_PRODUCTS
    assert len(ids(retrieve(client, k=100))) == N_PRODUCTS


def test_interaction_limit(client: httpx.Client) -> None:
    assert retrieve(client, *[interaction("p1")] * 100).status_code == 200
    for path in ("/retrieve", "/encode_buyer"):
        answer = client.post(path, json={"interactions": [interaction("p1")] * 101})
        assert answer.status_code == 422
        assert "100" in answer.json()["detail"]


def test_a_broken_interaction_is_named(client: httpx.Client) -> None:
    answer = retrieve(client, interaction("p1"), interaction("p2", "wishlist"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    field = "body.interactions.1.event_type"
    message = "unknown event type 'wishlist'; known are view, add_to_cart, purchase"
    assert answer.json() == {
        "type": "about:blank",
        "title": HTTPStatus(422).phrase,
        "status": 422,
        "detail": f"{field}: {message}",
        "errors": [{"field": field, "message": message}],
    }


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"interactions": [{"product_id": "  ", "event_type": "view"}]}',
        b'{"interactions": [{"product_id": "\\ud800", "event_type": "view"}]}',
        b'{"interactions": [{"product_id": "a\\u0000b", "event_type": "view"}]}',
        b'{"interactions": [{"product_id": "p1", "event_type": "view", "timestamp": NaN}]}',
        b'{"interactions": [{"product_id": "p1", "event_type": "view", "timestamp": 1e300}]}',
        b'{"interactions": [{"product_id": "p1", "event_type": "view", "timestamp": 1' + b"0" * 400 + b"}]}",
        b'{"interactions": [{"product_id": "p1", "event_type": "view", "timestamp": "yesterday"}]}',
        b'{"interactions": [], "buyer_id": "' + b"x" * 257 + b'"}',
        b'\xff{"interactions": []}',
    ],
)
def test_broken_requests_are_problems(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/retrieve", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail"} <= answer.json().keys()


def test_unknown_routes_are_problems(client: httpx.Client) -> None:
    for answer, status in ((client.get("/nothing"), 404), (client.get("/retrieve"), 405)):
        assert (answer.status_code, answer.json()["status"]) == (status, status)
        assert answer.headers["content-type"] == "application/problem+json"
