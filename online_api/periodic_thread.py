"""A background thread that calls a function periodically."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class PeriodicThread:
    """Calls a function in a fixed interval; logs exceptions and continues."""

    def __init__(self, function: Callable[[], object], seconds: float, name: str) -> None:
        """Prepares the thread; start() starts it."""
        self._function, self._seconds = function, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread, which calls the function at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stops the thread and waits for a running call to finish."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._function()
            except Exception:
                log.exception("%s failed; the next attempt is in %g s", self._thread.name, self._seconds)
            if self._stopped.wait(self._seconds):
                return
