"""The event log: every event the API accepted, as JSON lines that `tawsiya ingest` reads."""

import datetime as dt
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from feature_repo import columns as c
from online_api.schemas import EPOCH, MILLISECOND


@dataclass(frozen=True)
class LoggedEvent:
    """One accepted event; `time_ms` is milliseconds since 1970, UTC."""

    event_id: str
    buyer_id: str
    product_id: str
    event_type: str
    time_ms: int

    def line(self) -> str:
        """The event as one line of JSON."""
        moment = EPOCH + self.time_ms * MILLISECOND
        content = {
            c.EVENT_ID: self.event_id,
            c.BUYER_ID: self.buyer_id,
            c.PRODUCT_ID: self.product_id,
            c.EVENT_TYPE: self.event_type,
            c.TIMESTAMP: moment.isoformat(timespec="milliseconds"),
        }
        return json.dumps(content, ensure_ascii=False) + "\n"


class EventLog:
    """Append-only files in one folder, one per UTC day of arrival; any number of processes may append at once."""

    def __init__(self, folder: Path) -> None:
        """Makes nothing until the first append."""
        self._folder = folder

    def append(self, events: Sequence[LoggedEvent]) -> None:
        """Writes the events; when it returns they are on the disk.

        Raises:
            OSError: They could not be written, or only in part.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}.jsonl"
        content = "".join(event.line() for event in events).encode("utf-8")
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            _write_whole(file, content)
            os.fsync(file)
        finally:
            os.close(file)


def _write_whole(file: int, content: bytes) -> None:
    """Appends in one write, which the kernel does not mix with the writes of others."""
    size = os.fstat(file).st_size
    # A crash can leave a line without its end. It must not swallow the first line of this batch.
    if size and os.pread(file, 1, size - 1) != b"\n":
        content = b"\n" + content
    written = os.write(file, content)
    if written != len(content):
        raise OSError(f"the event log took {written} of {len(content)} bytes; is the disk full?")
