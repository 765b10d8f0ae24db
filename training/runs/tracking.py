"""Where the course of a training run is kept: TensorBoard event files, a picture, and MLflow where it is asked for.

    runs/20261123T171200.123Z/
        selection/, refit/      TensorBoard event files of each phase
        curves.png              loss by step and epoch, validation metrics by epoch
        settings.yaml           the configuration, as --config takes it

`tensorboard --logdir runs` shows all runs side by side, those in progress too.
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
from training.runs.curves import Course, draw_curves

log = logging.getLogger(__name__)

PICTURE, SETTINGS = "curves.png", "settings.yaml"
KEPT_RUNS = 50  # older ones are deleted when a run starts


class Tracker:
    """What training tells about itself; this one keeps nothing."""

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:
        """One step of the optimizer, just done.

        Args:
            phase: `selection` or `refit`.
            step: From 0, over all epochs of the phase.
            loss: Of the step's batch.
            learning_rate: Of the step.
            n_pairs: Histories with a product chosen after each, in the step's batch.
        """

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:
        """The end of an epoch.

        Args:
            phase: See `step`.
            epoch: From 1. A resumed run tells the epochs of before again, without their steps.
            metrics: Mean loss and, where there is a validation, its metrics.
        """


NOT_TRACKED = Tracker()


class Speed:
    """Pairs per second of training itself, without validation and saving."""

    def __init__(self) -> None:
        """Has seen no step."""
        self._last: float | None = None
        self._pairs, self._seconds = 0, 0.0

    def step(self, n_pairs: int) -> None:
        """A step of so many pairs has just ended; of those after a pause, the first one's start is not known."""
        now = time.perf_counter()
        if self._last is not None:
            self._pairs += n_pairs
            self._seconds += now - self._last
        self._last = now

    def pause(self) -> None:
        """What comes until the next step is not training."""
        self._last = None

    @property
    def pairs_per_s(self) -> float | None:
        """None before a second step without a pause."""
        return self._pairs / self._seconds if self._seconds else None


class RunTracker(Tracker):
    """Keeps the course of one run in a folder of its own; `with` closes it."""

    def __init__(self, config: Config, selection: str) -> None:
        """Makes the run's folder under the shop's, and deletes the oldest ones.

        Args:
            config: What is trained; `training.mlflow_uri` says whether MLflow hears of it too.
            selection: The metric whose best epoch is marked.

        Raises:
            ImportError: MLflow is asked for and not installed; the message names the extra.
            RuntimeError: MLflow does not answer.
        """
        now, runs = dt.datetime.now(dt.UTC), shop_paths(config).runs
        self.folder = runs / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z"
        self._mlflow = _MlflowRun(config, self.folder.name) if config.training.mlflow_uri else None
        self._selection = selection
        self._courses: dict[str, Course] = {}
        self._writers: dict[str, SummaryWriter] = {}
        self._speed = Speed()
        self.folder.mkdir(parents=True)
        settings = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        (self.folder / SETTINGS).write_text(settings, encoding="utf-8")
        for old in sorted(runs.iterdir())[:-KEPT_RUNS]:
            shutil.rmtree(old)

    @property
    def pairs_per_s(self) -> float | None:
        """See Speed."""
        return self._speed.pairs_per_s

    def step(self, phase: str, step: int, loss: float, learning_rate: float, n_pairs: int) -> None:
        """See Tracker.step."""
        self._speed.step(n_pairs)
        writer, course = self._of(phase)
        writer.add_scalar("step/loss", loss, step)
        writer.add_scalar("step/learning_rate", learning_rate, step)
        course.step(loss)

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:
        """See Tracker.epoch."""
        self._speed.pause()
        writer, course = self._of(phase)
        for metric, value in metrics.items():
            writer.add_scalar(f"epoch/{metric}", value, epoch)
        writer.flush()  # whoever watches sees each epoch at once
        course.end_epoch(metrics)
        if self._mlflow:
            self._mlflow.epoch(phase, epoch, metrics)

    def close(self, *, failed: bool = False) -> None:
        """Closes the event files and draws the picture; `failed` is told to MLflow."""
        for writer in self._writers.values():
            writer.close()
        picture = self.folder / PICTURE
        if self._courses:
            draw_curves(picture, self._courses, self._selection)
        if self._mlflow:
            self._mlflow.close(picture, failed=failed)

    def __enter__(self) -> Self:
        """The tracker itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes it; a run that raised has failed."""
        self.close(failed=error is not None)

    def _of(self, phase: str) -> tuple[SummaryWriter, Course]:
        """A folder for each phase: TensorBoard then draws both into one chart."""
        if phase not in self._writers:
            self._writers[phase] = SummaryWriter(str(self.folder / phase))
            self._courses[phase] = Course()
        return self._writers[phase], self._courses[phase]


class _MlflowRun:
    """One run of the experiment that the shop names."""

    def __init__(self, config: Config, name: str) -> None:
        uri = config.training.mlflow_uri
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        if uri.startswith("file:"):
            # Newer versions would rather have a database, and refuse a folder until told that it is meant.
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
            self._metric(f"{phase}/{name.replace('@', '_at_')}", value, now_ms, epoch)  # it takes no @
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
        """A run that has begun does not end because the server went away."""
        try:
            yield
        except self._error as error:
            log.warning("MLflow misses a part of this run: %s", error)


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings by dotted key."""
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
