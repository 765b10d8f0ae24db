"""Errors as answers: the one place where an exception becomes a status and application/problem+json (RFC 9457)."""

import logging
import uuid
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError, RedisClusterException
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException

from feature_repo.errors import StoreUnavailableError
from online_api.schemas import FieldProblem, Problem, describe
from online_api.service import RequestTooLongError

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


def add_error_handlers(app: FastAPI) -> None:
    """Makes every error of `app` a problem."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(RequestTooLongError, _too_long)
    app.add_exception_handler(StoreUnavailableError, _unavailable)
    for error in (RedisConnectionError, RedisTimeoutError, RedisClusterException, LockError):
        app.add_exception_handler(error, _no_redis)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _answer(
    status: int, detail: str, errors: list[FieldProblem] | None = None, request_id: str | None = None
) -> JSONResponse:
    title = HTTPStatus(status).phrase
    problem = Problem(title=title, status=status, detail=detail, errors=errors or [], request_id=request_id)
    return JSONResponse(problem.model_dump(exclude_none=True), status, media_type=MEDIA_TYPE)


def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [describe(item) for item in error.errors()]
    detail = "; ".join(f"{problem.field}: {problem.message}" for problem in problems[:3])
    return _answer(422, detail, problems)


def _too_long(_: Request, error: Exception) -> JSONResponse:
    return _answer(422, str(error))


def _unavailable(_: Request, error: Exception) -> JSONResponse:
    return _answer(503, str(error))


def _no_redis(_: Request, error: Exception) -> JSONResponse:
    log.error("the online store does not answer: %s", error)
    return _answer(503, "the feature store does not answer now; try again")


def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    answer = _answer(error.status_code, error.detail)
    answer.headers.update(error.headers or {})
    return answer


def _unexpected(_: Request, error: Exception) -> JSONResponse:
    """Says nothing of the error but an id, under which the log has it; the server logs the traceback itself."""
    request_id = uuid.uuid4().hex
    log.error("request %s failed: %r", request_id, error)
    return _answer(500, "an unexpected error; the server's log has it under the request_id", request_id=request_id)
