"""Work that is done again and again in the background."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class PeriodicThread:
    """A thread that calls a function every so many seconds; an error is logged and does not end it."""

    def __init__(self, function: Callable[[], object], seconds: float, name: str) -> None:
        """Does nothing until start()."""
        self._function, self._seconds = function, seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread; the first call comes at once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after a call that is under way."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._function()
            except Exception:
                log.exception("%s failed; it will be tried again in %g s", self._thread.name, self._seconds)
            if self._stopped.wait(self._seconds):
                return
