"""The client for ordinary code."""

import contextlib
import time
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


class Client:
    """Calls the API; keeps its connections, so use one client for all calls. Safe to use from several threads.

    Lists come from a kept popular list while the service is away (`ProductList.source` is "fallback"). All calls raise
    ApiError if the service refuses them, and ServiceAwayError if it does not answer and there is no fallback.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None = None,
        *,
        buyer_token: str | None = None,
        policy: Policy = DEFAULT_POLICY,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Opens no connection yet.

        Args:
            base_url: The service, such as "http://127.0.0.1:8000".
            api_key: An API key; None for a service without keys, or with `buyer_token`.
            buyer_token: A token that allows calls for its own buyer only.
            policy: Limits of each call.
            transport: Sends requests in another way, for tests.
        """
        self._http = httpx.Client(base_url=base_url, headers=calls.headers(api_key, buyer_token), transport=transport)
        self._policy = policy
        self._fallback = Fallback(policy.fallback_seconds, policy.away_seconds)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def recommendations(self, buyer_id: str, **options: Unpack[BuyerListOptions]) -> ProductList:
        """Products for a buyer's stored history, events of a moment ago included."""
        return self._list(calls.recommendations(buyer_id, options))

    def for_session(
        self, interactions: Iterable[Interaction], buyer_id: str | None = None, **options: Unpack[BuyerListOptions]
    ) -> ProductList:
        """Products for what happened in this session; without usable interactions, for the buyer's stored history."""
        return self._list(calls.for_session(interactions, buyer_id, options))

    def cart(
        self, product_ids: Sequence[str], buyer_id: str | None = None, **options: Unpack[CartOptions]
    ) -> ProductList:
        """What buyers buy together with what is in a cart, without the cart itself."""
        return self._list(calls.cart(product_ids, buyer_id, options))

    def again(self, buyer_id: str, **options: Unpack[ShopListOptions]) -> ProductList:
        """What the buyer bought and may need again."""
        return self._list(calls.again(buyer_id, options))

    def recent(self, buyer_id: str, **options: Unpack[RecentOptions]) -> ProductList:
        """What the buyer viewed, newest first."""
        return self._list(calls.recent(buyer_id, options))

    def similar(self, product_id: str, **options: Unpack[ListOptions]) -> ProductList:
        """Products similar to one."""
        return self._list(calls.similar(product_id, options))

    def bought_together(self, product_id: str, **options: Unpack[ShopListOptions]) -> ProductList:
        """What buyers buy together with a product."""
        return self._list(calls.bought_together(product_id, options))

    def trending(self, **options: Unpack[ShopListOptions]) -> ProductList:
        """What many buyers chose lately."""
        return self._list(calls.trending(options))

    def new(self, **options: Unpack[ShopListOptions]) -> ProductList:
        """New arrivals, newest first."""
        return self._list(calls.new(options))

    def on_sale(self, **options: Unpack[ShopListOptions]) -> ProductList:
        """What costs less than usual, the largest reduction first."""
        return self._list(calls.on_sale(options))

    def search(self, query: str, **options: Unpack[SearchOptions]) -> ProductList:
        """Products that match a query."""
        return self._send(calls.search(query, options))

    def suggestions(self, typed: str, k: int = 10) -> SuggestionList:
        """Texts that complete what was typed."""
        return self._send(calls.suggestions(typed, k))

    def product(self, product_id: str) -> Product:
        """One product; ApiError with status 404 if the service does not know it."""
        return self._send(calls.product(product_id))

    def record(self, events: Sequence[Event]) -> EventsResult:
        """Records what buyers did. It is repeated safely, because every event has an id."""
        return self._send(calls.record(events))

    def merge(self, guest_id: str, buyer_id: str, guest_token: str | None = None) -> MergeResult:
        """Makes a guest's history a buyer's, for example at login; to repeat it changes nothing."""
        return self._send(calls.merge(guest_id, buyer_id, guest_token))

    def _list(self, call: Call[ProductList]) -> ProductList:
        if call.options is None:
            return self._send(call)
        kept = self._fallback.list(call.options) if self._fallback.is_away else None
        if kept is not None:
            return kept
        try:
            answer = self._send(call)
        except ServiceAwayError:
            self._fallback.note_failure()
            kept = self._fallback.list(call.options)
            if kept is None:
                raise
            return kept
        if self._fallback.take_turn():
            with contextlib.suppress(TawsiyaError):
                self._fallback.keep(self._send(calls.trending({"k": KEPT})))
        return answer

    def _send(self, call: Call[AnswerT]) -> AnswerT:
        attempts = Attempts(call.name, self._policy)
        while True:
            try:
                response = self._http.request(
                    call.method, call.path, params=call.params, json=call.body, timeout=attempts.seconds_left
                )
                return read(call, response)
            except (httpx.TransportError, UnavailableError) as failure:
                wait = attempts.seconds_to_wait(failure)
            time.sleep(wait)
