"""Errors as answers: RFC 9457 (application/problem+json)."""

from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """What is wrong with one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    request_id: str | None = Field(None, description="Quote it when you report an unexpected error")


def describe(error: ErrorDetails) -> FieldProblem:
    """One error of a pydantic ValidationError, without the input it speaks of."""
    return FieldProblem(field=".".join(map(str, error["loc"])), message=error["msg"])
