"""Event ids at work and event ids done, so that a retried event is neither lost nor stored twice."""

import logging
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from feature_repo.errors import StoreUnavailableError

log = logging.getLogger(__name__)

# A request that is killed blocks the retry for this long and no longer; one at work renews its claim.
PENDING_SECONDS = 30
STORED_SECONDS = 86_400
STORED = b"stored"


class EventClaim:
    """The event ids that one request has for itself.

    Attributes:
        fresh: The ids that no other request has stored; the rest of those asked for are duplicates.
    """

    def __init__(self, redis: Any, prefix: str, fresh: Collection[str], token: bytes) -> None:
        """Takes ids that are claimed already, under `token`."""
        self.fresh = frozenset(fresh)
        self._redis, self._prefix, self._token = redis, prefix, token
        self._open = set(fresh)
        self._renewed = time.monotonic()

    def stored(self, event_ids: Collection[str]) -> None:
        """Notes that these are stored, and keeps the others claimed, however long they take."""
        done = self._open.intersection(event_ids)
        self._open -= done
        try:
            if done:
                self._send("set", done, STORED, ex=STORED_SECONDS)
            if time.monotonic() - self._renewed > PENDING_SECONDS / 3:
                self._send("expire", self._open, PENDING_SECONDS)
                self._renewed = time.monotonic()
        except RedisError as error:
            # They are stored, so the request must not fail; only a repetition would no longer be noticed.
            log.warning("stored event ids are remembered for %d s only: %s", PENDING_SECONDS, error)

    def release(self) -> None:
        """Frees the ids that were not stored, but for those whose claim has run out and is now another's."""
        values = self._send("get", self._open)
        self._send("delete", [one for one, value in zip(self._open, values, strict=True) if value == self._token])
        self._open.clear()

    def _send(self, command: str, event_ids: Collection[str], *arguments: object, **options: object) -> list[Any]:
        return _pipelined(self._redis, self._prefix, command, event_ids, *arguments, **options)


@contextmanager
def claimed(redis: Any, prefix: str, event_ids: Collection[str]) -> Iterator[EventClaim]:
    """Claims distinct event ids for one request; those that it has not stored when the block ends are free again.

    Raises:
        StoreUnavailableError: Another request works on one of them, or died at it a moment ago. Nothing is claimed.
    """
    event_ids = list(event_ids)
    token = f"pending:{uuid.uuid4().hex}".encode()
    taken = _pipelined(redis, prefix, "set", event_ids, token, nx=True, ex=PENDING_SECONDS)
    fresh = [event_id for event_id, mine in zip(event_ids, taken, strict=True) if mine]
    others = [event_id for event_id, mine in zip(event_ids, taken, strict=True) if not mine]
    claim = EventClaim(redis, prefix, fresh, token)
    try:
        if any(value != STORED for value in _pipelined(redis, prefix, "get", others)):
            raise StoreUnavailableError("another request works on one of these event ids; try again in a moment")
        yield claim
    finally:
        try:
            claim.release()
        except RedisError as error:
            # What happened in the block counts; the claims run out by themselves.
            log.warning("event ids stay claimed for up to %d s: %s", PENDING_SECONDS, error)


def _pipelined(
    redis: Any, prefix: str, command: str, event_ids: Collection[str], *arguments: object, **options: object
) -> list[Any]:
    """One command for every id, in one round trip."""
    with redis.pipeline(transaction=False) as pipeline:
        for event_id in event_ids:
            getattr(pipeline, command)(f"{prefix}:event:{event_id}", *arguments, **options)
        answers: list[Any] = pipeline.execute()
    return answers
