"""Tracking of a training run: every step, every epoch, the learning curves, and MLflow if it is configured."""

import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.files import read_json
from feature_repo.common.paths import shop_paths
from tests.training.two_shelves import CARD, N_BUYERS, N_DAYS, problem, settings
from training.artifacts.model import CURVES, WEIGHTS
from training.evaluation.validation import SELECTION_METRIC
from training.runs.curves import LOSS, PhaseCurves, curves_figure, draw_curves
from training.runs.tracking import MAX_RUNS, NOT_TRACKED, PICTURE, SETTINGS, RunTracker, Tracker
from training.train import train

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_thread")]

HAS_MLFLOW = find_spec("mlflow") is not None
PNG = b"\x89PNG\r\n\x1a\n"
# 40 buyers choose on 4 days before the validation day, in batches of 32 contexts; then on 5 days.
STEPS = {"selection": N_BUYERS * (N_DAYS - 2) // 32, "refit": math.ceil(N_BUYERS * (N_DAYS - 1) / 32)}


def tracked(config: Config, model: Path) -> Path:
    """Trains; returns the folder of the run."""
    with RunTracker(config, SELECTION_METRIC) as tracker:
        train(config, problem(), CARD, model, tracker=tracker, show_progress=False)
    return tracker.folder


def scalars(folder: Path) -> dict[str, dict[int, float]]:
    """{tag: {step: value}} of one phase's event files."""
    events = EventAccumulator(str(folder)).Reload()
    return {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}


# ---- TensorBoard -----------------------------------------------------------------------------------------------------


def test_event_files_hold_every_step_and_every_epoch_of_both_phases(tmp_path: Path) -> None:
    config = settings(tmp_path)
    run = tracked(config, tmp_path / "model")
    curves = read_json(tmp_path / "model" / CURVES, "train")
    for phase, epochs in (("selection", curves["epochs"]), ("refit", curves["refit"])):
        kept = scalars(run / phase)
        losses = np.array(list(kept["step/loss"].values())).reshape(len(epochs), STEPS[phase])
        assert list(kept["step/loss"]) == list(kept["step/learning_rate"]) == list(range(losses.size))
        assert losses.mean(axis=1) == pytest.approx([epoch["loss"] for epoch in epochs], rel=1e-5)
        for metric in epochs[0]:
            expected = {number: epoch[metric] for number, epoch in enumerate(epochs, 1)}
            assert kept[f"epoch/{metric}"] == pytest.approx(expected, rel=1e-5)
    assert run.parent == shop_paths(config).runs


def test_the_learning_rate_is_the_one_that_was_used(tmp_path: Path) -> None:
    """Warm-up over a tenth of the 15 steps, so the first step has two thirds of the configured .01, the second all."""
    run = tracked(settings(tmp_path), tmp_path / "model")
    rates = scalars(run / "selection")["step/learning_rate"]
    assert rates[0] == pytest.approx(0.01 / 1.5)
    assert rates[1] == pytest.approx(0.01 * (0.05 + 0.95 * (1 + math.cos(math.pi / 15)) / 2), rel=1e-5)


def test_tracking_changes_nothing(tmp_path: Path) -> None:
    config = settings(tmp_path)
    tracked(config, tmp_path / "tracked")
    train(config, problem(), CARD, tmp_path / "not", show_progress=False)
    assert (tmp_path / "tracked" / WEIGHTS).read_bytes() == (tmp_path / "not" / WEIGHTS).read_bytes()


class StopsInEpoch(Tracker):
    """A run that is interrupted at the end of an epoch, before its checkpoint."""

    def __init__(self, last: int) -> None:
        self.last = last

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:  # noqa: ARG002 - a tracker's signature
        if epoch == self.last:
            raise KeyboardInterrupt


def test_a_resumed_run_has_all_epochs_and_the_steps_since(tmp_path: Path) -> None:
    config, model = settings(tmp_path), tmp_path / "model"
    with pytest.raises(KeyboardInterrupt):
        train(config, problem(), CARD, model, tracker=StopsInEpoch(3), show_progress=False)
    kept = scalars(tracked(config, model) / "selection")
    curves = read_json(model / CURVES, "train")
    assert list(kept["step/loss"]) == list(range(2 * STEPS["selection"], 3 * STEPS["selection"]))
    assert list(kept["epoch/loss"].values()) == pytest.approx([epoch["loss"] for epoch in curves["epochs"]])


# ---- speed -----------------------------------------------------------------------------------------------------------


def test_speed_counts_the_steps_and_not_what_lies_between_epochs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps end at 1, 2 and 4 s, then after an hour of validation at 3604 and 3605 s: 30 + 50 + 20 pairs in 4 s."""
    ends = iter([1.0, 2.0, 4.0, 3604.0, 3605.0])
    monkeypatch.setattr("training.runs.tracking.time.perf_counter", lambda: next(ends))
    with RunTracker(settings(tmp_path), SELECTION_METRIC) as tracker:
        tracker.step("selection", 0, 2.5, 0.01, n_pairs=1000)
        assert tracker.pairs_per_s is None
        tracker.step("selection", 1, 2.5, 0.01, n_pairs=30)
        tracker.step("selection", 2, 2.5, 0.01, n_pairs=50)
        tracker.epoch("selection", 1, {"loss": 2.5, SELECTION_METRIC: 0.25})
        tracker.step("selection", 3, 2.5, 0.01, n_pairs=1000)
        tracker.step("selection", 4, 2.5, 0.01, n_pairs=20)
    assert tracker.pairs_per_s == 25


# ---- the run's folder ------------------------------------------------------------------------------------------------


def test_the_settings_of_a_run_can_be_used_again(tmp_path: Path) -> None:
    config = settings(tmp_path, learning_rate=0.0123)
    with RunTracker(config, SELECTION_METRIC) as tracker:
        pass
    assert load_config(tracker.folder / SETTINGS, environ={}) == config
    assert not (tracker.folder / PICTURE).exists(), "there was nothing to draw"


def test_the_oldest_runs_are_deleted(tmp_path: Path) -> None:
    config = settings(tmp_path)
    old = [shop_paths(config).runs / f"20200101T0000{number:02}.000Z" for number in range(MAX_RUNS + 3)]
    for folder in old:
        (folder / "selection").mkdir(parents=True)
    new = RunTracker(config, SELECTION_METRIC).folder
    assert sorted(shop_paths(config).runs.iterdir()) == [*old[4:], new]


def test_a_run_that_fails_keeps_what_it_has(tmp_path: Path) -> None:
    tracker = RunTracker(settings(tmp_path), SELECTION_METRIC)
    tracker.step("selection", 0, 2.5, 0.01, n_pairs=32)
    tracker.epoch("selection", 1, {"loss": 2.5, SELECTION_METRIC: 0.25})
    tracker.step("selection", 1, 2.0, 0.01, n_pairs=32)
    with pytest.raises(RuntimeError, match="power cut"), tracker:
        raise RuntimeError("power cut")
    assert scalars(tracker.folder / "selection")["step/loss"] == {0: 2.5, 1: 2.0}
    assert (tracker.folder / PICTURE).read_bytes().startswith(PNG)


def test_nothing_is_kept_by_default(tmp_path: Path) -> None:
    NOT_TRACKED.step("selection", 0, 1.0, 0.01, n_pairs=32)
    NOT_TRACKED.epoch("selection", 1, {"loss": 1.0})
    train(settings(tmp_path), problem(), CARD, tmp_path / "model", show_progress=False)
    assert not shop_paths(settings(tmp_path)).runs.exists()


# ---- the picture -----------------------------------------------------------------------------------------------------


def curves(epochs: list[tuple[list[float], dict[str, float]]]) -> PhaseCurves:
    """From (losses of the steps, metrics) of each epoch."""
    made = PhaseCurves()
    for losses, metrics in epochs:
        for loss in losses:
            made.step(loss)
        made.end_epoch(metrics)
    return made


def lines(panel: Axes) -> list[list[tuple[float, float]]]:
    """The points of each line, without the one that marks the best epoch."""
    drawn = [np.asarray(line.get_xydata()).tolist() for line in panel.get_lines() if line.get_linestyle() != ":"]
    return [[(x, y) for x, y in points] for points in drawn]


def test_the_picture_shows_loss_by_step_and_epoch_metrics_by_epoch_and_the_best_one() -> None:
    selection = curves(
        [
            ([4, 3], {"loss": 3.5, "mrr@20": 0.1, "ndcg@20": 0.2}),
            ([2, 1], {"loss": 1.5, "mrr@20": 0.3, "ndcg@20": 0.4}),
            ([2, 2], {"loss": 2.0, "mrr@20": 0.5, "ndcg@20": 0.4}),
        ]
    )
    refit = curves([([5], {"loss": 5.0})])
    figure = curves_figure({"selection": selection, "refit": refit}, "ndcg@20")
    panels = {panel.get_title("left"): panel for panel in figure.axes}
    assert list(panels) == ["loss", "ndcg@20", "mrr@20"]
    assert lines(panels["loss"]) == [
        [(0.5, 4), (1, 3), (1.5, 2), (2, 1), (2.5, 2), (3, 2)],
        [(0.5, 3.5), (1.5, 1.5), (2.5, 2)],
        [(1, 5)],
        [(0.5, 5)],
    ]
    assert lines(panels["mrr@20"]) == [[(1, 0.1), (2, 0.3), (3, 0.5)]]
    assert lines(panels["ndcg@20"]) == [[(1, 0.2), (2, 0.4), (3, 0.4)], [(2, 0.4)]], "the first of equals is the best"
    assert figure.get_suptitle() == "best epoch: 2, ndcg@20 0.4000"
    for panel in panels.values():
        assert [np.asarray(line.get_xdata())[0] for line in panel.get_lines() if line.get_linestyle() == ":"] == [2]
    legend = panels["loss"].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "selection, by step", "selection, mean of the epoch", "refit, by step", "refit, mean of the epoch"
    ]  # fmt: skip


def test_epochs_before_an_interruption_have_no_steps_and_the_others_keep_their_place() -> None:
    resumed = curves([([], {"loss": 3.0}), ([], {"loss": 2.0}), ([1.5, 0.5], {"loss": 1.0})])
    (panel,) = curves_figure({"selection": resumed}, "ndcg@20").axes
    assert lines(panel) == [[(2.5, 1.5), (3, 0.5)], [(0.5, 3), (1.5, 2), (2.5, 1)]]


@given(st.lists(st.floats(0, 10), min_size=1, max_size=400))
def test_the_loss_by_step_is_a_running_mean_over_a_fiftieth_of_the_steps(losses: list[float]) -> None:
    (panel,) = curves_figure({"selection": curves([(losses, {LOSS: 1.0})])}, "ndcg@20").axes
    window = max(1, round(len(losses) / 50))
    for place, (_, smoothed) in enumerate(lines(panel)[0]):
        first = place - window // 2
        assert smoothed == pytest.approx(np.mean(losses[max(0, first) : first + window]), abs=1e-9)


def test_the_picture_of_a_long_run_is_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    metrics = {f"{name}@20": 0.1 for name in ("recall", "precision", "hit_rate", "ndcg", "mrr")}
    long = curves([(rng.normal(5, 1, 4000).tolist(), {"loss": 5.0, **metrics}) for _ in range(10)])
    draw_curves(tmp_path / PICTURE, {"selection": long, "refit": long}, "ndcg@20")
    content = (tmp_path / PICTURE).read_bytes()
    assert content.startswith(PNG)
    assert len(content) < 200_000


# ---- MLflow ----------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(HAS_MLFLOW, reason="mlflow is installed")
def test_without_mlflow_the_error_names_the_extra_and_no_run_begins(tmp_path: Path) -> None:
    config = settings(tmp_path, mlflow_uri=tmp_path.as_uri())
    with pytest.raises(ImportError, match=r"training\.mlflow_uri=file:.* run `pip install 'tawsiya\[mlflow\]'`"):
        RunTracker(config, SELECTION_METRIC)
    assert not shop_paths(config).runs.exists()


@pytest.mark.skipif(not HAS_MLFLOW, reason="the extra mlflow is not installed")
def test_mlflow_hears_of_settings_epochs_picture_and_end(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = (tmp_path / "mlflow").as_uri()
    config = settings(tmp_path, mlflow_uri=uri)
    run = tracked(config, tmp_path / "model")
    with pytest.raises(RuntimeError, match="power cut"), RunTracker(config, SELECTION_METRIC):
        raise RuntimeError("power cut")

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("shelves")
    failed, finished = client.search_runs([experiment.experiment_id])
    assert (finished.info.run_name, finished.info.status, failed.info.status) == (run.name, "FINISHED", "FAILED")
    assert finished.data.params["training.learning_rate"] == "0.01"
    assert finished.data.params["model.buyer_tower.aggregation_method"] == "attention"
    curves = read_json(tmp_path / "model" / CURVES, "train")
    history = client.get_metric_history(finished.info.run_id, "selection/ndcg_at_20")
    assert [(point.step, point.value) for point in history] == [
        (number, epoch["ndcg@20"]) for number, epoch in enumerate(curves["epochs"], 1)
    ]
    assert [file.path for file in client.list_artifacts(finished.info.run_id)] == [PICTURE]


@pytest.mark.skipif(not HAS_MLFLOW, reason="the extra mlflow is not installed")
def test_an_mlflow_server_that_does_not_answer_is_a_clear_error(tmp_path: Path) -> None:
    config = settings(tmp_path, mlflow_uri="nonsense://nowhere")
    with pytest.raises(RuntimeError, match=r"training\.mlflow_uri=nonsense://nowhere does not take the run"):
        RunTracker(config, SELECTION_METRIC)
