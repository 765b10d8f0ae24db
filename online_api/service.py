"""What the API does, without HTTP: from buyers and events to vectors, products and stored events."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Rows
from contextlib import contextmanager

import numpy as np
from pydantic import ValidationError
from redis.exceptions import RedisClusterException, RedisError

from feature_repo.config import Config
from feature_repo.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, Sequence, merge_sequences, sequence
from online_api.event_log import EventLog, LoggedEvent
from online_api.schemas import (
    EncodeBuyerRequest,
    EncodeBuyerResponse,
    Event,
    EventsResponse,
    Health,
    Interaction,
    RecommendationResponse,
    RecommendedProduct,
    RejectedEvent,
    RetrieveRequest,
    Source,
    describe,
)
from training.artifacts.recommender import Recommender, open_current

CLOCK_SKEW_MS = 5_000  # how far a caller's clock may be ahead of ours


class RequestTooLongError(ValueError):
    """A request carries more than the configuration allows."""


class _RefusedEventError(ValueError):
    """An event cannot be taken; the message says why."""


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@contextmanager
def open_service(config: Config) -> Iterator["RecommendationService"]:
    """The service over the shop's feature store and live release.

    Raises:
        ConfigError: `feature_store.online: redis` without an address.
        FileNotFoundError: No release is live.
        SchemaMismatchError: The live release was made for other features than this code and configuration make.
        ValueError: The live release is damaged.
    """
    paths = shop_paths(config)
    with feature_store(config) as store:
        recommender = open_current(paths.releases, schema_hash=store.schema_hash)
        yield RecommendationService(config, store, recommender, EventLog(paths.event_log))


class RecommendationService:
    """Recommendations and events of one shop; safe to use from several threads."""

    def __init__(
        self,
        config: Config,
        store: FeatureStore,
        recommender: Recommender,
        event_log: EventLog,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        """Takes its parts open; `clock` gives milliseconds since 1970."""
        self._limits = config.api
        self._max_history = config.model.buyer_tower.max_interaction_history
        self._store = store
        self._recommender = recommender
        self._event_log = event_log
        self._clock = clock

    def encode_buyer(self, request: EncodeBuyerRequest) -> EncodeBuyerResponse:
        """The buyer's vector; that of an empty history where nothing usable is known.

        Raises:
            RequestTooLongError: Too many interactions.
            StoreUnavailableError: The stored history is needed and cannot be read.
        """
        events, _ = self._history(request)
        vector_D = self._recommender.encode_buyer(events)
        if vector_D is None:
            vector_D = self._recommender.empty_buyer()
        return EncodeBuyerResponse(
            embedding=vector_D.tolist(), embedding_dim=len(vector_D), release=self._recommender.name
        )

    def retrieve(self, request: RetrieveRequest) -> RecommendationResponse:
        """Products for the request's interactions, or for the buyer's stored history where it has none.

        Raises:
            RequestTooLongError: Too many interactions.
            StoreUnavailableError: The stored history is needed and cannot be read.
        """
        events, source = self._history(request)
        return self._recommend(request.buyer_id, events, request.k, source)

    def recommend_for_buyer(self, buyer_id: str, k: int) -> RecommendationResponse:
        """Products for the buyer's stored history; StoreUnavailableError where it cannot be read."""
        return self._recommend(buyer_id, self._store.online.read_sequence(buyer_id), k, "personalised")

    def record_events(self, events: Rows[object]) -> EventsResponse:
        """Stores events: in the log, then in the feature store, where the next recommendation sees them.

        Args:
            events: One JSON object each, as schemas.Event describes it; one that is not usable is listed as rejected.

        Raises:
            RequestTooLongError: Too many events.
            StoreUnavailableError, RedisError, OSError: Not all events were stored. The ids of those that were not will
                be free again, at the latest when their claims run out, so that the whole request can be repeated.
        """
        self._check_length("events", len(events), self._limits.max_events_per_request)
        now = self._clock()
        valid, rejected = self._sort_out(events, now)
        with self._store.online.claim_events({event.event_id for event in valid if event.event_id is not None}) as claim:
            # By id, so that one that is repeated within the request counts once.
            named = {event.event_id: event for event in reversed(valid) if event.event_id in claim.fresh}
            fresh = [
                _logged(event, event.event_id or uuid.uuid4().hex, now)
                for event in valid
                if event.event_id is None or named.get(event.event_id) is event
            ]
            if fresh:
                self._event_log.append(fresh)
            for buyer_id, theirs in _by_buyer(fresh).items():
                self._store.online.push_events({buyer_id: self._sequence_of(theirs)})
                claim.stored([event.event_id for event in theirs])
        return EventsResponse(accepted=len(fresh), duplicates=len(valid) - len(fresh), rejected=rejected)

    def health(self) -> Health:
        """Whether everything answers; without the feature store, only requests with interactions can be served."""
        try:
            reachable = self._store.online.ping()
        except (RedisError, RedisClusterException):
            reachable = False
        return Health(
            status="ok" if reachable else "degraded",
            release=self._recommender.name,
            products=len(self._recommender),
            embedding_dim=self._recommender.dim,
            feature_store="ok" if reachable else "unavailable",
        )

    def _history(self, request: EncodeBuyerRequest) -> tuple[Sequence, Source]:
        """The events that speak for the buyer of a request."""
        if request.interactions:
            self._check_length("interactions", len(request.interactions), self._limits.max_interactions_per_request)
            return self._session(request.interactions), "session"
        if request.buyer_id is None:
            return EMPTY_SEQUENCE, "session"
        return self._store.online.read_sequence(request.buyer_id), "personalised"

    def _session(self, interactions: Rows[Interaction]) -> Sequence:
        """Interactions as a sequence, cut and ordered as stored ones are; those without a time become the newest."""
        given = [interaction.timestamp for interaction in interactions if interaction.timestamp is not None]
        newest = max([self._clock(), *given])
        events = sequence(
            [self._recommender.product_key(interaction.product_id) for interaction in interactions],
            [EVENT_TYPE_CODES[interaction.event_type] for interaction in interactions],
            [
                newest + place if interaction.timestamp is None else interaction.timestamp
                for place, interaction in enumerate(interactions, 1)
            ],
        )
        return merge_sequences(events, EMPTY_SEQUENCE, self._max_history)

    def _recommend(self, buyer_id: str | None, events: Sequence, k: int, source: Source) -> RecommendationResponse:
        vector_D = self._recommender.encode_buyer(events)
        if vector_D is None:
            ranked, source = self._recommender.most_popular(k), "popular"
        else:
            ranked = self._recommender.nearest(vector_D, k)
        items = [
            RecommendedProduct(score=score, **self._recommender.product(position))
            for position, score in zip(ranked.positions.tolist(), ranked.scores.tolist(), strict=True)
        ]
        return RecommendationResponse(buyer_id=buyer_id, release=self._recommender.name, source=source, items=items)

    def _sort_out(self, events: Rows[object], now: int) -> tuple[list[Event], list[RejectedEvent]]:
        valid, rejected = [], []
        for index, raw in enumerate(events):
            try:
                valid.append(self._checked(raw, now))
            except _RefusedEventError as error:
                rejected.append(RejectedEvent(index=index, reason=str(error)))
        return valid, rejected

    def _checked(self, raw: object, now: int) -> Event:
        try:
            event = Event.model_validate(raw)
        except ValidationError as error:
            problems = [describe(item) for item in error.errors()]
            reason = "; ".join(f"{problem.field or 'event'}: {problem.message}" for problem in problems)
            raise _RefusedEventError(reason) from None
        if event.timestamp is not None and event.timestamp > now + CLOCK_SKEW_MS:
            raise _RefusedEventError("timestamp: lies in the future")
        if self._recommender.positions(np.array([self._recommender.product_key(event.product_id)]))[0] < 0:
            raise _RefusedEventError(f"product_id: the live release does not know product {event.product_id!r}")
        return event

    def _sequence_of(self, events: list[LoggedEvent]) -> Sequence:
        """Events as ingest will store them: one of a merged product has the key of the product that stands for it."""
        return sequence(
            [self._recommender.product_key(event.product_id) for event in events],
            [EVENT_TYPE_CODES[event.event_type] for event in events],
            [event.time_ms for event in events],
        )

    @staticmethod
    def _check_length(name: str, length: int, limit: int) -> None:
        if length > limit:
            raise RequestTooLongError(f"{name}: {length} are too many; one request may carry {limit}")


def _logged(event: Event, event_id: str, now: int) -> LoggedEvent:
    # A caller's clock may be a little ahead of ours; the log must not be, for ingest takes no event of the future.
    time_ms = now if event.timestamp is None else min(event.timestamp, now)
    return LoggedEvent(event_id, event.buyer_id, event.product_id, event.event_type, time_ms)


def _by_buyer(events: list[LoggedEvent]) -> dict[str, list[LoggedEvent]]:
    groups = defaultdict(list)
    for event in events:
        groups[event.buyer_id].append(event)
    return groups
