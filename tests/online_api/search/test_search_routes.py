"""Search over HTTP: matches, corrections, facets, synonyms that change, suggestions, and the search log."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from feature_repo.common.search_log import read_searches
from online_api.app import create_app
from online_api.observability.metrics import Metrics
from online_api.runtime import Runtime, make_runtime
from online_api.schemas.responses import Facets, Health, SearchFacts, Suggestions
from tests.online_api.api_shop import (
    BAZAAR_EVENTS,
    BAZAAR_POPULAR,
    BAZAAR_PRODUCTS,
    Json,
    body_of,
    ids_of,
    open_shop,
    problem_of,
    publish_random_release,
    wait_for,
)
from tests.serving import serving
from training.artifacts.queries import suggestion_index, vocabulary

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def bazaar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    folder = tmp_path_factory.mktemp("bazaar")
    with open_shop(
        folder, BAZAAR_PRODUCTS, BAZAAR_EVENTS, api={"synonyms_path": str(folder / "synonyms.yaml")}
    ) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(bazaar: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(bazaar.config, bazaar)) as client:
        yield client


def search(client: httpx.Client, q: str, **parameters: Any) -> httpx.Response:
    return client.get("/v1/search", params={"q": q, **parameters})


def facts(client: httpx.Client, q: str, **parameters: Any) -> SearchFacts:
    return SearchFacts.model_validate(body_of(search(client, q, **parameters))["search"])


# ---- matches ---------------------------------------------------------------------------------------------------------


def test_a_query_says_how_many_products_match(client: httpx.Client) -> None:
    assert body_of(search(client, "tea"))["source"] == "search"
    assert facts(client, "tea") == SearchFacts(matching=3, no_match=False, did_you_mean=None)  # t4 is hidden
    assert set(ids_of(search(client, "tea"))[:3]) == {"t1", "t2", "m1"}
    assert facts(client, "tea", category="mugs").matching == 1
    assert facts(client, "tea", category="mugs", exclude="m1") == SearchFacts(
        matching=0, no_match=False, did_you_mean=None
    )


@pytest.mark.parametrize("query", ["xyzzy", "asdfgh", "!!!", "ضصثقفغ"])
def test_a_query_like_nothing_says_so(client: httpx.Client, query: str) -> None:
    answer = search(client, query)
    assert facts(client, query) == SearchFacts(matching=0, no_match=True, did_you_mean=None)
    assert (body_of(answer)["source"], ids_of(answer)) == ("popular", BAZAAR_POPULAR)
    assert body_of(search(client, query, category="tea"))["source"] == "popular_in_filter"


def test_a_mistyped_query_is_answered_as_it_is_and_corrected_beside(client: httpx.Client) -> None:
    assert facts(client, "travle mug").did_you_mean == "Travel mug"
    assert ids_of(search(client, "travle mug"))[0] == "m/2"
    assert facts(client, "travle mug", category="tea").did_you_mean is None
    assert facts(client, "travel mugs").did_you_mean is None


def test_a_hidden_product_is_no_result_of_a_correction(client: httpx.Client) -> None:
    assert facts(client, "secrte").did_you_mean is None


def test_other_lists_have_neither(client: httpx.Client) -> None:
    body = body_of(client.get("/v1/trending"))
    assert (body["search"], body["facets"]) == (None, None)


# ---- facets ----------------------------------------------------------------------------------------------------------


def test_facets_of_a_search(client: httpx.Client) -> None:
    found = Facets.model_validate(body_of(search(client, "mug", facets=True))["facets"])
    assert [(one.value, one.count, one.selected) for one in found.categories] == [("mugs", 2, False)]
    assert [(one.value, one.count, one.selected) for one in found.brands] == [("Acme", 2, False)]
    assert [(one.min_price, one.max_price, one.count) for one in found.prices] == [(15, 15, 1), (60, 60, 1)]


def test_facets_of_popular_products_keep_all_conditions_but_their_own(client: httpx.Client) -> None:
    parameters: Json = {"facets": True, "category": "tea", "max_price": 30, "exclude": "t1"}
    found = Facets.model_validate(body_of(client.get("/v1/trending", params=parameters))["facets"])
    # Up to 30 and without t1, of any category; t4 and m4 are hidden.
    assert [(one.value, one.count, one.selected) for one in found.categories] == [("mugs", 2, False), ("tea", 1, True)]
    assert [(one.value, one.count) for one in found.brands] == [("Dallah", 1)]  # t2
    assert sum(one.count for one in found.prices) == 2  # t2 and t3, at any price


def test_facets_count_what_choosing_gives(client: httpx.Client) -> None:
    found = Facets.model_validate(body_of(client.get("/v1/trending", params={"facets": True}))["facets"])
    for one in found.prices:
        within = {"min_price": one.min_price, "max_price": one.max_price}
        assert body_of(client.get("/v1/trending", params=within))["matching"] == one.count
    for value in found.brands:
        assert body_of(client.get("/v1/trending", params={"brand": value.value}))["matching"] == value.count


# ---- synonyms --------------------------------------------------------------------------------------------------------


def test_synonyms_change_while_serving_and_a_broken_file_does_not_count(client: httpx.Client, bazaar: Runtime) -> None:
    path = bazaar.config.api.synonyms_path
    assert facts(client, "beaker").no_match
    path.write_text("synonyms: [{query: [beaker], also: [mug, فنجان]}]", encoding="utf-8")
    wait_for(lambda: not facts(client, "beaker").no_match)
    assert set(ids_of(search(client, "beaker"))[:3]) == {"m1", "m/2", "فنجان"}
    assert facts(client, "beaker").matching == 3

    path.write_text("synonyms: [{query: [beaker]}]", encoding="utf-8")
    wait_for(lambda: facts(client, "tea") and health(client)["synonyms"] != "ok")
    assert "synonyms 1: query and also go together" in health(client)["synonyms"]
    assert health(client)["status"] == "degraded"
    assert facts(client, "beaker").matching == 3

    path.unlink()
    wait_for(lambda: facts(client, "beaker").no_match)
    assert health(client)["status"] == "ok"


def health(client: httpx.Client) -> Json:
    return body_of(client.get("/health"), Health)


# ---- suggestions -----------------------------------------------------------------------------------------------------


def suggested(client: httpx.Client, q: str, **parameters: Any) -> list[tuple[str, str, str | None]]:
    body = body_of(client.get("/v1/suggestions", params={"q": q, **parameters}), Suggestions)
    return [(one["text"], one["kind"], one["product_id"]) for one in body["suggestions"]]


def test_suggestions_complete_what_was_typed(client: httpx.Client) -> None:
    assert suggested(client, "trav") == [("Travel mug", "product", "m/2")]
    assert suggested(client, "نعن") == [("شاي بالنعناع", "product", "t3")]
    assert set(suggested(client, "mu")) >= {("mugs", "category", None), ("Tea mug", "product", "m1")}
    assert len(suggested(client, "t", k=2)) == 2
    assert suggested(client, "zzz") == []
    problem_of(client.get("/v1/suggestions"), 422)
    problem_of(client.get("/v1/suggestions", params={"q": "t", "k": 21}), 422)


def test_hidden_products_are_not_suggested(client: httpx.Client) -> None:
    assert suggested(client, "secret") == []


def test_a_release_without_suggestions_and_vocabulary_still_answers(
    bazaar: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suggestion_index.SuggestionIndex, "save", lambda *_: None)
    monkeypatch.setattr(vocabulary.Vocabulary, "save", lambda *_: None)
    for leftover in bazaar.paths.search_index.glob("*.arrow"):
        leftover.unlink()
    publish_random_release(bazaar.config, bazaar.store.schema_hash)
    older = make_runtime(bazaar.config, bazaar.store, Metrics())
    try:
        with serving(create_app(bazaar.config, older)) as client:
            assert suggested(client, "trav") == []
            assert ids_of(search(client, "travel mug"))[0] == "m/2"
            assert facts(client, "travle mug").did_you_mean is None
    finally:
        older.breaker.close()


# ---- the search log --------------------------------------------------------------------------------------------------


def test_searches_without_results_are_logged_and_counted(tmp_path: Path) -> None:
    with open_shop(tmp_path, BAZAAR_PRODUCTS, BAZAAR_EVENTS) as runtime:
        with serving(create_app(runtime.config, runtime)) as client:
            for q, category in (("Xyzzy!", ""), ("xyzzy", ""), ("green tea", "mugs"), ("green tea", ""), ("tea", "")):
                search(client, q, **({"category": category} if category else {}))
            text = client.get("/metrics").text
        # The last counts are written when the server stops.
        [(_, searches)] = read_searches([runtime.paths.search_log])
    assert searches == {(None, "searched"): 5, ("xyzzy", "no_match"): 2, ("green tea", "filtered"): 1}
    assert 'tawsiya_searches_total{outcome="no_match"} 2.0' in text
    assert 'tawsiya_searches_total{outcome="searched"} 2.0' in text
