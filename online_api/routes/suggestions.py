"""Suggestions while a buyer types."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from feature_repo.access.scope import Scope
from online_api.protection.access import needs_or_buyer
from online_api.routes.dependencies import READ_PROBLEMS, json_response, services_of
from online_api.routes.query_route import QueryRoute
from online_api.schemas.requests import SuggestionParameters
from online_api.schemas.responses import Suggestions

query_router = APIRouter(
    prefix="/v1", tags=["products"], dependencies=[Depends(needs_or_buyer(Scope.READ))], route_class=QueryRoute
)


@query_router.get("/suggestions", responses=READ_PROBLEMS, response_model=Suggestions)
async def suggestions(parameters: Annotated[SuggestionParameters, Query()], request: Request) -> Response:
    """Categories, brands, phrases and titles that complete what was typed, most popular first."""
    # On the event loop: it takes about a millisecond.
    return json_response(services_of(request).runtime.suggester.suggest(parameters.q, parameters.k))
