"""Logs as lines of JSON on stderr: one line for each request, and whatever the standard library's loggers say.

A line never holds a buyer's id, a path, a query string or a body. What came from outside cannot break or forge a line:
JSON escapes line ends, and characters that a terminal or a log viewer might act on are escaped too.
"""

import datetime as dt
import hashlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from online_api.observability.metrics import Stage

SALT_VARIABLE = "TAWSIYA_LOG_SALT"
UNMATCHED = "unmatched"
CLIENT_CLOSED_REQUEST = 499  # nginx's number for a caller that went away before the answer
# RescorerData for every few seconds by machines.
PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


@dataclass(slots=True)
class RequestContext:
    """What is known of one request: handlers add to it, then its log line, metrics and trace are made of it.

    Times are those of `time.perf_counter`, in seconds.
    """

    request_id: str
    method: str
    started: float
    ended: float = 0.0
    route: str = UNMATCHED  # the template, such as /v1/products/{product_id}
    status: int = CLIENT_CLOSED_REQUEST
    buyer_id: str | None = None
    source: str | None = None
    fallback: str | None = None  # why the answer is not what was asked for first
    degraded: Sequence[str] = ()  # which parts were down
    api_key: str | None = None  # the name of the key, never the key
    trace_id: str | None = None
    stages: list[tuple[str, float, float]] = field(default_factory=list)

    def add_stage(self, stage: Stage, started: float, ended: float) -> None:
        """Notes when a stage ran; one that runs twice counts with its sum."""
        self.stages.append((stage, started, ended))


class AccessLog:
    """Writes one line for each request."""

    def __init__(self, logger: FilteringBoundLogger, salt: bytes) -> None:
        """Takes the logger, and the salt of `log_salt`."""
        self._logger = logger
        self._salt = salt

    def write(self, context: RequestContext) -> None:
        """Writes the line of an answered request; probes are written at level debug only."""
        level = logging.DEBUG if context.route in PROBES else logging.INFO
        if self._logger.is_enabled_for(level):
            self._logger.log(level, "request", **self._fields(context))

    def _fields(self, context: RequestContext) -> dict[str, object]:
        """What is known, and nothing for what is not."""
        buyer_id = context.buyer_id
        fields = {
            "method": context.method,
            "route": context.route,
            "status": context.status,
            "duration_ms": _ms(context.ended - context.started),
            "buyer": None if buyer_id is None else buyer_hash(buyer_id, self._salt),
            "source": context.source,
            "fallback": context.fallback,
            "degraded": list(context.degraded) or None,
            "api_key": context.api_key,
            "trace_id": context.trace_id,
            "stages_ms": _stages_ms(context.stages) or None,
        }
        return {name: value for name, value in fields.items() if value is not None}


def _stages_ms(stages: list[tuple[str, float, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for stage, started, ended in stages:
        sums[stage] = sums.get(stage, 0.0) + ended - started
    return {stage: _ms(seconds) for stage, seconds in sums.items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def log_salt(environ: Mapping[str, str] = os.environ) -> bytes:
    """The salt of buyers' hashes: `$TAWSIYA_LOG_SALT`, else a random one, with which nobody can join two runs' logs."""
    salt = environ.get(SALT_VARIABLE) or secrets.token_hex()
    # A key of BLAKE2b has 64 bytes at most; the hash of any salt has as many.
    return hashlib.blake2b(salt.encode("utf-8", "surrogateescape")).digest()


def buyer_hash(buyer_id: str, salt: bytes) -> str:
    """A buyer's name in the logs: the same for the same salt, of no use to whoever does not know it."""
    # JSON may hold half a surrogate pair, which UTF-8 cannot say.
    return hashlib.blake2b(buyer_id.encode("utf-8", "surrogatepass"), key=salt, digest_size=8).hexdigest()


def json_logger(level: str, stream: BinaryIO | None = None) -> FilteringBoundLogger:
    """A logger whose lines are JSON objects with timestamp, level, event and, within a request, its id.

    Args:
        level: The lowest level that is written: debug, info, warning, error or critical.
        stream: Where lines go; None is stderr.
    """
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.BytesLogger(sys.stderr.buffer if stream is None else stream),
        processors=[_stamped, structlog.processors.format_exc_info, _json],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return logger.bind()  # bound once: the unbound one puts itself together for every line


def configure_logging(level: str, stream: BinaryIO | None = None) -> None:
    """Makes lines of JSON of all that goes through `logging`, warnings included; for arguments see json_logger."""
    root = logging.getLogger()
    root.handlers = [_JsonHandler(json_logger(level, stream))]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


class _JsonHandler(logging.Handler):
    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # Levels may be any number here (uvicorn has a 5); structlog knows the named ones.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            self._logger.log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:  # as every handler of `logging` does: a log line that fails must not fail a request
            self.handleError(record)


def _stamped(_: object, level: str, event: EventDict) -> EventDict:
    stamped: EventDict = {"timestamp": dt.datetime.now(dt.UTC), "level": level, "event": event.pop("event")}
    request_id = REQUEST_ID.get()
    if request_id is not None:
        stamped["request_id"] = request_id
    stamped.update(event)
    return stamped


def _json(_: object, __: str, event: EventDict) -> bytes:
    try:
        line = orjson.dumps(event, default=str, option=orjson.OPT_UTC_Z)
        # The first test is the fast one. Below a space orjson has escaped everything itself.
        if (line.isascii() and b"\x7f" not in line) or line.decode().isprintable():
            return line
    except TypeError:  # half a surrogate pair, or a number beyond 64 bits
        pass
    return _escaped(event)


def _escaped(event: EventDict) -> bytes:
    """The same in ASCII alone, for content that holds control characters or that orjson refuses."""
    event["timestamp"] = event["timestamp"].isoformat().replace("+00:00", "Z")
    return json.dumps(event, default=str).replace("\x7f", "\\u007f").encode()
