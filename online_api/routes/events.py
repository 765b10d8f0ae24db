"""Events of buyers."""

from fastapi import APIRouter, Depends, Request

from feature_repo import columns as c
from feature_repo.access.api_keys import Scope
from online_api.observability.middleware import context_of
from online_api.protection.access import caller_of, needs_or_buyer, require_own_buyer
from online_api.routes.dependencies import BODY_PROBLEMS, ServicesDep
from online_api.routes.json_route import JsonRoute
from online_api.schemas.requests import EventsRequest
from online_api.schemas.responses import EventsResponse

ADMITTED = [Depends(needs_or_buyer(Scope.WRITE))]

router = APIRouter(prefix="/v1", tags=["events"], dependencies=ADMITTED, route_class=JsonRoute)


# Not async: it waits for the disk and the feature store, so FastAPI runs it in a thread.
@router.post("/events", status_code=202, responses=BODY_PROBLEMS)
def record_events(request: Request, body: EventsRequest, services: ServicesDep) -> EventsResponse:
    """Stores events, which the buyers' next recommendations use. The response lists invalid events with a reason."""
    for event in body.events:
        # What is no object, or names no buyer, is rejected by itself.
        require_own_buyer(request, event.get(c.BUYER_ID) if isinstance(event, dict) else None)
    # A browser could otherwise use up the ids of the shop's own events, which would then count as duplicates.
    prefix = f"{caller_of(request)}:" if context_of(request.scope).token_buyer is not None else ""
    return services.runtime.intake.record(body.events, caller_of(request), id_prefix=prefix)
