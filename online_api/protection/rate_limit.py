"""Rate limits that all workers share: token buckets in Redis, from which each worker leases a few tokens at a time.

A request that finds a leased token needs no round trip. All workers together admit at most `burst + rate * time`
requests per bucket since its first use. Within a later window, tokens that were leased before it may add to that: at
most a tenth of a second's tokens per worker. While Redis is down, each worker uses local buckets with the same limits,
so n workers admit up to n times as much.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from feast.infra.online_stores.redis import RedisOnlineStore
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from feature_repo.access.limits import Limit
from feature_repo.online.redis_errors import REDIS_ERRORS

log = logging.getLogger(__name__)

LEASE_SIZE_SECONDS = 0.1  # a lease holds at most the tokens that accrue in this time
LEASE_LIFETIME_SECONDS = 1.0  # unspent tokens of a lease expire after this time
REDIS_RETRY_SECONDS = 1.0  # between two attempts to reach Redis while it is down
SWEEP_SECONDS = 10.0  # between two removals of idle buckets
# The longest time that a request waits when Redis stops answering; only the first one does.
CONNECT_SECONDS, ANSWER_SECONDS = 0.25, 0.1
PROBE = ("probe", Limit(rate_per_second=1, burst=1))  # a bucket that no request uses
LIMITER_ERRORS = (*REDIS_ERRORS, OSError)

# ---- the shared bucket in Redis --------------------------------------------------------------------------------------

# Takes up to `most` tokens from a bucket, none if it has less than one; `unspent` tokens of an earlier lease go back. A
# lease takes a quarter of the tokens at most, so that the last ones do not stay with one worker while others refuse
# requests. Time is that of the server, because clocks of workers may differ. A bucket expires when it would be full.
LEASE_SCRIPT = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local most, unspent = tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'time')
local tokens = burst
if bucket[1] then
    tokens = math.min(burst, bucket[1] + math.max(0, now - bucket[2]) * rate / 1000000 + unspent)
end
local taken = 0
if tokens >= 1 then
    taken = math.max(1, math.min(most, math.floor(tokens / 4)))
end
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', tokens, 'time', now)
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1)
return {taken, math.ceil((1 - tokens) / rate * 1000000)}
"""


def limiter_client(connection: str, redis_type: str) -> Any:
    """Creates a Redis client for the limiter, with short time-outs and without retries. It does not connect yet.

    Args:
        connection: Feast's connection string, host:port,key=value,...; its time-outs are overridden.
        redis_type: `redis` or `redis_cluster`.
    """
    # Not public in Feast, which is pinned (ADR 0004). So the limiter and the store understand the string alike.
    nodes, options = RedisOnlineStore._parse_connection_string(connection)
    options |= {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS}
    options["retry"] = Retry(NoBackoff(), 0)
    if redis_type == "redis_cluster":
        return RedisCluster(startup_nodes=[ClusterNode(**node) for node in nodes], **options)
    return Redis(**nodes[0], **options)


# ---- buckets ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Bucket:
    """The local state of one bucket in one worker; times are seconds of the worker's clock."""

    filled_at: float  # the time at which `local_tokens` was computed
    local_tokens: float = math.inf  # for the time without Redis; full at first
    leased: int = 0  # unspent tokens from the shared bucket
    lease_expires: float = -math.inf
    refused_until: float = -math.inf  # the shared bucket has no token before this time
    idle_after: float = math.inf  # from this time on, the state has no effect
    leasing: asyncio.Event | None = None  # set when the lease that is being fetched has arrived

    def wait_from_lease(self, now: float) -> float | None:
        """Seconds to wait that are known without Redis: 0.0 with a leased token, the rest of a refusal, else None."""
        if self.leased >= 1 and now < self.lease_expires:
            self.leased -= 1
            return 0.0
        return self.refused_until - now if now < self.refused_until else None

    def wait_from_local_bucket(self, limit: Limit, now: float) -> float:
        """Takes a token from the local bucket; returns the seconds to wait, 0.0 if there was one."""
        self.local_tokens = min(limit.burst, self.local_tokens + (now - self.filled_at) * limit.rate_per_second)
        self.filled_at = now
        if self.local_tokens >= 1:
            self.local_tokens -= 1
            return 0.0
        return (1 - self.local_tokens) / limit.rate_per_second


