"""Draining: after SIGTERM a worker goes on answering for a while, and says that it is going away.

A load balancer needs seconds to notice that a server has gone, and sends it requests meanwhile. So /readyz says no and
connections end after their next answer for `api.drain_seconds`; only then the worker stops listening.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

log = logging.getLogger(__name__)


class Draining:
    """Whether this worker is draining."""

    def __init__(self) -> None:
        """It is not."""
        self.active = False

    @contextmanager
    def on_sigterm(self, seconds: float) -> Iterator[None]:
        """Puts `seconds` of draining before what SIGTERM did so far; a second SIGTERM ends it at once.

        Args:
            seconds: 0 changes nothing.
        """
        # Python delivers signals to the main thread only; a server in another one has no handler of its own either.
        if not seconds or threading.current_thread() is not threading.main_thread():
            yield
            return
        stop = signal.getsignal(signal.SIGTERM)
        assert callable(stop), "the server has installed its handler"
        loop = asyncio.get_running_loop()

        def handle(signal_number: int, frame: FrameType | None) -> None:
            if self.active:
                stop(signal_number, frame)
                return
            self.active = True
            log.info("draining for %g s", seconds)
            loop.call_soon_threadsafe(loop.call_later, seconds, stop, signal_number, None)

        signal.signal(signal.SIGTERM, handle)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, stop)
