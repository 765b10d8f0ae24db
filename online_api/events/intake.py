"""Intake of events: validates them, drops duplicates, appends them to the event log, pushes them to the online store.

The order of the steps makes a crash after any of them safe: claim (no other request takes the event) -> event log
(the event is accepted) -> online store, or pending events if the store is down, or the events of unknown products if
the live release does not know the product -> claim marked as stored. If the process dies before the last step, the
next replay, by any worker, does the rest. Until then a retry is refused, and taken once the claim has expired: such an
event may be in the log twice, and ingest drops the second one by its id.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from typing import Any, NamedTuple

from pydantic import ValidationError

from feature_repo import columns as c
from feature_repo.common.forgotten import ForgottenBuyers, ForgottenFileError
from feature_repo.online.claims import Claim
from feature_repo.online.features import OnlineFeatures
from feature_repo.settings.api import ApiConfig
from feature_repo.transforms.values.times import TIME_BEFORE_2000, TimeReader, implausible_time
from online_api.events.event_files import EventFiles
from online_api.events.event_log import EventLogUnavailableError, LoggedEvent
from online_api.events.pending import PendingEvent
from online_api.events.replay import EVENT_ID_SECONDS, EventReplay, id_claim, knows, push_events
from online_api.events.unknown_products import WaitingEvent
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.protection.limits import RequestTooLongError
from online_api.schemas.problems import describe
from online_api.schemas.requests import Event
from online_api.schemas.responses import EventsResponse, RejectedEvent
from training.artifacts.product_table import ProductTable

log = logging.getLogger(__name__)


class _InvalidEventError(ValueError):
    """An event is not valid; the message says why."""


class _IncomingEvent(NamedTuple):
    place: int  # in the request
    event: Event


class _Outcome(NamedTuple):
    """Numbers of accepted events, of those among them that wait for their product or are pending, and the refused."""

    accepted: int = 0
    unknown_product: int = 0
    pending: int = 0
    refused: Sequence[_IncomingEvent] = ()


class EventIntake:
    """Records the events of one shop; safe to use from several threads and processes."""

    def __init__(
        self,
        online: OnlineFeatures,
        breaker: CircuitBreaker,
        files: EventFiles,
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
            files: Hold the accepted events.
            products: Returns the products of the live release.
            config: Limits.
            metrics: Counts events by outcome.
            clock: Returns milliseconds since 1970.
            times: Reads the times of events.
            forgotten: Buyers whose events are refused.
        """
        self._online, self._breaker, self._files = online, breaker, files
        self._products, self._config, self._metrics = products, config, metrics
        self._clock, self._times, self._forgotten = clock, times, forgotten
        self._replay = EventReplay(online, breaker, files, products, metrics, clock, forgotten)

    @property
    def pending_count(self) -> int:
        """The number of accepted events of all workers that are not yet in the online store."""
        return self._files.pending.count()

    @property
    def unknown_product_count(self) -> int:
        """The number of accepted events of all workers that wait for their product."""
        return self._files.unknown_products.count()

    def record(self, events: Sequence[object], api_key: str = "", *, id_prefix: str = "") -> EventsResponse:
        """Records events: on return the accepted ones are on the disk and, unless they wait, in the online store.

        Args:
            events: JSON objects in the form of requests.Event. The response lists invalid ones as rejected.
            api_key: Name of the API key that they come with; empty if the API needs none.
            id_prefix: Put before the ids of the events, so that callers cannot take each other's.

        Raises:
            RequestTooLongError: There are too many events.
            EventLogUnavailableError: The event log cannot be written. The caller may repeat the whole request.
            EventsInProgressError: Another request is recording one of the events. The caller may repeat the whole
                request.
        """
        if len(events) > self._config.max_events_per_request:
            raise RequestTooLongError("events", len(events), self._config.max_events_per_request)
        now, valid, rejected = self._clock(), 0, []
        # Duplicates within the request are dropped here; claims only find those of other requests.
        distinct: dict[str, _IncomingEvent] = {}
        for index, raw in enumerate(events):
            try:
                event = self._not_forgotten(_validated(raw, self._times, now))
            except _InvalidEventError as error:
                rejected.append(RejectedEvent(index=index, reason=str(error)))
                continue
            valid += 1
            if event.event_id is not None:
                event.event_id = id_prefix + event.event_id
            distinct.setdefault(_claim_name(event), _IncomingEvent(index, event))
        done = self._accept(distinct, now, api_key) if distinct else _Outcome()
        rejected += [RejectedEvent(index=one.place, reason=self._no_place(one.event)) for one in done.refused]
        rejected.sort(key=lambda one: one.index)
        duplicates = valid - done.accepted - len(done.refused)
        self._count(
            accepted=done.accepted, duplicate=duplicates, rejected=len(rejected), pending=done.pending,
            unknown_product=done.unknown_product,
        )  # fmt: skip
        return EventsResponse(
            accepted=done.accepted, duplicates=duplicates, unknown_product=done.unknown_product, pending=done.pending,
            rejected=rejected,
        )  # fmt: skip

    def replay(self) -> int:
        """Pushes waiting events to the online store if it answers; returns the number of stored events.

        Any worker may call this at any time; only one of them replays.
        """
        return self._replay.replay()

    def _not_forgotten(self, event: Event) -> Event:
        try:
            forgotten = self._forgotten.holds(event.buyer_id)
        except ForgottenFileError as error:  # damaged while the API runs
            log.error("no event can be stored: %s", error)
            raise EventLogUnavailableError("events cannot be stored now; try again in a moment") from None
        if forgotten:
            raise _InvalidEventError("buyer_id: this buyer was erased (`tawsiya forget`); the event is not stored")
        return event

    def _accept(self, events: Mapping[str, _IncomingEvent], now: int, api_key: str) -> _Outcome:
        """Records distinct events, by claim name."""
        token = uuid.uuid4().hex
        claims = {name: Claim(token, self._remembered_seconds(one.event)) for name, one in events.items()}
        # The breaker guards the call that claims, but the claims are held to the end of this block.
        with ExitStack() as stack:
            # None if the store is down. Then all events count as new, and the replay detects known ids.
            claimed = self._breaker.write(lambda: stack.enter_context(self._online.claim_events(claims)))
            fresh = {name: one for name, one in events.items() if claimed is None or name in claimed.fresh}
            known, unknown = self._split(fresh)
            with self._files.unknown_products.places(api_key) if unknown else nullcontext(0) as n_places:
                # The claims of refused events end with the outer block, so that a later retry is new.
                unknown, refused = unknown[:n_places], [fresh[name] for name in unknown[n_places:]]
                names = [*known, *unknown]
                if not names:
                    return _Outcome(refused=refused)
                logged = {name: _logged(fresh[name].event, now) for name in names}
                # Only an event with an id is claimed again when it is replayed.
                tokens = {name: None if fresh[name].event.event_id is None else token for name in names}
                stack.enter_context(self._files.in_flight.since(self._files.log.position()))
                self._files.log.append(list(logged.values()))
                if unknown:
                    self._files.unknown_products.add(
                        # With claims, the id is remembered below, so that the replay needs none.
                        WaitingEvent(PendingEvent(logged[name], None if claimed else tokens[name]), api_key, now)
                        for name in unknown
                    )
            # Without the lock of the places, so that a slow store does not hold up the requests of other workers.
            stored = claimed is not None and self._push([logged[name] for name in known])
            if not stored:
                self._files.pending.add(PendingEvent(logged[name], tokens[name]) for name in known)
            if claimed is not None:
                if not stored:
                    # The replay claims the ids again with the same token.
                    claimed.keep_claimed({name for name in known if tokens[name] is not None})
                claimed.mark_stored(names)
            return _Outcome(len(names), len(unknown), 0 if stored else len(known), refused)

    def _split(self, events: Mapping[str, _IncomingEvent]) -> tuple[list[str], list[str]]:
        """The names of events whose product the live release knows, and of the others."""
        products = self._products()
        known = {name for name, one in events.items() if knows(products, one.event.product_id)}
        return [name for name in events if name in known], [name for name in events if name not in known]

    def _push(self, events: Sequence[LoggedEvent]) -> bool:
        """Writes events to the online store; returns whether it took them."""

        def push() -> bool:
            push_events(self._online, self._products(), events)
            return True  # the circuit breaker returns None if the store is down

        return not events or bool(self._breaker.write(push))

    def _no_place(self, event: Event) -> str:
        most = self._config.max_unknown_product_events_per_key
        return (
            f"product_id: the live release does not know product {event.product_id!r}, and {most:,} events of unknown "
            "products wait already, the most of one API key"
        )

    def _remembered_seconds(self, event: Event) -> int:
        return self._config.duplicate_window_seconds if event.event_id is None else EVENT_ID_SECONDS

    def _count(self, **outcomes: int) -> None:
        for outcome, number in outcomes.items():
            self._metrics.events(outcome).inc(number)


