"""The event log: every event that the API accepted, as JSON lines that `tawsiya ingest` reads."""

import datetime as dt
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from feature_repo import columns as c
from feature_repo.common.files import append_lines as append_to_file
from feature_repo.transforms.values.times import TimeReader

log = logging.getLogger(__name__)

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_TIMES = TimeReader()


class EventLogUnavailableError(RuntimeError):
    """Events cannot be written to the disk, so none was accepted; the caller may retry later."""


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One accepted event.

    Attributes:
        time_ms: Milliseconds since 1970, UTC.
        quantity: Number of pieces, or None if the caller gave none.
    """

    event_id: str
    buyer_id: str
    product_id: str
    event_type: str
    time_ms: int
    quantity: int | None = None

    def as_json(self) -> dict[str, str | int]:
        """The event as the content of a JSON object."""
        moment = _EPOCH + dt.timedelta(milliseconds=self.time_ms)
        content: dict[str, str | int] = {
            c.EVENT_ID: self.event_id,
            c.BUYER_ID: self.buyer_id,
            c.PRODUCT_ID: self.product_id,
            c.EVENT_TYPE: self.event_type,
            c.TIMESTAMP: moment.isoformat(timespec="milliseconds"),
        }
        return content if self.quantity is None else content | {c.QUANTITY: self.quantity}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "LoggedEvent":
        """The inverse of as_json."""
        return cls(
            content[c.EVENT_ID],
            content[c.BUYER_ID],
            content[c.PRODUCT_ID],
            content[c.EVENT_TYPE],
            _TIMES.milliseconds(content[c.TIMESTAMP]),
            content.get(c.QUANTITY),
        )

    def line(self) -> str:
        """The event as one line of JSON."""
        return json.dumps(self.as_json(), ensure_ascii=False) + "\n"


class LogPosition(NamedTuple):
    """A place in the event log; positions are ordered as the lines are.

    Attributes:
        day: Name of the day's file, without its ending.
        offset: Number of bytes before it.
    """

    day: str
    offset: int


class EventLog:
    """Append-only files, one per UTC day of arrival; any number of processes may append at the same time."""

    def __init__(self, folder: Path) -> None:
        """Creates no file before the first append."""
        self._folder = folder

    def append(self, events: Sequence[LoggedEvent]) -> None:
        """Writes events; they are on the disk when this returns.

        Raises:
            EventLogUnavailableError: The events could not be written.
        """
        append_lines(self._file_of(_today()), (event.line() for event in events))

    def position(self) -> LogPosition:
        """The end of the log: what is appended from now on is there or later."""
        day = _today()
        try:
            return LogPosition(day, self._file_of(day).stat().st_size)
        except (FileNotFoundError, NotADirectoryError):
            return LogPosition(day, 0)

    def events_since(self, position: LogPosition) -> list[LoggedEvent]:
        """The events from a position on, in the order of their lines, without those that ingest has archived since."""
        events: list[LoggedEvent] = []
        for path in sorted(self._folder.glob("*.jsonl")):
            if path.stem < position.day:
                continue
            with path.open("rb") as file:
                file.seek(position.offset if path.stem == position.day else 0)
                events += map(LoggedEvent.from_json, parsed_lines(file))
        return events

    def _file_of(self, day: str) -> Path:
        return self._folder / f"{day}.jsonl"


def _today() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"


def parsed_lines(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects of lines of events, without lines that a crash of the machine has torn."""
    for line in lines:
        try:
            content: dict[str, Any] = json.loads(line)
        except ValueError:
            if line.strip():
                log.warning("skipped an event of %d bytes that was torn by a crash of the machine", len(line))
            continue
        yield content


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Appends complete lines to a file (files.append_lines).

    Raises:
        EventLogUnavailableError: The lines could not be written. If the disk is full, the file has none of them.
    """
    try:
        append_to_file(path, lines)
    except OSError as error:
        raise unavailable(path, error) from error


def unavailable(path: Path, error: OSError) -> EventLogUnavailableError:
    """The error for a caller whose events cannot be stored. Only the log names the path: callers must not learn it."""
    log.error("events cannot be stored in %s: %s", path, error)
    return EventLogUnavailableError("events cannot be stored now; try again in a moment")
