"""Routes with a JSON body that say so to callers who send something else."""

from collections.abc import Callable, Coroutine
from email.message import Message
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute


class JsonRoute(APIRoute):
    """A route that refuses a body of another content type or content encoding with 415."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI after the check."""
        handle = super().get_route_handler()

        async def checked(request: Request) -> Response:
            if await request.body():
                _check(request)
            return await handle(request)

        return checked


def _check(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        message = f"content-encoding {encoding[:100]!r} is not supported; send the body uncompressed"
        raise HTTPException(415, message, {"Accept-Encoding": "identity"})  # RFC 9110, section 15.5.16
    header = Message()
    header["content-type"] = request.headers.get("content-type", "")
    # FastAPI parses these and takes any other body for text. Message reads a missing type as text/plain.
    subtype = header.get_content_subtype()
    if header.get_content_maintype() != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise HTTPException(415, "send content-type: application/json")
