"""Products: one product, similar ones, and search."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from feature_repo.access.scope import Scope
from online_api.lists.list_request import NO_TEXT_ENCODER, ListRequest
from online_api.protection.access import needs_or_buyer
from online_api.routes.dependencies import (
    READ_PROBLEMS,
    ServicesDep,
    caller_languages,
    list_response,
    localised_response,
    on_text_thread,
    problems,
    services_of,
)
from online_api.routes.query_route import QueryRoute
from online_api.schemas.fields import Identifier, LanguageTag
from online_api.schemas.requests import ListParameters, SearchParameters
from online_api.schemas.responses import ProductDetails, RecommendationResponse

router = APIRouter(prefix="/v1", tags=["products"], dependencies=[Depends(needs_or_buyer(Scope.READ))])
query_router = APIRouter(prefix="/v1", tags=["products"], dependencies=router.dependencies, route_class=QueryRoute)


@query_router.get(
    "/products/{product_id:path}/similar",
    responses=READ_PROBLEMS | problems(404),  # for an id with a line break, which the path does not match
    response_model=RecommendationResponse,
)
async def similar(product_id: Identifier, parameters: Annotated[ListParameters, Query()], request: Request) -> Response:
    """Products similar to this one, without itself; popular products if the release does not have it."""
    list_request = with_conditions(ListRequest(similar_to=product_id), parameters)
    return await list_response(request, list_request, parameters.lang)


@router.get("/products/{product_id:path}", responses=READ_PROBLEMS | problems(404), response_model=ProductDetails)
async def product(
    product_id: Identifier,
    request: Request,
    services: ServicesDep,
    lang: Annotated[LanguageTag | None, Query()] = None,
) -> Response:
    """One product, with price, stock and visibility from the feature store."""
    details = services.runtime.service.product(product_id, caller_languages(request, lang))
    if details is None:
        raise HTTPException(404, "the live release does not know this product")
    return localised_response(details, [details])


@query_router.get("/search", responses=READ_PROBLEMS, response_model=RecommendationResponse)
async def search(parameters: Annotated[SearchParameters, Query()], request: Request) -> Response:
    """Products that match an Arabic or English query by meaning or spelling; without a text encoder, by spelling."""
    services = services_of(request)
    list_request = await on_text_thread(services, services.runtime.service.search_request, parameters.q)
    if list_request is None:  # encoding took too long; without matches, the service compares spellings alone
        list_request = ListRequest(query=parameters.q, degraded=NO_TEXT_ENCODER)
    list_request = replace(list_request, facets=parameters.facets)
    return await list_response(request, with_conditions(list_request, parameters), parameters.lang)


def with_conditions(list_request: ListRequest, parameters: ListParameters) -> ListRequest:
    """The list request with the conditions of the query."""
    return replace(
        list_request,
        k=parameters.k,
        filters=parameters.filters(),
        exclude=parameters.exclude,
        diversity=parameters.diversity(),
        rules=parameters.rules,
    )
