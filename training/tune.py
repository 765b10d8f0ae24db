"""Search for settings under which the model validates better: Optuna's TPE over a declared space.

A trial trains on what came before the validation days and counts by its best epoch there; the test is never looked at.
Sampler: Bergstra et al. 2011, Algorithms for hyper-parameter optimization. Pruner: Golovin et al. 2017, Google Vizier,
the median rule. The study lies in an SQLite file. A trial's settings depend on the seed and on the trials before it,
so a search that was killed goes on, within its last trial too, and ends as one that was not.
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
from training.runs.allocator import keep_freed_memory
from training.runs.tracking import Tracker
from training.train import SELECTION_METRIC, NonFiniteLossError, TrainingData, fit, selection_contexts

log = logging.getLogger(__name__)

CANDIDATES = "training.candidates"
MOST_CANDIDATES = 20_000  # products, beyond which a softmax over all of them takes too long to try
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
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
DIVERGED, SECONDS = "diverged", "seconds"
RANDOM_TRIALS = 8  # before the sampler trusts what it has seen
# A trial is compared with the median of the others once there are a few, from its second epoch on.
COMPARED_TRIALS, COMPARED_FROM_EPOCH = 4, 2


@dataclass(frozen=True)
class Found:
    """How a search ended.

    Attributes:
        config: The configuration with the best settings.
        settings: These settings, by dotted key.
        value: SELECTION_METRIC of their best epoch.
        trials: Of each trial {"trial", "state", "value", "epoch", "seconds", "settings"}, in order: the state is
            `complete`, `pruned` (fell behind) or `diverged`, the value that of its best epoch, None without one.
    """

    config: Config
    settings: dict[str, Any]
    value: float
    trials: list[dict[str, Any]]


def search(
    config: Config,
    data: TrainingData,
    card: ModelCard,
    folder: Path,
    *,
    n_trials: int,
    minutes: float | None = None,
    kept: Collection[str] = (),
    show_progress: bool = True,
) -> Found:
    """Tries settings until there are `n_trials`, those of earlier searches of the same question included.

    The first trial is the configuration as it is, which may lie outside the space. The best settings are also written
    to `folder`/best.yaml.

    Args:
        config: Settings outside the space stay as they are.
        data: See train.train.
        card: See train.train.
        folder: Where studies lie.
        n_trials: How many.
        minutes: No trial begins later than so long after the start; the first always does.
        kept: Keys and sections that stay as they are, though the space has them.
        show_progress: Progress bars on stderr.

    Raises:
        ValueError: There are no contexts to train on, or none to validate with; or all that is searched is kept.
        NonFiniteLossError: Every trial diverged.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    keep_freed_memory()
    deadline = time.monotonic() + minutes * 60 if minutes is not None else float("inf")
    config = with_candidates(config, len(data.contexts), len(data.catalogue))
    _, early, validation = selection_contexts(data)
    space = space_of(config, len(data.catalogue), kept)
    if not space:
        raise ValueError(
            f"nothing is left to search where {', '.join(kept)} is kept; set less, or train without --search"
        )
    study = _open_study(folder, _question(config, data, card, space))
    if not study.get_trials(deepcopy=False, states=(*FINISHED, TrialState.WAITING)):
        study.enqueue_trial({key: attrgetter(key)(config) for key in space})
    while (n_done := len(_finished(study))) < n_trials and (n_done == 0 or time.monotonic() < deadline):
        study.sampler = TPESampler(seed=config.training.seed + n_done, n_startup_trials=RANDOM_TRIALS)
        trial = study.ask(dict(space))
        log.info("trial %d of %d: %s", n_done + 1, n_trials, _spelled(trial.params))
        changed = with_settings(config, trial.params)
        train = functools.partial(
            fit, changed, data, early, validation, card, folder / TRIAL / "model", show_progress=show_progress
        )
        state, value = _outcome(trial, train)
        study.tell(trial, value, state)
        shutil.rmtree(folder / TRIAL, ignore_errors=True)
    return _best(study, config, folder)


