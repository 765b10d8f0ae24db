"""Checkpoints of a run in progress: weights, optimizer state and progress, without pickle."""

import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from feature_repo.common.files import write_json

STATE, PROGRESS = "state.safetensors", "progress.json"
_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        epoch: Epochs done.
        best_epoch: The epoch whose model is kept.
        epochs_since_best: Epochs since then.
        history: Metrics of each epoch.
    """

    epoch: int = 0
    best_epoch: int = 0
    epochs_since_best: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def after_epoch(self, metrics: dict[str, float], selection: str) -> "Progress":
        """The progress after one more epoch.

        It is the best one if its selection metric beats all before, or if nobody measures that metric.
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
    """Writes a checkpoint beside the last one and swaps them, so that a crash leaves one of the two whole.

    Args:
        folder: The checkpoint.
        model: Its weights are saved.
        optimizer: Its state is saved.
        run_version: Names data and settings; load_checkpoint takes no other run's checkpoint.
        progress: How far the run is.
        best: Folder of the best epoch's model, copied into the checkpoint: a resumed run must not lose it.
    """
    new = _new(folder)
    _delete(new)
    shutil.copytree(best, new / best.name)
    tensors = {_MODEL + name: value.contiguous() for name, value in model.state_dict().items()}
    for parameter, state in optimizer.state_dict()["state"].items():
        tensors |= {f"{_OPTIMIZER}{parameter}.{name}": value.contiguous() for name, value in state.items()}
    save_file(tensors, new / STATE)
    write_json(new / PROGRESS, {"run_version": run_version, **asdict(progress)})
    _swap(folder)


def load_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, run_version: str, best: Path | None
) -> Progress | None:
    """Restores a checkpoint of the same run into model, optimizer and the folder `best`; None where there is none.

    Of several processes one alone gives a folder.
    """
    if (_new(folder) / PROGRESS).is_file():
        _swap(folder)  # the run was killed before it could
    path = folder / PROGRESS
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content.pop("run_version") != run_version:
        return None
    tensors = load_file(folder / STATE)
    model.load_state_dict({n.removeprefix(_MODEL): value for n, value in tensors.items() if n.startswith(_MODEL)})
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, _, key = name.removeprefix(_OPTIMIZER).partition(".")
            state.setdefault(int(parameter), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if best is not None:
        shutil.rmtree(best, ignore_errors=True)
        shutil.copytree(folder / best.name, best)
    return replace(Progress(), **content)


def delete_checkpoint(folder: Path) -> None:
    """Deletes the checkpoint of a run that is over."""
    _delete(_new(folder))
    _delete(folder)


def _new(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.new")


def _swap(folder: Path) -> None:
    _delete(folder)
    _new(folder).rename(folder)


def _delete(folder: Path) -> None:
    """Progress is written last and deleted first: a folder that has it is whole, whenever the process is killed."""
    (folder / PROGRESS).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
