"""What the re-scorer adds to the lists for a buyer, through real HTTP, Feast and Valkey."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from online_api.app import create_app
from online_api.runtime import Runtime
from tests.online_api.api_shop import (
    BAZAAR_EVENTS,
    BAZAAR_POPULAR,
    BAZAAR_PRODUCTS,
    Json,
    body_of,
    ids_of,
    interaction,
    items_of,
    open_shop,
)
from tests.serving import serving
from training.artifacts.scoring.rescorer import Rescorer

pytestmark = pytest.mark.store

RESCORER = Rescorer(
    popularity_weight=0.5,
    new_popularity_weight=0.25,
    repeat_weight=4.0,
    closeness_weight=0.25,
    new_closeness_weight=0.5,
    co_occurrence_weight=2.0,
    new_co_occurrence_weight=8.0,
)
URL = "/v1/buyers/b1/recommendations"


@pytest.fixture(scope="module")
def bazaar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("bazaar"), BAZAAR_PRODUCTS, BAZAAR_EVENTS, rescorer=RESCORER) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(bazaar: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(bazaar.config, bazaar)) as client:
        yield client


def parts(answer: httpx.Response, part: str) -> dict[str, float]:
    """One part of every product's score."""
    return {item["product_id"]: item["score_parts"][part] for item in items_of(answer)}


def counted_lately(bazaar: Runtime, weight: float) -> dict[str, Any]:
    """The popularity terms: the product at position p had p buyers."""
    products = bazaar.keeper.live.recommender.products
    return {one: pytest.approx(weight * math.log1p(products.position_of(one)), abs=1e-6) for one in BAZAAR_POPULAR}


def test_a_buyer_gets_again_what_was_bought_before(client: httpx.Client, bazaar: Runtime) -> None:
    answer = client.get(URL)
    # Purchases weigh 1, a view 0.1, and m9 was merged into m1; 4 is more than similarity and popularity can outweigh.
    repeated = {"t1": 4 * math.log(2), "m1": 4 * math.log(2), "t3": 4 * math.log(1.1)}
    assert parts(answer, "repeat") == pytest.approx({one: repeated.get(one, 0) for one in BAZAAR_POPULAR}, abs=1e-6)
    assert parts(answer, "popularity") == counted_lately(bazaar, 0.5)
    assert set(ids_of(answer)[:2]) == {"t1", "m1"}
    scores = [item["score"] for item in items_of(answer)]
    assert scores == sorted(scores, reverse=True)
    buyer = client.post("/encode_buyer", json={"buyer_id": "b1"}).json()["embedding"]
    recommender = bazaar.keeper.live.recommender
    for product_id, similarity in parts(answer, "similarity").items():
        [vector_D] = recommender.product_vectors(np.array([recommender.products.position_of(product_id)]))
        assert similarity == pytest.approx(vector_D @ buyer, abs=1e-5)


def test_a_purchase_older_than_the_history_counts(tmp_path: Path) -> None:
    """Of b1's events the tower reads one, whichever is the last."""
    short = {"buyer_tower": {"max_interaction_history": 1}}
    with (
        open_shop(tmp_path, BAZAAR_PRODUCTS, BAZAAR_EVENTS, rescorer=RESCORER, model=short) as runtime,
        serving(create_app(runtime.config, runtime)) as client,
    ):
        assert len(runtime.store.online.read_sequence("b1").product_keys) == 1
        term = parts(client.get(URL), "repeat")
        assert [term["t1"], term["m1"]] == pytest.approx([4 * math.log(2), 4 * math.log(2)])
        event = {"events": [{"buyer_id": "b1", **interaction("t1", "purchase")}]}
        assert client.post("/v1/events", json=event).status_code < 300
        term = parts(client.get(URL), "repeat")
        assert [term["t1"], term["m1"]] == pytest.approx([4 * math.log(3), 4 * math.log(2)])


