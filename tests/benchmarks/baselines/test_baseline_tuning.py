"""The walk over a grid, on rankers whose value is written in the test."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.baselines.tuning import BASELINES, Baseline, Problem, masked, tune
from tests.baseline_cases import CUTOFF, as_histories, ten_purchases
from training.evaluation.metrics import Targets

HISTORIES = as_histories([[0], [1, 0]])
PROBLEM = Problem(ten_purchases(), HISTORIES, CUTOFF, np.zeros((6, 2), dtype=np.float32))
TARGETS = Targets(np.array([0, 1, 2]), np.array([5, 5], dtype=np.int32))


class TargetAt:
    """Ranks product 5 at a given place, counted from 1, and the others in order."""

    name = "target_at"

    def __init__(self, place: int) -> None:
        self._scores = -np.arange(6, dtype=np.float32)
        self._scores[5] = 1.5 - place

    def scores(self, rows: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        return np.tile(self._scores, (len(rows), 1))


class Written:
    """A baseline with a place for each pair of parameters, that remembers what was tried."""

    PLACES = {(1, 0): 4, (2, 0): 2, (3, 0): 3, (1, 7): 1, (2, 7): 2, (2, 8): 1}  # noqa: RUF012

    def __init__(self) -> None:
        self.tried: list[tuple[int, int]] = []
        self.baseline = Baseline(self._fit, {"a": (1, 2, 3), "b": (0, 7, 8)})

    def _fit(self, _problem: Problem, parameters: Mapping[str, Any]) -> TargetAt:
        self.tried.append((parameters["a"], parameters["b"]))
        return TargetAt(self.PLACES[self.tried[-1]])


def test_one_parameter_at_a_time_keeping_the_best() -> None:
    written = Written()
    best = tune(written.baseline, PROBLEM, TARGETS, 5, "mrr@5", max_trials=100)

    # (1, 7) would have been as good, but with a = 2 settled nobody looks there; (2, 7) is no better than (2, 0).
    assert written.tried == [(1, 0), (2, 0), (3, 0), (2, 7), (2, 8)]
    assert best == ({"a": 2, "b": 8}, 1.0)


@pytest.mark.parametrize(
    ("max_trials", "expected"),
    [(1, ({"a": 1, "b": 0}, 1 / 4)), (2, ({"a": 2, "b": 0}, 1 / 2)), (4, ({"a": 2, "b": 0}, 1 / 2))],
)
def test_the_walk_ends_after_so_many_trials(max_trials: int, expected: tuple[dict[str, int], float]) -> None:
    written = Written()

    assert tune(written.baseline, PROBLEM, TARGETS, 5, "mrr@5", max_trials=max_trials) == expected
    assert len(written.tried) == max_trials


def test_masked_baselines_are_judged_without_the_history() -> None:
    # Both buyers took 0, one of them 1 as well, which leaves product 5 at places 1 and 1 of what is new.
    baseline = Baseline(lambda _problem, _parameters: TargetAt(2), {})
    longer = Problem(ten_purchases(), as_histories([[0], [0, 1]]), CUTOFF, PROBLEM.text_NT)

    assert tune(baseline, longer, TARGETS, 5, "mrr@5", max_trials=1)[1] == 1 / 2
    assert tune(masked(baseline), longer, TARGETS, 5, "mrr@5", max_trials=1)[1] == 1


def test_what_cannot_be_tuned_is_refused() -> None:
    with pytest.raises(ValueError, match="max_trials 0"):
        tune(Written().baseline, PROBLEM, TARGETS, 5, "mrr@5", max_trials=0)
    with pytest.raises(ValueError, match="metric mrr@10 is not measured with k 5; name one of recall@5"):
        tune(Written().baseline, PROBLEM, TARGETS, 5, "mrr@10", max_trials=1)


def test_every_declared_value_can_be_fitted() -> None:
    for name, baseline in BASELINES.items():
        if name in {"ials", "sasrec"}:  # a library that may be absent; epochs by the dozen
            continue
        for parameter, values in baseline.grid.items():
            for value in values:
                ranker = baseline.fit(PROBLEM, baseline.defaults() | {parameter: value})
                assert ranker.name == name


def test_no_grid_names_a_value_twice() -> None:
    for baseline in BASELINES.values():
        for values in baseline.grid.values():
            assert len(set(values)) == len(values)