class TrialReport(Tracker):
    """Tells the study what each epoch reached."""

    def __init__(self, trial: Trial) -> None:
        """Takes the trial."""
        self._trial = trial

    def epoch(self, phase: str, epoch: int, metrics: dict[str, float]) -> None:  # noqa: ARG002 - there is one phase
        """See Tracker.epoch; raises optuna.TrialPruned where the trial has fallen behind the others."""
        self._trial.report(metrics[SELECTION_METRIC], epoch)
        if self._trial.should_prune():
            raise optuna.TrialPruned


def space_of(config: Config, n_products: int, kept: Collection[str] = ()) -> dict[str, BaseDistribution]:
    """What is searched: SPACE without what is kept or too slow, widened to hold the configuration as it is."""
    space = {}
    all_fit = config.training.freeze_text_encoder and n_products <= MOST_CANDIDATES
    for key, distribution in SPACE.items():
        is_kept = any(key == name or key.startswith(f"{name}.") for name in kept)
        if not is_kept and (key != CANDIDATES or all_fit):
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


def _open_study(folder: Path, name: str) -> optuna.Study:
    """The study of this question. The shop's lock is held: a trial that is still running there was killed."""
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{folder / STUDY}",
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        pruner=MedianPruner(n_startup_trials=COMPARED_TRIALS, n_warmup_steps=COMPARED_FROM_EPOCH),
    )
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


def _question(config: Config, data: TrainingData, card: ModelCard, space: Mapping[str, BaseDistribution]) -> str:
    """Names what is searched, where and from which configuration: trials of other questions are not comparable."""
    sections = (config.model, config.training, config.event_weights)
    facts = [data.version, card.text_encoder, card.schema_hash, *(section.model_dump_json() for section in sections)]
    facts += [f"{key} {distribution_to_json(distribution)}" for key, distribution in space.items()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _outcome(trial: Trial, train: Callable[..., Progress]) -> tuple[TrialState, float | None]:
    """Trains, and says how it ended and what the best epoch reached."""
    start = time.monotonic()
    try:
        progress = train(tracker=TrialReport(trial))
    except optuna.TrialPruned:
        log.info("the trial fell behind the others")
        return TrialState.PRUNED, None
    except NonFiniteLossError as error:
        log.info("the trial diverged: %s", error)
        trial.set_user_attr(DIVERGED, True)
        return TrialState.PRUNED, None
    finally:
        trial.set_user_attr(SECONDS, round(time.monotonic() - start, 1))
    return TrialState.COMPLETE, progress.history[progress.best_epoch - 1][SELECTION_METRIC]


def _finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=FINISHED)


def _best(study: optuna.Study, config: Config, folder: Path) -> Found:
    """The first of the best trials; writes its settings."""
    trials = _finished(study)
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        raise NonFiniteLossError(f"each of {len(trials)} trials diverged; lower training.learning_rate")
    best = max(complete, key=lambda trial: trial.value or 0.0)
    value = best.value or 0.0
    with replacing(folder / BEST) as temporary:
        head = f"# {SELECTION_METRIC} {value:.4f} on the validation days, the best of {len(trials)} trials\n"
        settings = yaml.safe_dump(_merged({}, best.params), sort_keys=False)
        temporary.write_text(head + settings, encoding="utf-8")
    rows = [_row(number, trial) for number, trial in enumerate(trials, 1)]
    return Found(with_settings(config, best.params), best.params, value, rows)


def _row(number: int, trial: FrozenTrial) -> dict[str, Any]:
    values = trial.intermediate_values
    epoch = max(sorted(values), key=values.__getitem__, default=None)
    return {
        "trial": number,
        "state": DIVERGED if trial.user_attrs.get(DIVERGED) else trial.state.name.lower(),
        "value": None if epoch is None else values[epoch],
        "epoch": epoch,
        SECONDS: trial.user_attrs[SECONDS],
        "settings": trial.params,
    }


def _merged(content: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """`content`, a section within a section, with the settings put into it."""
    for key, value in settings.items():
        *sections, name = key.split(".")
        section = content
        for inner in sections:
            section = section.setdefault(inner, {})
        section[name] = value
    return content


def _spelled(settings: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in settings.items()
    )
