"""Texts that no release has: new products in a session, and searches; with a real, tiny encoder and without one."""

import copy
import json
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import numpy as np
import pytest
import torch

from online_api.app import create_app
from online_api.lists.request_texts import RequestTextEncoder
from online_api.runtime import Runtime
from online_api.schemas.responses import EncodeBuyerResponse
from tests.online_api.api_shop import (
    BAZAAR_EVENTS,
    BAZAAR_POPULAR,
    BAZAAR_PRODUCTS,
    DIM,
    EVENTS,
    N_PRODUCTS,
    PRODUCTS,
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
from training.artifacts.model import load_model
from training.artifacts.recommender import Recommender
from training.model.towers import UNKNOWN
from training.text.encoder import TextEncoder, TextEncoderUnavailableError, load_text_encoder

pytestmark = pytest.mark.store

TEXT = "blue running shoes"


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    """The tiny encoder with prefixes, so that a query has another vector than a passage."""
    folder = tmp_path_factory.mktemp("encoders") / "prefixed"
    shutil.copytree(tiny_encoder, folder)
    settings = folder / "config_sentence_transformers.json"
    prompts = {"prompts": {"query": "query: ", "passage": "passage: "}}
    settings.write_text(json.dumps(json.loads(settings.read_text()) | prompts))
    return folder


@pytest.fixture(scope="module")
def encoder(encoder_folder: Path) -> TextEncoder:
    return load_text_encoder(str(encoder_folder), encoder_folder.parent)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, encoder_folder: Path, encoder: TextEncoder) -> Iterator[Runtime]:
    """A shop whose release was made with the encoder that its configuration names."""
    model: Json = {"item_tower": {"text_encoder": str(encoder_folder)}}
    folder = tmp_path_factory.mktemp("shop")
    with open_shop(folder, PRODUCTS, EVENTS, text_encoder=encoder.encoder_id, model=model) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(shop: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(shop.config, shop)) as client:
        # The first text only starts the loading of the encoder.
        wait_for(lambda: body_of(client.get("/v1/search", params={"q": "a"}))["degraded"] == [])
        yield client


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A shop whose encoder's folder is empty."""
    model: Json = {"item_tower": {"text_encoder": str(tmp_path_factory.mktemp("encoder"))}}
    folder = tmp_path_factory.mktemp("bazaar")
    with (
        open_shop(folder, BAZAAR_PRODUCTS, BAZAAR_EVENTS, model=model) as runtime,
        serving(create_app(runtime.config, runtime)) as client,
    ):
        yield client


def recommend(client: httpx.Client, *interactions: Json, **more: Any) -> httpx.Response:
    return client.post("/v1/recommendations", json={"interactions": list(interactions), **more})


def product_vectors_of(recommender: Recommender, text_MT: Any) -> Any:
    """What the release's item tower makes of texts without brand, category, price and id."""
    model, _, _ = load_model(recommender.model_folder)
    unknown_M = torch.full((len(text_MT),), UNKNOWN)
    with torch.inference_mode():
        return model.item_tower(torch.from_numpy(text_MT), *[unknown_M] * 4).numpy()


# ---- Searches


def test_a_search_orders_products_by_what_the_query_means_and_how_it_is_spelled(
    client: httpx.Client, shop: Runtime, encoder: TextEncoder
) -> None:
    recommender = shop.keeper.live.recommender
    answer = client.get("/v1/search", params={"q": "Running  SHOES!"})
    body = body_of(answer)
    assert (body["source"], body["degraded"], body["buyer_id"]) == ("search", [], None)
    matches = recommender.match_query("Running  SHOES!", encoder.encode_queries(["running shoes"])[0])
    meaning_N, words_N = matches.score_terms(np.arange(N_PRODUCTS))
    product_ids = recommender.products.product_ids.to_pylist()
    assert ids_of(answer) == [product_ids[position] for position in np.argsort(-(meaning_N + words_N))]
    for item in items_of(answer):
        position = recommender.products.position_of(item["product_id"])
        parts = {
            "similarity": meaning_N[position],
            "words": words_N[position],
            "popularity": 0,
            "repeat": 0,
            "co_occurrence": 0,
            "closeness": 0,
            "rules": 0,
        }
        assert item["score_parts"] == pytest.approx(parts, abs=1e-6)
        assert item["because"] == []


