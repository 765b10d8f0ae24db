"""Access control: API keys with scopes, tokens of single buyers, and rate limits per key, buyer and address."""

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from feature_repo.access.api_keys import ApiKey
from feature_repo.access.buyer_tokens import BuyerTokens, InvalidTokenError
from feature_repo.access.limits import Limit
from feature_repo.access.scope import Scope
from feature_repo.settings.api import ApiConfig
from online_api.observability.metrics import Metrics
from online_api.observability.middleware import context_of
from online_api.protection.keys import KeyRing
from online_api.protection.rate_limit import RateLimiter

HEADER = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    description="A key made by `tawsiya keys create`. Not needed while no key exists (on loopback only)",
)

BEARER = HTTPBearer(
    scheme_name="BuyerToken",
    auto_error=False,
    description="Instead of a key: a token that the shop's server signed for one buyer (docs/security.md)",
)
BUYER_TOKEN = "buyer_token"  # stands in log lines where a key's name would


class UnauthorisedError(RuntimeError):
    """The request needs a valid API key or buyer token and has none."""


class ForbiddenError(RuntimeError):
    """The key lacks the scope, the token is of another buyer, or a page of another site calls an open API."""


class RateLimitedError(RuntimeError):
    """The caller sent too many requests; it should wait for `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        """Puts the seconds to wait into the message."""
        super().__init__(f"too many requests; try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class AccessControl:
    """Admits requests or raises an error; for one event loop."""

    def __init__(
        self,
        keys: KeyRing,
        tokens: BuyerTokens,
        open_tokens: Callable[[], BuyerTokens],
        limiter: RateLimiter,
        config: ApiConfig,
        metrics: Metrics,
    ) -> None:
        """Combines the parts, which the caller opens and closes.

        If there are no keys at the start, the API is open until there is one; `serve` allows that on loopback only.
        Revoking the last key later does not open the API. While it is open, `open_tokens` count instead of `tokens`, so
        that the demo shop needs no secret to be configured.
        """
        self._keys, self._limiter, self._metrics = keys, limiter, metrics
        self._closed_tokens, self._open_tokens = tokens, open_tokens
        self._open = not keys.any()
        self._origins = config.cors_origins
        self._key_limit = Limit(rate_per_second=config.requests_per_second_per_key, burst=config.burst_per_key)
        self._buyer_limit = Limit(rate_per_second=config.requests_per_second_per_buyer, burst=config.burst_per_buyer)
        self._address_limit = Limit(
            rate_per_second=config.requests_per_second_per_address, burst=config.burst_per_address
        )

    async def admit(self, request: Request, token: str | None, scope: Scope) -> None:
        """Checks the rate limit of the address, the key, its scope and its rate limit, in this order.

        Raises:
            RateLimitedError, UnauthorisedError, ForbiddenError: The request is not admitted.
        """
        # First, so that it also limits attempts with invalid keys (docs/security.md).
        await self._limit(f"address:{_address(request)}", self._address_limit)
        key = self._key(request, token)
        if key is None:
            return
        context_of(request.scope).api_key = key.name
        if scope not in key.scopes:
            raise ForbiddenError(f"this key does not have the scope `{scope}`")
        # Last, so that a request without the scope costs the key nothing.
        await self._limit(f"key:{key.key_id}", key.limit or self._key_limit)

    async def admit_buyer(self, request: Request, token: str) -> None:
        """Checks the rate limit of the address, the buyer token, and the buyer's rate limit, in this order.

        The request may then name this buyer only (require_own_buyer).

        Raises:
            RateLimitedError, UnauthorisedError: The request is not admitted.
        """
        await self._limit(f"address:{_address(request)}", self._address_limit)
        try:
            buyer_id = self._tokens.buyer_of(token)
        except InvalidTokenError as error:
            self._metrics.rejected("unauthorised").inc()
            raise UnauthorisedError(str(error)) from None
        context = context_of(request.scope)
        context.api_key, context.token_buyer = BUYER_TOKEN, buyer_id
        # A hash, because Redis holds the names of the buckets.
        await self._limit(f"buyer:{buyer_digest(buyer_id)}", self._buyer_limit)

    async def admit_visitor(self, request: Request) -> bool:
        """Checks the rate limit of the address, for who has neither key nor token yet; returns whether the API is open.

        Raises:
            RateLimitedError, ForbiddenError: The request is not admitted.
        """
        await self._limit(f"address:{_address(request)}", self._address_limit)
        if self._is_open:
            _require_own_page(request, self._origins)
        return self._is_open

    def sign(self, buyer_id: str, expires: dt.datetime) -> str:
        """A token that this API accepts; ConfigError if there is nothing to sign with."""
        return self._tokens.sign(buyer_id, expires)

    def token_holder(self, request: Request) -> str | None:
        """The buyer whom the request's token names; None without a valid one."""
        token = _bearer_token_of(request)
        try:
            return None if token is None else self._tokens.buyer_of(token)
        except InvalidTokenError:
            return None

    def require_guest(self, guest_id: str, token: str | None) -> None:
        """Raises ForbiddenError unless a guest's buyer token proves that the caller is this guest."""
        if token is None:
            raise ForbiddenError("with a buyer token, the guest's own buyer token is needed as well (guest_token)")
        try:
            proven = self._tokens.buyer_of(token)
        except InvalidTokenError as error:
            raise ForbiddenError(f"guest_token: {error}") from None
        if proven != guest_id:
            raise ForbiddenError("guest_token: the buyer token is of another guest")

    def _key(self, request: Request, token: str | None) -> ApiKey | None:
        """The key of the request; None if none is needed."""
        if self._is_open:
            _require_own_page(request, self._origins)
            return None
        key = None if token is None else self._keys.find(token)
        if key is None:
            self._metrics.rejected("unauthorised").inc()
            raise UnauthorisedError("a valid API key is needed in the header X-API-Key")
        return key

    @property
    def _is_open(self) -> bool:
        """Whether requests need no key. Never True again: revoking the last key must not open the API."""
        self._open = self._open and not self._keys.any()
        return self._open

    @property
    def _tokens(self) -> BuyerTokens:
        return self._open_tokens() if self._is_open else self._closed_tokens

    async def _limit(self, bucket: str, limit: Limit) -> None:
        wait_s = await self._limiter.admit(bucket, limit)
        if wait_s:
            self._metrics.rejected("rate_limit").inc()
            raise RateLimitedError(wait_s)


