"""A circuit breaker in front of the online store: while it is away, no request waits for it.

The breaker opens after two failures in a row. A thread then asks the store until it answers; the next call of a request
is the trial that closes the breaker, or opens it again. See Nygard, "Release It!" (2007), for the pattern.
"""

import logging
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from feature_repo.common.errors import StoreUnavailableError
from online_api.observability.metrics import Metrics

log = logging.getLogger(__name__)

FAILURES_TO_OPEN = 2
PROBE_SECONDS = 0.1
STORE_ERRORS = (RedisError, RedisClusterException, StoreUnavailableError, OSError)

Result = TypeVar("Result")


class BreakerState(IntEnum):
    """As the metric `tawsiya_breaker_state` shows it."""

    CLOSED, HALF_OPEN, OPEN = range(3)


class CircuitBreaker:
    """Calls of the online store that give None instead of an error; safe to use from several threads."""

    def __init__(
        self,
        probe: Callable[[], object],
        metrics: Metrics,
        revive: Callable[[], object] | None = None,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """Starts nothing.

        Args:
            probe: Asks the store whether it is there, and raises one of STORE_ERRORS where it is not.
            metrics: Shows the breaker's state and counts errors.
            revive: Brings the store back where that is ours to do; called after a probe that failed.
            probe_seconds: Time between two probes.
        """
        self._probe, self._metrics, self._revive, self._probe_seconds = probe, metrics, revive, probe_seconds
        self._lock = threading.Lock()
        self._failures = 0
        self._state = BreakerState.CLOSED
        self._closed = threading.Event()  # the guard itself, not the breaker

    @property
    def is_open(self) -> bool:
        """Whether calls are not even tried."""
        return self._state is BreakerState.OPEN

    def call(self, function: Callable[[], Result]) -> Result | None:
        """The function's result; None where the store is away."""
        if self.is_open:
            return None
        try:
            result = function()
        except StoreUnavailableError as error:
            # A contended lock: the store is there, and nobody else need go without it.
            log.warning("one call of the online store failed: %s", error)
            return None
        except STORE_ERRORS as error:
            self._failed(error)
            return None
        if self._failures or self._state is not BreakerState.CLOSED:
            self._succeeded()
        return result

    def close(self) -> None:
        """Ends the thread that waits for the store, where there is one."""
        self._closed.set()

    def _succeeded(self) -> None:
        with self._lock:
            self._failures = 0
            if self._state is BreakerState.HALF_OPEN:
                self._enter(BreakerState.CLOSED)
                log.warning("the online store answers again")

    def _failed(self, error: Exception) -> None:
        self._metrics.store_errors(_kind(error)).inc()
        with self._lock:
            self._failures += 1
            if self._state is BreakerState.OPEN:
                return
            if self._failures < FAILURES_TO_OPEN and self._state is BreakerState.CLOSED:
                return
            self._enter(BreakerState.OPEN)
            self._metrics.breaker_opened.inc()
        log.error("the online store does not answer, so answers go without it: %s", str(error).partition("\n")[0])
        threading.Thread(target=self._until_it_answers, name="store-probe", daemon=True).start()

    def _until_it_answers(self) -> None:
        while not self._closed.wait(self._probe_seconds):
            if self._answers():
                with self._lock:
                    self._enter(BreakerState.HALF_OPEN)
                return

    def _answers(self) -> bool:
        try:
            self._probe()
        except STORE_ERRORS:
            self._try_to_revive()
            return False
        return True

    def _try_to_revive(self) -> None:
        if self._revive is None:
            return
        try:
            self._revive()
        except STORE_ERRORS as error:
            log.error("the online store cannot be brought back: %s", error)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._metrics.breaker_state.set(state)


def _kind(error: Exception) -> str:
    """The label of the metric of errors."""
    if isinstance(error, RedisTimeoutError):
        return "timeout"
    return "connection" if isinstance(error, RedisConnectionError | OSError) else "other"
