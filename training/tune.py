"""Hyper-parameter tuning: Optuna's TPE sampler over a declared space.

A trial trains on the contexts before the validation days, and its value is the selection metric of its best epoch. The
test days are never used. Sampler: Bergstra et al. 2011, Algorithms for hyper-parameter optimization. Pruner: the median
stopping rule of Golovin et al. 2017, Google Vizier.

The study is an SQLite file. A trial's settings depend only on the seed and on the trials before it, so an interrupted
tuning resumes, even in the middle of a trial, and ends like an uninterrupted one.
"""

import functools
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, distribution_to_json
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from feature_repo.common.config import Config
from feature_repo.common.files import replacing
from training.artifacts.checkpoint import Progress
from training.artifacts.model import ModelCard
from training.batches import with_candidates
from training.data.dataset import TrainingData, selection_contexts
from training.evaluation.validation import SELECTION_METRIC
from training.runs.allocator import keep_freed_memory
from training.runs.tracking import Tracker
from training.train import NonFiniteLossError, Phase, fit

log = logging.getLogger(__name__)

CANDIDATES = "training.candidates"
MAX_ALL_CANDIDATES = 20_000  # products; a softmax over more of them makes a trial too slow
# Learning rate and temperature are on a logarithmic scale, because a factor matters and not a difference.
SPACE: Mapping[str, BaseDistribution] = {
    "training.learning_rate": FloatDistribution(5e-4, 8e-3, log=True),
    "training.temperature": FloatDistribution(0.03, 0.2, log=True),
    "training.logq_exponent": CategoricalDistribution((0.0, 0.5, 1.0)),
    "training.half_life_days": CategoricalDistribution((0.0, 7.0, 15.0, 30.0, 60.0, 180.0)),
    CANDIDATES: CategoricalDistribution(("sampled", "all")),
    "model.buyer_tower.aggregation_method": CategoricalDistribution(("recency_attention", "transformer")),
    "model.item_tower.id_dropout": CategoricalDistribution((0.0, 0.1, 0.3)),
}
STUDY, BEST, TRIAL = "study.db", "best.yaml", "trial"
# A trial counts if it is one of these. TPE learns from both too; it ignores failed trials.
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
DIVERGED, TRIAL_SECONDS = "diverged", "seconds"
RANDOM_TRIALS = 8  # TPE needs some random trials before its model is useful
# The pruner compares a trial with the median of the others from the fifth trial and the second epoch on.
COMPARED_TRIALS, COMPARED_FROM_EPOCH = 4, 2


@dataclass(frozen=True)
class TrialBudget:
    """When tuning ends.

    Attributes:
        n_trials: Number of trials in all, those of an interrupted tuning included.
        minutes: No trial starts later than this after the start; the first one always does. None: no limit.
    """

    n_trials: int
    minutes: float | None = None


@dataclass(frozen=True)
class TuningResult:
    """The outcome of a tuning.

    Attributes:
        config: The configuration with the best settings.
        settings: The best settings, by dotted key.
        value: SELECTION_METRIC of their best epoch.
        trials: {"trial", "state", "value", "epoch", "seconds", "settings"} of each trial, in order. The state is
            `complete`, `pruned` (worse than the median) or `diverged`; the value is that of the best epoch, None
            without a finished epoch.
    """

    config: Config
    settings: dict[str, Any]
    value: float
    trials: list[dict[str, Any]]


# ---- the trials ------------------------------------------------------------------------------------------------------


