"""Log lines: what they hold, what they never hold, and that nothing breaks them."""

import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from online_api.observability.logs import (
    REQUEST_ID,
    AccessLog,
    RequestContext,
    buyer_hash,
    configure_logging,
    json_logger,
    log_salt,
)

SALT = log_salt({"TAWSIYA_LOG_SALT": "pepper"})


def context(**known: Any) -> RequestContext:
    usual: dict[str, Any] = {"started": 10.0, "ended": 10.0125, "route": "/v1/trending", "status": 200}
    return RequestContext("r-1", "GET", **usual | known)


def access_line(request: RequestContext, level: str = "info") -> dict[str, Any] | None:
    stream = io.BytesIO()
    AccessLog(json_logger(level, stream), SALT).write(request)
    text = stream.getvalue()
    return json.loads(text) if text else None


@pytest.fixture
def everything() -> Iterator[io.BytesIO]:
    """What all loggers of the process write, from level info on."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.BytesIO()
    logging.captureWarnings(False)  # left on by another test, it would not replace pytest's own hook
    configure_logging("info", stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers = handlers
    root.setLevel(level)


def test_an_access_line_holds_what_is_known() -> None:
    request = context(
        buyer_id="u1",
        source="popular",
        fallback="unknown_buyer",
        degraded=("feature_store",),
        api_key="storefront",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
    )
    request.add_stage("features", 10.0, 10.001)
    request.add_stage("search", 10.002, 10.0025)
    request.add_stage("search", 10.004, 10.0055)
    line = access_line(request)
    assert line is not None
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "event": "request",
        "method": "GET",
        "route": "/v1/trending",
        "status": 200,
        "duration_ms": 12.5,
        "buyer": buyer_hash("u1", SALT),
        "source": "popular",
        "fallback": "unknown_buyer",
        "degraded": ["feature_store"],
        "api_key": "storefront",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "stages_ms": {"features": 1.0, "search": 2.0},
    }


def test_an_access_line_leaves_out_what_is_not_known() -> None:
    line = access_line(context())
    assert line is not None
    assert set(line) == {"timestamp", "level", "event", "method", "route", "status", "duration_ms"}


@pytest.mark.parametrize("route", ["/health", "/livez", "/readyz", "/metrics"])
def test_probes_are_logged_at_debug_only(route: str) -> None:
    assert access_line(context(route=route)) is None
    line = access_line(context(route=route), level="debug")
    assert line is not None
    assert (line["level"], line["route"]) == ("debug", route)


def test_lines_of_a_request_carry_its_id() -> None:
    stream = io.BytesIO()
    token = REQUEST_ID.set("r-7")
    try:
        json_logger("info", stream).warning("slow")
    finally:
        REQUEST_ID.reset(token)
    json_logger("info", stream).warning("later")
    within, after = map(json.loads, stream.getvalue().splitlines())
    assert within["request_id"] == "r-7"
    assert "request_id" not in after


def test_a_buyer_has_one_hash_per_salt() -> None:
    other = log_salt({"TAWSIYA_LOG_SALT": "salt"})
    assert buyer_hash("u1", SALT) == buyer_hash("u1", log_salt({"TAWSIYA_LOG_SALT": "pepper"}))
    assert buyer_hash("u1", SALT) != buyer_hash("u2", SALT)
    assert buyer_hash("u1", SALT) != buyer_hash("u1", other)


def test_without_a_salt_nobody_can_guess_it() -> None:
    assert log_salt({}) != log_salt({})
    assert log_salt({"TAWSIYA_LOG_SALT": ""}) != log_salt({"TAWSIYA_LOG_SALT": ""})


def test_long_salts_count_to_their_end() -> None:
    assert log_salt({"TAWSIYA_LOG_SALT": "x" * 100}) != log_salt({"TAWSIYA_LOG_SALT": "x" * 101})


@given(st.text(st.characters()))  # half surrogate pairs included
def test_any_buyer_has_a_hash(buyer_id: str) -> None:
    assert len(buyer_hash(buyer_id, SALT)) == 16


@given(st.text(st.characters()))
def test_no_text_breaks_a_line(text: str) -> None:
    stream = io.BytesIO()
    json_logger("info", stream).info("said", text=text, many={"key": [text]})
    written = stream.getvalue().decode()
    assert written.endswith("\n")
    assert written[:-1].isprintable()  # no line ends, no control characters, in any alphabet
    assert json.loads(written)["text"] == text


def test_arabic_stays_readable() -> None:
    stream = io.BytesIO()
    json_logger("info", stream).info("قهوة عربية")
    assert "قهوة عربية" in stream.getvalue().decode()


@pytest.mark.parametrize("value", [2**70, float("nan"), {1: "a"}, object(), b"bytes"])
def test_no_value_breaks_a_line(value: object) -> None:
    stream = io.BytesIO()
    json_logger("info", stream).info("odd", value=value)
    assert json.loads(stream.getvalue())["event"] == "odd"


def test_standard_loggers_write_json_too(everything: io.BytesIO) -> None:
    log = logging.getLogger("redis.client")
    log.debug("not written")
    log.log(25, "between the levels")
    log.warning("two\nlines of %s", "a\x1b[31mcaller")
    first, second = map(json.loads, everything.getvalue().splitlines())
    assert (first["level"], first["event"]) == ("info", "between the levels")
    assert second["level"] == "warning"
    assert second["event"] == "two\nlines of a\x1b[31mcaller"
    assert second["logger"] == "redis.client"


def test_exceptions_lie_within_one_line(everything: io.BytesIO) -> None:
    try:
        raise KeyError("nothing here")
    except KeyError:
        logging.getLogger("redis").exception("failed")
    (line,) = map(json.loads, everything.getvalue().splitlines())
    assert (line["level"], line["event"]) == ("error", "failed")
    assert line["exception"].endswith("KeyError: 'nothing here'")


def test_warnings_are_logged(everything: io.BytesIO) -> None:
    warnings.warn("this goes away", stacklevel=1)
    line = json.loads(everything.getvalue())
    assert line["logger"] == "py.warnings"
    assert "this goes away" in line["event"]


def test_a_record_that_cannot_be_formatted_fails_nobody(
    everything: io.BytesIO, capsys: pytest.CaptureFixture[str]
) -> None:
    library = logging.Logger("library")  # not under the root, whose other handlers here are pytest's and raise
    library.addHandler(logging.getLogger().handlers[0])
    library.warning("%d products", "many")
    assert everything.getvalue() == b""
    assert "Logging error" in capsys.readouterr().err


def test_lines_go_to_stderr_by_default(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    json_logger("info").info("here")
    sys.stderr.flush()
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert json.loads(err)["event"] == "here"