def _address(request: Request) -> str:
    """The address to limit; for IPv6 the /64 network, because one caller has 2^64 addresses."""
    host = request.client.host if request.client else "unknown"
    return host if ":" not in host else str(ipaddress.ip_network(f"{host.partition('%')[0]}/64", strict=False))


def _require_own_page(request: Request, origins: Sequence[str]) -> None:
    """Refuses calls from pages of other sites: a browser on this machine would send them to an open API."""
    host, origin = request.headers.get("host"), request.headers.get("origin")
    # DNS rebinding: a foreign name that resolves to 127.0.0.1. A request without the header names the socket's address.
    if not (_names_loopback(host) if host else is_loopback(request.url.hostname or "")):
        raise ForbiddenError("without API keys the API answers to 127.0.0.1 and localhost only")
    if origin is not None and origin not in origins and origin.partition("://")[2] != host:
        raise ForbiddenError("without API keys the API answers its own pages only")


@lru_cache(1024)
def _names_loopback(host: str) -> bool:
    """Whether a Host header names this machine alone."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    return name is not None and is_loopback(name)


@lru_cache(1024)  # bounded, because callers choose the Host header
def is_loopback(host: str) -> bool:
    """Whether a host name or address is reachable from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


# The dependencies read the headers themselves, because QueryRoute calls them without FastAPI. Their further parameters
# are the documentation.


def needs(scope: Scope) -> Callable[..., Coroutine[Any, Any, None]]:
    """A FastAPI dependency that admits requests with a key of the scope."""

    async def admitted(request: Request, _: Annotated[str | None, Security(HEADER)] = None) -> None:
        access: AccessControl = request.app.state.access
        await access.admit(request, _key_of(request), scope)

    return admitted


def needs_or_buyer(scope: Scope) -> Callable[..., Coroutine[Any, Any, None]]:
    """Like needs(), and admits requests with a buyer token; routes that take a buyer call require_own_buyer."""

    async def admitted(
        request: Request,
        _: Annotated[str | None, Security(HEADER)] = None,
        __: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)] = None,
    ) -> None:
        access: AccessControl = request.app.state.access
        token = _bearer_token_of(request)
        # A token beside a key still limits the request to its buyer.
        if token is not None:
            await access.admit_buyer(request, token)
        else:
            await access.admit(request, _key_of(request), scope)

    return admitted


def _key_of(request: Request) -> str | None:
    return request.headers.get(HEADER.model.name)


def _bearer_token_of(request: Request) -> str | None:
    # Other schemes may be a proxy's.
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def require_own_buyer(request: Request, *buyer_ids: object) -> None:
    """Raises ForbiddenError if the request has a buyer token and names another buyer; None names nobody."""
    own = context_of(request.scope).token_buyer
    if own is not None and any(buyer_id not in (None, own) for buyer_id in buyer_ids):
        raise ForbiddenError("the buyer token is of another buyer")


def caller_of(request: Request) -> str:
    """Who sent the request, for limits per caller: the name of its key, or a hash of its token's buyer."""
    context = context_of(request.scope)
    if context.token_buyer is not None:
        return f"buyer:{buyer_digest(context.token_buyer)}"
    return context.api_key or ""


def buyer_digest(buyer_id: str) -> str:
    """A short hash of a buyer's id."""
    return hashlib.sha256(buyer_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
