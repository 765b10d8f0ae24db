"""The ablation's means over seeds."""

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.ablation import _mean


def test_the_mean_over_seeds_is_of_models_that_were_trained_on_the_validation_days_too() -> None:
    def run(*values: float) -> dict[str, dict[str, dict[str, npt.NDArray[np.float64]]]]:
        return {
            "all tv": {"two_tower": {"ndcg@20": np.array(values)}},
            "all tr": {"two_tower": {"ndcg@20": np.zeros(len(values))}},
        }

    assert _mean([run(0.1, 0.4), run(0.3, 0.2)], "all", "two_tower") == pytest.approx([0.2, 0.3])
