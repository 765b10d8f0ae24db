"""Claims on events, so that a retried event is neither lost nor stored twice.

A claim is a key in Redis per event. It holds the token of the request that is storing the event, and STORED afterwards.
"""

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from feature_repo.online.redis_errors import REDIS_ERRORS, failure_reason

log = logging.getLogger(__name__)

# An unfinished claim expires after this time: so long does a killed request block retries of its events.
CLAIM_SECONDS = 30
# How long a request waits for another one that claimed the same event. The requests of a double click are milliseconds
# apart.
CLAIM_WAIT_SECONDS, CLAIM_POLL_SECONDS = 0.5, 0.01
STORED = b"stored"


class EventsInProgressError(RuntimeError):
    """Another request has claimed one of the events and not finished; the caller may retry."""


class Claim(NamedTuple):
    """One request's claim on one event.

    Attributes:
        token: Identifies the request. Claiming again with the same token succeeds.
        seconds: How long to remember the event as stored.
    """

    token: str
    seconds: int


class EventClaims:
    """The events that one request has claimed, by name.

    Attributes:
        fresh: The names that are not stored yet. The other requested names are duplicates.
    """

    def __init__(self, redis: Any, prefix: str, claims: Mapping[str, Claim], fresh: Collection[str]) -> None:
        """Wraps claims that Redis already holds: `fresh` names the claimed events."""
        self.fresh = frozenset(fresh)
        self._redis, self._prefix, self._claims = redis, prefix, claims
        self._open = set(fresh)

    def mark_stored(self, names: Collection[str]) -> None:
        """Records that these events are stored, so that a retry is a duplicate."""
        done = self._open.intersection(names)
        # Before the write: if it fails, the claims must expire, because to release them would let a retry store again.
        self._open -= done
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for name in done:
                    pipeline.set(_key(self._prefix, name), STORED, ex=self._claims[name].seconds)
                pipeline.execute()
        except REDIS_ERRORS as error:
            # The events are stored, so the request must not fail. A late retry will be stored as a second event.
            log.warning("stored events are remembered for only %d s: %s", CLAIM_SECONDS, failure_reason(error))

    def keep_claimed(self, names: Collection[str]) -> None:
        """Does not release these claims at the end; they expire, unless claimed again with the same token."""
        self._open.difference_update(names)

    def release(self) -> None:
        """Releases the claims that are neither stored nor kept, except expired ones that another request has now."""
        _release(self._redis, self._prefix, {name: self._claims[name] for name in self._open})
        self._open.clear()


@contextmanager
def claim_events(redis: Any, prefix: str, claims: Mapping[str, Claim]) -> Iterator[EventClaims]:
    """Claims events for one request; at the end of the block it releases those that are not marked as stored.

    Args:
        redis: The Redis client.
        prefix: Prefix of the keys in Redis.
        claims: The claims, by name of the event.

    Raises:
        EventsInProgressError: Another request has claimed one of the events and not finished. Nothing is claimed.
    """
    deadline = time.monotonic() + CLAIM_WAIT_SECONDS
    while (fresh := _try_claim(redis, prefix, claims)) is None:
        if time.monotonic() > deadline:
            raise EventsInProgressError("another request is storing one of these events; try again in a moment")
        time.sleep(CLAIM_POLL_SECONDS)
    events = EventClaims(redis, prefix, claims, fresh)
    try:
        yield events
    finally:
        try:
            events.release()
        except REDIS_ERRORS as error:
            # The outcome of the block counts, and the claims expire by themselves.
            log.warning("events stay claimed for up to %d s: %s", CLAIM_SECONDS, failure_reason(error))


def claim_holders(redis: Any, prefix: str, names: Collection[str]) -> dict[str, bytes | None]:
    """The token of the request that has claimed each event, STORED for a stored one, None for a free one."""
    return _values(redis, prefix, names)


def _try_claim(redis: Any, prefix: str, claims: Mapping[str, Claim]) -> list[str] | None:
    """Claims the events that are not stored yet and returns their names; None if another request has claimed one."""
    with redis.pipeline(transaction=False) as pipeline:
        for name, claim in claims.items():
            # No transaction: a cluster keeps the keys on several nodes, and NX makes each claim atomic by itself.
            pipeline.set(_key(prefix, name), claim.token, nx=True, ex=CLAIM_SECONDS)
        was_free = dict(zip(claims, pipeline.execute(), strict=True))
    # A claim with our own token is ours: one that an earlier call kept (keep_claimed).
    others = _values(redis, prefix, [name for name, free in was_free.items() if not free])
    fresh = {name: claims[name] for name in claims if was_free[name] or others[name] == claims[name].token.encode()}
    if all(name in fresh or value == STORED for name, value in others.items()):
        return list(fresh)
    # All or nothing: while one request holds some events and waits for others, two requests could wait for each other.
    _release(redis, prefix, fresh)
    return None


def _release(redis: Any, prefix: str, claims: Mapping[str, Claim]) -> None:
    values = _values(redis, prefix, claims)
    with redis.pipeline(transaction=False) as pipeline:
        for name, claim in claims.items():
            # An expired claim may belong to another request now.
            if values[name] == claim.token.encode():
                pipeline.delete(_key(prefix, name))
        pipeline.execute()


def _values(redis: Any, prefix: str, names: Collection[str]) -> dict[str, bytes | None]:
    with redis.pipeline(transaction=False) as pipeline:
        for name in names:
            pipeline.get(_key(prefix, name))
        return dict(zip(names, pipeline.execute(), strict=True))


def _key(prefix: str, name: str) -> str:
    return f"{prefix}:event:{name}"