# ---- validation ------------------------------------------------------------------------------------------------------


def _validated(raw: Any, times: TimeReader, now: int) -> Event:
    try:
        event = Event.model_validate(raw, context=times)
    except ValidationError as error:
        problems = [describe(item) for item in error.errors()]
        reason = "; ".join(f"{problem.field or 'event'}: {problem.message}" for problem in problems)
        raise _InvalidEventError(reason) from None
    if event.timestamp is not None and (problem := implausible_time(event.timestamp, now)):
        lies = "before 2000" if problem == TIME_BEFORE_2000 else "in the future"
        raise _InvalidEventError(f"timestamp: lies {lies}, got {raw[c.TIMESTAMP]!r:.100}")
    return event


# ---- forms of an event: claim, log line, sequence --------------------------------------------------------------------


def _claim_name(event: Event) -> str:
    """The name under which an event is claimed, equal for duplicates: its id, or a hash of its content."""
    if event.event_id is not None:
        return id_claim(event.event_id)
    # No field contains a control character, so different events have different texts.
    content = "\n".join(map(str, (event.buyer_id, event.product_id, event.event_type, event.timestamp, event.quantity)))
    return f"content:{hashlib.sha256(content.encode()).hexdigest()}"


def _logged(event: Event, now: int) -> LoggedEvent:
    # A caller's clock may be slightly ahead of ours. The log must not be, because ingest refuses events of the future.
    time_ms = now if event.timestamp is None else min(event.timestamp, now)
    event_id = event.event_id or uuid.uuid4().hex
    return LoggedEvent(event_id, event.buyer_id, event.product_id, event.event_type, time_ms, event.quantity)
