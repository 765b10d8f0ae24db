"""Locks on buyers in Redis: one writer per buyer at a time, across threads, processes and machines."""

import logging
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from redis.exceptions import RedisError

from feature_repo.common.errors import StoreUnavailableError

log = logging.getLogger(__name__)

# A writer holds a lock for some milliseconds; one that died must not block its buyers for ever.
LOCK_SECONDS, LOCK_WAIT_SECONDS, POLL_SECONDS = 30, 5.0, 0.01
# Deletes a lock only where it is still ours: it may have run out and be another writer's by now.
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class BuyerLocks:
    """The locks of one shop."""

    def __init__(self, redis: Any, prefix: str) -> None:
        """Sends nothing."""
        self._redis, self._prefix = redis, prefix

    @contextmanager
    def some_of(self, buyer_ids: Collection[str]) -> Iterator["HeldLocks"]:
        """Holds the locks of as many of the buyers as are free, of one at least.

        Who writes for many buyers takes those it gets, writes, and comes back for the rest: nobody waits while holding
        a lock, so two writers never wait for each other.

        Raises:
            StoreUnavailableError: Other writers held all of them for too long.
        """
        token = uuid.uuid4().hex.encode()
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while not (buyers := self._take(buyer_ids, token)):
            if time.monotonic() > deadline:
                raise StoreUnavailableError(
                    f"the events of one buyer were locked for {LOCK_WAIT_SECONDS:.0f} s; try again"
                )
            time.sleep(POLL_SECONDS)
        held = HeldLocks(self._redis, {buyer_id: self._key(buyer_id) for buyer_id in buyers}, token)
        try:
            yield held
        finally:
            held.release()

    def _take(self, buyer_ids: Collection[str], token: bytes) -> list[str]:
        with self._redis.pipeline(transaction=False) as pipeline:
            for buyer_id in buyer_ids:
                pipeline.set(self._key(buyer_id), token, nx=True, ex=LOCK_SECONDS)
            return [buyer_id for buyer_id, mine in zip(buyer_ids, pipeline.execute(), strict=True) if mine]

    def _key(self, buyer_id: str) -> str:
        return f"{self._prefix}:lock:{buyer_id}"


class HeldLocks:
    """Locks that one writer holds.

    Attributes:
        buyers: Whose they are.
    """

    def __init__(self, redis: Any, keys: dict[str, str], token: bytes) -> None:
        """Takes locks that are held already, under `token`."""
        self.buyers = list(keys)
        self._redis, self._keys, self._token = redis, keys, token

    def require(self) -> None:
        """Checks, before a write, that all are still held.

        Raises:
            StoreUnavailableError: One ran out: this process was stopped for a while, and the next writer may have been
                and gone.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in self._keys.values():
                pipeline.get(key)
            if any(owner != self._token for owner in pipeline.execute()):
                raise StoreUnavailableError("the lock on a buyer's events ran out before they were written")

    def release(self) -> None:
        """Gives the locks up. Lost or unreachable ones run out by themselves, so this never fails."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for key in self._keys.values():
                    pipeline.eval(RELEASE, 1, key, self._token)
                pipeline.execute()
        except RedisError as error:
            log.warning("the locks on buyers' events were not released: %s", error)
