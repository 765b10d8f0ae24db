"""Rate limits that all workers share: token buckets in Redis, from which each worker leases a few tokens at a time.

A request that finds a lease costs no round trip. Whatever the workers do, a bucket gives away no more than
`burst + rate x time` tokens; within a window that begins later, what lay in leases by then comes on top: at most a
tenth of a second's tokens for each worker. While Redis is away, each worker goes by buckets of its own with the same
limits: n workers then admit up to n times as much.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from feast.infra.online_stores.redis import RedisOnlineStore
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from feature_repo.common.limits import Limit

log = logging.getLogger(__name__)

# What a lease holds (tokens of so long), how long it may be spent, and how often a Redis that is away is asked again.
LEASE_OF_SECONDS, LEASE_SECONDS, RETRY_SECONDS = 0.1, 1.0, 1.0
SWEEP_SECONDS = 10.0
# A request waits for no more than this, once, when Redis falls silent.
CONNECT_SECONDS, ANSWER_SECONDS = 0.25, 0.1
PROBE = ("probe", Limit(rate_per_second=1, burst=1))
AWAY = (RedisError, RedisClusterException, OSError)

# Takes between `least` and `most` tokens out of a bucket, or none where it has fewer than `least`; `back` are those of
# an earlier lease that were not spent. No more than a quarter of what is there, so that the last tokens do not lie idle
# with one worker while others are refused. The server's clock counts: those of workers may differ. A bucket that would
# be full again is no longer there.
LEASE = """
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local least, most, back = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'time')
local tokens = burst
if bucket[1] then
    tokens = math.min(burst, bucket[1] + math.max(0, now - bucket[2]) * rate / 1000000 + back)
end
local taken = 0
if tokens >= least then
    taken = math.max(least, math.min(most, math.floor(tokens / 4)))
