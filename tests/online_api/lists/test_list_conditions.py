"""Filters, exclusions, diversity and merchandising rules of lists, through real HTTP, Feast and Valkey."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from online_api.app import create_app
from online_api.runtime import Runtime
from online_api.schemas.responses import Health
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
    problem_of,
    wait_for,
)
from tests.serving import serving

pytestmark = pytest.mark.store

PRODUCTS_OF_RELEASE = 9
HIDDEN = {"t4", "m4"}
PARAMETERS = {"categories": "category", "brands": "brand"}  # of a query string, where it names them otherwise


@pytest.fixture(scope="module")
def bazaar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("bazaar")
    with open_shop(folder, BAZAAR_PRODUCTS, BAZAAR_EVENTS, api={"rules_path": folder / "rules.yaml"}) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(bazaar: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(bazaar.config, bazaar)) as client:
        yield client


def recommend(client: httpx.Client, **body: Any) -> httpx.Response:
    return client.post("/v1/recommendations", json=body)


def trending(client: httpx.Client, **parameters: Any) -> httpx.Response:
    return client.get("/v1/trending", params=parameters)


# ---- Filters


@pytest.mark.parametrize(
    ("filters", "expected", "dropped"),
    [
        ({"categories": ["tea"]}, ["t1", "t2", "t3"], {"category": 4}),
        ({"categories": ["tea", "mugs"]}, ["m1", "m/2", "t1", "t2", "t3", "فنجان"], {"category": 1}),
        ({"categories": ["tea", "no such"]}, ["t1", "t2", "t3"], {"category": 4}),
        ({"brands": ["نور"]}, ["t3", "فنجان"], {"brand": 5}),
        ({"brands": ["Nobody", "لا أحد"]}, [], {"brand": 7}),
        ({"min_price": 20}, ["m/2", "t1", "t2", "t3", "فنجان"], {"price": 2}),
        ({"min_price": 20, "max_price": 30}, ["t1", "t2", "فنجان"], {"price": 4}),
        ({"max_price": 0}, [], {"price": 7}),
        ({"in_stock": True}, ["m1", "m/2", "g1", "t1", "t3", "فنجان"], {"out_of_stock": 1}),
        (
            {"categories": ["tea"], "brands": ["Dallah"], "max_price": 25, "in_stock": True},
            ["t1"],
            {"out_of_stock": 1, "category": 4, "brand": 1},
        ),
        ({"categories": ["tea"], "brands": ["Acme"]}, [], {"category": 4, "brand": 3}),
    ],
)
def test_filters(client: httpx.Client, filters: Json, expected: list[str], dropped: dict[str, int]) -> None:
    parameters = {PARAMETERS.get(name, name): value for name, value in filters.items()}
    popular = trending(client, **parameters, k=100)
    personal = recommend(client, interactions=[interaction("m1")], filters=filters, k=100)
    assert ids_of(popular) == expected
    assert set(ids_of(personal)) == set(expected)
    assert set(ids_of(client.get("/v1/buyers/b2/recommendations", params=parameters | {"k": 100}))) == set(expected)
    for answer, source in ((popular, "popular_in_filter"), (personal, "session")):
        body = body_of(answer)
        assert (body["source"], body["matching"]) == (source, len(expected))
        assert body["dropped"] == {"hidden": len(HIDDEN), **dropped}
        assert body["matching"] + sum(body["dropped"].values()) == PRODUCTS_OF_RELEASE
    scores = [item["score"] for item in items_of(personal)]
    assert scores == sorted(scores, reverse=True)


def test_no_conditions_are_no_filter(client: httpx.Client) -> None:
    empty = {"filters": {"brands": [], "in_stock": False}, "exclude": [], "diversity": {}}
    for answer in (trending(client), recommend(client), recommend(client, **empty)):
        assert body_of(answer)["source"] == "popular"
        assert ids_of(answer) == BAZAAR_POPULAR


def test_an_unknown_buyer_gets_what_is_popular_in_the_filter(client: httpx.Client) -> None:
    answer = client.get("/v1/buyers/nobody/recommendations", params={"category": "tea", "k": 2})
    assert body_of(answer)["source"] == "popular_in_filter"
    assert ids_of(answer) == ["t1", "t2"]


def test_hidden_products_never_come_back(client: httpx.Client) -> None:
    for answer in (
        recommend(client, interactions=[interaction("t4"), interaction("m4")], k=100),
        recommend(client, interactions=[interaction("t1")], k=100, diversity={"lambda": 0.5}),
        trending(client, k=100),
        trending(client, brand=["Dallah", "Acme"], min_price=1, k=100),
        client.get("/v1/buyers/b1/recommendations", params={"k": 100}),
        client.get("/v1/products/t1/similar", params={"k": 100}),
    ):
        assert not HIDDEN & set(ids_of(answer))
        assert body_of(answer)["dropped"]["hidden"] == len(HIDDEN)


@pytest.mark.parametrize(
    ("filters", "field"),
    [
        ({"min_price": 2, "max_price": 1}, "min_price is above max_price"),
        ({"min_price": -1}, "min_price"),
        ({"max_price": "cheap"}, "max_price"),
        ({"brands": [""]}, "brand"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_broken_filter_is_named(client: httpx.Client, filters: Json, field: str) -> None:
    parameters = {PARAMETERS.get(name, name): value for name, value in filters.items()}
    for answer in (recommend(client, filters=filters), trending(client, **parameters)):
        assert field in problem_of(answer, 422)["detail"]


# ---- Exclusions


def test_excluded_products_are_left_out(client: httpx.Client) -> None:
    excluded = ["m9", "t1", "t1", "gone", "t4"]  # m9 was merged into m1; t4 is hidden anyway
    for answer in (trending(client, exclude=excluded), recommend(client, buyer_id="b2", exclude=excluded)):
        assert set(ids_of(answer)) == set(BAZAAR_POPULAR) - {"m1", "t1"}
        assert body_of(answer)["dropped"] == {"hidden": 2, "excluded": 2}
    assert body_of(trending(client, exclude=excluded))["source"] == "popular"
    problem_of(recommend(client, exclude=["x"] * 1001), 422)


def test_new_only_leaves_out_whatever_the_buyer_bought(client: httpx.Client) -> None:
    url = "/v1/buyers/b1/recommendations"
    assert {"m1", "t1"} <= set(ids_of(client.get(url)))
    answers = (
        client.get(url, params={"new_only": True}),
        recommend(client, buyer_id="b1", new_only=True),
        recommend(client, buyer_id="b1", new_only=True, interactions=[interaction("m/2")]),
    )
    for answer, source in zip(answers, ("personalised", "personalised", "session"), strict=True):
        body = body_of(answer)
        assert set(ids_of(answer)) == set(BAZAAR_POPULAR) - {"m1", "t1"}
        assert (body["source"], body["dropped"]) == (source, {"hidden": 2, "purchased": 2})
    strangers = client.get("/v1/buyers/nobody/recommendations", params={"new_only": True})
    assert ids_of(strangers) == BAZAAR_POPULAR


def test_new_only_knows_what_was_bought_a_moment_ago(client: httpx.Client) -> None:
    events = [
        {"buyer_id": "b3", "product_id": "g1", "event_type": "purchase"},
        {"buyer_id": "b3", "product_id": "m9", "event_type": "purchase"},
        {"buyer_id": "b3", "product_id": "t2", "event_type": "view"},
    ]
    assert client.post("/v1/events", json={"events": events}).json()["accepted"] == 3
    answer = client.get("/v1/buyers/b3/recommendations", params={"new_only": True, "exclude": "t1"})
    assert body_of(answer)["dropped"] == {"hidden": 2, "excluded": 1, "purchased": 2}
    assert set(ids_of(answer)) == set(BAZAAR_POPULAR) - {"g1", "m1", "t1"}


# ---- Diversity


def test_caps(client: httpx.Client) -> None:
    answer = trending(client, max_per_category=1)
    assert ids_of(answer) == ["m1", "g1", "t1"]  # what has no category is not limited
    assert body_of(answer)["matching"] == len(BAZAAR_POPULAR)
    assert ids_of(trending(client, max_per_brand=1)) == ["m1", "g1", "t1", "t3"]
    assert ids_of(trending(client, max_per_brand=1, max_per_category=1)) == ["m1", "g1", "t1"]
    body = {"interactions": [interaction("t1")], "diversity": {"max_per_brand": 1, "max_per_category": 2}}
    brands = [item["brand"] for item in items_of(recommend(client, **body)) if item["brand"]]
    assert sorted(brands) == ["Acme", "Dallah", "نور"]


def test_lambda_0_goes_by_difference_alone(client: httpx.Client, bazaar: Runtime) -> None:
    recommender = bazaar.keeper.live.recommender
    session = [interaction("t1"), interaction("m1", "purchase")]
    plain = ids_of(recommend(client, interactions=session))
    first, *others = ids_of(recommend(client, interactions=session, diversity={"lambda": 0}))
    assert first == plain[0]
    places = [recommender.products.position_of(product_id) for product_id in (first, *plain[1:])]
    vectors = recommender.product_vectors(np.array(places))
    likeness = vectors[1:] @ vectors[0]
    assert others[0] == plain[1:][int(np.argmin(likeness))]
    assert ids_of(recommend(client, interactions=session, diversity={"lambda": 1})) == plain
    by_query = client.get("/v1/products/t1/similar", params={"lambda": 0})
    assert ids_of(by_query) != ids_of(client.get("/v1/products/t1/similar"))
    for value in (-0.1, 1.1, "some"):
        problem_of(recommend(client, diversity={"lambda": value}), 422)
        problem_of(trending(client, **{"lambda": value}), 422)


# ---- Rules

BOOST_TEA = """
rules:
  - {name: tea week, action: boost, weight: 3, match: {categories: [tea]}}