def tune(
    config: Config,
    data: TrainingData,
    card: ModelCard,
    folder: Path,
    budget: TrialBudget,
    *,
    fixed: Collection[str] = (),
    show_progress: bool = True,
) -> TuningResult:
    """Runs trials until the budget is spent, and writes the best settings to `folder`/best.yaml.

    The first trial is the configuration as it is, even if that lies outside the space.

    Args:
        config: Settings outside the space keep their values.
        data: As for train.train.
        card: As for train.train.
        folder: Folder of the studies.
        budget: When to stop.
        fixed: Keys and sections of the space that keep their configured values.
        show_progress: Shows progress bars on stderr.

    Raises:
        ValueError: There are no contexts to train on, or none to validate with; or the whole space is fixed.
        NonFiniteLossError: Every trial diverged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    keep_freed_memory()
    deadline = time.monotonic() + budget.minutes * 60 if budget.minutes is not None else float("inf")
    config = with_candidates(config, len(data.contexts), len(data.catalogue))
    contexts = selection_contexts(data)
    space = space_of(config, len(data.catalogue), fixed)
    if not space:
        raise ValueError(
            f"nothing is left to tune: {', '.join(fixed)} are set on the command line; "
            "set fewer, or train without --search"
        )
    study = _open_study(folder, _study_name(config, data, card, space))
    # Only in a new study, or if the enqueued trial was killed.
    if not study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.WAITING)):
        study.enqueue_trial({key: attrgetter(key)(config) for key in space})
    phase = Phase(folder / TRIAL / "model", contexts.before_validation, contexts.validation)
    while (n_done := len(_finished(study))) < budget.n_trials and (n_done == 0 or time.monotonic() < deadline):
        # A seed per trial makes a resumed study draw what the uninterrupted one would have drawn.
        study.sampler = TPESampler(seed=config.training.seed + n_done, n_startup_trials=RANDOM_TRIALS)
        trial = study.ask(dict(space))
        log.info("trial %d of %d: %s", n_done + 1, budget.n_trials, _as_text(trial.params))
        changed = with_settings(config, trial.params)
        # The folder survives a kill. The repeated trial draws the same settings and resumes from the checkpoint in it.
        state, value = _run_trial(
            trial, functools.partial(fit, changed, data, phase, card, show_progress=show_progress)
        )
        study.tell(trial, value, state)
        # Otherwise the next trial would find this one's files.
        shutil.rmtree(folder / TRIAL, ignore_errors=True)
    return _result(study, config, folder)


class TrialReport(Tracker):
    """Reports each epoch to the study and prunes a trial that is worse than the median."""

    def __init__(self, trial: Trial) -> None:
        """Reports to `trial`."""
        self._trial = trial

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:  # noqa: ARG002 - there is one phase
        """Reports the epoch; raises optuna.TrialPruned if the trial should stop."""
        self._trial.report(metrics[SELECTION_METRIC], epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


# ---- space and settings ----------------------------------------------------------------------------------------------


def space_of(config: Config, n_products: int, fixed: Collection[str] = ()) -> dict[str, BaseDistribution]:
    """The space to tune in: SPACE without `fixed` and without what is too slow, widened to include `config`."""
    space = {}
    all_fit = config.training.freeze_text_encoder and n_products <= MAX_ALL_CANDIDATES
    for key, distribution in SPACE.items():
        is_fixed = any(key == name or key.startswith(f"{name}.") for name in fixed)
        if not is_fixed and (key != CANDIDATES or all_fit):
            space[key] = _widened(distribution, attrgetter(key)(config))
    return space


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """The configuration with some settings changed, by dotted key."""
    return Config.model_validate(_merged(config.model_dump(), settings))


def _widened(distribution: BaseDistribution, value: Any) -> BaseDistribution:
    if isinstance(distribution, FloatDistribution):
        return FloatDistribution(min(distribution.low, value), max(distribution.high, value), log=distribution.log)
    assert isinstance(distribution, CategoricalDistribution)
    return CategoricalDistribution(tuple(dict.fromkeys((*distribution.choices, value))))


# ---- study and trials in the database --------------------------------------------------------------------------------


def _open_study(folder: Path, name: str) -> optuna.Study:
    """Opens or creates the study. The caller holds the shop's lock, so a trial that still runs there was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / STUDY}",
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=MedianPruner(n_startup_trials=COMPARED_TRIALS, n_warmup_steps=COMPARED_FROM_EPOCH),
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # Failed trials do not count, so the trial is repeated.
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _study_name(config: Config, data: TrainingData, card: ModelCard, space: Mapping[str, BaseDistribution]) -> str:
    """Hash of data, configuration and space: only trials of equal ones are comparable."""
    sections = (config.model, config.training, config.event_weights)
    facts = [data.version, card.text_encoder, card.schema_hash, *(section.model_dump_json() for section in sections)]
    facts += [f"{key} {distribution_to_json(distribution)}" for key, distribution in space.items()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _run_trial(trial: Trial, train: Callable[..., Progress]) -> tuple[TrialState, float | None]:
    """Trains; returns how the trial ended and the selection metric of its best epoch."""
    start = time.monotonic()
    try:
        progress = train(tracker=TrialReport(trial))
    except optuna.TrialPruned:
        log.info("trial pruned: worse than the median of the others")
        return TrialState.PRUNED, None
    except NonFiniteLossError as error:
        log.info("trial diverged: %s", error)
        # Pruned and not failed: TPE then avoids such settings, and the study does not repeat the trial.
        trial.set_user_attr(DIVERGED, True)
        return TrialState.PRUNED, None
    finally:
        trial.set_user_attr(TRIAL_SECONDS, round(time.monotonic() - start, 1))
    return TrialState.COMPLETE, progress.history[progress.best_epoch - 1][SELECTION_METRIC]


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=FINISHED)


# ---- outcome ---------------------------------------------------------------------------------------------------------


def _result(study: optuna.Study, config: Config, folder: Path) -> TuningResult:
    """Selects the first of the best trials and writes its settings."""
    trials = _finished(study)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise NonFiniteLossError(f"each of {len(trials)} trials diverged; lower training.learning_rate")
    # Trials without a value cannot be complete; `or` is for the type checker.
    best = max(complete, key=lambda trial: trial.value or 0.0)
    value = best.value or 0.0
    with replacing(folder / BEST) as temporary:
        head = f"# {SELECTION_METRIC} {value:.4f} on the validation days, the best of {len(trials)} trials\n"
        settings = yaml.safe_dump(_merged({}, best.params), sort_keys=False)
        temporary.write_text(head + settings, encoding="utf-8")
    rows = [_row(number, trial) for number, trial in enumerate(trials, 1)]
    return TuningResult(with_settings(config, best.params), best.params, value, rows)


def _row(number: int, trial: FrozenTrial) -> dict[str, Any]:
    values = trial.intermediate_values
    epoch = max(sorted(values), key=values.__getitem__, default=None)
    return {
        "trial": number,
        "state": DIVERGED if trial.user_attrs.get(DIVERGED) else trial.state.name.lower(),
        "value": None if epoch is None else values[epoch],
        "epoch": epoch,
        TRIAL_SECONDS: trial.user_attrs[TRIAL_SECONDS],
        "settings": trial.params,
    }


def _merged(content: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the settings into the nested sections of `content`, and returns it."""
    for key, value in settings.items():
        *sections, name = key.split(".")
        section = content
        for inner in sections:
            section = section.setdefault(inner, {})
        section[name] = value
    return content


def _as_text(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items()
    )
