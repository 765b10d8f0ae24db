"""Structured logs: lines of JSON on stderr, one for each request and one for each record of the logging module.

The line of a request never contains a buyer id, a path, a query string or a body. Input from outside cannot break or
forge a line: JSON escapes line breaks, and control characters, which a terminal may interpret, are escaped too.
"""

import datetime as dt
import hashlib
import json
import logging
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import BinaryIO

import orjson
import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from feature_repo.common.config_loading import environment
from online_api.observability.metrics import Stage

SALT_VARIABLE = "TAWSIYA_LOG_SALT"
UNMATCHED = "unmatched"
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a caller that disconnects before the response
# Monitoring calls these every few seconds.
PROBES = frozenset({"/health", "/livez", "/readyz", "/metrics"})

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)


@dataclass(slots=True)
class RequestContext:
    """Collects facts about one request, for its log line, metrics and trace; times are time.perf_counter seconds."""

    request_id: str
    method: str
    started: float
    ended: float = 0.0
    route: str = UNMATCHED  # the template, such as /v1/products/{product_id}
    status: int = CLIENT_CLOSED_REQUEST
    buyer_id: str | None = None
    source: str | None = None
    fallback: str | None = None  # why the list is of popular products although the request was for another list
    degraded: Sequence[str] = ()  # the parts that were down
    api_key: str | None = None  # the name of the key; never its token
    token_buyer: str | None = None  # the only buyer that the request may name
    trace_id: str | None = None
    stages: list[tuple[str, float, float]] = field(default_factory=list)

    def add_stage(self, stage: Stage, started: float, ended: float) -> None:
        """Records when a stage ran; the durations of a repeated stage are added."""
        self.stages.append((stage, started, ended))


class AccessLog:
    """Writes one line for each request."""

    def __init__(self, logger: FilteringBoundLogger, salt: bytes) -> None:
        """Writes to `logger`; `salt` (see log_salt) is for the hashes of buyer ids."""
        self._logger = logger
        self._salt = salt

    def write(self, context: RequestContext) -> None:
        """Writes the line of a finished request; for probes, at level debug."""
        level = logging.DEBUG if context.route in PROBES else logging.INFO
        if self._logger.is_enabled_for(level):
            self._logger.log(level, "request", **self._fields(context))

    def _fields(self, context: RequestContext) -> dict[str, object]:
        fields: dict[str, object] = {
            "method": context.method,
            "route": context.route,
            "status": context.status,
            "duration_ms": _ms(context.ended - context.started),
        }
        if context.buyer_id is not None:
            fields["buyer"] = buyer_hash(context.buyer_id, self._salt)
        for name in ("source", "fallback", "api_key", "trace_id"):
            if (value := getattr(context, name)) is not None:
                fields[name] = value
        if context.degraded:
            fields["degraded"] = list(context.degraded)
        if context.stages:
            fields["stages_ms"] = _stages_ms(context.stages)
        return fields


def _stages_ms(stages: list[tuple[str, float, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for stage, started, ended in stages:
        sums[stage] = sums.get(stage, 0.0) + ended - started
    return {stage: _ms(seconds) for stage, seconds in sums.items()}


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def log_salt(environ: Mapping[str, str] | None = None) -> bytes:
    """The salt of buyer hashes: `$TAWSIYA_LOG_SALT`, else a random one, so that hashes of two runs never match.

    Args:
        environ: The environment; None takes `config_loading.environment()`.
    """
    salt = (environment() if environ is None else environ).get(SALT_VARIABLE) or secrets.token_hex()
    # BLAKE2b takes keys of up to 64 bytes; the hash of a salt of any length has 64.
    return hashlib.blake2b(salt.encode("utf-8", "surrogateescape")).digest()


def buyer_hash(buyer_id: str, salt: bytes) -> str:
    """The pseudonym of a buyer in the logs: the same for the same salt, and not reversible without it."""
    # JSON may contain a lone surrogate, which UTF-8 cannot encode.
    return hashlib.blake2b(buyer_id.encode("utf-8", "surrogatepass"), key=salt, digest_size=8).hexdigest()


def json_logger(level: str, stream: BinaryIO | None = None) -> FilteringBoundLogger:
    """A logger that writes JSON objects with timestamp, level, event and, during a request, its id.

    Args:
        level: The lowest level that is written: debug, info, warning, error or critical.
        stream: The stream to write to; None is stderr.
    """
    logger: FilteringBoundLogger = structlog.wrap_logger(
        structlog.BytesLogger(sys.stderr.buffer if stream is None else stream),
        processors=[_stamped, structlog.processors.format_exc_info, _json],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return logger.bind()  # an unbound logger would be assembled for every line


def configure_logging(level: str, stream: BinaryIO | None = None) -> None:
    """Sends all records of the logging module and all warnings to a json_logger with these arguments."""
    root = logging.getLogger()
    root.handlers = [_JsonHandler(json_logger(level, stream))]
    root.setLevel(level.upper())
    logging.captureWarnings(True)


class _JsonHandler(logging.Handler):
    def __init__(self, logger: FilteringBoundLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # The logging module allows any number as a level (uvicorn uses 5); structlog only knows the named ones.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        try:
            self._logger.log(level, record.getMessage(), logger=record.name, exc_info=record.exc_info)
        except Exception:  # like other handlers: an error in logging must not fail a request
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
        # The first check is the fast path. orjson itself escapes control characters below U+0020.
        if (line.isascii() and b"\x7f" not in line) or line.decode().isprintable():
            return line
    except TypeError:  # a lone surrogate, or an integer of more than 64 bits
        pass
    return _escaped(event)


def _escaped(event: EventDict) -> bytes:
    """The line in ASCII, for content that orjson rejects or whose control characters it does not escape."""
    event["timestamp"] = event["timestamp"].isoformat().replace("+00:00", "Z")
    return json.dumps(event, default=str).replace("\x7f", "\\u007f").encode()
