"""Micro-batching: requests that arrive while others are at work are answered together, in one call.

The call runs on the event loop. While it does, further requests arrive at their sockets; the loop then reads all of
them, and the next call answers them together. An idle service so answers each request at once, a busy one in batches
that grow with the load, and nobody waits for a batch to fill. See docs/adr/0004 for why there is no thread.
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

Question = TypeVar("Question")
Reply = TypeVar("Reply")


class OverloadedError(RuntimeError):
    """So many requests wait already that one more would only make all of them late."""


@dataclass(slots=True)
class _Waiting(Generic[Question, Reply]):
    question: Question
    future: "asyncio.Future[tuple[Reply, float]]"
    until: float


class Batcher(Generic[Question, Reply]):
    """Questions that wait, and the call that answers them; for one event loop."""

    def __init__(
        self,
        answer: Callable[[Sequence[Question]], Sequence[Reply]],
        metrics: Metrics,
        *,
        max_batch: int,
        max_waiting: int,
        patience_s: float,
    ) -> None:
        """Takes what answers.

        Args:
            answer: Answers questions, in their order; what it raises goes to all of them.
            metrics: Counts batches and what waits.
            max_batch: Most questions of one call.
            max_waiting: Most questions that wait.
            patience_s: A question that has waited for longer is not answered any more.
        """
        self._answer, self._metrics = answer, metrics
        self._max_batch, self._max_waiting, self._patience_s = max_batch, max_waiting, patience_s
        self._waiting: deque[_Waiting[Question, Reply]] = deque()

    async def ask(self, question: Question) -> tuple[Reply, float, float]:
        """The reply, and when the question was asked and taken up (time.perf_counter).

        Raises:
            OverloadedError: Too many wait.
            TimeoutError: It waited for too long.
        """
        if len(self._waiting) >= self._max_waiting:
            raise OverloadedError(f"{self._max_waiting} requests wait already")
        loop = asyncio.get_running_loop()
        asked = time.perf_counter()
        waiting: _Waiting[Question, Reply] = _Waiting(question, loop.create_future(), asked + self._patience_s)
        if not self._waiting:
            # Not now: other requests that the loop has read already may join.
            loop.call_soon(self._answer_some, loop)
        self._waiting.append(waiting)
        reply, taken = await waiting.future
        return reply, asked, taken

    def _answer_some(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answers what fits into one call; for the rest, the loop comes back when it has read more."""
        taken = time.perf_counter()
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
        if self._waiting:
            loop.call_soon(self._answer_some, loop)
        self._metrics.queue_depth.set(len(self._waiting))
        for waiting in batch:
            if waiting.until < taken and not waiting.future.done():
                waiting.future.set_exception(TimeoutError("the request waited for too long"))
        batch = [waiting for waiting in batch if not waiting.future.done()]  # nor those whose caller has gone
        if not batch:
            return
        self._metrics.batch_size.observe(len(batch))
        try:
            replies = self._answer([waiting.question for waiting in batch])
        except Exception as error:
            for waiting in batch:
                waiting.future.set_exception(error)
            return
        for waiting, reply in zip(batch, replies, strict=True):
            waiting.future.set_result((reply, taken))
