"""Logs as JSON: one object per line, whatever the message holds."""

import io
import json
import logging

from hypothesis import example, given
from hypothesis import strategies as st

from batch_jobs.runs.run_log import RUN_ID, STAGE_NAME, JsonLines


def logged(message: str, *, error: bool = False) -> list[str]:
    """The lines of one message."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logger = logging.Logger("test")
    logger.addHandler(handler)
    logger.warning("%s", message, exc_info=error)
    return stream.getvalue().splitlines()


@given(st.text())
@example("two\nlines\x7f\x1b[2J\u2028\ud800")
def test_a_message_is_one_line_of_ascii_and_arrives_as_it_was(message: str) -> None:
    (line,) = logged(message)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == message


def test_a_line_has_time_level_run_and_stage() -> None:
    run, stage = RUN_ID.set("r1"), STAGE_NAME.set("train")
    try:
        (line,) = logged("epoch 1")
    finally:
        RUN_ID.reset(run)
        STAGE_NAME.reset(stage)
    found = json.loads(line)
    assert list(found) == ["time", "level", "run", "stage", "message"]
    assert (found["level"], found["run"], found["stage"]) == ("warning", "r1", "train")
    assert found["time"].endswith("Z")
    assert json.loads(logged("before")[0])["run"] is None


def test_a_traceback_stays_within_the_line() -> None:
    try:
        int("tea")
    except ValueError:
        (line,) = logged("failed", error=True)
    assert "ValueError: invalid literal" in json.loads(line)["traceback"]
