"""Events that are in the event log and not in the online store yet: kept on the disk until they are.

They lie in one file that all workers append to, `pending/events.jsonl` in the folder of the event log, where ingest
does not look. Any worker may replay it. A crash at any point only makes the next replay begin again, so every step of a
replay must bear repetition.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from online_api.events.event_log import LoggedEvent, append_lines, locked

log = logging.getLogger(__name__)

FILE = "events.jsonl"
TOKEN = "claim"  # field of a line
EVENTS_PER_BATCH = 1_000
BYTES_PER_READ = 1 << 20


class PendingEvent(NamedTuple):
    """One event.

    Attributes:
        event: The event as it is in the log.
        token: Under which its id is, or is to be, claimed; None where the caller gave it no id.
    """

    event: LoggedEvent
    token: str | None


class PendingEvents:
    """The pending events of one shop; safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Makes nothing until the first event."""
        self._folder, self._path = folder, folder / FILE

    def add(self, events: Iterable[PendingEvent]) -> None:
        """Keeps events; when it returns they are on the disk.

        Raises:
            EventLogUnavailableError: They are not.
        """
        contents = ({**event.content(), TOKEN: token} for event, token in events)
        append_lines(self._path, (json.dumps(content, ensure_ascii=False) + "\n" for content in contents))

    def count(self) -> int:
        """How many events are kept, by all workers."""
        try:
            with self._path.open("rb") as file:
                return sum(part.count(b"\n") for part in iter(lambda: file.read(BYTES_PER_READ), b""))
        except (FileNotFoundError, NotADirectoryError):  # health must answer where a file is in the folder's place
            return 0

    def replay(self, push: Callable[[Sequence[PendingEvent]], int | None]) -> int:
        """Hands the events over in the order in which they came, and forgets them when all are through.

        Args:
            push: Stores a batch and returns how many events it has stored; None where it cannot, which ends the replay.

        Returns:
            How many were stored; 0 where another thread or process is at it.
        """
        if not self._path.exists():
            return 0
        with self._alone() as alone:
            if not alone or not self._path.exists():
                return 0
            with self._path.open("rb") as file:
                stored = 0
                while lines := self._next(file):
                    pushed = push(list(_readable(lines)))
                    if pushed is None:
                        break
                    stored += pushed
                return stored

    def _next(self, file: BinaryIO) -> list[bytes]:
        """The next lines; where there are none the file is deleted."""
        # Locked, so that no line is half-written, and none is written between the last look and the deletion.
        with locked(file.fileno()):
            lines = list(islice(file, EVENTS_PER_BATCH))
            if not lines:
                self._path.unlink()
        return lines

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this is the only replay; the kernel gives up the lock of a process that dies."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield _locked_alone(folder)
        finally:
            os.close(folder)


def _locked_alone(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _readable(lines: Iterable[bytes]) -> Iterator[PendingEvent]:
    for line in lines:
        try:
            content = json.loads(line)
        except ValueError:
            log.warning("left out a pending event that a crash of the machine has torn: %r", line[:100])
            continue
        yield PendingEvent(LoggedEvent.from_content(content), content[TOKEN])
