"""Where in the event log the unfinished requests of each worker begin, so that others can finish them if it dies.

A request that is killed after its events are in the log and before they are in the online store has acknowledged
nothing, and its caller may never come again. Each worker has a file in `event_log/in_flight/`, locked while it lives.
Whoever gets the lock of such a file knows that its worker is dead, and passes the log from there on to the replay.
"""

import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.common.files import try_lock
from online_api.events.event_log import LogPosition, unavailable

log = logging.getLogger(__name__)

_SUFFIX = ".position"
_NOTHING = "-"
_RECORD_BYTES = 64  # always overwritten as a whole


class InFlightRequests:
    """The unfinished requests of this process; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """Creates no file before the first request."""
        self._folder = folder
        self._mutex = threading.Lock()
        self._file: int | None = None
        self._open: dict[object, LogPosition] = {}
        self._written = _NOTHING

    @contextmanager
    def since(self, position: LogPosition) -> Iterator[None]:
        """For the block, this process has a request whose events are at `position` of the log or later.

        Raises:
            EventLogUnavailableError: That cannot be written.
        """
        request = object()
        with self._mutex:
            self._open[request] = position
            try:
                self._write()
            except OSError as error:
                del self._open[request]
                raise unavailable(self._folder, error) from error
        try:
            yield
        finally:
            with self._mutex:
                del self._open[request]
                try:
                    self._write()
                except OSError as error:
                    # The events are stored. The next request writes the position; a death before is replayed twice.
                    log.warning("the position of unfinished requests in %s stays: %s", self._folder, error)

    def finish_others(self, finish: Callable[[LogPosition], None]) -> None:
        """Calls `finish` with the position of each dead process that had unfinished requests."""
        for path in self._folder.glob(f"*{_SUFFIX}") if self._folder.is_dir() else ():
            try:
                file = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                continue  # another worker was faster
            try:
                # The lock of a living process, this one included, is not free.
                if try_lock(file) and os.fstat(file).st_nlink:
                    day, _, offset = os.pread(file, _RECORD_BYTES, 0).decode().strip().partition(" ")
                    if offset:
                        finish(LogPosition(day, int(offset)))
                    path.unlink()
            finally:
                os.close(file)

    def _write(self) -> None:
        # Not to the disk: the kernel keeps what a killed process has written.
        first = min(self._open.values(), default=None)
        content = _NOTHING if first is None else f"{first.day} {first.offset}"
        if content != self._written:
            os.pwrite(self._own_file(), f"{content:{_RECORD_BYTES}}".encode(), 0)
            self._written = content

    def _own_file(self) -> int:
        while self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / f"{uuid.uuid4().hex}{_SUFFIX}"
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
            # Another worker may have taken the new file for that of a dead process before it was locked.
            if try_lock(file) and os.fstat(file).st_nlink:
                self._file = file
            else:
                os.close(file)
        return self._file