def test_a_search_takes_the_conditions_of_any_list(client: httpx.Client) -> None:
    answer = client.get("/v1/search", params={"q": "هاتف", "category": "phones", "in_stock": True, "k": 5})
    assert ids_of(answer) == ["p1"]
    assert body_of(answer)["dropped"] == {"out_of_stock": 1, "category": 3}


@pytest.mark.parametrize("parameters", [{}, {"q": ""}, {"q": "x" * 501}, {"q": "tea", "k": 0}])
def test_a_broken_search_is_a_problem(client: httpx.Client, parameters: Json) -> None:
    problem_of(client.get("/v1/search", params=parameters), 422)


# ---- Products that only the session knows


def test_a_new_product_with_a_text_counts(client: httpx.Client) -> None:
    answer = recommend(client, interaction("new/1", "add_to_cart", text=TEXT))
    body = body_of(answer)
    assert (body["source"], body["degraded"]) == ("session", [])
    assert len(ids_of(answer)) == N_PRODUCTS
    reasons = [item["because"] for item in body["items"] if item["because"]]
    assert reasons
    for (reason,) in reasons:
        assert (reason["product_id"], reason["title"], reason["event_type"]) == ("new/1", TEXT, "add_to_cart")


def test_its_vector_is_that_of_its_text(client: httpx.Client, shop: Runtime, encoder: TextEncoder) -> None:
    # An only event is all of the buyer's vector.
    answer = client.post("/encode_buyer", json={"interactions": [interaction("new/1", text=TEXT)]})
    (expected_D,) = product_vectors_of(shop.keeper.live.recommender, encoder.encode_passages([TEXT]))
    np.testing.assert_allclose(body_of(answer, EncodeBuyerResponse)["embedding"], expected_D, atol=1e-5)


def test_it_counts_beside_known_products(client: httpx.Client) -> None:
    known, new = interaction("p1"), interaction("new/1", "purchase", text=TEXT)
    both = items_of(recommend(client, known, new))
    assert both != items_of(recommend(client, known))
    assert both != items_of(recommend(client, new))
    assert {reason["product_id"] for item in both for reason in item["because"]} == {"p1", "new/1"}


def test_a_known_product_keeps_its_own_vector(client: httpx.Client) -> None:
    with_text = items_of(recommend(client, interaction("p1", text=TEXT)))
    plain = items_of(recommend(client, interaction("p1")))
    assert [item["score"] for item in with_text] == [item["score"] for item in plain]
    assert {reason["title"] for item in with_text for reason in item["because"]} == {"هاتف ذكي ١٢٨ جيجا"}


def test_a_new_product_without_a_text_is_skipped(client: httpx.Client) -> None:
    assert body_of(recommend(client, interaction("new/1")))["source"] == "popular"
    assert body_of(recommend(client, interaction("new/1", text="")))["source"] == "popular"
    assert body_of(recommend(client, interaction("new/1"), buyer_id="u1"))["source"] == "personalised"
    problem_of(recommend(client, interaction("new/1", text="x" * 2001)), 422)


# ---- Without an encoder