class RateLimiter:
    """The rate limits of one shop in one worker; for one event loop."""

    def __init__(self, redis: Any, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Connects to nothing yet.

        Args:
            redis: See limiter_client; the caller closes it.
            prefix: Prefix of the keys in Redis, the same in all workers.
            clock: Returns seconds since any start.
        """
        self._redis, self._prefix, self._clock = redis, prefix, clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept_at = clock()
        self._redis_watch: asyncio.Task[None] | None = None

    @property
    def shared(self) -> bool:
        """Whether the limits hold for all workers together; False while Redis is down."""
        return self._redis_watch is None

    async def admit(self, bucket: str, limit: Limit) -> float:
        """Takes a token for a request. With a leased token, the call does not yield to the event loop.

        Args:
            bucket: The name of the bucket, such as `key:3f6c` or `address:192.0.2.7`.
            limit: Its limit.

        Returns:
            0.0 if the request is admitted, else the seconds after which the caller should try again.
        """
        now = self._clock()
        state = self._buckets.get(bucket) or self._added(bucket, now)
        state.idle_after = now + max(LEASE_LIFETIME_SECONDS, limit.burst / limit.rate_per_second)
        wait = state.wait_from_lease(now)
        return await self._lease(bucket, state, limit) if wait is None else wait

    async def close(self) -> None:
        """Stops waiting for Redis."""
        if self._redis_watch is not None:
            self._redis_watch.cancel()
            await asyncio.wait([self._redis_watch])

    async def _lease(self, bucket: str, state: _Bucket, limit: Limit) -> float:
        # One lease at a time: otherwise each of a hundred concurrent requests would fetch one. The others wait for it
        # and go on together; one after the other, each would make a batch of its own (batcher.py).
        while True:
            now = self._clock()
            # By now a lease may have arrived, the bucket may be empty, or Redis down.
            wait = state.wait_from_lease(now)
            if wait is not None:
                return wait
            if not self.shared:
                return state.wait_from_local_bucket(limit, now)
            if state.leasing is not None:
                await state.leasing.wait()
                continue
            state.leasing = asyncio.Event()
            try:
                return await self._fetch_lease(bucket, state, limit, now)
            finally:
                state.leasing.set()
                state.leasing = None

    async def _fetch_lease(self, bucket: str, state: _Bucket, limit: Limit, now: float) -> float:
        """Fetches a lease and takes a token of it; returns the seconds to wait as `admit`."""
        # Cleared before the call: if the answer is lost, the unspent tokens may be returned already.
        unspent, state.leased = state.leased, 0
        try:
            taken, wait = await self._take(bucket, limit, unspent)
        except LIMITER_ERRORS as error:
            self._start_watch(error)
            return state.wait_from_local_bucket(limit, now)
        if taken:
            state.leased, state.lease_expires = taken - 1, now + LEASE_LIFETIME_SECONDS
            return 0.0
        state.refused_until = self._clock() + wait
        return wait

    async def _take(self, bucket: str, limit: Limit, unspent: int) -> tuple[int, float]:
        """Leases tokens from the shared bucket: their number, or 0 and the seconds until there is one."""
        most = math.ceil(limit.rate_per_second * LEASE_SIZE_SECONDS)
        arguments = (limit.rate_per_second, limit.burst, most, unspent)
        taken, microseconds = await self._redis.eval(LEASE_SCRIPT, 1, f"{self._prefix}:rate:{bucket}", *arguments)
        return taken, microseconds / 1e6

    def _start_watch(self, error: Exception) -> None:
        """Switches to local buckets until Redis answers again."""
        if self._redis_watch is None:
            log.warning("Redis is down, so each worker applies the rate limits by itself: %s", error)
            self._redis_watch = asyncio.create_task(self._wait_for_redis())

    async def _wait_for_redis(self) -> None:
        """Probes Redis in the background, so that no request has to wait for it."""
        while True:
            await asyncio.sleep(REDIS_RETRY_SECONDS)
            try:
                # Not PING: a Redis that is out of memory or a read-only replica answers that, too.
                await self._take(*PROBE, unspent=0)
            except LIMITER_ERRORS:
                continue
            log.warning("Redis answers again, so all workers share the rate limits")
            self._redis_watch = None
            return

    def _added(self, bucket: str, now: float) -> _Bucket:
        if now - self._swept_at > SWEEP_SECONDS:
            self._swept_at = now
            self._buckets = {name: state for name, state in self._buckets.items() if now < state.idle_after}
        added = self._buckets[bucket] = _Bucket(filled_at=now)
        return added
