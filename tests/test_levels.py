"""The markers by which `make test-fast` and `make test` choose."""

import pytest

from tests.conftest import COLLECTED, LEVELS

APART = {"browser", "platforms", "processes", "spark", "cluster"}


def test_every_test_has_exactly_one_level(pytestconfig: pytest.Config) -> None:
    marks = pytestconfig.stash[COLLECTED]
    assert {name: found for name, found in marks.items() if len(found.intersection(LEVELS)) != 1} == {}


def test_no_fast_test_is_left_out_of_make_test(pytestconfig: pytest.Config) -> None:
    marks = pytestconfig.stash[COLLECTED]
    assert {name for name, found in marks.items() if "fast" in found and found & APART} == set()
