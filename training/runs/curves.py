"""The course of a training run as a picture: loss by step and by epoch, validation metrics by epoch, the best epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import uniform_filter1d

from feature_repo.common.files import replacing

LOSS = "loss"
SMOOTHED_SHARE = 0.02  # of a phase's steps are averaged into each point of the line
_COLOURS = ("#0f766e", "#b45309")
_INCHES, _DPI = (11, 6.5), 90


@dataclass
class Course:
    """How one phase of a run went.

    Attributes:
        losses: Loss of each step of the epochs that ended.
        places: Where these steps stand on the axis of epochs: the last one of the first epoch at 1.
        epochs: Metrics of each epoch.
    """

    losses: list[float] = field(default_factory=list)
    places: list[float] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)
    _unplaced: list[float] = field(default_factory=list)

    def step(self, loss: float) -> None:
        """Takes the loss of one step."""
        self._unplaced.append(loss)

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Takes an epoch's metrics and places its steps; an epoch without any was done before an interruption."""
        n_steps = len(self._unplaced)
        self.places += [len(self.epochs) + (step + 1) / n_steps for step in range(n_steps)]
        self.losses += self._unplaced
        self.epochs.append(metrics)
        self._unplaced = []

    def values(self, metric: str) -> dict[int, float]:
        """The metric by epoch, which count from 1."""
        return {epoch: metrics[metric] for epoch, metrics in enumerate(self.epochs, 1) if metric in metrics}


def draw_curves(path: Path, courses: Mapping[str, Course], selection: str) -> None:
    """Writes the picture as a PNG.

    Args:
        path: The file; an older one is replaced.
        courses: By name of the phase.
        selection: The metric whose best epoch is marked.
    """
    figure = curves_figure(courses, selection)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def curves_figure(courses: Mapping[str, Course], selection: str) -> Figure:
    """The loss above, and a panel for each validation metric below, the selection metric first."""
    names = dict.fromkeys(metric for course in courses.values() for epoch in course.epochs for metric in epoch)
    metrics = sorted((name for name in names if name != LOSS), key=lambda name: name != selection)
    figure = Figure(_INCHES, layout="constrained")
    grid = figure.add_gridspec(2 if metrics else 1, max(1, len(metrics)))
    panels = {LOSS: figure.add_subplot(grid[0, :])}
    panels |= {metric: figure.add_subplot(grid[1, place]) for place, metric in enumerate(metrics)}
    for metric, panel in panels.items():
        for (phase, course), colour in zip(courses.items(), _COLOURS, strict=False):
            _draw(panel, course, metric, phase, colour)
        panel.set_title(metric, loc="left")
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    panels[LOSS].legend(loc="upper right")
    for course in courses.values():
        if values := course.values(selection):
            best = max(values, key=values.__getitem__)
            figure.suptitle(f"best epoch: {best}, {selection} {values[best]:.4f}", fontsize="medium")
            _mark(panels, best, selection, values[best])
    return figure


def _draw(panel: Axes, course: Course, metric: str, phase: str, colour: str) -> None:
    values = course.values(metric)
    if metric != LOSS:
        if values:
            panel.plot(list(values), list(values.values()), "o-", color=colour, markersize=4)
        return
    panel.plot(course.places, _smoothed(course.losses), color=colour, linewidth=1, alpha=0.7, label=f"{phase}, by step")
    middles = [epoch - 0.5 for epoch in values]
    panel.plot(middles, list(values.values()), "o", color=colour, label=f"{phase}, mean of the epoch")


def _smoothed(losses: list[float]) -> list[float]:
    """A running mean; at the ends over the part of the window that is there."""
    window = max(1, round(SMOOTHED_SHARE * len(losses)))
    sums, counts = (
        uniform_filter1d(values, window, mode="constant") for values in (np.array(losses), np.ones(len(losses)))
    )
    smoothed: list[float] = (sums / counts).tolist()
    return smoothed


def _mark(panels: Mapping[str, Axes], epoch: int, selection: str, value: float) -> None:
    """A line through the epoch in every panel, and a star where the selection metric stands."""
    for panel in panels.values():
        panel.axvline(epoch, color="#57534e", linestyle=":", linewidth=1)
    panels[selection].plot([epoch], [value], "*", color="#be123c", markersize=13)
