"""Error handling: maps exceptions to HTTP statuses and problems."""

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from feature_repo.common.errors import GateRefusedError, StoreUnavailableError
from feature_repo.common.lock import BusyError
from feature_repo.online.claims import EventsInProgressError
from feature_repo.online.merged_buyers import OtherAccountError
from online_api.batcher import OverloadedError
from online_api.events.event_log import EventLogUnavailableError
from online_api.events.merges import InvalidMergeError
from online_api.lists.list_request import CurrencyRequiredError
from online_api.observability.logs import REQUEST_ID
from online_api.protection.access import ForbiddenError, RateLimitedError, UnauthorisedError
from online_api.protection.limits import RequestTooLongError
from online_api.schemas.problems import MEDIA_TYPE, FieldProblem, Problem, describe
from training.artifacts.recommender import SchemaMismatchError

log = logging.getLogger(__name__)

RETRY_SOON = {"Retry-After": "1"}


def add_error_handlers(app: FastAPI) -> None:
    """Answers exceptions with problems; ObserveRequests answers those that have no handler here."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RateLimitedError, _rate_limited)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(OverloadedError, _overloaded)
    for error, status, headers in (
        (RequestTooLongError, 422, {}),
        (CurrencyRequiredError, 422, {}),
        (InvalidMergeError, 422, {}),
        (UnauthorisedError, 401, {"WWW-Authenticate": "ApiKey, Bearer"}),  # required by RFC 9110, section 11.6.1
        (ForbiddenError, 403, {}),
        (StoreUnavailableError, 503, RETRY_SOON),
        (EventLogUnavailableError, 503, RETRY_SOON),
        (EventsInProgressError, 503, RETRY_SOON),
        (OtherAccountError, 409, {}),
        (GateRefusedError, 409, {}),
        (SchemaMismatchError, 409, {}),
    ):
        app.add_exception_handler(error, _handler(status, headers))


def _problem_response(
    status: int, detail: str, errors: list[FieldProblem] | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    title = HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, detail=detail, errors=errors or [], request_id=REQUEST_ID.get())
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers, media_type=MEDIA_TYPE)


def _handler(status: int, headers: Mapping[str, str]):  # type: ignore[no-untyped-def]  # Starlette's handler type
    """A handler for errors whose message is written for the caller."""

    def handler(_: Request, error: Exception) -> JSONResponse:
        return _problem_response(status, str(error), headers=headers)

    return handler


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [describe(item) for item in error.errors()]
    # A short text for people; `errors` has all of them.
    detail = "; ".join(f"{problem.field}: {problem.message}" for problem in problems[:3])
    return _problem_response(422, detail, problems)


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    # FastAPI answers a body that is not UTF-8 with 400 and one that is not JSON with 422. Callers get 422 for both.
    status = 422 if error.status_code == 400 else error.status_code
    return _problem_response(status, error.detail, headers=error.headers)


def _busy(_: Request, __: Exception) -> JSONResponse:
    return _problem_response(409, "another job is running on this shop; try again when it has finished")


def _rate_limited(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RateLimitedError)
    # Whole seconds (RFC 9110, section 10.2.3); rounded down, the caller would come back too early.
    return _problem_response(429, str(error), headers={"Retry-After": str(math.ceil(error.retry_after_s))})


def _overloaded(request: Request, error: Exception) -> JSONResponse:
    request.app.state.services.runtime.metrics.rejected("overload").inc()
    return _problem_response(503, str(error), headers=RETRY_SOON)
