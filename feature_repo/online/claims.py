"""Claims on events, at work and done, so that a retried event is neither lost nor stored twice."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis.exceptions import RedisClusterException, RedisError

log = logging.getLogger(__name__)

# A request that is killed blocks the retry for this long and no longer.
PENDING_SECONDS = 30
# How long a request waits for another one that works on the same event; a double click comes within milliseconds.
WAIT_SECONDS, POLL_SECONDS = 0.5, 0.01
STORED = b"stored"
STORE_ERRORS = (RedisError, RedisClusterException)


class EventsAtWorkError(RuntimeError):
    """Another request works on one of the events, or died at it a moment ago; a repetition may succeed soon."""


class Claim(NamedTuple):
    """What is claimed of one event.

    Attributes:
        token: Stands for who claims; unique to a request. Who claims again under the same token gets what it had.
        seconds: How long the event is remembered once it is stored.
    """

    token: str
    seconds: int


class EventClaims:
    """The events, by name, that one request has for itself.

    Attributes:
        fresh: The names that no other request has stored; the rest of those asked for are duplicates.
    """

    def __init__(self, redis: Any, prefix: str, claims: Mapping[str, Claim], fresh: Collection[str]) -> None:
        """Takes names that are claimed already."""
        self.fresh = frozenset(fresh)
        self._redis, self._prefix, self._claims = redis, prefix, claims
        self._open = set(fresh)

    def stored(self, names: Collection[str]) -> None:
        """Notes that these are stored."""
        done = self._open.intersection(names)
        self._open -= done
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for name in done:
                    pipeline.set(_key(self._prefix, name), STORED, ex=self._claims[name].seconds)
                pipeline.execute()
        except STORE_ERRORS as error:
            # They are stored, so the request must not fail; only a repetition would no longer be noticed.
            log.warning("stored events are remembered for %d s only: %s", PENDING_SECONDS, error)

    def keep(self, names: Collection[str]) -> None:
        """Leaves these claimed until the claim runs out, or somebody claims them again under the same token."""
        self._open.difference_update(names)

    def release(self) -> None:
        """Frees what was neither stored nor kept, but for what has run out meanwhile and is now another's."""
        _free(self._redis, self._prefix, {name: self._claims[name] for name in self._open})
        self._open.clear()


@contextmanager
def claimed(redis: Any, prefix: str, claims: Mapping[str, Claim]) -> Iterator[EventClaims]:
    """Claims events for one request; those that it has not stored when the block ends are free again.

    Args:
        redis: The client.
        prefix: Begins the keys.
        claims: By name of the event.

    Raises:
        EventsAtWorkError: Another request works on one of them, or died at it a moment ago. Nothing is claimed.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while (fresh := _take(redis, prefix, claims)) is None:
        if time.monotonic() > deadline:
            raise EventsAtWorkError("another request works on one of these events; try again in a moment")
        time.sleep(POLL_SECONDS)
    events = EventClaims(redis, prefix, claims, fresh)
    try:
        yield events
    finally:
        try:
            events.release()
        except STORE_ERRORS as error:
            # What happened in the block counts; the claims run out by themselves.
            log.warning("events stay claimed for up to %d s: %s", PENDING_SECONDS, error)


def _take(redis: Any, prefix: str, claims: Mapping[str, Claim]) -> list[str] | None:
    """The names that are not stored yet, claimed now; None, with nothing claimed, where another has one of them."""
    with redis.pipeline(transaction=False) as pipeline:
        for name, claim in claims.items():
            pipeline.set(_key(prefix, name), claim.token, nx=True, ex=PENDING_SECONDS)
        taken = dict(zip(claims, pipeline.execute(), strict=True))
    others = _values(redis, prefix, [name for name, mine in taken.items() if not mine])
    fresh = {name: claims[name] for name in claims if taken[name] or others[name] == claims[name].token.encode()}
    if all(name in fresh or value == STORED for name, value in others.items()):
        return list(fresh)
    _free(redis, prefix, fresh)
    return None


def _free(redis: Any, prefix: str, claims: Mapping[str, Claim]) -> None:
    values = _values(redis, prefix, claims)
    with redis.pipeline(transaction=False) as pipeline:
        for name, claim in claims.items():
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
