"""The demo shop: pages at `/` that use the API like a shop's own, and the buyer tokens that they use it with."""

import datetime as dt
import secrets
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, ConfigDict

from feature_repo import columns as c
from feature_repo.access.buyer_tokens import SECRETS_VARIABLE, token_secrets
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError
from online_api.protection.access import AccessControl, ForbiddenError
from online_api.routes.dependencies import json_response
from online_api.routes.json_route import JsonRoute
from online_api.schemas.fields import BuyerOfEvent

STATIC_FOLDER = Path(__file__).parent / "static"
# Scripts and styles from this server only, and none inline, so that a title or id that became markup could still run
# nothing. Photos may come from any server.
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'self'; img-src *; base-uri 'none'; frame-ancestors 'none'"}
# Of the demo shop's own guests. Tokens of other buyers are the shop's business: they are not renewed here.
GUEST_PREFIX = "demo-guest-"
VISIT_LENGTH = dt.timedelta(hours=2)


class VisitRequest(BaseModel):
    """Who visits: a known buyer, or null for a guest."""

    model_config = ConfigDict(extra="forbid")

    buyer_id: BuyerOfEvent | None = None


def add_storefront(app: FastAPI, config: Config, *, has_keys: bool) -> None:
    """Adds the shop at `/`, its files under `/static/` and its tokens; with API keys only if the configuration says so.

    Raises:
        ConfigError: It does, and there is nothing to sign tokens with.
    """
    if config.api.shop_for_guests and not token_secrets():
        raise ConfigError(
            f"api.shop_for_guests: its pages call the API with buyer tokens; set ${SECRETS_VARIABLE} to the output of "
            "`openssl rand -hex 32`"
        )
    if has_keys and not config.api.shop_for_guests:
        return
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER))
    app.include_router(_router(for_guests=config.api.shop_for_guests))


def _router(*, for_guests: bool) -> APIRouter:
    router = APIRouter(include_in_schema=False, route_class=JsonRoute)

    @router.get("/")
    def storefront() -> FileResponse:
        return FileResponse(STATIC_FOLDER / "index.html", headers=PAGE_HEADERS)

    @router.post("/visit")
    async def visit(body: VisitRequest, request: Request, is_open: Annotated[bool, Depends(_visitor)]) -> Response:
        """What the server of a shop does when it makes a page: it says who the visitor is, and signs it."""
        if not (is_open or for_guests):
            raise ForbiddenError("the demo shop closed with the first API key; api.shop_for_guests opens it to guests")
        access: AccessControl = request.app.state.access
        # Without keys, the API answers for any buyer anyway.
        buyer_id = body.buyer_id if is_open else None
        buyer_id = buyer_id or _returning_guest(access, request) or f"{GUEST_PREFIX}{secrets.token_hex(6)}"
        token = access.sign(buyer_id, dt.datetime.now(dt.UTC) + VISIT_LENGTH)
        visitor = {c.BUYER_ID: buyer_id, "token": token, "seconds": VISIT_LENGTH.total_seconds(), "any_buyer": is_open}
        return json_response(visitor, ((b"cache-control", b"no-store"),))

    return router


async def _visitor(request: Request) -> bool:
    access: AccessControl = request.app.state.access
    return await access.admit_visitor(request)


def _returning_guest(access: AccessControl, request: Request) -> str | None:
    """The guest whose token the request still has."""
    buyer_id = access.token_holder(request)
    return buyer_id if buyer_id is not None and buyer_id.startswith(GUEST_PREFIX) else None
