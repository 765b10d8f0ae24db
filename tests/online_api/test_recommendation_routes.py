"""What a storefront reads about buyers, through real HTTP, Feast and Valkey; test_list_conditions.py has the rest."""

from http import HTTPStatus
from typing import Any

import httpx
import numpy as np
import pytest

from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.sequences import sequence
from online_api.schemas.responses import EncodeBuyerResponse, Health, Liveness
from tests.online_api.api_shop import DIM, N_PRODUCTS, Json, body_of, ids_of, interaction, items_of, problem_of
from training.artifacts.recommender import Recommender

pytestmark = pytest.mark.store

POPULAR = ["p4", "p3", "p2", "p1", "p5"]
NOON = 1_764_000_000_000  # some moment in the past, in milliseconds


def retrieve(client: httpx.Client, *interactions: Json, **more: Any) -> httpx.Response:
    return client.post("/retrieve", json={"interactions": list(interactions), **more})


def encode(client: httpx.Client, *interactions: Json, **more: Any) -> Any:
    answer = client.post("/encode_buyer", json={"interactions": list(interactions), **more})
    return np.array(body_of(answer, EncodeBuyerResponse)["embedding"])


def test_health_names_release_and_parts(client: httpx.Client) -> None:
    health = body_of(client.get("/health"), Health)
    assert body_of(client.get("/readyz"), Health) == health
    assert health.pop("release")
    assert health == {
        "status": "ok",
        "products": N_PRODUCTS,
        "embedding_dim": DIM,
        "feature_store": "ok",
        "rules": "ok",
        "synonyms": "ok",
        "pending_events": 0,
    }
    assert body_of(client.get("/livez"), Liveness) == {"status": "ok"}


def test_stored_history_gives_personalised_products(client: httpx.Client) -> None:
    answer = client.get("/v1/buyers/u1/recommendations", params={"k": 3})
    body = body_of(answer)
    assert (body["buyer_id"], body["source"], body["degraded"]) == ("u1", "personalised", [])
    assert body["release"] == body_of(client.get("/health"), Health)["release"]
    assert (body["matching"], body["dropped"]) == (N_PRODUCTS, {})
    assert body["features"]["last_event"] == 1_709_287_260_000  # 2024-03-01 10:01, the add_to_cart of api_shop.EVENTS
    assert body["features"]["built"] > body["features"]["last_event"]
    scores = [item["score"] for item in items_of(answer)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    # The same history as interactions of a request is the same buyer, so it gives the same products.
    session = retrieve(client, interaction("p1"), interaction("p1", "add_to_cart"), k=3)
    assert ids_of(session) == ids_of(answer)
    assert (body_of(session)["source"], body_of(session)["features"]) == ("session", None)


def test_every_route_about_a_buyer_gives_the_same(client: httpx.Client) -> None:
    expected = items_of(client.get("/v1/buyers/u2/recommendations"))
    assert len(expected) == N_PRODUCTS
    assert items_of(client.post("/v1/recommendations", json={"buyer_id": "u2"})) == expected
    assert items_of(retrieve(client, buyer_id="u2")) == expected


def test_two_buyers_get_their_own(client: httpx.Client) -> None:
    first, second = (items_of(client.get(f"/v1/buyers/{buyer}/recommendations")) for buyer in ("u1", "u2"))
    assert [item["score"] for item in first] != [item["score"] for item in second]


def test_bought_products_may_come_back(client: httpx.Client) -> None:
    assert "p3" in ids_of(client.get("/v1/buyers/u2/recommendations", params={"k": 100}))


def test_arabic_arrives_intact(client: httpx.Client) -> None:
    answer = retrieve(client, interaction("p1"))
    assert "هاتف ذكي ١٢٨ جيجا".encode() in answer.content
    products = {item["product_id"]: item for item in items_of(answer)}
    assert (
        products["p1"].items()
        >= {
            "title": "هاتف ذكي ١٢٨ جيجا",
            "description": "شاشة ٦ بوصة",
            "brand": "نور",
            "category": "phones",
            "photo": None,
            "price": 799.5,
            "stock": 3,
        }.items()
    )
    unknown = {"brand": None, "category": None, "price": None, "stock": None}
    assert products["p5"].items() >= unknown.items()
    assert products["p2"]["stock"] == 0


@pytest.mark.parametrize("buyer_id", ["nobody", "لا أحد", "a/b", "x" * 256])
def test_unknown_buyer_gets_popular_products(client: httpx.Client, buyer_id: str) -> None:
    answer = client.get(f"/v1/buyers/{buyer_id}/recommendations")
    assert ids_of(answer) == POPULAR
    body = body_of(answer)
    assert (body["buyer_id"], body["source"], body["features"]) == (buyer_id, "popular", None)
    assert [item["score"] for item in body["items"]] == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 1 / 5])
    assert [item["because"] for item in body["items"]] == [[]] * N_PRODUCTS


