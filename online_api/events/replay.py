"""Replay of events: pushes those to the online store that are in the event log and not there.

They are pending because the store was down, or their product has become known, or their request was killed.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from feature_repo.common.forgotten import ForgottenBuyers, ForgottenFileError
from feature_repo.online.claims import STORED, Claim, EventsInProgressError
from feature_repo.online.features import OnlineFeatures
from feature_repo.transforms.events import EVENT_TYPE_CODES, REFUND
from feature_repo.transforms.sequences import EventSequence, sequence
from online_api.events.event_files import EventFiles
from online_api.events.event_log import EventLogUnavailableError, LoggedEvent, LogPosition
from online_api.events.pending import UNFINISHED, PendingEvent
from online_api.events.unknown_products import WaitingEvent
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import CircuitBreaker
from training.artifacts.product_table import ProductTable

log = logging.getLogger(__name__)

EVENT_ID_SECONDS = 86_400  # an event id is remembered for this long
# Between two looks at the events of unknown products while the release stays the same.
UNKNOWN_PRODUCTS_MS = 60_000


class EventReplay:
    """Replays the events of one shop. Any worker may; they share the files."""

    def __init__(
        self,
        online: OnlineFeatures,
        breaker: CircuitBreaker,
        files: EventFiles,
        products: Callable[[], ProductTable],
        metrics: Metrics,
        clock: Callable[[], int],
        forgotten: ForgottenBuyers,
    ) -> None:
        """Combines the parts; see EventIntake."""
        self._online, self._breaker, self._files = online, breaker, files
        self._products, self._metrics, self._clock, self._forgotten = products, metrics, clock, forgotten
        self._known_by: ProductTable | None = None  # the products that the waiting events were last compared with
        self._compared_ms = 0

    def replay(self) -> int:
        """Pushes pending events to the online store if it answers; returns the number of stored events."""
        try:
            self._files.in_flight.finish_others(self._finish)
            self._move_known()
        except (OSError, EventLogUnavailableError) as error:
            log.error("events wait: %s", error)  # what is pending can be pushed all the same
        return self._files.pending.replay(self._push_batch)

    def _finish(self, position: LogPosition) -> None:
        """Takes over the events of a killed process, and of others since, which are pushed again without effect."""
        events = self._files.log.events_since(position)
        log.warning("a process ended within a request: %d logged events are pushed again", len(events))
        if events:
            self._files.pending.add(PendingEvent(event, UNFINISHED) for event in events)

    def _move_known(self) -> None:
        """Makes those events pending whose products the live release knows by now."""
        products, now = self._products(), self._clock()
        # Again from time to time: a request may add an event after the release has changed, and events expire.
        if products is self._known_by and 0 <= now - self._compared_ms < UNKNOWN_PRODUCTS_MS:
            return
        waiting = self._files.unknown_products
        expired = waiting.move_known(lambda product_id: knows(products, product_id), now, self._files.pending.add)
        self._metrics.events("expired").inc(expired)
        self._known_by, self._compared_ms = products, now

    def _push_batch(self, batch: Sequence[PendingEvent]) -> int | None:
        try:
            # Again, because an event may have passed the check of its request before the buyer was erased.
            batch = [one for one in batch if not self._forgotten.holds(one.event.buyer_id)]
            stored = self._breaker.write(lambda: self._push_pending(batch))
        except ForgottenFileError as error:
            log.error("pending events wait: %s", error)
            return None
        except EventsInProgressError as error:
            log.info("pending events wait: %s", error)
            return None
        self._metrics.events("replayed").inc(stored or 0)
        return stored

    def _push_pending(self, batch: Sequence[PendingEvent]) -> int:
        """Stores the events that no other request has stored meanwhile; returns their number."""
        products, distinct = self._products(), self._distinct(batch)
        claims = {name: Claim(one.token, EVENT_ID_SECONDS) for name, one in distinct.items() if one.token is not None}
        with self._online.claim_events(claims) as claimed:
            fresh = [one.event for name, one in distinct.items() if one.token is None or name in claimed.fresh]
            # In this order: after a crash in between, the next replay pushes the same events again, which is harmless.
            push_events(self._online, products, [event for event in fresh if knows(products, event.product_id)])
            self._let_wait([event for event in fresh if not knows(products, event.product_id)])
            claimed.mark_stored(claims)
        return len(fresh)

    def _let_wait(self, events: Sequence[LoggedEvent]) -> None:
        """Keeps events of products that the live release does not know, such as one after a rollback."""
        if events:
            now = self._clock()
            waiting = (WaitingEvent(PendingEvent(event, None), "", now) for event in events)
            self._files.unknown_products.add_all(waiting)

    def _distinct(self, batch: Sequence[PendingEvent]) -> dict[str, PendingEvent]:
        """The events by claim name, unfinished ones with a token of their own, without those that are stored."""
        distinct: dict[str, PendingEvent] = {}
        for pending in batch:
            name = id_claim(pending.event.event_id)
            # An id may be pending twice, from a retry while the store was down. What needs no claim is stored anyway.
            if name not in distinct or pending.token is None:
                distinct[name] = pending
        unfinished = [name for name, pending in distinct.items() if pending.token == UNFINISHED]
        for name, holder in self._online.claim_holders(unfinished).items():
            if holder == STORED:
                del distinct[name]
            else:
                # The claim of the killed request, if it has not expired yet: nobody else will finish it.
                token = uuid.uuid4().hex if holder is None else holder.decode()
                distinct[name] = distinct[name]._replace(token=token)
        return distinct


def push_events(online: OnlineFeatures, products: ProductTable, events: Iterable[LoggedEvent]) -> None:
    """Writes events to the online store, under the keys that ingest gives to merged products.

    Refunds are not written: sequences have no code for them, and the next ingest takes the purchase out.
    """
    by_buyer = defaultdict(list)
    for event in events:
        if event.event_type != REFUND:
            by_buyer[event.buyer_id].append(event)
    online.push_events({buyer_id: _sequence(products, rows) for buyer_id, rows in by_buyer.items()})


def knows(products: ProductTable, product_id: str) -> bool:
    """Whether a release has a product, or the one that it was merged into."""
    return products.position_of(product_id) >= 0


def id_claim(event_id: str) -> str:
    """The name under which an event with an id is claimed."""
    return f"id:{event_id}"


def _sequence(products: ProductTable, events: Sequence[LoggedEvent]) -> EventSequence:
    return sequence(
        [products.product_key(event.product_id) for event in events],
        [EVENT_TYPE_CODES[event.event_type] for event in events],
        [event.time_ms for event in events],
    )
