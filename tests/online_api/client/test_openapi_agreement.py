"""The client knows what the service's OpenAPI document says: its routes, parameters and fields."""

from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from online_api.app import OPENAPI_PATH
from tawsiya_client import calls, models
from tawsiya_client.options import BuyerListOptions, ListOptions, RecentOptions, SearchOptions, ShopListOptions

pytestmark = pytest.mark.store

Json = dict[str, Any]
NOT_FOR_SHOPS = ("/v1/admin/", "/v1/inspect/", "/encode_buyer", "/retrieve", "/health", "/livez", "/readyz", "/metrics")
SCHEMAS: dict[str, type[BaseModel]] = {
    "RecommendationResponse": models.ProductList,
    "RecommendedProduct": models.Item,
    "ScoreParts": models.ScoreParts,
    "Because": models.Reason,
    "FeatureAge": models.FeatureAge,
    "ProductDetails": models.Product,
    "EventsResponse": models.EventsResult,
    "RejectedEvent": models.RejectedEvent,
    "Interaction": models.Interaction,
    "Event": models.Event,
    "FieldProblem": models.FieldError,
    "PageInfo": models.Page,
    "SearchFacts": models.SearchFacts,
    "Facets": models.Facets,
    "FacetValue": models.FacetValue,
    "PriceRange": models.PriceRange,
    "Suggestions": models.SuggestionList,
    "SuggestedText": models.Suggestion,
    "MergeResponse": models.MergeResult,
}


@pytest.fixture(scope="module")
def openapi(client: httpx.Client) -> Json:
    document: Json = client.get(OPENAPI_PATH).raise_for_status().json()
    return document


def test_every_route_for_shops_has_a_call(openapi: Json) -> None:
    made: list[calls.Call[Any]] = [
        calls.recommendations("{buyer_id}", {}),
        calls.for_session([], None, {}),
        calls.cart([], None, {}),
        calls.again("{buyer_id}", {}),
        calls.recent("{buyer_id}", {}),
        calls.similar("{product_id}", {}),
        calls.bought_together("{product_id}", {}),
        calls.trending({}),
        calls.new({}),
        calls.on_sale({}),
        calls.search("q", {}),
        calls.suggestions("q", 10),
        calls.product("{product_id}"),
        calls.record([]),
        calls.merge("guest", "{buyer_id}", None),
    ]
    known = {call.name.replace("%7B", "{").replace("%7D", "}") for call in made}
    documented = {
        f"{method.upper()} {path}"
        for path, operations in openapi["paths"].items()
        if not path.startswith(NOT_FOR_SHOPS)
        for method in operations
    }
    assert known == documented


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_fields_are_those_of_the_document(openapi: Json, name: str) -> None:
    schema = openapi["components"]["schemas"][name]
    assert set(SCHEMAS[name].model_fields) == set(schema["properties"])
    for field, info in SCHEMAS[name].model_fields.items():
        # What the service may leave out, the client does not require.
        assert not info.is_required() or field in schema["required"], field


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/v1/buyers/{buyer_id}/recommendations", BuyerListOptions),
        ("/v1/buyers/{buyer_id}/again", ShopListOptions),
        ("/v1/buyers/{buyer_id}/recent", RecentOptions),
        ("/v1/products/{product_id}/similar", ListOptions),
        ("/v1/products/{product_id}/bought-together", ShopListOptions),
        ("/v1/trending", ShopListOptions),
        ("/v1/new", ShopListOptions),
        ("/v1/on-sale", ShopListOptions),
        ("/v1/search", SearchOptions),
    ],
)
def test_the_options_are_the_parameters_of_the_document(openapi: Json, path: str, options: type) -> None:
    documented = {
        parameter["name"] for parameter in openapi["paths"][path]["get"]["parameters"] if parameter["in"] == "query"
    }
    known = {"lambda" if name == "lambda_" else name for name in options.__annotations__}
    assert known == documented - {"q"}