def test_retrieve_falls_back_from_session_to_stored_history_to_popular(client: httpx.Client) -> None:
    session = retrieve(client, interaction("p3", "purchase"), interaction("gone"), buyer_id="u1")
    assert body_of(session)["source"] == "session"
    assert items_of(session) != items_of(retrieve(client, buyer_id="u1"))
    stored = items_of(client.get("/v1/buyers/u1/recommendations"))
    for answer in (
        client.post("/retrieve", json={"buyer_id": "u1"}),
        retrieve(client, buyer_id="u1"),
        retrieve(client, interaction("gone"), buyer_id="u1"),
    ):
        assert body_of(answer)["source"] == "personalised"
        assert items_of(answer) == stored
    for answer in (
        retrieve(client),
        retrieve(client, interaction("gone")),
        retrieve(client, buyer_id="nobody"),
        retrieve(client, interaction("gone"), buyer_id="nobody"),
    ):
        assert body_of(answer)["source"] == "popular"
        assert ids_of(answer) == POPULAR


def test_a_list_names_the_two_events_that_speak_for_each_product(
    client: httpx.Client, recommender: Recommender
) -> None:
    types = ["view", "purchase", "add_to_cart", "view"]
    products = ["p1", "p3", "p4", "p3"]
    events_sent = [
        interaction(product_id, event_type, timestamp=NOON + place)
        for place, (product_id, event_type) in enumerate(zip(products, types, strict=True))
    ]
    keys = [recommender.products.product_key(product_id) for product_id in products]
    codes = [EVENT_TYPE_CODES[event_type] for event_type in types]
    events = sequence(keys, codes, [one["timestamp"] for one in events_sent])
    [buyer] = recommender.encode_buyers([recommender.known_events(events)])
    titles = {item["product_id"]: item["title"] for item in items_of(retrieve(client))}
    for item in items_of(retrieve(client, *events_sent, interaction("gone", timestamp=NOON + 9))):
        position = recommender.products.position_of(item["product_id"])
        (parts_L,) = recommender.contributions(buyer, np.array([position]))
        assert parts_L.sum() == pytest.approx(item["score_parts"]["similarity"], abs=1e-6)
        best = sorted(zip(parts_L.tolist(), events_sent, strict=True), key=lambda pair: -pair[0])[:2]
        expected = [(event, contribution) for contribution, event in best if contribution > 0]
        assert len(item["because"]) == len(expected)
        for reason, (event, contribution) in zip(item["because"], expected, strict=True):
            assert reason.pop("contribution") == pytest.approx(contribution, abs=1e-6)
            assert reason == event | {"title": titles[event["product_id"]]}


def test_all_of_a_score_comes_from_an_only_event(client: httpx.Client) -> None:
    explained = [item for item in items_of(retrieve(client, interaction("p4", "purchase"))) if item["because"]]
    assert explained
    for item in explained:
        (reason,) = item["because"]
        assert (reason["product_id"], reason["event_type"]) == ("p4", "purchase")
        assert reason["contribution"] == pytest.approx(item["score"], abs=1e-6)


