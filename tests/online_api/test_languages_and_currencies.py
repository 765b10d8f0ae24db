"""Titles in the caller's language, and prices in several currencies, on every route that shows products."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from online_api.app import create_app
from online_api.runtime import Runtime
from online_api.schemas.responses import ProductDetails
from tests.online_api.api_shop import Json, body_of, ids_of, interaction, items_of, open_shop, problem_of, wait_for
from tests.serving import serving

pytestmark = pytest.mark.store

# tea has no English title by language, thing no title by language at all; lamp-2 is a variant of lamp-1.
PRODUCTS = """id,title,title_ar,title_en,category,price,currency,stock,group_id
lamp-1,Desk lamp,مصباح مكتب,Desk lamp,lamps,100,EGP,5,lamp
lamp-2,Desk lamp large,مصباح مكتب كبير,Desk lamp large,lamps,100,SAR,5,lamp
tea,شاي أخضر,شاي أخضر,,tea,20,EGP,0,
thing,Plain thing,,,,50,,3,
"""
EVENTS = """buyer_id,product_id,event_type,timestamp
u1,lamp-1,purchase,2024-03-01 10:00:00
u1,tea,view,2024-03-02 10:00:00
u2,thing,view,2024-03-05 10:00:00
"""
MAIN = {"lamp-1": "Desk lamp", "lamp-2": "Desk lamp large", "tea": "شاي أخضر", "thing": "Plain thing"}
ARABIC = MAIN | {"lamp-1": "مصباح مكتب", "lamp-2": "مصباح مكتب كبير"}
LISTS = ("trending", "search?q=lamp", "products/lamp-1/similar", "buyers/u1/recommendations")
# Main titles that equal a title in a language have this language.
LANGUAGES_OF_MAIN = {"lamp-1": "en", "lamp-2": "en", "tea": "ar", "thing": None}
LANGUAGES_OF_ARABIC = {"lamp-1": "ar", "lamp-2": "ar", "tea": "ar", "thing": None}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("shop"), PRODUCTS, EVENTS) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(shop: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(shop.config, shop)) as client:
        yield client


def titles(answer: httpx.Response) -> Json:
    return {item["product_id"]: item["title"] for item in items_of(answer)}


def languages(answer: httpx.Response) -> Json:
    return {item["product_id"]: item["title_language"] for item in items_of(answer)}


# ---- languages -------------------------------------------------------------------------------------------------------


def lists(client: httpx.Client, lang: str | None, headers: Json) -> dict[str, httpx.Response]:
    """A list of each route."""
    parameters = {} if lang is None else {"lang": lang}
    body = {"interactions": [interaction("thing")], **parameters}
    answers = {
        path: client.get(httpx.URL(f"/v1/{path}").copy_merge_params(parameters), headers=headers) for path in LISTS
    }
    return answers | {
        path: client.post(path, json=body, headers=headers) for path in ("/v1/recommendations", "/retrieve")
    }


@pytest.mark.parametrize(
    ("lang", "header", "expected", "content_language"),
    [
        ("ar", None, ARABIC, "ar"),
        ("AR-eg", None, ARABIC, "ar"),
        (None, "ar-EG,ar;q=0.9,en;q=0.5", ARABIC, "ar"),
        (None, "fr, ar;q=0.2", ARABIC, "ar"),
        ("ar", "en", ARABIC, "ar"),  # the parameter counts
        ("en", "ar", MAIN, "ar, en"),
        (None, None, MAIN, "ar, en"),
        ("fr", None, MAIN, "ar, en"),
        (None, "*, ar;q=0.5", MAIN, "ar, en"),
        (None, ";;q=,", MAIN, "ar, en"),
    ],
)
def test_every_list_has_titles_in_the_language_of_its_caller(
    client: httpx.Client, lang: str | None, header: str | None, expected: Json, content_language: str
) -> None:
    for path, answer in lists(client, lang, {} if header is None else {"Accept-Language": header}).items():
        shown = titles(answer)
        assert shown, path
        assert shown == {product_id: expected[product_id] for product_id in shown}, path
        of_languages = LANGUAGES_OF_ARABIC if expected is ARABIC else LANGUAGES_OF_MAIN
        assert languages(answer) == {product_id: of_languages[product_id] for product_id in shown}, path
        assert answer.headers["vary"] == "Accept-Language"
        if len(shown) == len(MAIN):
            assert answer.headers["content-language"] == content_language, path


def test_a_product_too(client: httpx.Client) -> None:
    english, arabic = (client.get("/v1/products/lamp-1", headers={"Accept-Language": tag}) for tag in ("en", "ar"))
    assert body_of(english, ProductDetails)["title"] == "Desk lamp"
    assert body_of(arabic, ProductDetails)["title"] == "مصباح مكتب"
    assert (english.headers["content-language"], arabic.headers["content-language"]) == ("en", "ar")
    assert arabic.headers["vary"] == "Accept-Language"
    assert body_of(client.get("/v1/products/lamp-1?lang=ar"), ProductDetails) == body_of(arabic, ProductDetails)
    unknown = client.get("/v1/products/thing?lang=ar")
    assert body_of(unknown, ProductDetails)["title_language"] is None
    assert "content-language" not in unknown.headers


def test_the_reasons_too(client: httpx.Client) -> None:
    session = {"interactions": [interaction("lamp-1"), interaction("lamp-2")]}
    arabic = client.post("/v1/recommendations", json=session | {"lang": "ar"})
    named = {(reason["product_id"], reason["title"]) for item in items_of(arabic) for reason in item["because"]}
    assert named
    assert named <= set(ARABIC.items())


def test_a_language_changes_titles_only(client: httpx.Client) -> None:
    english, arabic = (client.get("/v1/trending", params={"lang": lang}) for lang in ("en", "ar"))
    assert titles(english) != titles(arabic)
    words = ("title", "title_language")
    for one, other in zip(items_of(english), items_of(arabic), strict=True):
        assert {key: one[key] for key in one if key not in words} == {
            key: other[key] for key in other if key not in words
        }


@pytest.mark.parametrize("lang", ["", "a", "ar_EG", "ar EG", "عربي", "ar-", "a" * 36])
def test_a_parameter_that_is_no_language_is_a_problem(client: httpx.Client, lang: str) -> None:
    for path in ("products/lamp-1", *LISTS):
        answer = client.get(httpx.URL(f"/v1/{path}").copy_merge_params({"lang": lang}))
        assert "lang" in problem_of(answer, 422)["errors"][0]["field"]
    problem_of(client.post("/v1/recommendations", json={"buyer_id": "u1", "lang": lang}), 422)


def test_a_search_finds_a_title_in_any_language(client: httpx.Client) -> None:
    for query in ("مصباح", "desk lamp"):
        for lang in ("ar", "en"):
            found = ids_of(client.get("/v1/search", params={"q": query, "lang": lang, "max_per_group": 2}))
            assert set(found[:2]) == {"lamp-1", "lamp-2"}, (query, lang)


# ---- currencies ------------------------------------------------------------------------------------------------------


def test_products_have_the_currency_of_their_price_and_their_group(client: httpx.Client) -> None:
    items = {item["product_id"]: item for item in items_of(client.get("/v1/trending"))}
    shown = {name: (item["price"], item["currency"], item["group_id"]) for name, item in items.items()}
    assert shown == {
        "lamp-1": (100, "EGP", "lamp"),
        "lamp-2": (100, "SAR", "lamp"),
        "tea": (20, "EGP", None),
        "thing": (50, None, None),
    }


@pytest.mark.parametrize("currency", ["EGP", "egp", "Egp"])
def test_a_filter_by_currency(client: httpx.Client, currency: str) -> None:
    answer = client.get("/v1/trending", params={"currency": currency})
    assert set(ids_of(answer)) == {"lamp-1", "tea"}
    assert (body_of(answer)["dropped"], body_of(answer)["source"]) == ({"currency": 2}, "popular_in_filter")
    body: Json = {"filters": {"currency": currency, "max_price": 50}}
    assert ids_of(client.post("/v1/recommendations", json=body)) == ["tea"]


def test_no_product_has_an_unknown_currency(client: httpx.Client) -> None:
    answer = client.get("/v1/trending", params={"currency": "USD"})
    assert (ids_of(answer), body_of(answer)["dropped"]) == ([], {"currency": 4})
    problem_of(client.get("/v1/trending", params={"currency": "pounds"}), 422)
    problem_of(client.post("/v1/recommendations", json={"filters": {"currency": ""}}), 422)


@pytest.mark.parametrize("limit", ["min_price", "max_price"])
def test_a_price_without_a_currency_is_a_problem_where_there_are_several(client: httpx.Client, limit: str) -> None:
    detail = "min_price, max_price: the catalogue has prices in EGP, SAR; name one of them in currency"
    for path in LISTS:
        answer = client.get(httpx.URL(f"/v1/{path}").copy_merge_params({limit: 60}))
        assert problem_of(answer, 422)["detail"] == detail
    body: Json = {"filters": {limit: 60}}
    assert problem_of(client.post("/v1/recommendations", json=body), 422)["detail"] == detail
    within = ids_of(client.get("/v1/trending", params={limit: 60, "currency": "sar"}))
    assert within == (["lamp-2"] if limit == "min_price" else [])


def test_a_currency_changes_with_its_price_without_a_release(client: httpx.Client, shop: Runtime) -> None:
    """The last test: it changes the shop."""
    content = PRODUCTS.replace("100,SAR", "1250,EGP")
    Path(str(shop.config.data.products_path)).write_text(content, encoding="utf-8")
    ingest(shop.config)
    build_features(shop.config)
    shop.store.materialize(full=False)

    def lamp() -> Json:
        return body_of(client.get("/v1/products/lamp-2"), ProductDetails)

    wait_for(lambda: lamp()["price"] == 1250)
    assert lamp()["currency"] == "EGP"
    # One currency is left, so a price says enough.
    assert ids_of(client.get("/v1/trending", params={"min_price": 1000})) == ["lamp-2"]
