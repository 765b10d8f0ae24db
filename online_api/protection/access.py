"""Who may call: API keys with scopes, and rate limits per key and per address."""

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
    description="A key that `tawsiya keys create` made. Not needed while there are no keys (loopback only)",
)


class UnauthorisedError(RuntimeError):
    """No valid key where one is needed."""


class ForbiddenError(RuntimeError):
    """The key does not have the scope."""


class RateLimitedError(RuntimeError):
    """Too many requests; `retry_after_s` says when it is worth trying again."""

    def __init__(self, retry_after_s: float) -> None:
        """Takes the seconds to wait."""
        super().__init__(f"too many requests; try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


class AccessControl:
    """Admits requests or raises; for one event loop."""

    def __init__(self, keys: KeyRing, limiter: RateLimiter, config: ApiConfig, metrics: Metrics) -> None:
        """Takes keys and limiter open.

        Without keys at the start everybody may do everything (`serve` allows that on loopback only) until there is
        one.
        That no key is left later opens nothing: who revokes the last key does not mean to let everybody in.
        """
        self._keys, self._limiter, self._metrics = keys, limiter, metrics
        self._open = not keys.any()
        self._origins = config.cors_origins
        self._key_limit = Limit(rate_per_second=config.requests_per_second_per_key, burst=config.burst_per_key)
        self._address_limit = Limit(
            rate_per_second=config.requests_per_second_per_address, burst=config.burst_per_address
        )

    async def admit(self, request: Request, token: str | None, scope: Scope) -> None:
        """Checks address, key and scope, in this order.

        Raises:
            RateLimitedError, UnauthorisedError, ForbiddenError: It is not admitted.
        """
        await self._limit(f"address:{_address(request)}", self._address_limit)
        key = self._key(request, token)
        if key is None:
            return
        context_of(request.scope).api_key = key.name
        if scope not in key.scopes:
            raise ForbiddenError(f"this key does not have the scope `{scope}`")
        await self._limit(f"key:{key.key_id}", key.limit or self._key_limit)

    def _key(self, request: Request, token: str | None) -> ApiKey | None:
        """The key; None where none is needed."""
        if self._open:
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
    """Whose bucket it is; an IPv6 caller has 2^64 addresses, so its network counts."""
    host = request.client.host if request.client else "unknown"
    return host if ":" not in host else str(ipaddress.ip_network(f"{host.partition('%')[0]}/64", strict=False))


def _require_own_page(request: Request, origins: Sequence[str]) -> None:
    """Keeps other sites' pages out of an open API: a browser on this machine would call it for any of them."""
    name = request.url.hostname or ""
    origin = request.headers.get("origin")
    if not is_loopback(name):  # a name that somebody else's server resolves to 127.0.0.1
        raise ForbiddenError("without API keys the API answers to 127.0.0.1 and localhost only")
    if origin is not None and origin not in origins and origin.partition("://")[2] != request.headers.get("host"):
        raise ForbiddenError("without API keys the API answers its own pages only")


@lru_cache(1024)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, for nobody else to reach."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def needs(scope: Scope) -> Callable[..., Coroutine[Any, Any, None]]:
    """A dependency that admits requests with the scope."""

    async def admitted(request: Request, token: str | None = Security(HEADER)) -> None:
        access: AccessControl = request.app.state.access
        await access.admit(request, token, scope)

    return admitted
