"""Progress of long work: log lines where stderr is no terminal, a bar where it is one."""

import logging

import pytest

from feature_repo.console import progress
from feature_repo.console.progress import LogAroundBars, progress_bar
from tests.terminal import on_a_terminal

WORK = """
import logging
from feature_repo.console.progress import LogAroundBars, progress_bar
logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[{handler}])
for step in progress_bar(range(4), total=4, title="Encoding", unit="text", mininterval=0):
    logging.info("step %d", step)
"""


def test_without_a_terminal_the_progress_is_log_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO), progress_bar(total=4, title="Encoding", unit="text") as bar:
        bar.update(1)
        bar.update(3)
    done = [line.partition(" of 4 (")[0] for line in caplog.messages]
    assert done == ["Encoding: 0", "Encoding: 1", "Encoding: 4"]
    assert caplog.messages[-1].startswith("Encoding: 4 of 4 (100%), ")
    assert caplog.messages[-1].endswith(" text/s, 00:00 left")
    assert capfd.readouterr() == ("", "")


def test_of_unknown_length_there_is_no_share(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    with caplog.at_level(logging.INFO), progress_bar(total=None, title="Writing", unit="row") as bar:
        bar.update(5)
    assert caplog.messages[-1].startswith("Writing: 5, ")


def test_short_work_and_work_that_is_not_to_be_shown_leave_no_line(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert list(progress_bar(range(3), total=3, title="Encoding", unit="text")) == [0, 1, 2]
        assert list(progress_bar(range(3), total=3, title="Encoding", unit="text", shown=False)) == [0, 1, 2]
        with progress_bar(total=3, title="Epoch 1", unit="step") as bar:
            bar.set_postfix(loss=7.2)
            bar.set_description("Epoch 2")
    assert caplog.messages == []


def work_on_a_terminal(handler: str) -> str:
    """What a terminal gets of WORK."""
    return on_a_terminal(WORK.format(handler=handler), "stderr")


def test_on_a_terminal_log_lines_stand_above_the_bar() -> None:
    shown = work_on_a_terminal("LogAroundBars()")
    assert "Encoding: 100%" in shown
    assert "4/4 [" in shown
    for step in range(4):
        assert f"\rstep {step}\r\n" in shown, "a line of its own"


def test_no_bar_is_drawn_between_lines_of_another_form() -> None:
    shown = work_on_a_terminal("logging.StreamHandler()")
    assert shown == "step 0\r\nstep 1\r\nstep 2\r\nstep 3\r\n"


def test_a_line_that_cannot_be_written_stops_no_job(capfd: pytest.CaptureFixture[str]) -> None:
    LogAroundBars().handle(logging.LogRecord("x", logging.INFO, "x", 1, "%d", ("no number",), None))
    assert "no number" in capfd.readouterr().err
