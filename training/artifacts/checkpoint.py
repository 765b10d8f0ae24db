"""Checkpoints of a training run in progress: weights, optimizer state and progress, without pickle.

Random generators, order of the batches and learning rate are not in it: they follow from the seed and the number of the
epoch (training.train, training.batches), so a run that goes on from a checkpoint ends with the weights of an
uninterrupted one, bit by bit.
"""

import logging
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from feature_repo.common.files import read_json, write_json
from feature_repo.common.formats import require_format
from training.artifacts.model import TRAIN_COMMAND

log = logging.getLogger(__name__)

# Increment it when a checkpoint means something else: when it is written otherwise, or when the same settings train
# otherwise. Version 0.1.0 wrote none; there, each process of torchrun had batches of its own.
CHECKPOINT_FORMAT = 2
STATE, PROGRESS = "state.safetensors", "progress.json"
_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(frozen=True)
class Progress:
    """The progress of one fit.

    Attributes:
        epoch: Number of finished epochs.
        best_epoch: The epoch with the best validation so far; its model is kept.
        epochs_since_best: Epochs since the best one.
        history: Metrics of each epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    epochs_since_best: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def after_epoch(self, metrics: dict[str, float], selection: str) -> "Progress":
        """The progress after one more epoch with these metrics.

        The epoch is the best one if its selection metric exceeds that of all earlier epochs, or if it has none.
        """
        best = max((epoch.get(selection, float("-inf")) for epoch in self.history), default=float("-inf"))
        is_best = metrics.get(selection, float("inf")) > best
        return Progress(
            epoch=self.epoch + 1,
            best_epoch=self.epoch + 1 if is_best else self.best_epoch,
            epochs_since_best=0 if is_best else self.epochs_since_best + 1,
            history=[*self.history, metrics],
        )


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, run_version: str, progress: Progress, best: Path
) -> None:
    """Writes a checkpoint next to the previous one and swaps them, so that a crash leaves one of them complete.

    Args:
        folder: Folder of the checkpoint.
        model: Module whose weights are saved.
        optimizer: Optimizer whose state is saved.
        run_version: Identifies data and settings; load_checkpoint ignores checkpoints of other runs.
        progress: The progress.
        best: Folder of the best epoch's model. It is copied into the checkpoint, so that a resumed run has it.
    """
    new = _new(folder)
    _delete(new)
    shutil.copytree(best, new / best.name)
    # safetensors and not torch.save: loading a pickle can run code. It refuses tensors that are not contiguous.
    tensors = {_MODEL + name: value.contiguous() for name, value in model.state_dict().items()}
    for parameter, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{parameter}.{name}": value.contiguous() for name, value in state.items()}
    save_file(tensors, new / STATE)
    # Last: a folder with a progress file is complete.
    content = {"format_version": CHECKPOINT_FORMAT, "run_version": run_version, "progress": asdict(progress)}
    write_json(new / PROGRESS, content)
    _swap(folder)


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, run_version: str, best: Path | None
) -> Progress | None:
    """Restores a checkpoint of the same run into model, optimizer and the folder `best`; returns None without one.

    A checkpoint that cannot be read, or is of another format, is ignored with a warning: it only saves time. With
    several processes only the first one passes a folder; the others pass None.
    """
    if (_new(folder) / PROGRESS).is_file():
        _swap(folder)  # the run was killed between writing and swapping
    path = folder / PROGRESS
    if not path.is_file():
        return None
    try:
        content = read_json(path, TRAIN_COMMAND)
        require_format(content.get("format_version"), CHECKPOINT_FORMAT, path, remake=TRAIN_COMMAND)
        if content["run_version"] != run_version:
            return None
        progress = Progress(**content["progress"])
        tensors = load_file(folder / STATE)
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        log.warning("training begins anew, because its checkpoint cannot be used: %s", error)
        return None
    _restore(tensors, model, optimizer)
    if best is not None:
        shutil.rmtree(best, ignore_errors=True)
        shutil.copytree(folder / best.name, best)
    return progress


def _restore(tensors: dict[str, torch.Tensor], model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    model.load_state_dict({n.removeprefix(_MODEL): value for n, value in tensors.items() if n.startswith(_MODEL)})
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, _, key = name.removeprefix(_OPTIMIZER).partition(".")
            state.setdefault(int(parameter), {})[key] = value
    # Groups hold only settings, which run_version covers, and rates, which the schedule sets.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def delete_checkpoint(folder: Path) -> None:
    """Deletes the checkpoint of a finished fit."""
    _delete(_new(folder))
    _delete(folder)


def _new(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.new")


def _swap(folder: Path) -> None:
    _delete(folder)
    _new(folder).rename(folder)


def _delete(folder: Path) -> None:
    """Deletes the progress file first; it is also written last, so a folder that has one is complete."""
    (folder / PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