end
tokens = tokens - taken
redis.call('HSET', KEYS[1], 'tokens', tokens, 'time', now)
redis.call('PEXPIRE', KEYS[1], math.ceil((burst - tokens) / rate * 1000) + 1)
return {taken, math.ceil((least - tokens) / rate * 1000000)}
"""


def limiter_client(connection: str, redis_type: str) -> Any:
    """A Redis client for the limiter: it gives up soon and tries nothing twice. Sends nothing.

    Args:
        connection: Feast's connection string, host:port,key=value,...; its time-outs do not count here.
        redis_type: `redis` or `redis_cluster`.
    """
    nodes, options = RedisOnlineStore._parse_connection_string(connection)
    options |= {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS}
    options["retry"] = Retry(NoBackoff(), 0)
    if redis_type == "redis_cluster":
        return RedisCluster(startup_nodes=[ClusterNode(**node) for node in nodes], **options)
    return Redis(**nodes[0], **options)


@dataclass(slots=True)
class _Bucket:
    """What one worker knows of one bucket; times are those of its own clock."""

    filled: float  # when `tokens` was counted
    tokens: float = math.inf  # of the bucket of its own, for the time without Redis; full at first
    leased: int = 0  # tokens out of the shared bucket, to be spent
    lease_ends: float = -math.inf
    refused_cost: int = 0  # a request of this cost was refused, and would be until `refused_until`
    refused_until: float = -math.inf
    idle_after: float = math.inf  # nothing here counts any more by then
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def known(self, cost: int, now: float) -> float | None:
        """The answer that needs no Redis: 0.0 out of the lease, the wait after a refusal; None where there is none."""
        if cost <= self.leased and now < self.lease_ends:
            self.leased -= cost
            return 0.0
        if cost >= self.refused_cost and now < self.refused_until:
            return self.refused_until - now
        return None

    def alone(self, limit: Limit, cost: int, now: float) -> float:
        """The answer out of the bucket of its own."""
        self.tokens = min(limit.burst, self.tokens + (now - self.filled) * limit.rate_per_second)
        self.filled = now
        if cost <= self.tokens:
            self.tokens -= cost
            return 0.0
        return (cost - self.tokens) / limit.rate_per_second


class RateLimiter:
    """The limits of one shop, as one worker sees them; for one event loop."""

    def __init__(self, redis: Any, prefix: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Sends nothing.

        Args:
            redis: See limiter_client; it stays the caller's to close.
            prefix: Start of the keys in Redis, the same for all workers.
            clock: Seconds, from any start.
        """
        self._redis, self._prefix, self._clock = redis, prefix, clock
        self._buckets: dict[str, _Bucket] = {}
        self._swept = clock()
        self._watch: asyncio.Task[None] | None = None

    @property
    def shared(self) -> bool:
        """Whether the limits hold for all workers together; False while Redis is away."""
        return self._watch is None

    async def admit(self, bucket: str, limit: Limit, cost: int = 1) -> float:
        """Takes tokens for a request. Where a lease has them, the call does not give way to other tasks.

        Args:
            bucket: Whose: one bucket for each name, such as `key:3f6c` or `address:192.0.2.7`.
            limit: Its limit.
            cost: Tokens that the request is worth; more than a whole burst counts as a burst.

        Returns:
            0.0 where the request is admitted, else the seconds after which it is worth trying again.
        """
        cost, now = min(cost, limit.burst), self._clock()
        mine = self._buckets.get(bucket) or self._added(bucket, now)
        mine.idle_after = now + max(LEASE_SECONDS, limit.burst / limit.rate_per_second)
        wait = mine.known(cost, now)
        return await self._lease(bucket, mine, limit, cost) if wait is None else wait

    async def close(self) -> None:
        """Ends the watch for Redis, where one is on."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])

    async def _lease(self, bucket: str, mine: _Bucket, limit: Limit, cost: int) -> float:
        # One lease at a time, or each of a hundred requests at once would fetch one of its own.
        async with mine.lock:
            now = self._clock()
            # The one that held the lock before may have brought tokens, a refusal, or news of Redis.
            wait = mine.known(cost, now)
            if wait is not None:
                return wait
            if not self.shared:
                return mine.alone(limit, cost, now)
            back, mine.leased = mine.leased, 0  # before the call: if it is lost, they are spent, not returned and spent
            try:
                taken, wait = await self._take(bucket, limit, cost, back)
            except AWAY as error:
                self._lost(error)
                return mine.alone(limit, cost, now)
            if taken:
                mine.leased, mine.lease_ends = taken - cost, now + LEASE_SECONDS
                return 0.0
            mine.refused_cost, mine.refused_until = cost, self._clock() + wait
            return wait

    async def _take(self, bucket: str, limit: Limit, least: int, back: int) -> tuple[int, float]:
        """Tokens out of the shared bucket, or none and the seconds until there are enough."""
        most = math.ceil(limit.rate_per_second * LEASE_OF_SECONDS)
        arguments = (limit.rate_per_second, limit.burst, least, most, back)
        taken, microseconds = await self._redis.eval(LEASE, 1, f"{self._prefix}:rate:{bucket}", *arguments)
        return taken, microseconds / 1e6

    def _lost(self, error: Exception) -> None:
        """From now on every worker for itself, until Redis answers again."""
        if self._watch is None:
            log.warning("Redis is away, so each worker applies the rate limits for itself: %s", error)
            self._watch = asyncio.create_task(self._until_redis_answers())

    async def _until_redis_answers(self) -> None:
        """Asks in the background, so that no request has to find out by waiting."""
        while True:
            await asyncio.sleep(RETRY_SECONDS)
            try:
                # Not PING, which a Redis that is full or a replica answers too.
                await self._take(*PROBE, least=1, back=0)
            except AWAY:
                continue
            log.warning("Redis answers again, so all workers share the rate limits")
            self._watch = None
            return

    def _added(self, bucket: str, now: float) -> _Bucket:
        if now - self._swept > SWEEP_SECONDS:
            self._swept = now
            self._buckets = {name: one for name, one in self._buckets.items() if now < one.idle_after}
        added = self._buckets[bucket] = _Bucket(filled=now)
        return added
