"""Pages: a list goes on where the page before ended, and no product comes twice, while events arrive.

Scores change with every event, so a page is not "places 11 to 20" but "the best of what was not shown". A token says
what was shown (feature_repo/access/page_tokens.py); the ranking leaves that out and counts it towards the limits of the
list (choice.Listed).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

from pydantic import BaseModel

from feature_repo import columns as c
from feature_repo.access.page_tokens import PageTokenError, PageTokens, Shown
from feature_repo.transforms.keys import product_key
from online_api.lists.list_request import ListRequest, Payload

PAGE_SECONDS = 3600  # a token continues its list for so long
# What may differ between the pages of a list: how it is shown, what happened meanwhile, and what was prepared for it.
# All else is what the list is; so a new field of ListRequest is, too.
_FREE = frozenset(
    {
        "k", "languages", "interactions", "exclude", "page", "shown", "facets",
        "matches", "text_vectors", "release", "degraded",
    }
)  # fmt: skip
_BOUND = [field.name for field in fields(ListRequest) if field.name not in _FREE]


@dataclass(frozen=True, slots=True)
class OpenedPage:
    """A page that is being made.

    Attributes:
        list_identity: See PageTokens.
        before: What the pages before have shown.
        restarted: Why the list begins anew although a token came; None if it does not.
    """

    list_identity: bytes
    before: Shown
    restarted: str | None


class Pages:
    """Continues the lists of one shop; safe to use from several threads."""

    def __init__(
        self,
        shop: str,
        configured: Sequence[str],
        shared_secret: Callable[[], bytes | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Reads the secret that it needs.

        Args:
            shop: A name of the shop.
            configured: Secrets of the environment, the signing one first; they count alone if there are any.
            shared_secret: Returns the secret that all workers share, or None while it cannot be read.
            clock: Returns seconds since 1970.
        """
        self._shop, self._shared_secret, self._clock = shop, shared_secret, clock
        self._secrets = [secret.encode() for secret in configured]
        self._is_configured = bool(configured)
        self._tokens = PageTokens(self._secrets, shop)
        self.refresh()

    @property
    def secret(self) -> bytes | None:
        """The secret that signs; None as long as there is none."""
        return self._secrets[0] if self._secrets else None

    def refresh(self) -> None:
        """Reads the shared secret again: the store may have been down, or emptied. For a background thread."""
        if self._is_configured:
            return
        secret = self._shared_secret()
        if secret is None or secret in self._secrets[:1]:
            return
        # The one before stays valid, so that lists go on.
        self._secrets = [secret, *self._secrets[:1]]
        self._tokens = PageTokens(self._secrets, self._shop)

    def open(self, request: ListRequest) -> tuple[ListRequest, OpenedPage]:
        """The request for the page that `request.page` names, or for the first one if that does not continue it."""
        identity = list_identity(request)
        if request.page is None:
            return request, OpenedPage(identity, Shown(), None)
        try:
            before = self._tokens.read(request.page, identity, int(self._clock()))
        except PageTokenError as error:
            return request, OpenedPage(identity, Shown(), error.reason)
        return replace(request, shown=before.product_keys), OpenedPage(identity, before, None)

    def close(self, page: OpenedPage, payload: Payload, k: int) -> None:
        """Adds to an answer which page it is, and the token of the next one if there is more to show."""
        items = payload["items"]
        payload["page"] = {"number": page.before.pages + 1, "restarted": page.restarted}
        payload["next"] = None
        if len(items) == k and payload["matching"] > k:
            keys = (*page.before.product_keys, *(product_key(item[c.PRODUCT_ID]) for item in items))
            expires_s = int(self._clock()) + PAGE_SECONDS
            payload["next"] = self._tokens.sign(Shown(page.before.pages + 1, keys), page.list_identity, expires_s)


def list_identity(request: ListRequest) -> bytes:
    """Equal for requests that ask for pages of one list: of one kind, buyer, query, product and conditions."""
    return "\n".join(_text(getattr(request, name)) for name in _BOUND).encode("utf-8", "surrogatepass")


def _text(value: object) -> str:
    return _text_of_model(value) if isinstance(value, BaseModel) else repr(value)


@lru_cache(256)  # a shop's pages repeat a few filters, and this text takes pydantic longer than all else here
def _text_of_model(value: BaseModel) -> str:
    return value.model_dump_json()
