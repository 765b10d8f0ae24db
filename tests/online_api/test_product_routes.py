"""Products: one, those like it, those that sell best, and prices that change while the service runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from online_api.app import create_app
from online_api.lists.list_request import ListRequest
from online_api.observability.metrics import Metrics
from online_api.runtime import Runtime, make_runtime
from online_api.schemas.responses import ProductDetails
from tests.online_api.api_shop import (
    BAZAAR_EVENTS,
    BAZAAR_POPULAR,
    BAZAAR_PRODUCTS,
    Json,
    body_of,
    ids_of,
    items_of,
    open_shop,
    problem_of,
    wait_for,
)
from tests.serving import serving

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def bazaar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("bazaar"), BAZAAR_PRODUCTS, BAZAAR_EVENTS) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(bazaar: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(bazaar.config, bazaar)) as client:
        yield client


def product(client: httpx.Client, product_id: str) -> Json:
    return body_of(client.get(f"/v1/products/{product_id}"), ProductDetails)


def similar(client: httpx.Client, product_id: str, **parameters: Any) -> httpx.Response:
    return client.get(f"/v1/products/{product_id}/similar", params=parameters)


# ---- One product


def test_a_product_in_full(client: httpx.Client, bazaar: Runtime) -> None:
    assert product(client, "t3") == {
        "product_id": "t3",
        "title": "شاي بالنعناع",
        "title_language": None,
        "description": "أوراق كاملة",
        "brand": "نور",
        "category": "tea",
        "group_id": None,
        "photo": None,
        "price": 40,
        "regular_price": None,
        "currency": None,
        "stock": None,
        "hidden": False,
        "release": bazaar.keeper.live.recommender.name,
    }


@pytest.mark.parametrize("product_id", ["m/2", "m%2F2", "فنجان", "%D9%81%D9%86%D8%AC%D8%A7%D9%86"])
def test_ids_may_hold_slashes_and_arabic(client: httpx.Client, product_id: str) -> None:
    known = product(client, product_id)["product_id"]
    assert known in ("m/2", "فنجان")
    assert set(ids_of(similar(client, product_id))) == set(BAZAAR_POPULAR) - {known}


def test_a_merged_id_gives_the_product_that_stands_for_it(client: httpx.Client) -> None:
    assert product(client, "m9") == product(client, "m1")
    assert items_of(similar(client, "m9")) == items_of(similar(client, "m1"))


def test_a_hidden_product_says_so(client: httpx.Client) -> None:
    assert product(client, "t4")["hidden"]


@pytest.mark.parametrize("product_id", ["gone", "m/3", "لا شيء", "x" * 256])
def test_an_unknown_product_is_a_problem(client: httpx.Client, product_id: str) -> None:
    assert problem_of(client.get(f"/v1/products/{product_id}"), 404)["title"] == "Not Found"


@pytest.mark.parametrize("product_id", ["x" * 257, "a%00b", "%20"])
def test_a_broken_id_is_a_problem(client: httpx.Client, product_id: str) -> None:
    problem_of(client.get(f"/v1/products/{product_id}"), 422)
    problem_of(similar(client, product_id), 422)


# ---- Those like it


def test_similar_products_leave_itself_out(client: httpx.Client, bazaar: Runtime) -> None:
    recommender = bazaar.keeper.live.recommender
    answer = similar(client, "t1")
    body = body_of(answer)
    assert (body["source"], body["buyer_id"], body["features"]) == ("similar", None, None)
    assert body["dropped"] == {"hidden": 2, "excluded": 1}
    assert set(ids_of(answer)) == set(BAZAAR_POPULAR) - {"t1"}
    [vector_D] = recommender.product_vectors(np.array([recommender.products.position_of("t1")]))
    for item in items_of(answer):
        position = recommender.products.position_of(item["product_id"])
        assert item["score"] == pytest.approx(recommender.similarity(vector_D, np.array([position]))[0], abs=1e-6)
        assert item["because"] == []
    scores = [item["score"] for item in items_of(answer)]
    assert scores == sorted(scores, reverse=True)
    assert ids_of(similar(client, "t1", k=2)) == ids_of(answer)[:2]


def test_similar_products_within_filters(client: httpx.Client) -> None:
    answer = similar(client, "t1", category="tea", in_stock=True)
    assert ids_of(answer) == ["t3"]
    assert body_of(answer)["dropped"] == {"hidden": 2, "out_of_stock": 1, "category": 4, "excluded": 1}
    assert ids_of(similar(client, "t4", category="tea", exclude="t2")) in (["t1", "t3"], ["t3", "t1"])


def test_nothing_is_like_an_unknown_product(client: httpx.Client) -> None:
    assert ids_of(similar(client, "gone")) == BAZAAR_POPULAR
    assert body_of(similar(client, "gone"))["source"] == "popular"
    within = similar(client, "gone", brand="Dallah")
    assert (ids_of(within), body_of(within)["source"]) == (["t1", "t2"], "popular_in_filter")


# ---- What sells best


def test_trending(client: httpx.Client) -> None:
    answer = client.get("/v1/trending", params={"k": 100})
    assert ids_of(answer) == BAZAAR_POPULAR
    body = body_of(answer)
    assert (body["source"], body["degraded"], body["matching"]) == ("popular", [], len(BAZAAR_POPULAR))
    assert ids_of(client.get("/v1/trending", params={"k": 2})) == BAZAAR_POPULAR[:2]
    within = client.get("/v1/trending", params={"category": ["mugs"], "max_price": 30})
    assert (ids_of(within), body_of(within)["source"]) == (["m1", "فنجان"], "popular_in_filter")
    for parameters in ({"k": 0}, {"k": 101}, {"colour": "red"}, {"min_price": "nan"}):
        problem_of(client.get("/v1/trending", params=parameters), 422)


# ---- What changes by the minute (last: it changes the shop)


def test_prices_stock_and_visibility_change_without_a_release(client: httpx.Client, bazaar: Runtime) -> None:
    release = bazaar.keeper.live.recommender.name
    content = BAZAAR_PRODUCTS
    for before, now in (
        ("Dallah,tea,20,5,false", "Dallah,tea,21.5,0,false"),  # t1
        ("Acme,mugs,60,1,false", "Acme,mugs,60,1,true"),  # m/2
        ("Dallah,tea,10,9,true", "Dallah,tea,,,false"),  # t4
    ):
        assert before in content
        content = content.replace(before, now)
    Path(str(bazaar.config.data.products_path)).write_text(content, encoding="utf-8")
    ingest(bazaar.config)
    build_features(bazaar.config)
    bazaar.store.materialize(full=False)
    wait_for(lambda: product(client, "t1")["price"] == 21.5)
    answer = client.get("/v1/trending")
    assert body_of(answer)["release"] == release
    assert body_of(answer)["dropped"] == {"hidden": 2}
    items = {item["product_id"]: item for item in items_of(answer)}
    assert items.keys() == set(BAZAAR_POPULAR) - {"m/2"} | {"t4"}
    assert (items["t1"]["price"], items["t1"]["stock"]) == (21.5, 0)
    assert (items["t4"]["price"], items["t4"]["stock"]) == (None, None)
    assert (items["m1"]["price"], items["m1"]["stock"]) == (15, 9)  # with the stock of m9
    assert product(client, "m/2")["hidden"]
    assert "t1" not in ids_of(client.get("/v1/trending", params={"in_stock": True}))
    assert ids_of(client.get("/v1/trending", params={"min_price": 21, "max_price": 22})) == ["t1"]

    # A service that starts now must not show what has been hidden since the release, not even at first.
    restarted = make_runtime(bazaar.config, bazaar.store, Metrics())
    (result,) = restarted.service.answer([ListRequest(k=10)])
    restarted.breaker.close()
    assert [item["product_id"] for item in result.payload["items"]] == ids_of(answer)


def test_a_condition_that_is_no_list_is_given_once(client: httpx.Client) -> None:
    answer = client.get("/v1/trending", params=[("max_price", "x"), ("max_price", "10")])
    assert problem_of(answer, 422)["errors"] == [{"field": "query.max_price", "message": "must be given once"}]
    assert client.get("/v1/trending", params=[("category", "tea"), ("category", "mugs")]).status_code == 200
