"""One thread of low priority for inspections, so that the requests of a shop go first."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Self, TypeVar

import faiss

from online_api.batcher import OverloadedError
from online_api.inspection.inspector import Inspector
from online_api.lists.live_release import low_priority

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
            with low_priority():
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