def test_stored_events_are_named_too(client: httpx.Client) -> None:
    events = [
        {"buyer_id": "remembered", **interaction("p3", "purchase", timestamp=NOON)},
        {"buyer_id": "remembered", **interaction("p4", timestamp=NOON + 1)},
    ]
    assert client.post("/v1/events", json={"events": events}).json()["accepted"] == 2
    answer = client.get("/v1/buyers/remembered/recommendations")
    assert body_of(answer)["features"] == {"built": None, "last_event": NOON + 1}
    named = {
        (reason["product_id"], reason["event_type"], reason["timestamp"])
        for item in items_of(answer)
        for reason in item["because"]
    }
    assert named == {("p3", "purchase", NOON), ("p4", "view", NOON + 1)}


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
    answer = body_of(client.post("/encode_buyer", json={"interactions": []}), EncodeBuyerResponse)
    assert (answer["embedding_dim"], answer["degraded"]) == (DIM, [])


def test_the_vector_gives_the_scores_of_the_list(client: httpx.Client, recommender: Recommender) -> None:
    vector_D = encode(client, interaction("p1"), interaction("p3", "purchase"))
    for item in items_of(retrieve(client, interaction("p1"), interaction("p3", "purchase"))):
        position = recommender.products.position_of(item["product_id"])
        assert item["score"] == pytest.approx(recommender.similarity(vector_D, np.array([position]))[0], abs=1e-6)


@pytest.mark.parametrize("spelling", ["Add to Cart", "ADD-TO-CART", "addToCart", "add_to_cart"])
def test_event_types_in_any_spelling(client: httpx.Client, spelling: str) -> None:
    expected = encode(client, interaction("p1"), interaction("p2", "add_to_cart"))
    np.testing.assert_array_equal(encode(client, interaction("p1"), interaction("p2", spelling)), expected)


@pytest.mark.parametrize("time", ["2024-03-01T10:00:00Z", "2024-03-01 12:00:00+02:00", 1709287200, 1709287200000, None])
def test_timestamps_in_any_usual_form(client: httpx.Client, time: object) -> None:
    (reason,) = items_of(retrieve(client, interaction("p1", timestamp=time), k=1))[0]["because"]
    assert time is None or reason["timestamp"] == 1_709_287_200_000


def test_k_limits(client: httpx.Client) -> None:
    for k in (0, 101, "many"):
        problem_of(client.get("/v1/buyers/u1/recommendations", params={"k": k}), 422)
        problem_of(retrieve(client, interaction("p1"), k=k), 422)
    assert len(ids_of(client.get("/v1/buyers/u1/recommendations", params={"k": 1}))) == 1
    assert len(ids_of(retrieve(client, interaction("p1"), k=100))) == N_PRODUCTS
    assert len(ids_of(retrieve(client, k=100))) == N_PRODUCTS


def test_interaction_limit(client: httpx.Client) -> None:
    assert retrieve(client, *[interaction("p1")] * 100).status_code == 200
    for path in ("/retrieve", "/encode_buyer", "/v1/recommendations"):
        answer = client.post(path, json={"interactions": [interaction("p1")] * 101})
        assert "100" in problem_of(answer, 422)["detail"]


def test_a_broken_interaction_is_named(client: httpx.Client) -> None:
    problem = problem_of(retrieve(client, interaction("p1"), interaction("p2", "wishlist")), 422)
    assert problem.pop("request_id")
    field = "body.interactions.1.event_type"
    message = "event type 'wishlist' does not count; accepted are view, add_to_cart, purchase"
    assert problem == {
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
    assert answer.status_code in (400, 422)
    problem_of(answer, answer.status_code)


def test_unknown_routes_are_problems(client: httpx.Client) -> None:
    problem_of(client.get("/nothing"), 404)
    problem_of(client.get("/retrieve"), 405)
