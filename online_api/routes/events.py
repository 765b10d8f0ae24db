"""What buyers did."""

from fastapi import APIRouter, Depends

from feature_repo.api_keys import Scope
from online_api.access import needs
from online_api.answers import EventsResponse
from online_api.requests import EventsRequest
from online_api.routes.shared import BODY_PROBLEMS, PartsOfApp

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[Depends(needs(Scope.WRITE))])


# Not async: it waits for the disk and the feature store, so it runs in a thread.
@router.post("/events", status_code=202, responses=BODY_PROBLEMS)
def record_events(body: EventsRequest, parts: PartsOfApp) -> EventsResponse:
    """Stores events; the buyers' next recommendations see them. Broken events are listed, the others are taken."""
    return parts.runtime.intake.record(body.events)
