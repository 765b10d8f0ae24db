"""Events of products that the live release does not know: in the event log, and kept here until a release knows them.

All workers share one file, `pending/unknown_products.jsonl` in the folder of the event log. Events of a product that
has become known move from there to the pending events, which the replay pushes to the online store. A crash in between
leaves them in both files, and the second push changes nothing.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from feature_repo.common.files import locked_beside, replacing
from feature_repo.common.paths import UNKNOWN_PRODUCTS_FILE
from online_api.events.event_log import append_lines, parsed_lines, unavailable
from online_api.events.pending import PendingEvent

_DAY_MS = 86_400_000
API_KEY_FIELD, SINCE_FIELD = "api_key", "waiting_since"  # of a line, beside those of a pending event


class WaitingEvent(NamedTuple):
    """One event that waits for its product.

    Attributes:
        pending: The event, as it becomes pending.
        api_key: Name of the API key that it came with; empty without keys.
        since_ms: When it came, milliseconds since 1970.
    """

    pending: PendingEvent
    api_key: str
    since_ms: int

    def line(self) -> str:
        """The event as one line of JSON."""
        content = {**self.pending.as_json(), API_KEY_FIELD: self.api_key, SINCE_FIELD: self.since_ms}
        return json.dumps(content, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "WaitingEvent":
        """The inverse of line."""
        return cls(PendingEvent.from_json(content), content[API_KEY_FIELD], content[SINCE_FIELD])


class UnknownProductEvents:
    """The waiting events of one shop; safe to use from several threads and processes."""

    def __init__(self, folder: Path, max_per_key: int, days: int) -> None:
        """Creates no file before the first event.

        Args:
            folder: Folder of the pending events.
            max_per_key: Most waiting events of one API key.
            days: After so many days an event stops waiting.
        """
        self._folder, self._path = folder, folder / UNKNOWN_PRODUCTS_FILE
        self._max_per_key, self._days = max_per_key, days
        # The file whose lines are counted; kept open, so that no later file gets its inode.
        self._counted: BinaryIO | None = None
        self._by_key: Counter[str] = Counter()

    @contextmanager
    def places(self, api_key: str) -> Iterator[int]:
        """How many more events of a key may wait; no other worker adds any during the block.

        Raises:
            EventLogUnavailableError: The folder cannot be written.
        """
        with self._locked():
            self._count_lines()
            yield max(0, self._max_per_key - self._by_key[api_key])

    def add(self, events: Iterable[WaitingEvent]) -> None:
        """Adds events within `places`; they are on the disk when this returns.

        Raises:
            EventLogUnavailableError: The events could not be written.
        """
        append_lines(self._path, (event.line() for event in events))

    def add_all(self, events: Iterable[WaitingEvent]) -> None:
        """Adds events beyond any limit: those of a killed request, which are in the event log."""
        with self._locked():
            self.add(events)

    def count(self) -> int:
        """The number of waiting events of all workers."""
        if not self._path.is_file():
            return 0
        with self._locked():
            self._count_lines()
            return self._by_key.total()

    def move_known(
        self, is_known: Callable[[str], bool], now_ms: int, add: Callable[[Iterable[PendingEvent]], None]
    ) -> int:
        """Passes the events of known products to `add`, and returns how many have waited for too long.

        Both leave the file.

        Raises:
            OSError, EventLogUnavailableError: A file could not be written; every event is still in one of them.
        """
        if not self._path.is_file():
            return 0
        with self._locked():
            known, waiting, expired = [], [], 0
            for event in self._read():
                if is_known(event.pending.event.product_id):
                    known.append(event.pending)
                elif now_ms - event.since_ms > self._days * _DAY_MS:
                    expired += 1
                else:
                    waiting.append(event)
            if known:
                add(known)  # before they leave this file
            if known or expired:
                self._rewrite(waiting)
            return expired

    def _read(self) -> list[WaitingEvent]:
        with self._path.open("rb") as file:
            return [WaitingEvent.from_json(content) for content in parsed_lines(file)]

    def _rewrite(self, events: list[WaitingEvent]) -> None:
        if not events:
            self._path.unlink()
            return
        with replacing(self._path) as temporary, temporary.open("w", encoding="utf-8") as file:
            temporary.chmod(0o640)  # as the log's own files: it has buyers' events
            file.writelines(event.line() for event in events)
            file.flush()
            os.fsync(file.fileno())

    def _count_lines(self) -> None:
        """Counts the lines that were added since the last call."""
        if self._counted is not None and not os.fstat(self._counted.fileno()).st_nlink:
            self._counted.close()
            self._counted = None
        if self._counted is None:
            self._by_key.clear()
            if not self._path.is_file():
                return
            self._counted = self._path.open("rb")
        for content in parsed_lines(self._counted):
            self._by_key[content[API_KEY_FIELD]] += 1

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked_beside(self._path))
            except OSError as error:
                raise unavailable(self._folder, error) from error
            yield
