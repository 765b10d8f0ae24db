"""Answers list requests: from buyers, interactions, products and queries to lists of products; independent of HTTP.

Legend: B requests of one batch, K results, L events, M texts, N products, D dimensions, T text dimensions.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import faiss
import numpy as np

from feature_repo.common.arrays import Float32Array
from feature_repo.online.features import BuyerFeatures, OnlineFeatures
from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, EventSequence, merge_sequences, sequence
from online_api.list_making import finished, open_lists, search
from online_api.lists.languages import Languages
from online_api.lists.list_request import (
    NO_TEXT_ENCODER,
    CurrencyRequiredError,
    ListRequest,
    ListResult,
    Payload,
    ResolvedRequest,
    Stages,
)
from online_api.lists.live_release import LiveRelease, ReleaseKeeper
from online_api.lists.request_texts import RequestTextEncoder
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.protection.limits import RequestTooLongError
from online_api.schemas.requests import Filters, Interaction
from online_api.schemas.responses import Source
from online_api.search.synonym_file import Synonyms
from online_api.watched_file import WatchedFile
from training.artifacts.buyer_encoder import EncodedBuyer
from training.artifacts.recommender import NO_NEW_PRODUCTS, KnownEvents

NO_HISTORY = KnownEvents(EMPTY_SEQUENCE, np.empty(0, dtype=np.int64), NO_NEW_PRODUCTS)


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class RecommendationService:
    """Answers list requests in batches; safe to use from several threads."""

    def __init__(
        self,
        keeper: ReleaseKeeper,
        online: OnlineFeatures,
        breaker: CircuitBreaker,
        texts: RequestTextEncoder,
        synonyms: WatchedFile[Synonyms],
        *,
        max_history: int,
        max_interactions: int,
    ) -> None:
        """Combines the parts, which the caller opens and closes.

        Args:
            keeper: Holds the live release.
            online: Reads buyers' features.
            breaker: Guards the calls of `online`.
            texts: Encodes texts of requests.
            synonyms: The shop's synonyms.
            max_history: Maximum number of events in a history; older ones are ignored.
            max_interactions: Maximum number of interactions in one request.
        """
        self.keeper, self._online, self._breaker, self.texts = keeper, online, breaker, texts
        self._synonyms = synonyms
        self._max_history, self._max_interactions = max_history, max_interactions

    # --- lists: resolve -> encode -> search -> rank and render --------------------------------------------------------

    def answer(self, requests: Sequence[ListRequest]) -> list[ListResult]:
        """The lists for B requests, in their order, all from the same release, prices and rules."""
        # Per thread, so it is set in each call. Requests run in parallel; more threads within one would slow all down.
        faiss.omp_set_num_threads(1)
        live = self.keeper.live  # read once: the keeper may replace it while the batch runs
        started = time.perf_counter()
        resolved = self._resolve(live, requests)
        read = time.perf_counter()
        buyers = _encode(live, resolved)
        encoded = time.perf_counter()
        lists = open_lists(live, resolved, buyers, now_ms())
        search(live, lists)
        searched = time.perf_counter()
        stages: Stages = [("features", started, read), ("encode", read, encoded), ("search", encoded, searched)]
        results = []
        for open_list in lists:
            begun = time.perf_counter()
            payload = finished(live, open_list)
            results.append(ListResult(payload, [*stages, ("rank", begun, time.perf_counter())], open_list.resolved))
        return results

    def answer_beside(self, release: LiveRelease, resolved: ResolvedRequest, /) -> Payload:
        """The list that another release gives for a request, from the stored features of the first answer."""
        again = self._resolve_session(release, resolved.request)
        if again.needs_stored_features:
            again = _add_stored(release, again, resolved.stored)
        [open_list] = open_lists(release, [again], _encode(release, [again]), now_ms())
        return finished(release, open_list)

    def _resolve(self, live: LiveRelease, requests: Sequence[ListRequest]) -> list[ResolvedRequest]:
        """Adds histories to the requests: those of the session, else the stored ones, read in one call."""
        resolved = [self._resolve_session(live, request) for request in requests]
        waiting = [place for place, entry in enumerate(resolved) if entry.needs_stored_features]
        if not waiting:
            return resolved
        # One call for the batch: a buyer takes 0.014 ms in a call for 32, 0.08 ms in a call of its own (ADR 0004).
        buyer_ids = [str(resolved[place].request.buyer_id) for place in waiting]
        current_keys = live.catalogue.products.current_keys
        rows = self._breaker.call(lambda: self._online.read_buyers(buyer_ids, current_keys))
        for row, place in enumerate(waiting):
            resolved[place] = _add_stored(live, resolved[place], None if rows is None else rows[row])
            if rows is not None and self._breaker.refuses_writes:
                # Stored histories lack the newest events.
                entry = resolved[place]
                resolved[place] = replace(entry, degraded=(*entry.degraded, "feature_store"))
        return resolved

    def _resolve_session(self, live: LiveRelease, request: ListRequest) -> ResolvedRequest:
        """Resolves a request as far as that is possible without stored features."""
        request = request.for_release(live.recommender.name)
        history = NO_HISTORY
        if request.interactions:
            product_key = live.catalogue.products.product_key
            new_vectors = {product_key(product_id): vector_D for product_id, vector_D in request.text_vectors.items()}
            history = live.recommender.known_events(self._sequence(live, request.interactions), new_vectors)
        matches = request.matches
        # Encoding took too long, or another release is live by now: the query is matched by spelling alone.
        if matches is None and request.query is not None:
            matches = live.recommender.match_query(request.query, None, self._synonyms.content().of(request.query))
        source: Source = "popular" if history.is_empty else "session"
        if matches is not None and not matches.is_empty:
            source = "search"
        elif request.similar_to is not None and live.catalogue.products.position_of(request.similar_to) >= 0:
            source = "similar"
        return ResolvedRequest(request, source, history, request.degraded, matches)

    def _sequence(self, live: LiveRelease, interactions: Sequence[Interaction]) -> EventSequence:
        """Interactions as a sequence, sorted and truncated like stored ones; those without a time are the newest."""
        given = [interaction.timestamp for interaction in interactions if interaction.timestamp is not None]
        newest = max([now_ms(), *given])
        events = sequence(
            [live.catalogue.products.product_key(interaction.product_id) for interaction in interactions],
            [EVENT_TYPE_CODES[interaction.event_type] for interaction in interactions],
            [
                # Events are sorted by time, so these times keep the given order.
                newest + place if interaction.timestamp is None else interaction.timestamp
                for place, interaction in enumerate(interactions, 1)
            ],
        )
        return merge_sequences(events, EMPTY_SEQUENCE, self._max_history)

    # --- other answers ------------------------------------------------------------------------------------------------

    def encode_buyer(self, request: ListRequest) -> Payload:
        """The buyer vector (EncodeBuyerResponse); for a buyer without a history, that of an empty history."""
        live = self.keeper.live
        resolved = self._resolve(live, [request])
        [buyer] = _encode(live, resolved)
        vector_D = live.recommender.empty_buyer_vector() if buyer is None else buyer.vector_D
        return {
            "embedding": vector_D.tolist(),
            "embedding_dim": len(vector_D),
            "release": live.recommender.name,
            "degraded": list(resolved[0].degraded),
        }

    def product(self, product_id: str, languages: Languages) -> Payload | None:
        """A product (ProductDetails), or the one that it was merged into; None if the release has neither."""
        live = self.keeper.live
        position = live.catalogue.products.position_of(product_id)
        if position < 0:
            return None
        return {
            **live.catalogue.rendered(position, languages),
            "hidden": bool(live.catalogue.hidden_N[position]),
            "release": live.recommender.name,
        }

    # --- preparation of requests --------------------------------------------------------------------------------------

    def check_length(self, interactions: Sequence[Interaction]) -> None:
        """Raises RequestTooLongError if there are too many interactions."""
        if len(interactions) > self._max_interactions:
            raise RequestTooLongError("interactions", len(interactions), self._max_interactions)

    def check_currency(self, filters: Filters) -> None:
        """Raises CurrencyRequiredError if the filters compare prices of several currencies."""
        currencies = self.keeper.live.catalogue.currencies
        if filters.by_price and filters.currency is None and len(currencies) > 1:
            raise CurrencyRequiredError(currencies)

    def new_texts(self, interactions: Sequence[Interaction]) -> dict[str, str]:
        """The texts of products that the live release does not have, by product id."""
        position_of = self.keeper.live.catalogue.products.position_of
        return {one.product_id: one.text for one in interactions if one.text and position_of(one.product_id) < 0}

    def encode_texts(self, texts: Sequence[str]) -> tuple[Float32Array, str] | None:
        """Product vectors of texts, (M, D), and the release that they belong to; None if no text encoder is loaded.

        Takes milliseconds per text.
        """
        recommender = self.keeper.live.recommender
        vectors_MD = self.texts.product_vectors(recommender, texts)
        return None if vectors_MD is None else (vectors_MD, recommender.name)

    def search_request(self, query: str) -> ListRequest:
        """The list request for a query, which it compares with all products. Takes milliseconds."""
        recommender = self.keeper.live.recommender
        vector_T = self.texts.query_vector(recommender, query)
        matches = recommender.match_query(query, vector_T, self._synonyms.content().of(query))
        degraded = NO_TEXT_ENCODER if vector_T is None else ()
        return ListRequest(query=query, matches=matches, release=recommender.name, degraded=degraded)


def _add_stored(live: LiveRelease, resolved: ResolvedRequest, stored: BuyerFeatures | None) -> ResolvedRequest:
    """The request with a buyer's stored features; None: the feature store does not answer."""
    request, source, history, degraded = resolved.request, resolved.source, resolved.history, resolved.degraded
    if stored is None:
        return ResolvedRequest(request, source, history, (*degraded, "feature_store"), resolved.matches)
    if source == "popular":
        stored_history = live.recommender.known_events(stored.events)
        if not stored_history.is_empty:
            source, history = "personalised", stored_history
    return ResolvedRequest(request, source, history, degraded, resolved.matches, stored)


def _encode(live: LiveRelease, resolved: Sequence[ResolvedRequest]) -> list[EncodedBuyer | None]:
    """Encodes the buyers whose history decides the list, in one call; None for the other requests."""
    places = [place for place, entry in enumerate(resolved) if entry.source in ("session", "personalised")]
    buyers: list[EncodedBuyer | None] = [None] * len(resolved)
    encoded = live.recommender.encode_buyers([resolved[place].history for place in places])
    for place, buyer in zip(places, encoded, strict=True):
        buyers[place] = buyer
    return buyers
