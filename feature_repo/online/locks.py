"""Locks on buyers in Redis: one writer per buyer at a time, across threads, processes and machines."""

import logging
import random
import time
import uuid
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.cluster import RedisCluster

from feature_repo.common.errors import StoreUnavailableError
from feature_repo.online.redis_errors import REDIS_ERRORS, failure_reason

log = logging.getLogger(__name__)

# A writer holds a lock for milliseconds. The lock of a writer that died expires after LOCK_SECONDS.
LOCK_SECONDS, LOCK_WAIT_SECONDS, LOCK_POLL_SECONDS = 30, 5.0, 0.01
# Deletes a lock only if this writer still holds it: it may have expired, and another writer may hold it now.
RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0"


class BuyerLocks:
    """The locks of one shop."""

    def __init__(self, redis: Any, prefix: str) -> None:
        """Sends nothing to Redis; `prefix` is the prefix of the keys there."""
        self._redis, self._prefix = redis, prefix

    @contextmanager
    def acquire_available(self, buyer_ids: Collection[str]) -> Iterator["HeldLocks"]:
        """Holds the locks of those buyers whose lock is free; waits until one is.

        A writer for many buyers takes the locks that it gets, writes, and comes back for the rest. It never waits
        while it holds a lock, so two writers cannot deadlock.

        Raises:
            StoreUnavailableError: Other writers held all the locks for LOCK_WAIT_SECONDS.
        """
        # Bytes, as the client returns values.
        token = uuid.uuid4().hex.encode()
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while not (buyers := self._try_lock(buyer_ids, token)):
            if time.monotonic() > deadline:
                raise StoreUnavailableError(_held_by_others())
            time.sleep(LOCK_POLL_SECONDS)
        held = HeldLocks(self._redis, {buyer_id: self._key(buyer_id) for buyer_id in buyers}, token)
        try:
            yield held
        finally:
            held.release()

    @contextmanager
    def acquire_all(self, buyer_ids: Collection[str]) -> Iterator["HeldLocks"]:
        """Holds the locks of all these buyers; raises as acquire_available."""
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while True:
            with self.acquire_available(buyer_ids) as held:
                if len(held.buyers) == len(buyer_ids):
                    yield held
                    return
            # Without the locks, so that two writers cannot wait for each other.
            if time.monotonic() > deadline:
                raise StoreUnavailableError(_held_by_others())
            time.sleep(random.uniform(0, 2 * LOCK_POLL_SECONDS))

    def _try_lock(self, buyer_ids: Collection[str], token: bytes) -> list[str]:
        """Locks those buyers whose lock is free; an error counts only if no lock was got."""
        buyers, failure = {self._key(buyer_id): buyer_id for buyer_id in buyer_ids}, None
        locked: list[str] = []
        for keys, _ in _by_node(self._redis, buyers):
            try:
                with self._redis.pipeline(transaction=False) as pipeline:
                    for key in keys:
                        pipeline.set(key, token, nx=True, ex=LOCK_SECONDS)
                    locked += [buyers[key] for key, free in zip(keys, pipeline.execute(), strict=True) if free]
            except REDIS_ERRORS as error:
                failure = error
        if failure is not None and not locked:
            raise failure
        return locked

    def _key(self, buyer_id: str) -> str:
        return f"{self._prefix}:lock:{buyer_id}"


class HeldLocks:
    """Locks that one writer holds.

    Attributes:
        buyers: The ids of the locked buyers.
    """

    def __init__(self, redis: Any, keys: dict[str, str], token: bytes) -> None:
        """Wraps locks that Redis already holds with the value `token`; `keys` has their keys by buyer id."""
        self.buyers = list(keys)
        self._redis, self._keys, self._token = redis, keys, token

    def require_held(self) -> None:
        """Checks, before a write, that this writer still holds all the locks.

        Raises:
            StoreUnavailableError: A lock expired, for example because the process was suspended. Another writer may
                have written since.
        """
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in self._keys.values():
                pipeline.get(key)
            if any(owner != self._token for owner in pipeline.execute()):
                raise StoreUnavailableError("the lock on a buyer's events expired before they were written; try again")

    def release(self) -> None:
        """Releases the locks. Never fails: locks that cannot be released expire by themselves."""
        try:
            by_node = _by_node(self._redis, self._keys.values())
        except REDIS_ERRORS as error:  # no node has the slot of a key any more
            _warn_of_unreleased(error)
            return
        for keys, target in by_node:
            try:
                with self._redis.pipeline(transaction=False) as pipeline:
                    for key in keys:
                        # Not pipeline.eval(), which a cluster's pipeline does not have.
                        pipeline.execute_command("EVAL", RELEASE, 1, key, self._token, **target)
                    pipeline.execute()
            except REDIS_ERRORS as error:
                _warn_of_unreleased(error)


def _held_by_others() -> str:
    return f"other writers held the lock on a buyer's events for {LOCK_WAIT_SECONDS:.0f} s; try again"


def _warn_of_unreleased(error: Exception) -> None:
    log.warning("the locks on buyers' events were not released: %s", failure_reason(error))


def _by_node(redis: Any, keys: Collection[str]) -> Iterable[tuple[list[str], dict[str, Any]]]:
    """The keys of each node, with the option that sends a script there; all keys at once without a cluster.

    A pipeline over several nodes fails if one of them is down: locks on the others would stay until they expire.
    Without the option, a client asks some node, which may be the one that is down, where the key stands in a script.
    """
    if not isinstance(redis, RedisCluster):
        return [(list(keys), {})]
    nodes: dict[str, tuple[list[str], dict[str, Any]]] = {}
    for key in keys:
        node = redis.get_node_from_key(key)  # type: ignore[no-untyped-call]
        nodes.setdefault(node.name, ([], {"target_nodes": node}))[0].append(key)
    return nodes.values()
