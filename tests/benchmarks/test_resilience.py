"""What is read from the answers around a kill; times in the tests are milliseconds."""

import pytest

from benchmarks.resilience import Response, Window, seconds_degraded, seconds_to_recover

UP = Window(1_000_000_000, 2_000_000_000)


def answer(start_ms: int, status: int = 200, *, degraded: bool = False) -> Response:
    """An answer that took 10 ms."""
    return Response(start_ms * 1_000_000, 10_000, status, "r1", degraded)


def test_recovery_is_the_end_of_the_first_complete_answer() -> None:
    answers = [answer(900), answer(1000, degraded=True), answer(1050, 503), answer(1200), answer(1300)]
    assert seconds_to_recover(UP, answers) == pytest.approx(0.21)


def test_no_recovery_before_the_next_kill_is_none() -> None:
    assert seconds_to_recover(UP, [answer(1000, degraded=True), answer(2000)]) is None


def test_degraded_lasts_until_the_last_incomplete_response() -> None:
    answers = [answer(1000), answer(1100, degraded=True), answer(1200), answer(1400, 503), answer(1500)]
    assert seconds_degraded(UP, answers) == pytest.approx(0.41)
    assert seconds_degraded(UP, [answer(1000), answer(2500, 503)]) == 0
