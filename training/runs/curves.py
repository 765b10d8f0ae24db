"""Draws the learning curves of a run: loss by step and epoch, validation metrics by epoch, the best epoch."""

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
SMOOTHED_SHARE = 0.02  # share of a phase's steps that the running mean of the loss covers
_COLOURS = ("#0f766e", "#b45309")
_INCHES, _DPI = (11, 6.5), 90


@dataclass
class PhaseCurves:
    """The learning curves of one phase.

    Attributes:
        losses: Loss of each step of the finished epochs.
        positions: Position of each step on the axis of epochs; the last step of the first epoch is at 1.
        epochs: Metrics of each epoch.
    """

    losses: list[float] = field(default_factory=list)
    positions: list[float] = field(default_factory=list)
    epochs: list[dict[str, float]] = field(default_factory=list)
    _current: list[float] = field(default_factory=list)

    def step(self, loss: float) -> None:
        """Adds the loss of one step."""
        self._current.append(loss)

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Ends an epoch. It has no steps if a resumed run reports an epoch from before the interruption."""
        n_steps = len(self._current)
        self.positions += [len(self.epochs) + (step + 1) / n_steps for step in range(n_steps)]
        self.losses += self._current
        self.epochs.append(metrics)
        self._current = []

    def values(self, metric: str) -> dict[int, float]:
        """The metric by epoch, from 1."""
        return {epoch: metrics[metric] for epoch, metrics in enumerate(self.epochs, 1) if metric in metrics}


def draw_curves(path: Path, phases: Mapping[str, PhaseCurves], selection: str) -> None:
    """Writes the learning curves as a PNG.

    Args:
        path: The file; an existing one is replaced.
        phases: Learning curves by name of the phase.
        selection: The metric whose best epoch is marked.
    """
    figure = curves_figure(phases, selection)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)


def curves_figure(phases: Mapping[str, PhaseCurves], selection: str) -> Figure:
    """A panel for the loss on top, and below one for each validation metric, the selection metric first."""
    names = dict.fromkeys(metric for curves in phases.values() for epoch in curves.epochs for metric in epoch)
    metrics = sorted((name for name in names if name != LOSS), key=lambda name: name != selection)
    # Figure and not pyplot, which keeps every figure in a global state and chooses a backend for a screen.
    figure = Figure(_INCHES, layout="constrained")
    grid = figure.add_gridspec(2 if metrics else 1, max(1, len(metrics)))
    panels = {LOSS: figure.add_subplot(grid[0, :])}
    panels |= {metric: figure.add_subplot(grid[1, place]) for place, metric in enumerate(metrics)}
    for metric, panel in panels.items():
        for (phase, curves), colour in zip(phases.items(), _COLOURS, strict=False):
            _draw(panel, curves, metric, phase, colour)
        panel.set_title(metric, loc="left")
        panel.set_xlabel("epoch")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.grid(alpha=0.3)
    panels[LOSS].legend(loc="upper right")
    for curves in phases.values():
        if values := curves.values(selection):
            best = max(values, key=values.__getitem__)
            figure.suptitle(f"best epoch: {best}, {selection} {values[best]:.4f}", fontsize="medium")
            _mark(panels, best, selection, values[best])
    return figure


def _draw(panel: Axes, curves: PhaseCurves, metric: str, phase: str, colour: str) -> None:
    values = curves.values(metric)
    if metric != LOSS:
        if values:
            panel.plot(list(values), list(values.values()), "o-", color=colour, markersize=4)
        return
    panel.plot(
        curves.positions, _smoothed(curves.losses), color=colour, linewidth=1, alpha=0.7, label=f"{phase}, by step"
    )
    # The mean of an epoch belongs to the middle of its steps.
    middles = [epoch - 0.5 for epoch in values]
    panel.plot(middles, list(values.values()), "o", color=colour, label=f"{phase}, mean of the epoch")


def _smoothed(losses: list[float]) -> list[float]:
    """The running mean; at the ends the window is shorter."""
    window = max(1, round(SMOOTHED_SHARE * len(losses)))
    # The filter pads with zeros. Filtering ones in the same way counts the real values in each window.
    sums, counts = (
        uniform_filter1d(values, window, mode="constant") for values in (np.array(losses), np.ones(len(losses)))
    )
    smoothed: list[float] = (sums / counts).tolist()
    return smoothed


def _mark(panels: Mapping[str, Axes], epoch: int, selection: str, value: float) -> None:
    """Marks the epoch by a line in every panel, and by a star in the selection metric's panel."""
    for panel in panels.values():
        panel.axvline(epoch, color="#57534e", linestyle=":", linewidth=1)
    panels[selection].plot([epoch], [value], "*", color="#be123c", markersize=13)
