"""Tracks training runs: TensorBoard event files, a picture of the learning curves, and optionally MLflow.

    runs/20261123T171200.123Z/
        selection/, refit/      TensorBoard event files of each phase
        curves.png              loss by step and epoch, validation metrics by epoch
        settings.yaml           the configuration, in the format of --config

`tensorboard --logdir runs` shows all runs side by side, also those in progress.
"""

import datetime as dt
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from torch.utils.tensorboard import SummaryWriter

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from training.runs.curves import PhaseCurves, draw_curves

log = logging.getLogger(__name__)

PICTURE, SETTINGS = "curves.png", "settings.yaml"
MAX_RUNS = 50  # a new run deletes older ones


class Tracker:
    """Receives every step and epoch of training; this base class ignores them."""

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:
        """Called after each optimizer step.

        Args:
            phase: `selection` or `refit`.
            step: Number of the step in the phase, from 0.
            loss: Loss of the step's batch.
            learning_rate: Learning rate of the step.
            n_pairs: Pairs of context and target in the batches of all processes.
        """

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:
        """Called after each epoch.

        Args:
            phase: `selection` or `refit`.
            epoch: Number of the epoch, from 1. A resumed run reports earlier epochs again, without steps.
            metrics: Mean loss and, in the selection phase, the validation metrics.
        """


NOT_TRACKED = Tracker()


# ---- speed -----------------------------------------------------------------------------------------------------------


class Speed:
    """Measures training speed in pairs per second, without validation and saving."""

    def __init__(self) -> None:
        """Starts without a step."""
        self._last: float | None = None
        self._pairs, self._seconds = 0, 0.0

    def step(self, n_pairs: int) -> None:
        """Counts a finished step; the first one after a pause is skipped, because its start is unknown."""
        now = time.perf_counter()
        if self._last is not None:
            self._pairs += n_pairs
            self._seconds += now - self._last
        self._last = now

    def pause(self) -> None:
        """Excludes the time until the next step."""
        self._last = None

    @property
    def pairs_per_s(self) -> float | None:
        """The speed; None before two steps without a pause between them."""
        return self._pairs / self._seconds if self._seconds else None


# ---- files of a run --------------------------------------------------------------------------------------------------


class RunTracker(Tracker):
    """Writes the learning curves of one run to a folder of its own; a context manager."""

    def __init__(self, config: Config, selection: str) -> None:
        """Creates the run's folder and deletes the oldest ones.

        Args:
            config: The configuration; `training.mlflow_uri` enables MLflow.
            selection: The metric whose best epoch is marked.

        Raises:
            ImportError: MLflow is configured but not installed; the message names the extra.
            RuntimeError: The MLflow server refuses the run or does not answer.
        """
        now, runs = dt.datetime.now(dt.UTC), shop_paths(config).runs
        # Milliseconds, so that two runs of one second have two folders; names sort by time.
        self.folder = runs / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
        # Before the folder is made: if MLflow refuses the run, no empty folder is left.
        self._mlflow = _MlflowRun(config, self.folder.name) if config.training.mlflow_uri else None
        self._selection = selection
        self._curves: dict[str, PhaseCurves] = {}
        self._writers: dict[str, SummaryWriter] = {}
        self._speed = Speed()
        self.folder.mkdir(parents=True)
        settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (self.folder / SETTINGS).write_text(settings, encoding="utf-8")
        for old in sorted(runs.iterdir())[:-MAX_RUNS]:
            shutil.rmtree(old)

    @property
    def pairs_per_s(self) -> float | None:
        """The training speed, see Speed."""
        return self._speed.pairs_per_s

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:
        """Writes loss and learning rate of the step."""
        self._speed.step(n_pairs)
        writer, curves = self._of(phase)
        writer.add_scalar("step/loss", loss, step)
        writer.add_scalar("step/learning_rate", learning_rate, step)
        curves.step(loss)

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:
        """Writes the metrics of the epoch."""
        self._speed.pause()
        writer, curves = self._of(phase)
        for metric, value in metrics.items():
            writer.add_scalar(f"epoch/{metric}", value, epoch)
        writer.flush()  # so that TensorBoard shows the epoch immediately
        curves.end_epoch(metrics)
        if self._mlflow:
            self._mlflow.epoch(phase, epoch, metrics)

    def close(self, *, failed: bool = False) -> None:
        """Closes the event files and draws the learning curves; `failed` is the status for MLflow."""
        for writer in self._writers.values():
            writer.close()
        picture = self.folder / PICTURE
        if self._curves:
            draw_curves(picture, self._curves, self._selection)
        if self._mlflow:
            self._mlflow.close(picture, failed=failed)

    def __enter__(self) -> Self:
        """The tracker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the tracker; an exception marks the run as failed."""
        self.close(failed=error is not None)

    def _of(self, phase: str) -> tuple[SummaryWriter, PhaseCurves]:
        """The writer and curves of a phase; one folder per phase makes TensorBoard draw both into one chart."""
        if phase not in self._writers:
            self._writers[phase] = SummaryWriter(str(self.folder / phase))
            self._curves[phase] = PhaseCurves()
        return self._writers[phase], self._curves[phase]


# ---- MLflow ----------------------------------------------------------------------------------------------------------


class _MlflowRun:
    """One MLflow run; the experiment has the name of the shop."""

    def __init__(self, config: Config, name: str) -> None:
        uri = config.training.mlflow_uri
        # setdefault, so that the user's own variables win.
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if uri.startswith("file:"):
            # Newer versions of MLflow refuse a plain folder unless this is set.
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        try:
            from mlflow import MlflowClient
            from mlflow.entities import Metric, Param
            from mlflow.exceptions import MlflowException
        except ImportError as error:
            raise ImportError(
                f"training.mlflow_uri={uri} needs MLflow, which is not installed: run `pip install 'tawsiya[mlflow]'`, "
                "or leave the setting empty"
            ) from error
        self._metric, self._error = Metric, MlflowException
        settings = config.model_dump(mode="json", include={"model", "training", "event_weights"})
        try:
            self._client = MlflowClient(tracking_uri=uri)
            shop = shop_paths(config).root.name
            known = self._client.get_experiment_by_name(shop)
            experiment = known.experiment_id if known else self._client.create_experiment(shop)
            self._run_id = self._client.create_run(experiment, run_name=name).info.run_id
            self._client.log_batch(self._run_id, params=[Param(key, str(value)) for key, value in _flat(settings)])
        except MlflowException as error:
            raise RuntimeError(f"training.mlflow_uri={uri} does not take the run: {error}") from error

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:
        now_ms = int(time.time() * 1000)
        logged = [
            self._metric(f"{phase}/{name.replace('@', '_at_')}", value, now_ms, epoch)  # MLflow allows no @ in names
            for name, value in metrics.items()
        ]
        with self._or_warning():
            self._client.log_batch(self._run_id, metrics=logged)

    def close(self, picture: Path, *, failed: bool) -> None:
        with self._or_warning():
            if picture.is_file():
                self._client.log_artifact(self._run_id, str(picture))
            self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")

    @contextmanager
    def _or_warning(self) -> Iterator[None]:
        """Logs a warning if the server fails, because an MLflow outage must not end a training run."""
        try:
            yield
        except self._error as error:
            log.warning("MLflow did not record a part of this run: %s", error)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by dotted key."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
