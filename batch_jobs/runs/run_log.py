"""Logs of a command: lines for people, or JSON objects with the run and the stage for a log collector."""

import datetime as dt
import json
import logging
from contextvars import ContextVar
from typing import Literal

LogFormat = Literal["text", "json"]

RUN_ID: ContextVar[str | None] = ContextVar("run", default=None)
STAGE_NAME: ContextVar[str | None] = ContextVar("stage", default=None)


class JsonLines(logging.Formatter):
    """One JSON object per record: time, level, run, stage, message and, of an exception, its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "run": RUN_ID.get(),
            "stage": STAGE_NAME.get(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        # In ASCII: no message can break the line or send a control character to a terminal.
        return json.dumps(line)


def text_formatter() -> logging.Formatter:
    """Lines for people."""
    return logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S")
