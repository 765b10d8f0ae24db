"""The circuit breaker, against a store that fails and recovers on command."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from feature_repo.common.errors import StoreUnavailableError
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import BreakerState, CircuitBreaker
from tests.online_api.api_shop import wait_for

pytestmark = pytest.mark.store

PROBE_SECONDS = 0.002
GONE = RedisConnectionError("connection refused")


class Store:
    """Answers, or raises a given error."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.probe_error: Exception | None = None
        self.calls = self.probes = self.revivals = 0

    def call(self) -> str:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return "row"

    def probe(self) -> None:
        self.probes += 1
        if self.probe_error is not None:
            raise self.probe_error

    def away(self, error: Exception = GONE) -> None:
        self.error = self.probe_error = error

    def back(self) -> None:
        self.error = self.probe_error = None

    def revive(self) -> None:
        self.revivals += 1
        self.back()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def breaker(store: Store, metrics: Metrics) -> Iterator[CircuitBreaker]:
    breaker = CircuitBreaker(store.probe, metrics, probe_seconds=PROBE_SECONDS)
    yield breaker
    breaker.close()


def fail_enough(breaker: CircuitBreaker, store: Store, error: Exception = GONE) -> None:
    store.away(error)
    for _ in range(2):
        assert breaker.call(store.call) is None


def open_it(breaker: CircuitBreaker, store: Store, error: Exception = GONE) -> None:
    fail_enough(breaker, store, error)
    assert breaker.is_open


def value(metrics: Metrics, series: str) -> float:
    (line,) = [line for line in metrics.render()[0].decode().splitlines() if line.startswith(f"{series} ")]
    return float(line.split()[1])


def test_a_store_that_answers_is_asked_every_time(breaker: CircuitBreaker, store: Store) -> None:
    assert [breaker.call(store.call) for _ in range(3)] == ["row"] * 3
    assert (store.calls, store.probes) == (3, 0)


def test_one_failure_is_forgiven(breaker: CircuitBreaker, store: Store) -> None:
    for _ in range(3):
        store.away()
        assert breaker.call(store.call) is None
        store.back()
        assert breaker.call(store.call) == "row"
    assert not breaker.is_open


def test_while_it_is_open_no_call_reaches_the_store(breaker: CircuitBreaker, store: Store) -> None:
    open_it(breaker, store)
    for _ in range(10):
        assert breaker.call(store.call) is None
    assert store.calls == 2


def test_it_recovers_by_itself(breaker: CircuitBreaker, store: Store, metrics: Metrics) -> None:
    open_it(breaker, store)
    wait_for(lambda: store.probes >= 3)
    assert breaker.is_open
    assert value(metrics, "tawsiya_breaker_state") == BreakerState.OPEN
    store.back()
    wait_for(lambda: not breaker.is_open)
    assert value(metrics, "tawsiya_breaker_state") == BreakerState.HALF_OPEN
    assert breaker.call(store.call) == "row"
    assert value(metrics, "tawsiya_breaker_state") == BreakerState.CLOSED
    assert value(metrics, "tawsiya_breaker_opened_total") == 1


def test_a_failed_trial_opens_it_again_at_once(breaker: CircuitBreaker, store: Store, metrics: Metrics) -> None:
    """A store that pings and cannot read, such as one that loads its data."""
    open_it(breaker, store)
    store.probe_error = None
    wait_for(lambda: not breaker.is_open)
    assert breaker.call(store.call) is None
    assert value(metrics, "tawsiya_breaker_opened_total") == 2
    store.back()
    wait_for(lambda: breaker.call(store.call) == "row")
    assert value(metrics, "tawsiya_breaker_state") == BreakerState.CLOSED


def test_it_opens_and_closes_any_number_of_times(breaker: CircuitBreaker, store: Store, metrics: Metrics) -> None:
    for _ in range(5):
        open_it(breaker, store)
        store.back()
        wait_for(lambda: breaker.call(store.call) == "row")
    assert value(metrics, "tawsiya_breaker_opened_total") == 5


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RedisTimeoutError("timed out"), "timeout"),
        (GONE, "connection"),
        (ConnectionResetError("reset"), "connection"),
        (ResponseError("OOM command not allowed"), "other"),
    ],
)
def test_errors_are_counted_by_kind(
    breaker: CircuitBreaker, store: Store, metrics: Metrics, error: Exception, kind: str
) -> None:
    open_it(breaker, store, error)
    counts = {
        name: value(metrics, f'tawsiya_store_errors_total{{kind="{name}"}}')
        for name in ("timeout", "connection", "other")
    }
    assert counts == {name: 2 if name == kind else 0 for name in counts}


