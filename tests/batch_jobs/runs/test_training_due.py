"""Whether the metric of a model has fallen, measured on all buyers or on a sample."""

from pathlib import Path

import pytest

from batch_jobs.runs.checksums import MISSING
from batch_jobs.runs.stages import Work
from batch_jobs.runs.training_due import KIND, METRIC, MODEL, SAMPLED, metric_drop
from feature_repo.common.config import Config
from feature_repo.common.files import write_json

AFTER_TRAINING, LIMIT = 0.4, 0.1  # so below .36 it has fallen


def work_with(folder: Path, split: dict[str, str], value: float, interval: tuple[float, float]) -> Work:
    refresh = {"retrain": "due", "retrain_on_metric_drop": LIMIT}
    work = Work(Config.model_validate({"data_dir": folder, "refresh": refresh}))
    work.paths.refreshes.mkdir(parents=True)
    write_json(work.paths.refreshes / "training.json", {"weights": MISSING, "metric": AFTER_TRAINING})
    measured = {"models": {MODEL: {METRIC: value}}, "ci": {MODEL: {METRIC: interval}}}
    write_json(work.paths.evaluation, {"split": split, "targets": {KIND: measured}})
    return work


@pytest.mark.parametrize(
    ("split", "value", "interval", "found"),
    [
        ({}, 0.37, (0.3, 0.44), None),
        ({}, 0.35, (0.3, 0.4), "ndcg@20 of the model fell from 0.4000 to 0.3500 (refresh.retrain_on_metric_drop=0.1)"),
        # A sample may be low by chance.
        ({SAMPLED: "2,000 of 9,000"}, 0.35, (0.33, 0.37), None),
        (
            {SAMPLED: "2,000 of 9,000"},
            0.33,
            (0.31, 0.35),
            "ndcg@20 of the model fell from 0.4000 to 0.3300, of a sample, at most 0.3500 "
            "(refresh.retrain_on_metric_drop=0.1)",
        ),
    ],
)
def test_a_fall_counts_if_it_is_certain(
    tmp_path: Path, split: dict[str, str], value: float, interval: tuple[float, float], found: str | None
) -> None:
    assert metric_drop(work_with(tmp_path, split, value, interval)) == found


def test_without_a_metric_nothing_has_fallen(tmp_path: Path) -> None:
    work = work_with(tmp_path, {}, 0.1, (0.0, 0.2))
    write_json(work.paths.evaluation, {"split": {}, "targets": {}})
    assert metric_drop(work) is None
