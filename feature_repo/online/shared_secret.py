"""A random secret that all workers and hosts of one shop find in the online store."""

import secrets
from typing import Any

_SECRET_BYTES = 32


def read_secret(redis: Any, shop: str) -> bytes | None:
    """The secret of a shop, None if nobody has made it yet; `shop` begins the shop's own keys (shop_prefix)."""
    value: bytes | None = redis.get(_key(shop))
    return value


def make_secret(redis: Any, shop: str) -> bytes | None:
    """Makes the secret of a shop, unless another worker was faster, and returns the one that counts."""
    redis.set(_key(shop), secrets.token_hex(_SECRET_BYTES), nx=True)
    return read_secret(redis, shop)


def _key(shop: str) -> str:
    return f"{shop}:page_secret"