"""
PIN_AND_BURY = """
rules:
  - {name: cards up, action: pin, position: 1, match: {product_ids: [g1]}}
  - {name: no leaves, action: bury, weight: 4, match: {product_ids: [m1, m/2]}}
  - {name: no Acme, action: bury, weight: 1, match: {brands: [Acme]}}
  - {name: secret, action: pin, position: 1, match: {product_ids: [t4]}}
  - {name: over, action: boost, weight: 9, match: {brands: [نور]}, end: 2020-01-01}
"""


@pytest.fixture
def put_rules(client: httpx.Client, bazaar: Runtime) -> Iterator[Callable[[str], None]]:
    """Writes the rules file; afterwards there is none and no rule."""
    path = bazaar.config.api.rules_path

    def put(content: str) -> None:
        path.write_text(content, encoding="utf-8")

    yield put
    path.unlink(missing_ok=True)
    wait_for(lambda: ids_of(trending(client)) == BAZAAR_POPULAR and rules_state(client) == "ok")


def rules_state(client: httpx.Client) -> str:
    state: str = body_of(client.get("/health"), Health)["rules"]
    return state


def test_rules_come_change_break_and_go_while_the_service_runs(
    client: httpx.Client, bazaar: Runtime, put_rules: Callable[[str], None]
) -> None:
    put_rules(BOOST_TEA)
    wait_for(lambda: ids_of(trending(client, k=3)) == ["t1", "t2", "t3"])
    put_rules(PIN_AND_BURY)
    wait_for(lambda: ids_of(trending(client))[0] == "g1")
    put_rules("rules: [{name: broken, action: boost}]")
    wait_for(lambda: rules_state(client) != "ok")
    assert "'broken'" in rules_state(client)
    assert body_of(client.get("/health"), Health)["status"] == "degraded"
    assert ids_of(trending(client))[0] == "g1"  # the rules before it stay in force
    bazaar.config.api.rules_path.unlink()
    wait_for(lambda: ids_of(trending(client)) == BAZAAR_POPULAR)
    assert rules_state(client) == "ok"


def test_a_list_names_the_rules_that_moved_its_products(client: httpx.Client, put_rules: Callable[[str], None]) -> None:
    before = {item["product_id"]: item for item in items_of(trending(client))}
    put_rules(PIN_AND_BURY)
    wait_for(lambda: ids_of(trending(client))[0] == "g1")
    for answer in (trending(client), recommend(client, interactions=[interaction("m1")])):
        items = items_of(answer)
        assert items[0]["product_id"] == "g1"
        assert {item["product_id"]: item["rules"] for item in items if item["rules"]} == {
            "g1": ["cards up"],
            "m1": ["no leaves", "no Acme"],
            "m/2": ["no leaves", "no Acme"],
        }
        adjustments = {item["product_id"]: item["score_parts"]["rules"] for item in items}
        assert adjustments == dict.fromkeys(BAZAAR_POPULAR, 0) | {"m1": -5, "m/2": -5}
        scores = [item["score"] for item in items[1:]]  # the pin stands above them whatever its score
        assert scores == sorted(scores, reverse=True)
        assert not HIDDEN & {item["product_id"] for item in items}
    for item in items_of(trending(client)):
        assert item["score_parts"]["similarity"] == before[item["product_id"]]["score"]
    assert ids_of(trending(client, category="tea")) == ["t1", "t2", "t3"]  # a pin does not pass a filter
    assert ids_of(trending(client, rules=False)) == BAZAAR_POPULAR
    assert "g1" not in ids_of(recommend(client, exclude=["g1"]))
    assert [item["rules"] for item in items_of(recommend(client, rules=False))] == [[]] * len(BAZAAR_POPULAR)


# ---- Together


def test_bodies_at_once_get_the_answers_that_they_get_alone(client: httpx.Client) -> None:
    bodies: list[Json] = [
        {"buyer_id": "b1"},
        {"buyer_id": "b2", "k": 2},
        {"buyer_id": "b1", "new_only": True},
        {"buyer_id": "nobody"},
        {"interactions": [interaction("t1")], "filters": {"brands": ["Acme"]}},
        {"interactions": [interaction("m9", "purchase"), interaction("g1")], "k": 100},
        {"interactions": [interaction("gone")], "diversity": {"max_per_category": 1}},
    ] * 10

    def listed(body: Json) -> list[tuple[str, float]]:
        return [(item["product_id"], item["score"]) for item in items_of(recommend(client, **body))]

    alone = [listed(body) for body in bodies[:7]] * 10
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(listed, bodies))
    for one, other in zip(alone, together, strict=True):
        assert [product_id for product_id, _ in other] == [product_id for product_id, _ in one]
        assert [score for _, score in other] == pytest.approx([score for _, score in one], abs=1e-5)
