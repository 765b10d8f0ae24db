"""What becomes of events that a shop sends: checked, told from repetitions, logged, and put into the online store.

The order makes each step safe to lose: claim (nobody else takes the event) -> log (it is accepted) -> online store, or
pending where that is away -> claim marked as stored. Until the last step a repetition is accepted, so an event whose
request was killed half-way is not lost; it may be in the log twice, where ingest drops the second one by its id.
"""

import hashlib
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as Rows
from contextlib import ExitStack

from pydantic import ValidationError

from feature_repo.common.config import ApiConfig
from feature_repo.online.claims import Claim, EventsInProgressError
from feature_repo.online.features import OnlineFeatures
from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.sequences import Sequence, sequence
from online_api.events.event_log import EventLog, LoggedEvent
from online_api.events.pending import PendingEvent, PendingEvents
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.protection.limits import RequestTooLongError
from online_api.schemas.problems import describe
from online_api.schemas.requests import Event
from online_api.schemas.responses import EventsResponse, RejectedEvent
from training.artifacts.product_table import ProductTable

log = logging.getLogger(__name__)

CLOCK_SKEW_MS = 5_000  # how far a caller's clock may be ahead of ours
ID_SECONDS = 86_400  # how long an event id is remembered


class _RefusedEventError(ValueError):
    """An event cannot be taken; the message says why."""


class EventIntake:
    """Takes the events of one shop; safe to use from several threads, beside other processes that do the same."""

    def __init__(
        self,
        online: OnlineFeatures,
        guard: CircuitBreaker,
        event_log: EventLog,
        pending: PendingEvents,
        products: Callable[[], ProductTable],
        config: ApiConfig,
        metrics: Metrics,
        clock: Callable[[], int],
    ) -> None:
        """Takes its parts open.

        Args:
            online: Buyers' features, and the claims on events.
            guard: Stands between the two.
            event_log: What is in it is accepted.
            pending: Where events wait for the online store.
            products: Gives the products of the live release.
            config: Limits.
            metrics: Counts events by outcome.
            clock: Milliseconds since 1970.
        """
        self._online, self._guard, self._log, self._pending = online, guard, event_log, pending
        self._products, self._config, self._metrics, self._clock = products, config, metrics, clock

    @property
    def pending_count(self) -> int:
        """Accepted events of all workers that are not in the online store yet."""
        return self._pending.count()

    def record(self, events: Rows[object]) -> EventsResponse:
        """Accepts events: when it returns they are on the disk, and, but for pending ones, in the online store.

        Args:
            events: One JSON object each, as requests.Event describes it; one that is not usable is listed as rejected.

        Raises:
            RequestTooLongError: Too many events.
            EventLogUnavailableError: The disk takes nothing. The whole request can be repeated.
            EventsInProgressError: Another request works on one of the events. The whole request can be repeated.
        """
        if len(events) > self._config.max_events_per_request:
            raise RequestTooLongError("events", len(events), self._config.max_events_per_request)
        now, products = self._clock(), self._products()
        valid, rejected = _sort_out(events, products, now)
        distinct: dict[str, Event] = {}
        for event in valid:
            distinct.setdefault(_name(event), event)
        accepted, pending = self._accept(distinct, now) if distinct else (0, 0)
        duplicates = len(valid) - accepted
        self._count(accepted=accepted, duplicate=duplicates, rejected=len(rejected), pending=pending)
        return EventsResponse(accepted=accepted, duplicates=duplicates, pending=pending, rejected=rejected)

    def replay(self) -> int:
        """Puts pending events into the online store, where it answers; returns how many arrived there.

        Any worker may do it at any time; one at a time does.
        """
        return self._pending.replay(self._replay)

    def _accept(self, events: Mapping[str, Event], now: int) -> tuple[int, int]:
        """Stores distinct events, by name; returns how many were new, and how many of these are pending."""
        token = uuid.uuid4().hex
        claims = {name: Claim(token, self._seconds(event)) for name, event in events.items()}
        with ExitStack() as stack:
            # None where the store is away: then all count as new, and the replay finds out about their ids.
            claimed = self._guard.call(lambda: stack.enter_context(self._online.claim_events(claims)))
            names = list(events) if claimed is None else [name for name in events if name in claimed.fresh]
            if not names:
                return 0, 0
            fresh = {name: _logged(events[name], now) for name in names}
            self._log.append(list(fresh.values()))
            if claimed is not None and self._guard.call(lambda: self._push(fresh.values())):
                claimed.mark_stored(names)
                return len(names), 0
            identified = {name for name in names if events[name].event_id is not None}
            self._pending.add(
                PendingEvent(event, token if name in identified else None) for name, event in fresh.items()
            )
            if claimed is not None:
                # The replay claims ids again, under the same token, and nothing else.
                claimed.keep_claimed(identified)
                claimed.mark_stored(names)
            return len(names), len(names)

    def _replay(self, batch: Rows[PendingEvent]) -> int | None:
        try:
            stored = self._guard.call(lambda: self._push_pending(batch))
        except EventsInProgressError as error:
            log.info("pending events wait: %s", error)
            return None
        self._count(replayed=stored or 0)
        return stored

    def _push_pending(self, batch: Rows[PendingEvent]) -> int:
        """Stores those that no other request has stored meanwhile; returns how many these were."""
        distinct: dict[str, PendingEvent] = {}
        for one in batch:
            distinct.setdefault(_id_name(one.event.event_id), one)
        claims = {name: Claim(one.token, ID_SECONDS) for name, one in distinct.items() if one.token is not None}
        with self._online.claim_events(claims) as claimed:
            fresh = [one.event for name, one in distinct.items() if one.token is None or name in claimed.fresh]
            self._push(fresh)
            claimed.mark_stored(claims)
        return len(fresh)

    def _push(self, events: Iterable[LoggedEvent]) -> bool:
        """Puts events into the online store as ingest will: a merged product's have the key of the one that stays."""
        products, theirs = self._products(), defaultdict(list)
        for event in events:
            theirs[event.buyer_id].append(event)
        self._online.push_events({buyer_id: _sequence(products, rows) for buyer_id, rows in theirs.items()})
        return True

    def _seconds(self, event: Event) -> int:
        return self._config.duplicate_window_seconds if event.event_id is None else ID_SECONDS

    def _count(self, **outcomes: int) -> None:
        for outcome, number in outcomes.items():
            self._metrics.events(outcome).inc(number)


