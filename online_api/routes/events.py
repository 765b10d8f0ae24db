"""Events of buyers, and merges of guests into buyers."""

from fastapi import APIRouter, Depends, Request

from feature_repo import columns as c
from feature_repo.access.scope import Scope
from online_api.observability.middleware import context_of
from online_api.protection.access import AccessControl, caller_of, needs_or_buyer, require_own_buyer
from online_api.routes.dependencies import BODY_PROBLEMS, ServicesDep, problems
from online_api.routes.json_route import JsonRoute
from online_api.schemas.fields import BuyerOfEvent
from online_api.schemas.requests import EventsRequest, MergeRequest
from online_api.schemas.responses import EventsResponse, MergeResponse

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


@router.post("/buyers/{buyer_id:path}/merge", status_code=202, responses=BODY_PROBLEMS | problems(404, 409))
def merge_buyer(buyer_id: BuyerOfEvent, request: Request, body: MergeRequest, services: ServicesDep) -> MergeResponse:
    """Makes the history of a guest this buyer's, whose next recommendations use it; to repeat it changes nothing.

    Events that arrive for the guest later are the buyer's, too.
    """
    require_own_buyer(request, buyer_id)
    if body.guest_token is not None or context_of(request.scope).token_buyer is not None:
        # Otherwise a browser could take over the history of any guest whose id it guesses.
        access: AccessControl = request.app.state.access
        access.require_guest(body.guest_id, body.guest_token)
    return services.runtime.merges.merge(body.guest_id, buyer_id)
