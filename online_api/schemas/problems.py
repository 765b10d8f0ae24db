"""Error responses: RFC 9457 (application/problem+json)."""

from pydantic import BaseModel, Field
from pydantic_core import ErrorDetails

MEDIA_TYPE = "application/problem+json"


class FieldProblem(BaseModel):
    """An error in one field of a request."""

    field: str
    message: str


class Problem(BaseModel):
    """An error response."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] = []
    request_id: str | None = Field(None, description="Quote this id when you report an unexpected error")


def describe(error: ErrorDetails) -> FieldProblem:
    """Converts one error of a pydantic ValidationError; leaves out the input."""
    return FieldProblem(field=".".join(map(str, error["loc"])), message=error["msg"])
