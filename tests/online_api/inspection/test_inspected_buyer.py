"""A buyer as the inspector shows it: all stored events, the model's own attention, and a list whose parts add up."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import redis
import torch
from numpy.testing import assert_allclose

from feature_repo.transforms.keys import product_key
from feature_repo.transforms.sequences import sequence
from online_api.app import create_app
from online_api.runtime import Runtime
from online_api.schemas.inspection import InspectedBuyer
from tests.online_api.api_shop import EVENTS, PRODUCTS, Json, body_of, items_of, open_shop
from tests.serving import serving
from training.artifacts.model import load_model
from training.data.histories import Histories
from training.model.aggregators import Pooling
from training.model.prefixes import prefixes_of

pytestmark = pytest.mark.store

VIEW, CART, PURCHASE = 0, 1, 2
NOON = 1_709_553_600_000  # 2024-03-04 12:00, after the two events of u1 in the files
U1 = "/v1/inspect/buyers/u1"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A shop with room for four events per buyer: u1 has two of the files, and four that were pushed."""
    tower = {"buyer_tower": {"max_interaction_history": 4}}
    with open_shop(tmp_path_factory.mktemp("shop"), PRODUCTS, EVENTS, model=tower) as runtime:
        keys = [product_key(product_id) for product_id in ("p3", "gone", "p4", "p1")]
        pushed = sequence(keys, [VIEW, VIEW, PURCHASE, CART], [NOON, NOON + 1, NOON + 2, NOON + 3])
        runtime.online.push_events({"u1": pushed})
        yield runtime


@pytest.fixture(scope="module")
def client(shop: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(shop.config, shop)) as client:
        yield client


def inspected(client: httpx.Client, url: str = U1) -> Json:
    return body_of(client.get(url), InspectedBuyer)


def test_the_events_are_those_of_the_store_newest_first(client: httpx.Client) -> None:
    body = inspected(client)
    events = [
        (event["number"], event["product_id"], event["event_type"], event["stored_in"], event["left_out"])
        for event in body["events"]
    ]
    assert events == [
        (1, "p1", "add_to_cart", ["pushed"], None),
        (2, "p4", "purchase", ["pushed"], None),
        (3, None, "view", ["pushed"], "unknown_product"),
        (4, "p3", "view", ["pushed"], None),
        (5, "p1", "add_to_cart", ["materialized"], "too_old"),
        (6, "p1", "view", ["materialized"], "too_old"),
    ]
    assert body["max_events"] == 4
    assert [event["timestamp"] for event in body["events"][:4]] == [NOON + 3, NOON + 2, NOON + 1, NOON]
    assert [event["weight"] for event in body["events"][:2]] == [5, 10]
    assert body["events"][2]["product_key"] == str(product_key("gone"))


def test_attention_is_the_models_own(shop: Runtime, client: httpx.Client) -> None:
    body = inspected(client)
    found = {event["number"]: event["attention"] for event in body["events"]}
    assert {number for number, share in found.items() if share is None} == {3, 5, 6}
    recommender = shop.keeper.live.recommender
    products = np.array([recommender.products.position_of(product_id) for product_id in ("p3", "p4", "p1")])
    pooling = load_model(recommender.model_folder)[0].buyer_tower.aggregate
    assert isinstance(pooling, Pooling)
    types, times = np.array([VIEW, PURCHASE, CART], dtype=np.int32), np.array([NOON, NOON + 2, NOON + 3])
    timeline = Histories(np.array([0, 3]), np.arange(3, dtype=np.int32), types, times)
    with torch.inference_mode():
        vectors = torch.from_numpy(recommender.product_vectors(products))
        shares = pooling.shares(vectors, prefixes_of(timeline, np.array([0]), np.array([3]))).numpy()
    assert_allclose([found[4], found[2], found[1]], shares, rtol=1e-5)
    assert sum(share or 0 for share in found.values()) == pytest.approx(1, abs=1e-6)


def test_the_list_is_that_of_the_buyer_and_its_parts_add_up(client: httpx.Client) -> None:
    items = inspected(client)["items"]
    listed = items_of(client.get("/v1/buyers/u1/recommendations?k=20"))
    assert [item["product_id"] for item in items] == [item["product_id"] for item in listed]
    for item, own in zip(items, listed, strict=True):
        assert (item["score"], item["score_parts"]) == (own["score"], own["score_parts"])
        assert item["score"] == pytest.approx(sum(item["score_parts"].values()))
        parts = item["similarity_parts"]
        events = sum(event["contribution"] for event in parts["events"])
        total = events + parts["other_events"] + parts["every_buyer"]
        assert total == pytest.approx(item["score_parts"]["similarity"], abs=1e-6)
        by_number = {event["number"]: event["contribution"] for event in parts["events"]}
        assert set(by_number) == {1, 2, 4}
        # The API names the event of the largest contribution first.
        for reason in own["because"]:
            assert reason["contribution"] == pytest.approx(by_number[{"p1": 1, "p4": 2, "p3": 4}[reason["product_id"]]])


def test_conditions_remove_products_and_say_so(client: httpx.Client) -> None:
    body = inspected(client, f"{U1}?in_stock=true&new_only=true&k=2")
    assert body["dropped"] == {"out_of_stock": 1, "purchased": 1}  # p2 is sold out, u1 bought p4
    assert body["matching"] == 3
    assert len(body["items"]) == 2
    assert body["n_purchases"] == 1


def test_places_are_those_of_the_map(shop: Runtime, client: httpx.Client) -> None:
    body, points = inspected(client), client.get("/v1/inspect/map").json()["points"]
    places = {point["product_id"]: point["place"] for point in points}
    assert len(places) == 5
    for entry in (*body["events"], *body["items"]):
        assert entry["place"] == places.get(entry["product_id"])


def test_a_buyer_without_events_gets_popular_products(client: httpx.Client) -> None:
    body = inspected(client, "/v1/inspect/buyers/nobody")
    assert (body["source"], body["events"]) == ("popular", [])
    for item in body["items"]:
        assert item["similarity_parts"]["every_buyer"] == item["score_parts"]["similarity"]


def test_without_a_store_the_answer_says_so(
    shop: Runtime, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise redis.ConnectionError("away")

    monkeypatch.setattr(shop.online, "read_stored", fail)
    body = inspected(client)
    assert (body["source"], body["degraded"], body["events"]) == ("popular", ["feature_store"], [])


def test_a_merged_products_events_are_those_of_the_product_that_stands_for_it(tmp_path: Path) -> None:
    products = PRODUCTS + "p6,running  SHOES,,,shoes,99,1\n"  # ingest merges it into p4
    with open_shop(tmp_path, products, EVENTS) as runtime, serving(create_app(runtime.config, runtime)) as client:
        runtime.online.push_events({"u9": sequence([product_key("p6")], [VIEW], [NOON])})
        [event] = inspected(client, "/v1/inspect/buyers/u9")["events"]
        assert (event["product_id"], event["stored_in"], event["attention"]) == ("p4", ["pushed"], 1)