def test_a_contended_lock_opens_nothing(breaker: CircuitBreaker, store: Store) -> None:
    store.error = StoreUnavailableError("the events of one buyer were locked")
    assert [breaker.call(store.call) for _ in range(3)] == [None] * 3
    assert not breaker.is_open


def test_other_errors_are_the_callers(breaker: CircuitBreaker, store: Store) -> None:
    store.error = KeyError("a mistake of ours")
    for _ in range(2):
        with pytest.raises(KeyError):
            breaker.call(store.call)
    assert not breaker.is_open


def test_an_embedded_store_is_revived(store: Store, metrics: Metrics) -> None:
    breaker = CircuitBreaker(store.probe, metrics, store.revive, PROBE_SECONDS)
    fail_enough(breaker, store)
    wait_for(lambda: breaker.call(store.call) == "row")
    assert store.revivals == 1
    breaker.close()


def test_a_revival_that_fails_is_tried_again(store: Store, metrics: Metrics) -> None:
    attempts = 0

    def revive() -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise StoreUnavailableError("the port is taken")
        store.back()

    breaker = CircuitBreaker(store.probe, metrics, revive, PROBE_SECONDS)
    fail_enough(breaker, store)
    wait_for(lambda: breaker.call(store.call) == "row")
    assert attempts == 3
    breaker.close()


def test_a_closed_guard_asks_no_more(breaker: CircuitBreaker, store: Store) -> None:
    open_it(breaker, store)
    breaker.close()
    wait_for(lambda: not any(thread.name == "store-probe" for thread in threading.enumerate()))
    assert breaker.is_open


def at_once(n_threads: int, call: Callable[[int], object]) -> list[object]:
    start = threading.Barrier(n_threads)

    def started(number: int) -> object:
        start.wait()
        return call(number)

    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(started, range(n_threads)))


def test_failures_at_once_open_it_once(breaker: CircuitBreaker, store: Store, metrics: Metrics) -> None:
    store.away()
    assert at_once(16, lambda _: breaker.call(store.call)) == [None] * 16
    assert breaker.is_open
    assert value(metrics, "tawsiya_breaker_opened_total") == 1
    store.back()
    wait_for(lambda: not breaker.is_open)
    assert at_once(16, lambda _: breaker.call(store.call)) == ["row"] * 16
    assert value(metrics, "tawsiya_breaker_state") == BreakerState.CLOSED


# ---- refused writes --------------------------------------------------------------------------------------------------


def test_a_refused_write_does_not_open_the_breaker(
    breaker: CircuitBreaker, store: Store, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    command = rb"Command # 1 (HSET \x01buyer_id..u0 price 5) of pipeline caused error: command not allowed"
    store.error = OutOfMemoryError(command.decode())
    for _ in range(5):
        assert breaker.write(store.call) is None
    assert (breaker.is_open, breaker.refuses_writes, store.calls) == (False, True, 5)
    assert [record.message for record in caplog.records] == [
        "the online store refuses writes, events wait: out of memory (maxmemory)"
    ]
    store.back()
    assert breaker.call(store.call) == "row"
    assert breaker.refuses_writes
    assert breaker.write(store.call) == "row"
    assert not breaker.refuses_writes


def test_a_refusal_is_forgotten_where_nothing_waits(breaker: CircuitBreaker, store: Store) -> None:
    store.error = OutOfMemoryError("command not allowed")
    breaker.write(store.call)
    breaker.forget_refusal()
    assert not breaker.refuses_writes


def test_a_write_to_a_store_that_is_gone_opens_the_breaker(breaker: CircuitBreaker, store: Store) -> None:
    store.away()
    for _ in range(2):
        assert breaker.write(store.call) is None
    assert (breaker.is_open, breaker.refuses_writes) == (True, False)
