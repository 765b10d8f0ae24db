"""Access control: API keys with scopes, and rate limits per key and per address."""

import ipaddress
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache
from typing import Any

from fastapi import Request, Security
from fastapi.security import APIKeyHeader

from feature_repo.common.api_keys import ApiKey, Scope
from feature_repo.common.config import ApiConfig
from feature_repo.common.limits import Limit
from online_api.observability.metrics import Metrics
from online_api.observability.middleware import context_of
from online_api.protection.keys import KeyRing
from online_api.protection.rate_limit import RateLimiter

HEADER = APIKeyHeader(
    name="X-API-Key",
    auto_error=False,
    description="A key made by `tawsiya keys create`. Not needed while no key exists (on loopback only)",
)


class UnauthorisedError(RuntimeError):
    """The request needs a valid API key and has none."""


class ForbiddenError(RuntimeError):
    """The key lacks the scope, or a page of another site calls an open API."""


class RateLimitedError(RuntimeError):
    """The caller sent too many requests; it should wait for `retry_after_s` seconds."""

    def __init__(self, retry_after_s: float) -> None:
        """Puts the seconds to wait into the message."""
        super().__init__(f"too many requests; try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class AccessControl:
    """Admits requests or raises an error; for one event loop."""

    def __init__(self, keys: KeyRing, limiter: RateLimiter, config: ApiConfig, metrics: Metrics) -> None:
        """Combines the parts, which the caller opens and closes.

        If there are no keys at the start, the API is open until there is one; `serve` allows that on loopback only.
        Revoking the last key later does not open the API.
        """
        self._keys, self._limiter, self._metrics = keys, limiter, metrics
        self._open = not keys.any()
        self._origins = config.cors_origins
        self._key_limit = Limit(rate_per_second=config.requests_per_second_per_key, burst=config.burst_per_key)
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

    def _key(self, request: Request, token: str | None) -> ApiKey | None:
        """The key of the request; None if none is needed."""
        if self._open:
            # Never set to True again: revoking the last key must not open the API.
            self._open = not self._keys.any()
            if self._open:
                _require_own_page(request, self._origins)
                return None
        key = None if token is None else self._keys.find(token)
        if key is None:
            self._metrics.rejected("unauthorised").inc()
            raise UnauthorisedError("a valid API key is needed in the header X-API-Key")
        return key

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
    name = request.url.hostname or ""
    origin = request.headers.get("origin")
    if not is_loopback(name):  # DNS rebinding: a foreign name that resolves to 127.0.0.1
        raise ForbiddenError("without API keys the API answers to 127.0.0.1 and localhost only")
    if origin is not None and origin not in origins and origin.partition("://")[2] != request.headers.get("host"):
        raise ForbiddenError("without API keys the API answers its own pages only")


@lru_cache(1024)  # bounded, because callers choose the Host header
def is_loopback(host: str) -> bool:
    """Whether a host name or address is reachable from this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def needs(scope: Scope) -> Callable[..., Coroutine[Any, Any, None]]:
    """A FastAPI dependency that admits requests with the scope."""

    async def admitted(request: Request, token: str | None = Security(HEADER)) -> None:
        access: AccessControl = request.app.state.access
        await access.admit(request, token, scope)

    return admitted
