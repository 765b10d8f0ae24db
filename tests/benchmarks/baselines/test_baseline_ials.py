"""Alternating least squares: groups of taste are found, and a new history is folded in exactly."""

import sys
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.baselines.ials import ImplicitALS
from tests.baseline_cases import CUTOFF, as_events, as_histories, ten_purchases

FIRST = np.array([0], dtype=np.int32)


def test_a_history_the_training_never_saw_is_ranked_by_its_taste() -> None:
    pytest.importorskip("implicit")
    # Even buyers take products 0 to 4, odd ones 5 to 9, each all but one.
    pairs = [(buyer, group * 5 + place) for buyer in range(20) for group in [buyer % 2] for place in range(5)]
    events = as_events([(buyer, product) for buyer, product in pairs if product % 5 != buyer // 2 % 5], 20, 10)
    ranker = ImplicitALS(events, as_histories([[5, 6], [1, 1]]), CUTOFF, factors=2, regularization=0.1)

    scores = ranker.scores(np.array([0, 1], dtype=np.int32))
    assert scores[0, 5:].min() > scores[0, :5].max() + 0.5
    assert scores[1, :5].min() > scores[1, 5:].max() + 0.5


def test_with_one_factor_the_history_is_a_ratio_of_sums() -> None:
    pytest.importorskip("implicit")
    # With one product taken r times, and factor y of each product, the buyer is c y_0 / (sum y^2 + (c - 1) y_0^2 + l),
    # where c = 1 + alpha r. Scores are y times that, so their ratios give y but for its sign and length.
    events = as_events([(0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (2, 1)], 3, 3)
    parameters: dict[str, Any] = {"factors": 1, "regularization": 0.5, "alpha": 3.0}
    once, thrice = (
        ImplicitALS(events, as_histories([[0] * times]), CUTOFF, **parameters).scores(FIRST)[0].astype(np.float64)
        for times in (1, 3)
    )
    shape = once / once[0]

    # score_0 = c y_0^2 / (y_0^2 sum(shape^2) + (c - 1) y_0^2 + l): solve for y_0^2 with c = 4, predict with c = 10.
    square = once[0] * 0.5 / (4 - once[0] * (shape @ shape + 3))
    assert square > 0
    expected = 10 * square / (square * (shape @ shape + 9) + 0.5) * shape
    assert_allclose(thrice, expected, rtol=1e-4)


def test_the_library_starts_without_a_warning_of_threads(recwarn: pytest.WarningsRecorder) -> None:
    pytest.importorskip("implicit")
    ImplicitALS(ten_purchases(), as_histories([[0]]), CUTOFF)
    assert not [warning for warning in recwarn if "BLAS" in str(warning.message)]


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit.cpu.als", None)  # how Python marks a module that cannot be imported
    with pytest.raises(RuntimeError, match=r"pip install 'tawsiya\[bench\]'"):
        ImplicitALS(ten_purchases(), as_histories([[0]]), CUTOFF)


@pytest.mark.parametrize("parameter", ["factors", "iterations", "regularization", "alpha"])
def test_parameters_out_of_range_are_refused(parameter: str) -> None:
    with pytest.raises(ValueError, match=f"{parameter} 0"):
        ImplicitALS(ten_purchases(), as_histories([[0]]), CUTOFF, **{parameter: 0})
