"""Page tokens: what continues a list without repeating a product. They hold what was shown, so no server keeps it.

A token is signed with HMAC-SHA-256, so that nobody can make one for a list of another buyer. Its bytes, in base64url:

    version (1) | expires, seconds since 1970 (4) | pages so far (2) | digest of the list (8) | product keys (8 each)
    | signature (16)

Why this and no JSON Web Token, which has text in base64 in base64: docs/adr/0021.
"""

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import NamedTuple

VERSION = 1
MAX_SHOWN = 500  # products of the pages of one list
_HEAD = struct.Struct(">BIH8s")
_KEY_BYTES, _SIGNATURE_BYTES, _LIST_BYTES = 8, 16, 8
# A URL with it fits into the 8 KiB that proxies take by default.
MAX_TOKEN_LENGTH = -(-(_HEAD.size + _KEY_BYTES * MAX_SHOWN + _SIGNATURE_BYTES) * 4 // 3)


class PageTokenError(ValueError):
    """A token does not continue the list; `reason` says why, as responses.PageInfo does."""

    def __init__(self, reason: str) -> None:
        """Keeps the reason."""
        super().__init__(reason)
        self.reason = reason


class Shown(NamedTuple):
    """What the pages so far have shown.

    Attributes:
        pages: Their number.
        product_keys: The products, in order.
    """

    pages: int = 0
    product_keys: tuple[int, ...] = ()


class PageTokens:
    """Signs and checks the tokens of one shop; the first secret signs, and tokens of all are accepted."""

    def __init__(self, secrets: Sequence[bytes], shop: str) -> None:
        """Derives keys of its own from secrets that may sign other things as well; `shop` is a name of the shop."""
        purpose = b"tawsiya page token:" + shop.encode()
        self._keys = [hmac.digest(secret, purpose, "sha256") for secret in secrets]

    def sign(self, shown: Shown, list_identity: bytes, expires_s: int) -> str | None:
        """A token for the page after those shown; None if there is no secret, or too much was shown.

        Args:
            shown: What was shown, this page included.
            list_identity: Whatever must be equal for a token to continue a list.
            expires_s: Seconds since 1970.
        """
        if not self._keys or len(shown.product_keys) > MAX_SHOWN:
            return None
        key = self._keys[0]
        head = _HEAD.pack(VERSION, expires_s, shown.pages, _list_digest(key, list_identity))
        content = head + struct.pack(f">{len(shown.product_keys)}q", *shown.product_keys)
        return _text_of(content + _signature(key, content))

    def read(self, token: str, list_identity: bytes, now_s: int) -> Shown:
        """What the pages before have shown.

        Raises:
            PageTokenError: `unavailable`: there is no secret; `invalid`: none of them signed the token; `expired`;
                `other_list`: it belongs to another list, or to the list of another buyer.
        """
        if not self._keys:
            raise PageTokenError("unavailable")
        content, signature = _split(token)
        for key in self._keys:
            if hmac.compare_digest(_signature(key, content), signature):
                break
        else:
            raise PageTokenError("invalid")
        _, expires_s, pages, digest = _HEAD.unpack_from(content)
        if now_s >= expires_s:
            raise PageTokenError("expired")
        if not hmac.compare_digest(digest, _list_digest(key, list_identity)):
            raise PageTokenError("other_list")
        n_shown = (len(content) - _HEAD.size) // _KEY_BYTES
        return Shown(pages, struct.unpack_from(f">{n_shown}q", content, _HEAD.size))


def _split(token: str) -> tuple[bytes, bytes]:
    """The signed content of a token and its signature."""
    try:
        content = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise PageTokenError("invalid") from None
    n_bytes = len(content) - _HEAD.size - _SIGNATURE_BYTES
    # The version before the signature: another version may be signed in another way. And one text per token: base64
    # leaves bits of its last character unused.
    if n_bytes < 0 or n_bytes % _KEY_BYTES or content[0] != VERSION or _text_of(content) != token:
        raise PageTokenError("invalid")
    return content[:-_SIGNATURE_BYTES], content[-_SIGNATURE_BYTES:]


def _text_of(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _signature(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_SIGNATURE_BYTES]


def _list_digest(key: bytes, list_identity: bytes) -> bytes:
    # Keyed, so that a token does not tell which buyer it is of.
    return hashlib.blake2b(list_identity, digest_size=_LIST_BYTES, key=key).digest()