def _sort_out(events: Rows[object], products: ProductTable, now: int) -> tuple[list[Event], list[RejectedEvent]]:
    valid, rejected = [], []
    for index, raw in enumerate(events):
        try:
            valid.append(_checked(raw, products, now))
        except _RefusedEventError as error:
            rejected.append(RejectedEvent(index=index, reason=str(error)))
    return valid, rejected


def _checked(raw: object, products: ProductTable, now: int) -> Event:
    try:
        event = Event.model_validate(raw)
    except ValidationError as error:
        problems = [describe(item) for item in error.errors()]
        reason = "; ".join(f"{problem.field or 'event'}: {problem.message}" for problem in problems)
        raise _RefusedEventError(reason) from None
    if event.timestamp is not None and event.timestamp > now + CLOCK_SKEW_MS:
        raise _RefusedEventError("timestamp: lies in the future")
    if products.position_of(event.product_id) < 0:
        raise _RefusedEventError(f"product_id: the live release does not know product {event.product_id!r}")
    return event


def _name(event: Event) -> str:
    """What makes an event the same as another: its id, or all that it says where it has none."""
    if event.event_id is not None:
        return _id_name(event.event_id)
    # No field holds a control character, so that no two events have the same text.
    content = "\n".join((event.buyer_id, event.product_id, event.event_type, str(event.timestamp)))
    return f"content:{hashlib.sha256(content.encode()).hexdigest()}"


def _id_name(event_id: str) -> str:
    return f"id:{event_id}"


def _logged(event: Event, now: int) -> LoggedEvent:
    # A caller's clock may be a little ahead of ours; the log must not be, for ingest takes no event of the future.
    time_ms = now if event.timestamp is None else min(event.timestamp, now)
    return LoggedEvent(event.event_id or uuid.uuid4().hex, event.buyer_id, event.product_id, event.event_type, time_ms)


def _sequence(products: ProductTable, events: Rows[LoggedEvent]) -> Sequence:
    return sequence(
        [products.product_key(event.product_id) for event in events],
        [EVENT_TYPE_CODES[event.event_type] for event in events],
        [event.time_ms for event in events],
    )
