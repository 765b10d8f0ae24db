"""Micro-batching: requests that arrive while others are processed are answered together, in one call.

The call runs on the event loop. Meanwhile, further requests arrive at their sockets; the loop then reads all of them,
and the next call answers them together. So an idle service answers each request at once, a busy one in batches that
grow with the load, and no request waits for a batch to fill. See docs/adr/0004 for why there is no thread.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from online_api.observability.metrics import Metrics

log = logging.getLogger(__name__)

RequestT = TypeVar("RequestT")
ResultT = TypeVar("ResultT")


class OverloadedError(RuntimeError):
    """The queue is full: one more request would make all of them late."""


@dataclass(slots=True)
class _QueuedRequest(Generic[RequestT, ResultT]):
    request: RequestT
    future: "asyncio.Future[tuple[ResultT, float]]"
    deadline: float  # time.perf_counter seconds


class Batcher(Generic[RequestT, ResultT]):
    """A queue of requests and the function that processes them in batches; for one event loop."""

    def __init__(
        self,
        process: Callable[[Sequence[RequestT]], Sequence[ResultT]],
        metrics: Metrics,
        *,
        max_batch: int,
        max_queue: int,
        timeout_s: float,
    ) -> None:
        """Starts with an empty queue.

        Args:
            process: Returns the results of requests, in their order; an exception goes to all callers of the batch.
            metrics: Records batch sizes and the length of the queue.
            max_batch: Maximum number of requests in one batch.
            max_queue: Maximum number of waiting requests.
            timeout_s: A request that has waited for longer is not processed.
        """
        self._process, self._metrics = process, metrics
        self._max_batch, self._max_queue, self._timeout_s = max_batch, max_queue, timeout_s
        self._queue: deque[_QueuedRequest[RequestT, ResultT]] = deque()

    async def submit(self, request: RequestT) -> tuple[ResultT, float, float]:
        """The result, and the times at which the request was queued and processing began (time.perf_counter).

        Raises:
            OverloadedError: The queue is full.
            TimeoutError: The request waited for too long.
        """
        if len(self._queue) >= self._max_queue:
            raise OverloadedError(f"{self._max_queue} requests are waiting already")
        loop = asyncio.get_running_loop()
        queued = time.perf_counter()
        entry: _QueuedRequest[RequestT, ResultT] = _QueuedRequest(
            request, loop.create_future(), queued + self._timeout_s
        )
        if not self._queue:
            # Deferred, so that other requests that the loop has read already join the batch.
            loop.call_soon(self._process_batch, loop)
        self._queue.append(entry)
        result, started = await entry.future
        return result, queued, started

    def _process_batch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Processes one batch; for the rest of the queue the loop calls again after it has read further requests."""
        started = time.perf_counter()
        # Limited, because the event loop is blocked until the batch is answered: 25 ms for 32 requests (ADR 0004).
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), self._max_batch))]
        if self._queue:
            loop.call_soon(self._process_batch, loop)
        self._metrics.queue_depth.set(len(self._queue))
        # Late requests are dropped: their callers get popular products (list_response), the others a faster batch.
        for entry in batch:
            if entry.deadline < started and not entry.future.done():
                entry.future.set_exception(TimeoutError("the request waited for too long"))
        # A future is also done if its caller has disconnected.
        batch = [entry for entry in batch if not entry.future.done()]
        if not batch:
            return
        self._metrics.batch_size.observe(len(batch))
        try:
            results = self._process([entry.request for entry in batch])
        except Exception as error:
            for entry in batch:
                entry.future.set_exception(error)
            return
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result((result, started))
