"""Recommendations for buyers: the two routes of the system that this one replaces, and those of version 1."""

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import ValidationError

from feature_repo.access.scope import Scope
from online_api.lists.list_request import NO_TEXT_ENCODER, ListRequest
from online_api.protection.access import needs_or_buyer, require_own_buyer
from online_api.routes.dependencies import (
    BODY_PROBLEMS,
    READ_PROBLEMS,
    Services,
    ServicesDep,
    json_response,
    list_response,
    on_text_thread,
    problems,
)
from online_api.routes.json_route import JsonRoute
from online_api.routes.query_route import QueryRoute, invalid_request
from online_api.schemas.fields import Identifier
from online_api.schemas.requests import (
    EncodeBuyerRequest,
    RecommendationParameters,
    RecommendationRequest,
    RetrieveRequest,
    read_interactions,
)
from online_api.schemas.responses import EncodeBuyerResponse, RecommendationResponse

router = APIRouter(tags=["recommendations"], dependencies=[Depends(needs_or_buyer(Scope.READ))], route_class=JsonRoute)
query_router = APIRouter(tags=["recommendations"], dependencies=router.dependencies, route_class=QueryRoute)


@router.post("/encode_buyer", responses=BODY_PROBLEMS, response_model=EncodeBuyerResponse)
async def encode_buyer(body: EncodeBuyerRequest, request: Request, services: ServicesDep) -> Response:
    """The buyer vector. A buyer without a known history gets the vector learned for an empty history."""
    require_own_buyer(request, body.buyer_id)
    list_request = await _list_request(services, body)
    # Not through the batcher, which answers list requests only.
    return json_response(await asyncio.to_thread(services.runtime.service.encode_buyer, list_request))


@router.post("/retrieve", responses=BODY_PROBLEMS, response_model=RecommendationResponse)
async def retrieve(body: RetrieveRequest, request: Request, services: ServicesDep) -> Response:
    """Products for the given interactions; else for the stored history of `buyer_id`; else popular products."""
    return await list_response(request, await _list_request(services, body, k=body.k), body.lang)


@router.post("/v1/recommendations", responses=BODY_PROBLEMS, response_model=RecommendationResponse)
async def recommend(body: RecommendationRequest, request: Request, services: ServicesDep) -> Response:
    """Like `/retrieve`, with filters, exclusions, diversity and the shop's merchandising rules."""
    return await list_response(request, await body_request(services, body), body.lang)


# `:path`, because an id may contain a slash.
@query_router.get(
    "/v1/buyers/{buyer_id:path}/recommendations",
    responses=READ_PROBLEMS | problems(404),  # for an id with a line break, which the path does not match
    response_model=RecommendationResponse,
)
async def recommendations(
    buyer_id: Identifier, parameters: Annotated[RecommendationParameters, Query()], request: Request
) -> Response:
    """Products for the buyer's stored history, including events of a moment ago."""
    list_request = ListRequest(
        k=parameters.k,
        buyer_id=buyer_id,
        filters=parameters.filters(),
        exclude=parameters.exclude,
        new_only=parameters.new_only,
        diversity=parameters.diversity(),
        rules=parameters.rules,
    )
    return await list_response(request, list_request, parameters.lang)


async def body_request(services: Services, body: RecommendationRequest) -> ListRequest:
    """The list request of a body with conditions.

    Raises:
        RequestTooLongError: It has too many interactions.
        RequestValidationError: One of them is not valid.
    """
    return await _list_request(
        services,
        body,
        k=body.k,
        filters=body.filters,
        exclude=body.exclude,
        new_only=body.new_only,
        diversity=body.diversity,
        rules=body.rules,
    )


async def _list_request(services: Services, body: EncodeBuyerRequest, **conditions: object) -> ListRequest:
    """The list request of a body, with vectors for the texts of products that the live release does not have."""
    service = services.runtime.service
    service.check_length(body.interactions)
    try:
        interactions = read_interactions(body.interactions, services.runtime.times)
    except ValidationError as error:
        raise invalid_request(error, "body", "interactions") from None
    page = body.page if isinstance(body, RetrieveRequest) else None
    list_request = ListRequest(buyer_id=body.buyer_id, interactions=interactions, page=page, **conditions)  # type: ignore[arg-type]
    texts = service.new_texts(interactions)
    if not texts:
        return list_request
    encoded = await on_text_thread(services, service.encode_texts, list(texts.values()))
    if encoded is None:
        return replace(list_request, degraded=NO_TEXT_ENCODER)
    vectors_MD, release = encoded
    return replace(list_request, text_vectors=dict(zip(texts, vectors_MD, strict=True)), release=release)
