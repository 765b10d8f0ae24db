"""The client for asyncio: the same calls as `Client`."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Self, Unpack

import httpx

from tawsiya_client import calls
from tawsiya_client.attempts import Attempts, UnavailableError, read
from tawsiya_client.calls import AnswerT, Call
from tawsiya_client.errors import ServiceAwayError, TawsiyaError
from tawsiya_client.fallback import KEPT, Fallback
from tawsiya_client.models import (
    Event,
    EventsResult,
    Interaction,
    MergeResult,
    Product,
    ProductList,
    SuggestionList,
)
from tawsiya_client.options import (
    BuyerListOptions,
    CartOptions,
    ListOptions,
    RecentOptions,
    SearchOptions,
    ShopListOptions,
)
from tawsiya_client.policy import DEFAULT_POLICY, Policy


class AsyncClient:
    """`Client` for one event loop; see there."""

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        buyer_token: str | None = None,
        policy: Policy = DEFAULT_POLICY,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Opens no connection yet.

        Args:
            base_url: The service, such as "http://127.0.0.1:8000".
            api_key: An API key; None for a service without keys, or with `buyer_token`.
            buyer_token: A token that allows calls for its own buyer only.
            policy: Limits of each call.
            transport: Sends requests in another way, for tests.
        """
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=calls.headers(api_key, buyer_token), transport=transport
        )
        self._policy = policy
        self._fallback = Fallback(policy.fallback_seconds, policy.away_seconds)

    async def __aenter__(self) -> Self:
        """The client itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closes the connections."""
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def recommendations(self, buyer_id: str, **options: Unpack[BuyerListOptions]) -> ProductList:
        """Products for a buyer's stored history, events of a moment ago included."""
        return await self._list(calls.recommendations(buyer_id, options))

    async def for_session(
        self, interactions: Iterable[Interaction], buyer_id: str | None = None, **options: Unpack[BuyerListOptions]
    ) -> ProductList:
        """Products for what happened in this session; without usable interactions, for the buyer's stored history."""
        return await self._list(calls.for_session(interactions, buyer_id, options))

    async def cart(
        self, product_ids: Sequence[str], buyer_id: str | None = None, **options: Unpack[CartOptions]
    ) -> ProductList:
        """What buyers buy together with what is in a cart, without the cart itself."""
        return await self._list(calls.cart(product_ids, buyer_id, options))

    async def again(self, buyer_id: str, **options: Unpack[ShopListOptions]) -> ProductList:
        """What the buyer bought and may need again."""
        return await self._list(calls.again(buyer_id, options))

    async def recent(self, buyer_id: str, **options: Unpack[RecentOptions]) -> ProductList:
        """What the buyer viewed, newest first."""
        return await self._list(calls.recent(buyer_id, options))

    async def similar(self, product_id: str, **options: Unpack[ListOptions]) -> ProductList:
        """Products similar to one."""
        return await self._list(calls.similar(product_id, options))

    async def bought_together(self, product_id: str, **options: Unpack[ShopListOptions]) -> ProductList:
        """What buyers buy together with a product."""
        return await self._list(calls.bought_together(product_id, options))

    async def trending(self, **options: Unpack[ShopListOptions]) -> ProductList:
        """What many buyers chose lately."""
        return await self._list(calls.trending(options))

    async def new(self, **options: Unpack[ShopListOptions]) -> ProductList:
        """New arrivals, newest first."""
        return await self._list(calls.new(options))

    async def on_sale(self, **options: Unpack[ShopListOptions]) -> ProductList:
        """What costs less than usual, the largest reduction first."""
        return await self._list(calls.on_sale(options))

    async def search(self, query: str, **options: Unpack[SearchOptions]) -> ProductList:
        """Products that match a query."""
        return await self._send(calls.search(query, options))

    async def suggestions(self, typed: str, k: int = 10) -> SuggestionList:
        """Texts that complete what was typed."""
        return await self._send(calls.suggestions(typed, k))

    async def product(self, product_id: str) -> Product:
        """One product; ApiError with status 404 if the service does not know it."""
        return await self._send(calls.product(product_id))

    async def record(self, events: Sequence[Event]) -> EventsResult:
        """Records what buyers did. It is repeated safely, because every event has an id."""
        return await self._send(calls.record(events))

    async def merge(self, guest_id: str, buyer_id: str, guest_token: str | None = None) -> MergeResult:
        """Makes a guest's history a buyer's, for example at login; to repeat it changes nothing."""
        return await self._send(calls.merge(guest_id, buyer_id, guest_token))

    async def _list(self, call: Call[ProductList]) -> ProductList:
        if call.options is None:
            return await self._send(call)
        kept = self._fallback.list(call.options) if self._fallback.is_away else None
        if kept is not None:
            return kept
        try:
            answer = await self._send(call)
        except ServiceAwayError:
            self._fallback.note_failure()
            kept = self._fallback.list(call.options)
            if kept is None:
                raise
            return kept
        if self._fallback.take_turn():
            with contextlib.suppress(TawsiyaError):
                self._fallback.keep(await self._send(calls.trending({"k": KEPT})))
        return answer

    async def _send(self, call: Call[AnswerT]) -> AnswerT:
        attempts = Attempts(call.name, self._policy)
        while True:
            try:
                response = await self._http.request(
                    call.method, call.path, params=call.params, json=call.body, timeout=attempts.seconds_left
                )
                return read(call, response)
            except (httpx.TransportError, UnavailableError) as failure:
                wait = attempts.seconds_to_wait(failure)
            await asyncio.sleep(wait)
