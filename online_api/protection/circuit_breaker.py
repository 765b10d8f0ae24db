"""A circuit breaker for the online store: while the store is down, no request waits for it.

The breaker opens after two consecutive failures. A thread then probes the store until it answers. The next call of a
request is the trial that closes the breaker or opens it again. See Nygard, "Release It!" (2007), for the pattern.
"""

import logging
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import TypeVar

from redis.exceptions import ClusterDownError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from feature_repo.common.errors import StoreUnavailableError
from feature_repo.online.redis_errors import REDIS_ERRORS, failure_reason
from online_api.observability.metrics import Metrics

log = logging.getLogger(__name__)

# One failure, such as a dropped connection, is forgiven. Each failure of a silent store may block the event loop for
# `api.store_timeout_seconds`, so there are no more than two (ADR 0004).
FAILURES_TO_OPEN = 2
PROBE_SECONDS = 0.1
STORE_FAILURES = (*REDIS_ERRORS, StoreUnavailableError, OSError)

ValueT = TypeVar("ValueT")


class BreakerState(IntEnum):
    """The values of the metric `tawsiya_breaker_state`."""

    CLOSED, HALF_OPEN, OPEN = range(3)


class CircuitBreaker:
    """Calls the online store and returns None instead of errors; safe to use from several threads."""

    def __init__(
        self,
        probe: Callable[[], object],
        metrics: Metrics,
        revive: Callable[[], object] | None = None,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """Starts closed, without a thread.

        Args:
            probe: Calls the store; raises one of STORE_FAILURES if the store is down.
            metrics: Records the state of the breaker and the errors.
            revive: Restarts the store if this program runs it; called after each failed probe.
            probe_seconds: Time between two probes.
        """
        self._probe, self._metrics, self._revive, self._probe_seconds = probe, metrics, revive, probe_seconds
        self._lock = threading.Lock()
        self._failures = 0
        self._state = BreakerState.CLOSED
        self._refuses_writes = False
        self._stopped = threading.Event()  # set by close()

    @property
    def refuses_writes(self) -> bool:
        """Whether the store answers but refused the last write, for example because it is out of memory."""
        return self._refuses_writes

    def forget_refusal(self) -> None:
        """Ends the time of refused writes: nothing waits to be written any more."""
        if self._refuses_writes:
            self._refuses_writes = False
            log.warning("the online store takes writes again")

    @property
    def is_open(self) -> bool:
        """Whether calls return None without trying."""
        return self._state is BreakerState.OPEN

    def write(self, function: Callable[[], ValueT]) -> ValueT | None:
        """Calls a function that writes; returns None if the store is down or refuses the write.

        A refusal does not open the breaker, because the store still answers reads.
        """
        try:
            result = self._call(function, refusals=(ResponseError,))
        except ResponseError as error:
            self._metrics.store_errors(_error_kind(error)).inc()
            if not self._refuses_writes:
                log.error("the online store refuses writes, events wait: %s", failure_reason(error))
            self._refuses_writes = True
            return None
        if result is not None:
            self.forget_refusal()
        return result

    def call(self, function: Callable[[], ValueT]) -> ValueT | None:
        """Calls the function; returns None if the store is down."""
        return self._call(function)

    def _call(self, function: Callable[[], ValueT], refusals: tuple[type[Exception], ...] = ()) -> ValueT | None:
        if self.is_open:
            return None
        try:
            result = function()
        except ClusterDownError as error:  # a ResponseError, but no refusal
            self._record_failure(error)
            return None
        except refusals:
            raise
        except StoreUnavailableError as error:
            # A lock was contended, so this call failed. The store itself answers, so the failure does not count.
            log.warning("a call of the online store failed: %s", error)
            return None
        except STORE_FAILURES as error:
            self._record_failure(error)
            return None
        if self._failures or self._state is not BreakerState.CLOSED:  # while all is well, no call takes the lock
            self._record_success()
        return result

    def close(self) -> None:
        """Stops the probing thread if it is running."""
        self._stopped.set()

    def _record_success(self) -> None:
        with self._lock:
            self._failures = 0
            if self._state is BreakerState.HALF_OPEN:
                self._enter(BreakerState.CLOSED)
                log.warning("the online store answers again")

    def _record_failure(self, error: Exception) -> None:
        self._metrics.store_errors(_error_kind(error)).inc()
        with self._lock:
            self._failures += 1
            if self._state is BreakerState.OPEN:  # the call began before another one opened the breaker
                return
            if self._failures < FAILURES_TO_OPEN and self._state is BreakerState.CLOSED:
                return
            self._enter(BreakerState.OPEN)
            self._metrics.breaker_opened.inc()
        log.error("the online store does not answer; lists are made without it: %s", failure_reason(error))
        # Only one such thread runs: until it ends, the breaker stays open and cannot open again.
        threading.Thread(target=self._probe_until_answer, name="store-probe", daemon=True).start()

    def _probe_until_answer(self) -> None:
        while not self._stopped.wait(self._probe_seconds):
            if self._store_answers():
                with self._lock:
                    self._enter(BreakerState.HALF_OPEN)
                return

    def _store_answers(self) -> bool:
        try:
            self._probe()
        except STORE_FAILURES:
            self._try_to_revive()
            return False
        return True

    def _try_to_revive(self) -> None:
        if self._revive is None:
            return
        try:
            self._revive()
        except STORE_FAILURES as error:
            log.error("the online store cannot be brought back: %s", error)

    def _enter(self, state: BreakerState) -> None:
        self._state = state
        self._metrics.breaker_state.set(state)


def _error_kind(error: Exception) -> str:
    """The `kind` label of the metric of store errors."""
    if isinstance(error, RedisTimeoutError):
        return "timeout"
    return "connection" if isinstance(error, RedisConnectionError | OSError) else "other"
