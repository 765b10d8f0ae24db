"""The routes: HTTP on one side, the service on the other."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from online_api.schemas import (
    EncodeBuyerRequest,
    EncodeBuyerResponse,
    EventsRequest,
    EventsResponse,
    Health,
    Identifier,
    K,
    Problem,
    RecommendationResponse,
    RetrieveRequest,
)
from online_api.service import RecommendationService

PROBLEMS: dict[int | str, dict[str, Any]] = {422: {"model": Problem}, 503: {"model": Problem}}

router = APIRouter()


def _service(request: Request) -> RecommendationService:
    service: RecommendationService = request.app.state.service
    return service


Service = Annotated[RecommendationService, Depends(_service)]


@router.post("/encode_buyer", responses=PROBLEMS)
def encode_buyer(body: EncodeBuyerRequest, service: Service) -> EncodeBuyerResponse:
    """The buyer's vector. Where nothing is known of the buyer, it is the one learned for an empty history."""
    return service.encode_buyer(body)


@router.post("/retrieve", responses=PROBLEMS)
def retrieve(body: RetrieveRequest, service: Service) -> RecommendationResponse:
    """Products for the given interactions; without any, for the stored history of `buyer_id`; else popular ones."""
    return service.retrieve(body)


# `:path`, because ids are the shop's own and may hold a slash.
@router.get("/v1/buyers/{buyer_id:path}/recommendations", responses=PROBLEMS)
def recommendations(buyer_id: Identifier, service: Service, k: K = 10) -> RecommendationResponse:
    """Products for the buyer's stored history, the events of a moment ago included."""
    return service.recommend_for_buyer(buyer_id, k)


@router.post("/v1/events", status_code=202, responses=PROBLEMS)
def record_events(body: EventsRequest, service: Service) -> EventsResponse:
    """Stores events; the buyers' next recommendations see them. Broken events are listed, the others are taken."""
    return service.record_events(body.events)


@router.get("/health")
def health(service: Service) -> Health:
    """The live release and whether the feature store answers."""
    return service.health()
