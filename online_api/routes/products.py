"""Products: one, those like it, those that sell best, those that a query means."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from feature_repo.common.api_keys import Scope
from online_api.lists.list_request import NO_TEXT_ENCODER, Question
from online_api.protection.access import needs
from online_api.routes.dependencies import READ_PROBLEMS, Parts, PartsOfApp, answer, from_texts, json_answer, problems
from online_api.routes.query_route import QueryRoute
from online_api.schemas.fields import Identifier
from online_api.schemas.requests import ListParameters, SearchParameters
from online_api.schemas.responses import ProductDetails, RecommendationResponse

NOTHING_ASKED = Question()

router = APIRouter(prefix="/v1", tags=["products"], dependencies=[Depends(needs(Scope.READ))])
query_router = APIRouter(prefix="/v1", tags=["products"], dependencies=router.dependencies, route_class=QueryRoute)


@query_router.get(
    "/products/{product_id:path}/similar",
    responses=READ_PROBLEMS | problems(404),  # for an id with a line break, which no path matches
    response_model=RecommendationResponse,
)
async def similar(product_id: Identifier, asked: Annotated[ListParameters, Query()], request: Request) -> Response:
    """Products like this one, itself left out; popular ones where the release does not know it."""
    return await answer(request, replace(_question(asked), like=product_id))


@router.get("/products/{product_id:path}", responses=READ_PROBLEMS | problems(404), response_model=ProductDetails)
async def product(product_id: Identifier, parts: PartsOfApp) -> Response:
    """One product, with price, stock and visibility as the feature store has them."""
    details = parts.runtime.service.product(product_id)
    if details is None:
        raise HTTPException(404, "the live release does not know this product")
    return json_answer(details)


@query_router.get("/trending", responses=READ_PROBLEMS, response_model=RecommendationResponse)
async def trending(asked: Annotated[ListParameters, Query()], request: Request) -> Response:
    """What sells best, within the filters."""
    return await answer(request, replace(_question(asked), popular=True))


@query_router.get("/search", responses=READ_PROBLEMS, response_model=RecommendationResponse)
async def search(asked: Annotated[SearchParameters, Query()], request: Request) -> Response:
    """Products that the query means or is spelled like, in Arabic or English; by spelling alone without an encoder."""
    parts: Parts = request.app.state.parts
    searched = await from_texts(parts, parts.runtime.service.searched, asked.q)
    about = searched or Question(query=asked.q, degraded=NO_TEXT_ENCODER)
    return await answer(request, _question(asked, about))


def _question(asked: ListParameters, about: Question = NOTHING_ASKED) -> Question:
    return replace(
        about, k=asked.k, filters=asked.filters(), exclude=asked.exclude, diversity=asked.diversity(), rules=asked.rules
    )
