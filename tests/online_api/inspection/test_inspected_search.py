"""A search as the inspector shows it: how the query is read, and parts of scores that add up to those of the search."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from online_api.app import create_app
from online_api.inspection.inspector import Inspector
from online_api.lists.list_request import NO_TEXT_ENCODER, ListRequest
from online_api.runtime import Runtime
from online_api.schemas.inspection import InspectedSearch
from tests.online_api.api_shop import BAZAAR_EVENTS, BAZAAR_PRODUCTS, Json, body_of, items_of, open_shop
from tests.serving import serving
from training.text.encoder import load_text_encoder

pytestmark = pytest.mark.store

SYNONYMS = "synonyms: [{query: [beaker], also: [mug]}]\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Iterator[Runtime]:
    """A shop of teas and mugs with a text encoder and a synonym."""
    folder = tmp_path_factory.mktemp("shop")
    encoder_id = load_text_encoder(str(tiny_encoder), tiny_encoder.parent).encoder_id
    (folder / "synonyms.yaml").write_text(SYNONYMS, encoding="utf-8")
    sections: Json = {
        "model": {"item_tower": {"text_encoder": str(tiny_encoder)}},
        "api": {"synonyms_path": str(folder / "synonyms.yaml")},
    }
    with open_shop(folder, BAZAAR_PRODUCTS, BAZAAR_EVENTS, text_encoder=encoder_id, **sections) as runtime:
        runtime.service.texts.load(runtime.keeper.live.recommender)
        yield runtime


@pytest.fixture(scope="module")
def client(shop: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(shop.config, shop)) as client:
        yield client


def inspected(client: httpx.Client, query: str) -> Json:
    return body_of(client.get("/v1/inspect/search", params={"q": query, "k": 5}), InspectedSearch)


@pytest.mark.parametrize("query", ["green tea", "black beaker", "شاي"])
def test_the_parts_add_up_to_the_scores_of_the_search(client: httpx.Client, query: str) -> None:
    body = inspected(client, query)
    listed = items_of(client.get("/v1/search", params={"q": query, "k": 5, "rules": False}))
    assert [item["product_id"] for item in body["items"]] == [item["product_id"] for item in listed]
    for item, own in zip(body["items"], listed, strict=True):
        assert item["score"] == pytest.approx(own["score"])
        assert (item["meaning"], item["spelling"]) == (own["score_parts"]["similarity"], own["score_parts"]["words"])
        assert item["meaning"] == pytest.approx(6 * item["cosine"])
        weight = 0.9 if item["by_text"] else 1
        assert item["spelling"] == pytest.approx(weight * (item["letters"] + item["consonants"]), rel=1e-6)


def test_matches_are_those_of_the_search(client: httpx.Client) -> None:
    facts = client.get("/v1/search", params={"q": "green tea", "k": 5}).json()["search"]
    body = inspected(client, "green tea")
    assert body["matching"] == facts["matching"]
    limits, [text] = body["limits"], body["texts"]
    matching = [item for item in body["items"] if item["matches_by"]]
    assert len(matching) == min(5, body["matching"])
    for item in body["items"]:
        assert ("spelling" in item["matches_by"]) == (item["alikeness"] >= text["alikeness_limit"])
        if "meaning" in item["matches_by"]:
            assert item["cosine"] >= limits["cosine"] - 1e-6
    assert body["items"][0]["product_id"] == "t1"


def test_the_query_is_shown_as_it_is_compared(client: httpx.Client) -> None:
    [text] = inspected(client, "GREEN  Teas")["texts"]
    assert text == {
        "text": "GREEN  Teas", "is_synonym": False, "spelled": "green tea", "consonants": "grn t",
        "known_words": ["green", "tea"], "alikeness_limit": text["alikeness_limit"],
    }  # fmt: skip


def test_a_synonym_is_compared_too(client: httpx.Client) -> None:
    body = inspected(client, "beaker")
    assert [(text["text"], text["is_synonym"]) for text in body["texts"]] == [("beaker", False), ("mug", True)]
    mug = next(item for item in body["items"] if item["product_id"] == "m1")
    assert (mug["by_text"], mug["matches_by"][0]) == (1, "spelling")


def test_a_mistyped_word_is_corrected(client: httpx.Client) -> None:
    assert inspected(client, "grean tea")["correction"] == "Green tea"
    assert inspected(client, "green tea")["correction"] is None


def test_a_query_like_no_product_matches_none(client: httpx.Client) -> None:
    body = inspected(client, "zzzzzz")
    assert body["no_match"] == client.get("/v1/search?q=zzzzzz").json()["search"]["no_match"]
    if body["no_match"]:
        assert [item["matches_by"] for item in body["items"]] == [[]] * len(body["items"])


def test_a_query_that_was_not_encoded_in_time_is_compared_by_spelling(shop: Runtime) -> None:
    inspector = Inspector(shop.keeper, shop.service, shop.online, shop.breaker, shop.synonyms)
    for release in (None, "of another release"):
        body = inspector.search(ListRequest(k=3, query="green tea", release=release, degraded=NO_TEXT_ENCODER))
        assert (body["degraded"], body["limits"]["cosine"]) == (["text_encoder"], None)
        assert [item["meaning"] for item in body["items"]] == [0, 0, 0]
        assert body["items"][0]["product_id"] == "t1"


def test_hidden_products_are_not_found(client: httpx.Client) -> None:
    assert not {"t4", "m4"} & {item["product_id"] for item in inspected(client, "secret")["items"]}
