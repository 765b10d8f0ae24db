"""Recommendations for buyers: the routes of the described system, and those of version 1."""

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from feature_repo.common.api_keys import Scope
from online_api.lists.list_request import NO_TEXT_ENCODER, Question
from online_api.protection.access import needs
from online_api.routes.dependencies import (
    BODY_PROBLEMS,
    READ_PROBLEMS,
    Parts,
    PartsOfApp,
    answer,
    from_texts,
    json_answer,
    problems,
)
from online_api.routes.query_route import QueryRoute
from online_api.schemas.fields import Identifier
from online_api.schemas.requests import (
    EncodeBuyerRequest,
    RecommendationParameters,
    RecommendationRequest,
    RetrieveRequest,
)
from online_api.schemas.responses import EncodeBuyerResponse, RecommendationResponse

router = APIRouter(tags=["recommendations"], dependencies=[Depends(needs(Scope.READ))])
query_router = APIRouter(tags=["recommendations"], dependencies=router.dependencies, route_class=QueryRoute)


@router.post("/encode_buyer", responses=BODY_PROBLEMS, response_model=EncodeBuyerResponse)
async def encode_buyer(body: EncodeBuyerRequest, parts: PartsOfApp) -> Response:
    """The buyer's vector. Where nothing is known of the buyer, it is the one learned for an empty history."""
    question = await _about(parts, body)
    return json_answer(await asyncio.to_thread(parts.runtime.service.encode_buyer, question))


@router.post("/retrieve", responses=BODY_PROBLEMS, response_model=RecommendationResponse)
async def retrieve(body: RetrieveRequest, request: Request, parts: PartsOfApp) -> Response:
    """Products for the given interactions; else for the stored history of `buyer_id`; else popular ones."""
    return await answer(request, await _about(parts, body, k=body.k))


@router.post("/v1/recommendations", responses=BODY_PROBLEMS, response_model=RecommendationResponse)
async def recommend(body: RecommendationRequest, request: Request, parts: PartsOfApp) -> Response:
    """As `/retrieve`, with filters, exclusions, diversity and the shop's rules."""
    question = await _about(
        parts,
        body,
        k=body.k,
        filters=body.filters,
        exclude=body.exclude,
        new_only=body.new_only,
        diversity=body.diversity,
        rules=body.rules,
    )
    return await answer(request, question)


# `:path`, because ids are the shop's own and may hold a slash.
@query_router.get(
    "/v1/buyers/{buyer_id:path}/recommendations",
    responses=READ_PROBLEMS | problems(404),  # for an id with a line break, which no path matches
    response_model=RecommendationResponse,
)
async def recommendations(
    buyer_id: Identifier, asked: Annotated[RecommendationParameters, Query()], request: Request
) -> Response:
    """Products for the buyer's stored history, the events of a moment ago included."""
    question = Question(
        k=asked.k,
        buyer_id=buyer_id,
        filters=asked.filters(),
        exclude=asked.exclude,
        new_only=asked.new_only,
        diversity=asked.diversity(),
        rules=asked.rules,
    )
    return await answer(request, question)


async def _about(parts: Parts, body: EncodeBuyerRequest, **more: object) -> Question:
    """The question about the buyer of a request, with the vectors of products that only the request knows."""
    service = parts.runtime.service
    service.check_length(body.interactions)
    question = Question(buyer_id=body.buyer_id, interactions=body.interactions, **more)  # type: ignore[arg-type]
    texts = service.new_texts(body.interactions)
    if not texts:
        return question
    found = await from_texts(parts, service.item_vectors, list(texts.values()))
    if found is None:
        return replace(question, degraded=NO_TEXT_ENCODER)
    vectors_MD, release = found
    return replace(question, texts=dict(zip(texts, vectors_MD, strict=True)), release=release)
