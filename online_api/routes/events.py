"""Events of buyers."""

from fastapi import APIRouter, Depends, Request

from feature_repo.common.api_keys import Scope
from online_api.observability.middleware import context_of
from online_api.protection.access import needs
from online_api.routes.dependencies import BODY_PROBLEMS, ServicesDep
from online_api.routes.json_route import JsonRoute
from online_api.schemas.requests import EventsRequest
from online_api.schemas.responses import EventsResponse

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[Depends(needs(Scope.WRITE))], route_class=JsonRoute)


# Not async: it waits for the disk and the feature store, so FastAPI runs it in a thread.
@router.post("/events", status_code=202, responses=BODY_PROBLEMS)
def record_events(request: Request, body: EventsRequest, services: ServicesDep) -> EventsResponse:
    """Stores events, which the buyers' next recommendations use. The response lists invalid events with a reason."""
    return services.runtime.intake.record(body.events, context_of(request.scope).api_key or "")
