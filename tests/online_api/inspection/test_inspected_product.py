"""A product as the inspector shows it: its values, its popularity, the parts of its vector, its nearest products."""

import httpx
import numpy as np
import pytest

from online_api.runtime import Runtime
from online_api.schemas.inspection import InspectedMap, InspectedProduct
from tests.online_api.api_shop import body_of, problem_of

pytestmark = pytest.mark.store


def test_values_are_those_of_the_release_and_of_the_store(client: httpx.Client) -> None:
    body = body_of(client.get("/v1/inspect/products/p2"), InspectedProduct)
    assert (body["title"], body["category"], body["stock"], body["hidden"]) == ("Smartphone 128GB", "phones", 0, False)
    values = {"price": 799.5, "regular_price": None, "currency": None, "stock": 0, "hidden": False}
    assert body["released"] == body["stored"] == values
    unknown = body_of(client.get("/v1/inspect/products/p5"), InspectedProduct)
    assert (unknown["stored"]["price"], unknown["stored"]["stock"]) == (None, None)


def test_popularity_is_that_of_the_release(client: httpx.Client) -> None:
    # api_shop.publish_random_release: positions 3, 2, 1, 0 and then 4 are popular in this order.
    ranks = {
        product_id: body_of(client.get(f"/v1/inspect/products/{product_id}"), InspectedProduct)["popularity"]["rank"]
        for product_id in ("p1", "p2", "p3", "p4", "p5")
    }
    assert ranks == {"p4": 1, "p3": 2, "p2": 3, "p1": 4, "p5": 5}


def test_nearest_products_are_those_of_the_highest_cosine(client: httpx.Client, runtime: Runtime) -> None:
    recommender = runtime.keeper.live.recommender
    vectors = recommender.product_vectors(np.arange(5))
    cosines = vectors @ vectors[recommender.products.position_of("p1")]
    expected = [f"p{place + 1}" for place in np.argsort(-cosines) if f"p{place + 1}" != "p1"]
    body = body_of(client.get("/v1/inspect/products/p1?k=3"), InspectedProduct)
    assert [product["product_id"] for product in body["nearest"]] == expected[:3]
    assert [product["cosine"] for product in body["nearest"]] == pytest.approx(sorted(cosines, reverse=True)[1:4])


def test_the_parts_of_the_vector_add_up(client: httpx.Client) -> None:
    body = body_of(client.get("/v1/inspect/products/p3"), InspectedProduct)
    assert sum(body["vector_parts"].values()) == pytest.approx(1, abs=1e-4)
    assert body["has_identity"]  # the release has an id embedding for each product; they are all zeros
    assert body["vector_parts"]["identity"] == 0


def test_an_unknown_product_is_not_found(client: httpx.Client) -> None:
    assert "does not know" in problem_of(client.get("/v1/inspect/products/nowhere"), 404)["detail"]


def test_the_map_has_the_products_with_their_categories(client: httpx.Client) -> None:
    body = body_of(client.get("/v1/inspect/map"), InspectedMap)
    names = {
        point["product_id"]: point["category"] and body["categories"][point["category"]] for point in body["points"]
    }
    assert names["p4"] == "shoes"
    assert names["p5"] is None
    assert body["n_products"] == len(body["points"]) == 5
