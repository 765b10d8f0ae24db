"""One thread for inspections, so that they take no more than one core from the requests of a shop.

Not of low priority: a thread that waits for a core while it holds Python's lock keeps the event loop waiting, too.
While one asked for inspections without a pause, the p95 of recommendations rose to 1.9 times at low priority, and to
1.25 times at the usual one, with twice as many inspections (a busy machine of two cores, means of four runs each).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

import faiss

from online_api.batcher import OverloadedError
from online_api.inspection.inspector import Inspector

MOST_WAITING = 16
Parameters = ParamSpec("Parameters")
AnswerT = TypeVar("AnswerT")


class Inspections:
    """Runs the inspector's methods one after the other; for one event loop.

    Attributes:
        inspector: Call it through `run` only.
    """

    def __init__(self, inspector: Inspector) -> None:
        """Starts the thread with the first inspection."""
        self.inspector = inspector
        self._pool = ThreadPoolExecutor(1, "inspection")
        self._waiting = 0

    async def run(
        self, inspect: Callable[Parameters, AnswerT], *args: Parameters.args, **options: Parameters.kwargs
    ) -> AnswerT:
        """The result of an inspection; raises OverloadedError if too many wait."""
        if self._waiting >= MOST_WAITING:
            raise OverloadedError(f"{MOST_WAITING} inspections are waiting already")

        def in_thread() -> AnswerT:
            faiss.omp_set_num_threads(1)  # per thread, so that other cores stay with the requests
            return inspect(*args, **options)

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, in_thread)
        finally:
            self._waiting -= 1

    def __enter__(self) -> Self:
        """Nothing; the thread starts when it is needed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread after the inspection that it is at."""
        self._pool.shutdown(cancel_futures=True)
