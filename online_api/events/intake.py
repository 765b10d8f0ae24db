"""Intake of events: validates them, drops duplicates, appends them to the event log, pushes them to the online store.

The order of the steps makes a crash after any of them safe: claim (no other request takes the event) -> event log
(the event is accepted) -> online store, or pending events if the store is down -> claim marked as stored. Until the
last step a retry is accepted, so an event is not lost if its request is killed. Such an event may be in the log twice;
ingest drops the second one by its id.
"""

import hashlib
import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from pydantic import ValidationError

from feature_repo import columns as c
from feature_repo.common.config import ApiConfig
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.online.claims import Claim, EventsInProgressError
from feature_repo.online.features import OnlineFeatures
from feature_repo.transforms.events import EVENT_TYPE_CODES, REFUND
from feature_repo.transforms.sequences import EventSequence, sequence
from feature_repo.transforms.values.times import TIME_BEFORE_2000, TimeReader, implausible_time
from online_api.events.event_log import EventLog, EventLogUnavailableError, LoggedEvent
from online_api.events.pending import PendingEvent, PendingEvents
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.protection.limits import RequestTooLongError
from online_api.schemas.problems import describe
from online_api.schemas.requests import Event
from online_api.schemas.responses import EventsResponse, RejectedEvent
from training.artifacts.product_table import ProductTable

log = logging.getLogger(__name__)

EVENT_ID_SECONDS = 86_400  # an event id is remembered for this long


class _InvalidEventError(ValueError):
    """An event is not valid; the message says why."""


class EventIntake:
    """Records the events of one shop; safe to use from several threads and processes."""

    def __init__(
        self,
        online: OnlineFeatures,
        breaker: CircuitBreaker,
        event_log: EventLog,
        pending: PendingEvents,
        products: Callable[[], ProductTable],
        config: ApiConfig,
        metrics: Metrics,
        clock: Callable[[], int],
        times: TimeReader,
        forgotten: ForgottenBuyers,
    ) -> None:
        """Combines the parts, which the caller opens and closes.

        Args:
            online: Writes buyers' features and claims events.
            breaker: Guards the calls of `online`.
            event_log: Holds the accepted events.
            pending: Holds accepted events that are not yet in the online store.
            products: Returns the products of the live release.
            config: Limits.
            metrics: Counts events by outcome.
            clock: Returns milliseconds since 1970.
            times: Reads the times of events.
            forgotten: Buyers whose events are refused.
        """
        self._online, self._breaker, self._log, self._pending = online, breaker, event_log, pending
        self._products, self._config, self._metrics = products, config, metrics
        self._clock, self._times, self._forgotten = clock, times, forgotten

    @property
    def pending_count(self) -> int:
        """The number of accepted events of all workers that are not yet in the online store."""
        return self._pending.count()

    def record(self, events: Sequence[object]) -> EventsResponse:
        """Records events: on return the accepted ones are on the disk and, unless pending, in the online store.

        Args:
            events: JSON objects in the form of requests.Event. The response lists invalid ones as rejected.

        Raises:
            RequestTooLongError: There are too many events.
            EventLogUnavailableError: The event log cannot be written. The caller may repeat the whole request.
            EventsInProgressError: Another request is recording one of the events. The caller may repeat the whole
                request.
        """
        if len(events) > self._config.max_events_per_request:
            raise RequestTooLongError("events", len(events), self._config.max_events_per_request)
        now, products = self._clock(), self._products()
        valid, rejected = [], []
        for index, raw in enumerate(events):
            try:
                valid.append(self._not_forgotten(_validated(raw, products, self._times, now)))
            except _InvalidEventError as error:
                rejected.append(RejectedEvent(index=index, reason=str(error)))
        # Duplicates within the request are dropped here; claims only find those of other requests.
        distinct: dict[str, Event] = {}
        for event in valid:
            distinct.setdefault(_claim_name(event), event)
        accepted, pending = self._accept(distinct, now) if distinct else (0, 0)
        duplicates = len(valid) - accepted
        self._count(accepted=accepted, duplicate=duplicates, rejected=len(rejected), pending=pending)
        return EventsResponse(accepted=accepted, duplicates=duplicates, pending=pending, rejected=rejected)

    def replay(self) -> int:
        """Pushes pending events to the online store if it answers; returns the number of stored events.

        Any worker may call this at any time; only one of them replays.
        """
        return self._pending.replay(self._replay)

    def _not_forgotten(self, event: Event) -> Event:
        try:
            forgotten = self._forgotten.holds(event.buyer_id)
        except ValueError as error:  # damaged while the API runs
            log.error("no event can be stored: %s", error)
            raise EventLogUnavailableError("events cannot be stored now; try again in a moment") from None
        if forgotten:
            raise _InvalidEventError("buyer_id: this buyer was erased (`tawsiya forget`); the event is not stored")
        return event

    def _accept(self, events: Mapping[str, Event], now: int) -> tuple[int, int]:
        """Records distinct events, by claim name; returns the numbers of new events and of pending ones among them."""
        token = uuid.uuid4().hex
        claims = {name: Claim(token, self._remembered_seconds(event)) for name, event in events.items()}
        # The breaker guards the call that claims, but the claims are held to the end of this block.
        with ExitStack() as stack:
            # None if the store is down. Then all events count as new, and the replay detects known ids.
            claimed = self._breaker.write(lambda: stack.enter_context(self._online.claim_events(claims)))
            names = list(events) if claimed is None else [name for name in events if name in claimed.fresh]
            if not names:
                return 0, 0
            fresh = {name: _logged(events[name], now) for name in names}
            self._log.append(list(fresh.values()))
            if claimed is not None and self._breaker.write(lambda: self._push(fresh.values())):
                claimed.mark_stored(names)
                return len(names), 0
            identified = {name for name in names if events[name].event_id is not None}
            self._pending.add(
                PendingEvent(event, token if name in identified else None) for name, event in fresh.items()
            )
            if claimed is not None:
                # The replay claims the ids again with the same token; events without an id need no claim any more.
                claimed.keep_claimed(identified)
                claimed.mark_stored(names)
            return len(names), len(names)

    def _replay(self, batch: Sequence[PendingEvent]) -> int | None:
        try:
            stored = self._breaker.write(lambda: self._push_pending(batch))
        except EventsInProgressError as error:
            log.info("pending events wait: %s", error)
            return None
        self._count(replayed=stored or 0)
        return stored

    def _push_pending(self, batch: Sequence[PendingEvent]) -> int:
        """Stores the events that no other request has stored meanwhile; returns their number."""
        # An id may be pending twice, from a retry while the store was down.
        distinct: dict[str, PendingEvent] = {}
        for pending in batch:
            distinct.setdefault(_id_name(pending.event.event_id), pending)
        claims = {
            name: Claim(pending.token, EVENT_ID_SECONDS)
            for name, pending in distinct.items()
            if pending.token is not None
        }
        with self._online.claim_events(claims) as claimed:
            fresh = [
                pending.event for name, pending in distinct.items() if pending.token is None or name in claimed.fresh
            ]
            # In this order: after a crash in between, the next replay pushes the same events again, which is harmless.
            self._push(fresh)
            claimed.mark_stored(claims)
        return len(fresh)

    def _push(self, events: Iterable[LoggedEvent]) -> bool:
        """Writes events to the online store, under the keys that ingest gives to merged products.

        Refunds are not written: sequences have no code for them, and the next ingest takes the purchase out.

        Returns True, because the circuit breaker returns None if the store is down.
        """
        products, by_buyer = self._products(), defaultdict(list)
        for event in events:
            if event.event_type != REFUND:
                by_buyer[event.buyer_id].append(event)
        self._online.push_events({buyer_id: _sequence(products, rows) for buyer_id, rows in by_buyer.items()})
        return True

    def _remembered_seconds(self, event: Event) -> int:
        return self._config.duplicate_window_seconds if event.event_id is None else EVENT_ID_SECONDS

    def _count(self, **outcomes: int) -> None:
        for outcome, number in outcomes.items():
            self._metrics.events(outcome).inc(number)


