"""No test has a time limit per example: see tests/conftest.py."""

from hypothesis import settings


def test_examples_have_no_deadline() -> None:
    assert settings(max_examples=5).deadline is None
