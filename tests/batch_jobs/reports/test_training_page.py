"""The report on training reads what a run has written."""

from pathlib import Path

import pytest

from batch_jobs.reports.page import NoRecordsError
from batch_jobs.reports.training_page import TRAINING_REPORT, read_training_runs
from batch_jobs.runs.training_due import METRIC
from feature_repo.common.config import Config
from training.runs.tracking import RunTracker


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate({"data_dir": tmp_path, "data": {"source": "shop"}, "training": {"seed": 3}})


def test_a_run_is_read_as_it_was_tracked(config: Config) -> None:
    with RunTracker(config, METRIC) as tracker:
        for step in range(1000):
            tracker.step("selection", step, loss=1000.0 - step, learning_rate=0.5, n_pairs=1)
        tracker.epoch("selection", 1, {"loss": 500.5, METRIC: 0.25})
        tracker.step("refit", 0, loss=2.0, learning_rate=0.5, n_pairs=1)

    records = read_training_runs(config)
    (run,) = records["runs"]
    selection = run["phases"]["selection"]
    assert run["id"] == tracker.folder.name
    assert selection["epochs"] == {"loss": [[1, 500.5]], METRIC: [[1, 0.25]]}
    # 200 means of 5 neighbours.
    assert (len(selection["loss"]), selection["loss"][0]) == (200, [2.0, 998.0])
    assert run["phases"]["refit"]["loss"] == [[0.0, 2.0]]
    assert run["settings"]["training.seed"] == "3"
    assert not [name for name in run["settings"] if name.startswith("data.") or "mlflow" in name]
    assert TRAINING_REPORT.page(records).figure == f"{METRIC} 0.250 in epoch 1, ended after epoch 1"


def test_a_run_that_has_written_nothing_yet_is_none(config: Config) -> None:
    RunTracker(config, METRIC)
    with pytest.raises(NoRecordsError, match="has no training run yet"):
        read_training_runs(config)