# ---- validation ------------------------------------------------------------------------------------------------------


def _validated(raw: Any, products: ProductTable, times: TimeReader, now: int) -> Event:
    try:
        event = Event.model_validate(raw, context=times)
    except ValidationError as error:
        problems = [describe(item) for item in error.errors()]
        reason = "; ".join(f"{problem.field or 'event'}: {problem.message}" for problem in problems)
        raise _InvalidEventError(reason) from None
    if event.timestamp is not None and (problem := implausible_time(event.timestamp, now)):
        lies = "before 2000" if problem == TIME_BEFORE_2000 else "in the future"
        raise _InvalidEventError(f"timestamp: lies {lies}, got {raw[c.TIMESTAMP]!r:.100}")
    if products.position_of(event.product_id) < 0:
        raise _InvalidEventError(f"product_id: the live release does not know product {event.product_id!r}")
    return event


# ---- forms of an event: claim, log line, sequence --------------------------------------------------------------------


def _claim_name(event: Event) -> str:
    """The name under which an event is claimed, equal for duplicates: its id, or a hash of its content."""
    if event.event_id is not None:
        return _id_name(event.event_id)
    # No field contains a control character, so different events have different texts.
    content = "\n".join(map(str, (event.buyer_id, event.product_id, event.event_type, event.timestamp, event.quantity)))
    return f"content:{hashlib.sha256(content.encode()).hexdigest()}"


def _id_name(event_id: str) -> str:
    return f"id:{event_id}"


def _logged(event: Event, now: int) -> LoggedEvent:
    # A caller's clock may be slightly ahead of ours. The log must not be, because ingest refuses events of the future.
    time_ms = now if event.timestamp is None else min(event.timestamp, now)
    event_id = event.event_id or uuid.uuid4().hex
    return LoggedEvent(event_id, event.buyer_id, event.product_id, event.event_type, time_ms, event.quantity)


def _sequence(products: ProductTable, events: Sequence[LoggedEvent]) -> EventSequence:
    return sequence(
        [products.product_key(event.product_id) for event in events],
        [EVENT_TYPE_CODES[event.event_type] for event in events],
        [event.time_ms for event in events],
    )
