"""Progress of long work: a bar where stderr is a terminal, elsewhere a log line now and then.

A bar redraws its line by control characters, which a log file or a CI page shows as rubbish. There the progress is a
log line every half minute, so that short work leaves none, and a log of JSON objects stays one.
"""

import io
import logging
import sys
import time
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

LINE_EVERY_S = 30.0

log = logging.getLogger(__name__)


class LogAroundBars(logging.Handler):
    """Writes log lines to stderr; a bar that is shown there moves down instead of being broken."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one record."""
        try:
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:  # what logging's own handlers do: a message that cannot be written stops no job
            self.handleError(record)


class _LogLines(tqdm):  # type: ignore[type-arg]
    """A bar that logs its state instead of drawing it."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # What tqdm itself writes, such as the line end of a finished bar, goes nowhere.
        times = dict.fromkeys(("mininterval", "maxinterval", "delay"), LINE_EVERY_S)
        self._next_line = time.monotonic() + LINE_EVERY_S
        super().__init__(*arguments, **options | times | {"file": io.StringIO(), "leave": False})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002  tqdm's signature
        """Logs how far the work is; `msg` is empty when tqdm wipes a bar."""
        # A change of the title or of the figures behind it asks for a line too, however short the last one is ago.
        if msg is None and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            known = "{n_fmt} of {total_fmt} ({percentage:.0f}%), {rate_fmt}, {remaining} left"
            form = "{desc}: " + (known if self.total else "{n_fmt}, {rate_fmt}")
            log.info(self.format_meter(**{**self.format_dict, "bar_format": form}))


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None,
    title: str,
    unit: str,
    shown: bool = True,
    **options: Any,
) -> "tqdm[Any]":
    """The progress of an iteration, or of the calls of its `update`; a context manager.

    Args:
        iterable: What is iterated over; None for a bar that is moved by `update`.
        total: The number of units in all; None if nobody knows.
        title: What is done.
        unit: What is counted; "B" stands for bytes and is shown in MB and GB.
        shown: False shows nothing.
        options: Further options of tqdm.
    """
    kind: Any = tqdm if _can_draw() else _LogLines
    of_bytes = {"unit_scale": True, "unit_divisor": 1000} if unit == "B" else {}
    bar: tqdm[Any] = kind(
        iterable, desc=title, total=total, unit=unit if of_bytes else f" {unit}", disable=not shown,
        dynamic_ncols=True, **of_bytes, **options,
    )  # fmt: skip
    return bar


def _can_draw() -> bool:
    """Whether stderr is a terminal and nothing else writes lines into it."""
    handlers = logging.getLogger().handlers
    return sys.stderr.isatty() and (not handlers or any(isinstance(item, LogAroundBars) for item in handlers))
