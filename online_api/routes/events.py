"""What buyers did."""

from fastapi import APIRouter, Depends

from feature_repo.common.api_keys import Scope
from online_api.protection.access import needs
from online_api.routes.dependencies import BODY_PROBLEMS, PartsOfApp
from online_api.schemas.requests import EventsRequest
from online_api.schemas.responses import EventsResponse

router = APIRouter(prefix="/v1", tags=["events"], dependencies=[Depends(needs(Scope.WRITE))])


# Not async: it waits for the disk and the feature store, so it runs in a thread.
@router.post("/events", status_code=202, responses=BODY_PROBLEMS)
def record_events(body: EventsRequest, parts: PartsOfApp) -> EventsResponse:
    """Stores events; the buyers' next recommendations see them. Broken events are listed, the others are taken."""
    return parts.runtime.intake.record(body.events)