def test_a_list_of_new_products_repeats_nothing(client: httpx.Client, bazaar: Runtime) -> None:
    answer = client.get(URL, params={"new_only": True})
    new = set(BAZAAR_POPULAR) - {"t1", "m1"}
    assert set(ids_of(answer)) == new
    assert set(parts(answer, "repeat").values()) == {0}
    expected = counted_lately(bazaar, 0.25)
    assert parts(answer, "popularity") == {one: expected[one] for one in new}


def test_a_session_repeats_its_own_products(client: httpx.Client) -> None:
    interactions = [interaction("m9", "purchase"), interaction("t4"), interaction("gone")]  # t4 is hidden
    answer = client.post("/v1/recommendations", json={"buyer_id": "b1", "interactions": interactions})
    assert {one: term for one, term in parts(answer, "repeat").items() if term} == pytest.approx(
        {"m1": 4 * math.log(2)}, abs=1e-6
    )
    assert "t4" not in ids_of(answer)


@pytest.mark.parametrize("new_only", [False, True])
def test_products_close_to_one_of_the_buyers_gain(client: httpx.Client, bazaar: Runtime, new_only: bool) -> None:
    recommender = bazaar.keeper.live.recommender
    # b1 bought t1 and m1 (as m9) and viewed t3.
    own = [recommender.products.position_of(one) for one in ("t1", "m1", "t3")]
    for product_id, term in parts(client.get(URL, params={"new_only": new_only}), "closeness").items():
        position = recommender.products.position_of(product_id)
        similarities = recommender.product_vectors(np.array(own)) @ recommender.product_vectors(np.array([position]))[0]
        closest = max(0 if one == position else value for one, value in zip(own, similarities.tolist(), strict=True))
        assert term == pytest.approx((0.5 if new_only else 0.25) * closest, abs=1e-5)
        assert term != 0


@pytest.mark.parametrize("new_only", [False, True])
def test_what_other_buyers_of_the_history_chose_gains(client: httpx.Client, new_only: bool) -> None:
    # Only b1 chose anything twice: t1, m1 (as m9) and t3 have one buyer each, the same one.
    terms = parts(client.get(URL, params={"new_only": new_only}), "co_occurrence")
    # t3 was viewed last, m1 a moment before, t1 two moments before.
    weights = {"t3": 1.0, "m1": 0.8, "t1": 0.64}
    norm = math.sqrt(sum(weight**2 for weight in weights.values()))
    for product_id, term in terms.items():
        voters = sum(weight for one, weight in weights.items() if one != product_id) if product_id in weights else 0
        assert term == pytest.approx((8 if new_only else 2) * voters / (1 + 10) / norm, abs=1e-6), product_id
    assert sum(term > 0 for term in terms.values()) == (1 if new_only else 3)


def test_repeats_obey_conditions(client: httpx.Client) -> None:
    body: Json = {"buyer_id": "b1", "filters": {"categories": ["tea"]}, "exclude": ["t1"]}
    assert set(ids_of(client.post("/v1/recommendations", json=body))) == {"t2", "t3"}
    assert ids_of(client.get(URL, params={"category": "tea", "k": 2}))[0] == "t1"
    assert len(ids_of(client.get(URL, params={"max_per_category": 1}))) == 3


@pytest.mark.parametrize("path", ["trending", "products/t1/similar", "buyers/nobody/recommendations"])
def test_other_lists_have_no_terms(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/{path}")
    assert body_of(answer)["source"] in ("popular", "similar")
    for part in ("popularity", "repeat", "co_occurrence", "closeness"):
        assert set(parts(answer, part).values()) == {0}


def test_a_list_of_one_is_the_first_of_a_longer_one(client: httpx.Client) -> None:
    every = ids_of(client.get(URL, params={"k": 100}))
    assert [ids_of(client.get(URL, params={"k": k})) for k in (1, 3, 7)] == [every[:k] for k in (1, 3, 7)]