def test_without_an_encoder_texts_are_left_out(wordless: httpx.Client) -> None:
    new = interaction("new/1", text=TEXT)
    for _ in range(2):  # before it is known that the encoder does not come, and after
        searched = wordless.get("/v1/search", params={"q": "فنجال قهوه", "k": 1})  # misspelt, and written otherwise
        assert (body_of(searched)["source"], body_of(searched)["degraded"]) == ("search", ["text_encoder"])
        assert ids_of(searched) == ["فنجان"]
        assert items_of(searched)[0]["score"] == items_of(searched)[0]["score_parts"]["words"] > 0
        nothing = wordless.get("/v1/search", params={"q": "8"})  # spelled like nothing
        assert (body_of(nothing)["source"], ids_of(nothing)) == ("popular", BAZAAR_POPULAR)
        assert body_of(wordless.get("/v1/search", params={"q": "8", "brand": "نور"}))["source"] == "popular_in_filter"
        for answer, source in (
            (recommend(wordless, new), "popular"),
            (recommend(wordless, new, buyer_id="b1"), "personalised"),
            (recommend(wordless, new, interaction("t1")), "session"),
        ):
            assert (body_of(answer)["source"], body_of(answer)["degraded"]) == (source, ["text_encoder"])
        encoded = wordless.post("/encode_buyer", json={"interactions": [new]})
        assert body_of(encoded, EncodeBuyerResponse)["degraded"] == ["text_encoder"]
    assert body_of(recommend(wordless, interaction("t1")))["degraded"] == []


# ---- RequestTextEncoder itself


def test_the_first_text_goes_unanswered_and_loading_happens_once(shop: Runtime, encoder: TextEncoder) -> None:
    recommender = shop.keeper.live.recommender
    let_go, loads = threading.Event(), []

    def load(recommender: Recommender) -> TextEncoder:
        loads.append(1)
        assert let_go.wait(30)
        return encoder

    texts = RequestTextEncoder(load)
    texts.wait()
    assert loads == []
    assert [texts.query_vector(recommender, "a") for _ in range(3)] == [None] * 3
    let_go.set()
    texts.wait()
    assert loads == [1]
    vectors_MD = texts.product_vectors(recommender, ["a", "b"])
    assert vectors_MD is not None
    assert vectors_MD.shape == (2, DIM)
    np.testing.assert_allclose(np.linalg.norm(vectors_MD, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        vectors_MD, product_vectors_of(recommender, encoder.encode_passages(["a", "b"])), atol=1e-6
    )


@pytest.mark.parametrize("error", [ValueError("no such folder"), OSError("disk"), ImportError("torch")])
def test_an_encoder_that_cannot_be_had_is_asked_for_once(
    shop: Runtime, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    loads = []

    def load(recommender: Recommender) -> TextEncoder:
        loads.append(1)
        raise error

    texts = RequestTextEncoder(load)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert texts.query_vector(shop.keeper.live.recommender, "a") is None
            texts.wait()
    assert loads == [1]
    assert f"the text encoder cannot be loaded: {error}" in caplog.text


def test_the_encoder_of_another_release_gives_no_vectors(
    recommender: Recommender, encoder: TextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    texts = RequestTextEncoder(lambda _: encoder)
    texts.query_vector(recommender, "a")
    texts.wait()
    assert texts.query_vector(recommender, "a") is None
    assert "made with text encoder random" in caplog.text


def test_a_release_with_another_encoder_has_its_own_loaded(shop: Runtime, encoder: TextEncoder) -> None:
    loaded_for: list[str] = []

    def load(release: Recommender) -> TextEncoder:
        loaded_for.append(release.name)
        loaded = copy.copy(encoder)
        loaded.encoder_id = release.text_encoder
        return loaded

    first, second = (copy.copy(shop.keeper.live.recommender) for _ in range(2))
    second.name, second.text_encoder = "second", "tuned"
    texts = RequestTextEncoder(load)
    for release in (first, second, second, first):
        texts.load(release)
        assert texts.query_vector(release, "a") is not None
    assert loaded_for == [first.name, "second"], "both are kept while releases change"
    assert len(texts._encoders) == 2


def test_an_encoder_that_cannot_be_converted_leaves_texts_out_and_is_tried_once(
    shop: Runtime, encoder: TextEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    class Broken:
        encoder_id = encoder.encoder_id

        def encode_queries(self, texts: list[str]) -> None:
            tries.append(texts)
            raise TextEncoderUnavailableError("no int8 here")

    texts = RequestTextEncoder(lambda _: cast("TextEncoder", Broken()))
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            texts.load(shop.keeper.live.recommender)
            assert texts.query_vector(shop.keeper.live.recommender, "a") is None
    assert len(tries) == 1
    assert "no int8 here" in caplog.text
