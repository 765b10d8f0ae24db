"""Which baselines there are, which parameters each may take, and the search for the best of them.

A baseline that was not tuned proves nothing (Ferrari Dacrema et al. 2019, Are we really making much progress?).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.baselines.content_only import ContentOnly
from benchmarks.baselines.ease import EASE
from benchmarks.baselines.ials import ImplicitALS
from benchmarks.baselines.sasrec import SASRec
from benchmarks.baselines.tifu_knn import TifuKNN
from training.baselines.item_knn import ItemKNN
from training.baselines.personal_frequency import PersonalFrequency
from training.baselines.popularity import Popularity, RecentPopularity
from training.data.histories import Histories
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.metrics import Targets
from training.evaluation.ranker import Ranker, TrainingEvents
from training.evaluation.ranking import compare

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """What a baseline is fitted on and which histories it ranks for.

    Attributes:
        events: The events to learn from.
        histories: The histories to rank for, in full, oldest first.
        cutoff_ms: The end of the events, exclusive, in milliseconds since 1970.
        text_NT: (N, T) text vectors of the catalogue.
    """

    events: TrainingEvents
    histories: Histories
    cutoff_ms: int
    text_NT: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Baseline:
    """A method and its declared choices.

    Attributes:
        fit: Makes the ranker of a problem.
        grid: The values that each parameter may take, the default first.
    """

    fit: Callable[[Problem, Parameters], Ranker]
    grid: Mapping[str, Sequence[Any]]

    def defaults(self) -> dict[str, Any]:
        """The first value of each parameter."""
        return {name: values[0] for name, values in self.grid.items()}


def masked(baseline: Baseline) -> Baseline:
    """The same baseline, recommending only what is new to the history."""
    return Baseline(
        lambda problem, parameters: MaskedRanker(baseline.fit(problem, parameters), problem.histories), baseline.grid
    )


def tune(
    baseline: Baseline, problem: Problem, targets: Targets, k: int, metric: str, *, max_trials: int
) -> tuple[dict[str, Any], float]:
    """The best parameters on validation data, and their value.

    Walks the grid one parameter at a time, in the declared order and from the defaults, and keeps a value only if it
    beats all before it: deterministic, and as many trials as the grid has values rather than combinations.

    Args:
        baseline: From BASELINES, or `masked`.
        problem: Events before the validation, and the histories to rank for in it.
        targets: What was chosen in it, in the order of problem.histories.
        k: Length of the ranked lists.
        metric: Which metric decides, `ndcg@20` say, at this k; higher is better.
        max_trials: How many times to fit at most, at least 1 (the defaults).

    Raises:
        ValueError: max_trials is below 1, or the metric is not one of those at k.
    """
    if max_trials < 1:
        raise ValueError(f"max_trials {max_trials} must be at least 1")
    best = baseline.defaults()
    best_value = _value(baseline.fit(problem, best), problem, targets, k, metric)
    candidates = [(name, value) for name, values in baseline.grid.items() for value in values[1:]]
    for name, choice in candidates[: max_trials - 1]:
        parameters = best | {name: choice}
        value = _value(baseline.fit(problem, parameters), problem, targets, k, metric)
        if value > best_value:
            best, best_value = parameters, value
    return best, best_value


def _value(ranker: Ranker, problem: Problem, targets: Targets, k: int, metric: str) -> float:
    rows = np.arange(len(problem.histories), dtype=np.int32)
    metrics = compare([ranker], rows, targets, [k], show_progress=False)[ranker.name]
    if metric not in metrics:
        raise ValueError(f"metric {metric} is not measured with k {k}; name one of {', '.join(metrics)}")
    return metrics[metric]


def _made_by(ranker: Callable[..., Ranker]) -> Callable[[Problem, Parameters], Ranker]:
    return lambda problem, parameters: ranker(problem.events, problem.histories, problem.cutoff_ms, **parameters)


def _content_only(problem: Problem, parameters: Parameters) -> Ranker:
    return ContentOnly(problem.events, problem.histories, problem.cutoff_ms, text_NT=problem.text_NT, **parameters)


_DAYS = (14, 3, 7, 30, 90)
_DECAYS = (1.0, 0.98, 0.9, 0.8, 0.6)

# Wide enough for histories of five reviews and of a thousand groceries. What matters most stands first, since later
# parameters are tried with the earlier ones settled.
BASELINES: Mapping[str, Baseline] = {
    "popularity": Baseline(_made_by(Popularity), {}),
    "recent_popularity": Baseline(_made_by(RecentPopularity), {"days": _DAYS}),
    "personal_frequency": Baseline(_made_by(PersonalFrequency), {"days": _DAYS}),
    "item_knn": Baseline(
        _made_by(ItemKNN), {"decay": _DECAYS, "shrinkage": (10.0, 0.0, 50.0), "neighbours": (200, 50, 1000)}
    ),
    "content_only": Baseline(_content_only, {"decay": (*_DECAYS, 0.3)}),
    "ease": Baseline(_made_by(EASE), {"l2": (200.0, 20.0, 50.0, 1000.0), "decay": _DECAYS}),
    "ials": Baseline(
        _made_by(ImplicitALS),
        {"alpha": (10.0, 1.0, 40.0), "regularization": (1.0, 0.1, 10.0, 100.0), "factors": (64, 32, 128)},
    ),
    "tifu_knn": Baseline(
        _made_by(TifuKNN),
        {
            "alpha": (0.7, 0.2, 0.9),
            "between_decay": (0.7, 0.5, 0.9),
            "within_decay": (0.9, 0.7, 1.0),
            "group_size": (7, 3),
            "neighbours": (300, 100, 900),
        },
    ),
    "sasrec": Baseline(_made_by(SASRec), {"dropout": (0.4, 0.2), "epochs": (8, 16)}),
}
