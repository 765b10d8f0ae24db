"""The lists of a shop's pages: buy again, recently viewed, bought together, trending, new arrivals, on sale."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from feature_repo.access.scope import Scope
from online_api.lists.kinds.list_kinds import ListKind
from online_api.lists.kinds.list_requests import (
    bought_together_request,
    buy_again_request,
    cart_request,
    popular_list_request,
    recently_viewed_request,
    with_fill,
)
from online_api.lists.list_request import ListRequest
from online_api.protection.access import needs_or_buyer
from online_api.routes.dependencies import BODY_PROBLEMS, READ_PROBLEMS, ServicesDep, list_response, problems
from online_api.routes.json_route import JsonRoute
from online_api.routes.products import with_conditions
from online_api.routes.query_route import QueryRoute
from online_api.routes.recommendations import body_request
from online_api.schemas.fields import Identifier
from online_api.schemas.requests import CartRequest, RecentParameters, ShopListParameters
from online_api.schemas.responses import RecommendationResponse

ADMITTED_READERS = [Depends(needs_or_buyer(Scope.READ))]
PATH_PROBLEMS = READ_PROBLEMS | problems(404)  # for an id with a line break, which the path does not match

router = APIRouter(prefix="/v1", tags=["lists"], dependencies=ADMITTED_READERS, route_class=JsonRoute)
query_router = APIRouter(prefix="/v1", tags=["lists"], dependencies=ADMITTED_READERS, route_class=QueryRoute)


@query_router.get("/buyers/{buyer_id:path}/again", responses=PATH_PROBLEMS, response_model=RecommendationResponse)
async def again(buyer_id: Identifier, parameters: Annotated[ShopListParameters, Query()], request: Request) -> Response:
    """What the buyer bought before, the likeliest to be due first; then recommendations."""
    return await _response(request, buy_again_request(buyer_id), parameters)


@query_router.get("/buyers/{buyer_id:path}/recent", responses=PATH_PROBLEMS, response_model=RecommendationResponse)
async def recent(buyer_id: Identifier, parameters: Annotated[RecentParameters, Query()], request: Request) -> Response:
    """The products of the buyer's newest views, each once, newest first; then recommendations."""
    return await _response(request, recently_viewed_request(buyer_id, parameters.event_type), parameters)


@query_router.get(
    "/products/{product_id:path}/bought-together", responses=PATH_PROBLEMS, response_model=RecommendationResponse
)
async def bought_together(
    product_id: Identifier, parameters: Annotated[ShopListParameters, Query()], request: Request
) -> Response:
    """What buyers buy in one basket with this product, then within days of it; then similar products."""
    return await _response(request, bought_together_request(product_id), parameters)


@router.post("/cart", responses=BODY_PROBLEMS, response_model=RecommendationResponse)
async def cart(body: CartRequest, request: Request, services: ServicesDep) -> Response:
    """What buyers buy together with what is in the cart, without the cart itself; then recommendations."""
    list_request = cart_request(await body_request(services, body), body.product_ids)
    return await list_response(request, with_fill(list_request, fill=body.fill), body.lang)


@query_router.get("/trending", responses=READ_PROBLEMS, response_model=RecommendationResponse)
async def trending(parameters: Annotated[ShopListParameters, Query()], request: Request) -> Response:
    """What many buyers chose in the last days of the data, within the filters; then the most popular products."""
    return await _response(request, popular_list_request(ListKind.TRENDING), parameters)


@query_router.get("/new", responses=READ_PROBLEMS, response_model=RecommendationResponse)
async def new(parameters: Annotated[ShopListParameters, Query()], request: Request) -> Response:
    """The products that appeared last, newest first; then the most popular products."""
    return await _response(request, popular_list_request(ListKind.NEW), parameters)


@query_router.get("/on-sale", responses=READ_PROBLEMS, response_model=RecommendationResponse)
async def on_sale(parameters: Annotated[ShopListParameters, Query()], request: Request) -> Response:
    """The products that cost less than usual, the largest reduction first; then the most popular products."""
    return await _response(request, popular_list_request(ListKind.ON_SALE), parameters)


async def _response(request: Request, list_request: ListRequest, parameters: ShopListParameters) -> Response:
    list_request = replace(with_conditions(list_request, parameters), facets=parameters.facets)
    list_request = with_fill(list_request, fill=parameters.fill)
    return await list_response(request, list_request, parameters.lang)
