"""Pending events: events that are in the event log and not yet in the online store, kept on the disk until they are.

All workers append them to one file, `pending/events.jsonl` in the folder of the event log, which ingest does not read.
Any worker may replay the file. After a crash the next replay starts from the beginning, so each of its steps must be
idempotent.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from feature_repo.common.files import locked, try_lock
from online_api.events.event_log import LoggedEvent, append_lines, parsed_lines

PENDING_FILE = "events.jsonl"
CLAIM_FIELD = "claim"  # of a line: PendingEvent.token
REPLAY_BATCH = 1_000  # events
READ_BYTES = 1 << 20
UNFINISHED = "unfinished"  # the token of an event whose request was killed


class PendingEvent(NamedTuple):
    """One pending event.

    Attributes:
        event: The event as it is in the event log.
        token: The token of the claim on its id; None if it needs no claim: the caller gave it no id, or the id is
            remembered already. UNFINISHED if its request was killed.
    """

    event: LoggedEvent
    token: str | None

    def as_json(self) -> dict[str, str | int | None]:
        """The event as the content of a JSON object."""
        return {**self.event.as_json(), CLAIM_FIELD: self.token}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "PendingEvent":
        """The inverse of as_json."""
        return cls(LoggedEvent.from_json(content), content[CLAIM_FIELD])


class PendingEvents:
    """The pending events of one shop; safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Creates no file before the first event."""
        self._folder, self._path = folder, folder / PENDING_FILE

    def add(self, events: Iterable[PendingEvent]) -> None:
        """Adds events; they are on the disk when this returns.

        Raises:
            EventLogUnavailableError: The events could not be written.
        """
        append_lines(self._path, (json.dumps(event.as_json(), ensure_ascii=False) + "\n" for event in events))

    def count(self) -> int:
        """The number of pending events of all workers."""
        try:
            with self._path.open("rb") as file:
                return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(READ_BYTES), b""))
        except (FileNotFoundError, NotADirectoryError):  # a file in place of the folder must not break /health
            return 0

    def replay(self, push: Callable[[Sequence[PendingEvent]], int | None]) -> int:
        """Passes the events to `push` in the order of arrival; deletes the file after the last one.

        Args:
            push: Stores a batch and returns the number of stored events; None if it cannot, which ends the replay.

        Returns:
            The number of stored events; 0 if another thread or process is replaying.
        """
        if not self._path.exists():
            return 0
        with self._replay_lock() as acquired:
            if not acquired or not self._path.exists():  # checked again: another replay may have deleted it
                return 0
            with self._path.open("rb") as file:
                stored = 0
                while lines := self._next(file):
                    pushed = push(list(map(PendingEvent.from_json, parsed_lines(lines))))
                    if pushed is None:
                        break
                    stored += pushed
                return stored

    def _next(self, file: BinaryIO) -> list[bytes]:
        """The next lines; deletes the file at its end."""
        # Locked for one batch at a time, so that requests can append during the replay.
        # The lock excludes incomplete lines, and lines that are added between the last read and the deletion.
        with locked(file.fileno()):
            lines = list(islice(file, REPLAY_BATCH))
            if not lines:
                self._path.unlink()
        return lines

    @contextmanager
    def _replay_lock(self) -> Iterator[bool]:
        """Tries to become the only replay; the kernel releases the lock if the process dies."""
        # Of the folder and not of the file, which the replay deletes and requests lock to append.
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield try_lock(folder)
        finally:
            os.close(folder)
