"""Tuning: the space, the first trial, the budget, and resuming after an interruption with the same result."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner

from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from tests.processes import Background
from tests.training.two_shelves import CARD, problem, settings
from training.artifacts.checkpoint import PROGRESS
from training.data.dataset import selection_contexts
from training.evaluation.validation import SELECTION_METRIC
from training.train import NonFiniteLossError, Phase, fit
from training.tune import (
    BEST,
    CANDIDATES,
    COMPARED_FROM_EPOCH,
    COMPARED_TRIALS,
    MAX_ALL_CANDIDATES,
    SPACE,
    STUDY,
    TRIAL,
    TrialBudget,
    TrialReport,
    TuningResult,
    space_of,
    tune,
    with_settings,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("one_thread")]

LEARNING_RATE, AGGREGATION = "training.learning_rate", "model.buyer_tower.aggregation_method"


def tuned(folder: Path, config: Config, n_trials: int, minutes: float | None = None, **more: Any) -> TuningResult:
    return tune(config, problem(), CARD, folder, TrialBudget(n_trials, minutes), show_progress=False, **more)


def untimed(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in trial.items() if name != "seconds"} for trial in trials]


# ---- the space -------------------------------------------------------------------------------------------------------


def test_every_key_is_a_setting_and_every_choice_is_valid() -> None:
    for key, distribution in SPACE.items():
        assert isinstance(distribution, FloatDistribution | CategoricalDistribution)
        ends = (
            distribution.choices
            if isinstance(distribution, CategoricalDistribution)
            else (distribution.low, distribution.high)
        )
        for value in ends:
            with_settings(Config(), {key: value})


def test_all_candidates_are_tried_in_small_catalogues_only(tmp_path: Path) -> None:
    config = settings(tmp_path)
    assert CANDIDATES in space_of(config, MAX_ALL_CANDIDATES)
    assert space_of(config, MAX_ALL_CANDIDATES + 1).keys() == SPACE.keys() - {CANDIDATES}
    trained = with_settings(config, {"training.freeze_text_encoder": False})
    assert space_of(trained, 10).keys() == SPACE.keys() - {CANDIDATES}


def test_the_configuration_as_it_is_always_belongs_to_the_space(tmp_path: Path) -> None:
    config = settings(tmp_path, learning_rate=0.5, temperature=0.05, half_life_days=3, candidates="all")
    space = space_of(config, 10)
    assert space[LEARNING_RATE] == FloatDistribution(5e-4, 0.5, log=True)
    assert space["training.temperature"] == SPACE["training.temperature"]
    assert space["training.half_life_days"] == CategoricalDistribution((0.0, 7.0, 15.0, 30.0, 60.0, 180.0, 3.0))
    assert space[AGGREGATION] == CategoricalDistribution(("recency_attention", "transformer", "attention"))
    assert space[CANDIDATES] == SPACE[CANDIDATES]


@pytest.mark.parametrize(
    ("fixed", "gone"),
    [
        ([LEARNING_RATE], {LEARNING_RATE}),
        (["training.learning"], set()),
        (["model.buyer_tower", "training.seed"], {AGGREGATION}),
        (["model"], {AGGREGATION, "model.item_tower.id_dropout"}),
    ],
)
def test_what_the_user_sets_is_fixed(fixed: list[str], gone: set[str], tmp_path: Path) -> None:
    assert space_of(settings(tmp_path), 10, fixed).keys() == SPACE.keys() - gone


def test_with_settings_changes_these_alone_and_checks_them(tmp_path: Path) -> None:
    config = settings(tmp_path)
    changed = with_settings(config, {LEARNING_RATE: 0.125, AGGREGATION: "transformer"})
    assert changed.training == config.training.model_copy(update={"learning_rate": 0.125})
    assert changed.model.buyer_tower.aggregation_method == "transformer"
    assert changed.model.item_tower == config.model.item_tower
    with pytest.raises(ValueError, match="learning_rate"):
        with_settings(config, {LEARNING_RATE: -1})


# ---- what a search does ----------------------------------------------------------------------------------------------


def test_the_first_trial_is_the_configuration_and_counts_by_its_best_epoch(tmp_path: Path) -> None:
    config = settings(tmp_path, learning_rate=0.05, num_epochs=6)
    (first,) = tuned(tmp_path / "search", config, 1).trials
    _, early, validation = selection_contexts(problem())
    progress = fit(config, problem(), Phase(tmp_path / "alone", early, validation), CARD, show_progress=False)
    values = [epoch[SELECTION_METRIC] for epoch in progress.history]
    assert (first["state"], first["value"], first["epoch"]) == ("complete", max(values), progress.best_epoch)
    assert values[-1] < max(values), "the best epoch should not be the last one here"
    assert first["settings"] == {
        LEARNING_RATE: 0.05,
        "training.temperature": 0.1,
        "training.logq_exponent": 0.0,
        "training.half_life_days": 15.0,
        CANDIDATES: "sampled",
        AGGREGATION: "attention",
        "model.item_tower.id_dropout": 0.1,
    }


def test_the_best_settings_are_found_and_written(tmp_path: Path) -> None:
    config = settings(tmp_path)
    result = tuned(tmp_path / "search", config, 6)
    complete = [trial for trial in result.trials if trial["state"] == "complete"]
    best = max(complete, key=lambda trial: trial["value"])
    assert [trial["trial"] for trial in result.trials] == [1, 2, 3, 4, 5, 6]
    assert len({str(trial["settings"]) for trial in result.trials}) == 6
    assert (result.settings, result.value) == (best["settings"], best["value"])
    assert result.config == with_settings(config, best["settings"])

    written = load_config(tmp_path / "search" / BEST, environ={})
    assert written == with_settings(Config(), best["settings"])
    assert "the best of 6 trials" in (tmp_path / "search" / BEST).read_text()
    assert not (tmp_path / "search" / TRIAL).exists()


def test_what_is_fixed_has_one_value_in_all_trials(tmp_path: Path) -> None:
    config = settings(tmp_path, learning_rate=0.02)
    result = tuned(tmp_path / "search", config, 4, fixed=["training.learning_rate", "model"])
    assert all(trial["settings"].keys().isdisjoint({LEARNING_RATE, AGGREGATION}) for trial in result.trials)
    assert result.config.training.learning_rate == 0.02
    assert result.config.model == config.model


def test_a_search_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing is left to tune: training, model are set on the command line"):
        tuned(tmp_path / "search", settings(tmp_path), 2, fixed=["training", "model"])


def test_without_time_the_first_trial_is_all(tmp_path: Path) -> None:
    assert len(tuned(tmp_path / "search", settings(tmp_path), 5, minutes=0).trials) == 1


def test_other_data_are_another_study(tmp_path: Path) -> None:
    config, folder = settings(tmp_path), tmp_path / "search"
    tuned(folder, config, 2)
    other = tune(config, problem("2"), CARD, folder, TrialBudget(1), show_progress=False)
    assert len(other.trials) == 1
    assert len(tuned(folder, config, 1).trials) == 2, "those of before are still there"


# ---- interrupted -----------------------------------------------------------------------------------------------------


def test_a_search_goes_on_where_it_ended_as_if_it_had_not(tmp_path: Path) -> None:
    config = settings(tmp_path)
    whole = tuned(tmp_path / "whole", config, 5)
    for n_trials in (2, 5):
        parts = tuned(tmp_path / "parts", config, n_trials)
    assert untimed(parts.trials) == untimed(whole.trials)
    again = tuned(tmp_path / "parts", config, 5)
    assert again.trials == parts.trials, "nothing is left to try"


LONG = {"num_epochs": 40, "patience": 40}


def search_on_one_thread(folder: Path) -> None:
    torch.set_num_threads(1)
    tuned(folder / "search", settings(folder, **LONG), 2)


@pytest.mark.processes
def test_a_killed_search_goes_on_within_its_trial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = tmp_path / "search" / TRIAL / "model_checkpoint" / PROGRESS
    Background(search_on_one_thread, tmp_path).kill_when(checkpoint.is_file)
    assert (tmp_path / "search" / TRIAL).is_dir(), "it was not killed within a trial"
    with caplog.at_level("INFO", logger="training.train"):
        resumed = tuned(tmp_path / "search", settings(tmp_path, **LONG), 2)
    first_epochs = [message for message in caplog.messages if message.startswith("epoch 1:")]
    assert len(first_epochs) == 1, "the first trial had its first epoch behind it"
    whole = tuned(tmp_path / "whole", settings(tmp_path, **LONG), 2)
    assert untimed(resumed.trials) == untimed(whole.trials)

    study = optuna.load_study(study_name=None, storage=f"sqlite:///{tmp_path / 'search' / STUDY}")
    assert [trial.state.name for trial in study.trials].count("FAIL") == 1
    assert [trial.state.name for trial in study.trials].count("RUNNING") == 0


# ---- trials that end early -------------------------------------------------------------------------------------------


def test_a_trial_that_falls_behind_the_median_is_pruned_from_its_second_epoch_on() -> None:
    study = optuna.create_study(
        direction="maximize", pruner=MedianPruner(n_startup_trials=COMPARED_TRIALS, n_warmup_steps=COMPARED_FROM_EPOCH)
    )
    for best in (0.1, 0.2, 0.3, 0.4):
        trial = study.ask()
        report = TrialReport(trial)
        for epoch in (1, 2, 3):
            report.epoch("selection", epoch, {"loss": 1.0, SELECTION_METRIC: best})
        study.tell(trial, best)
    poor, good = TrialReport(study.ask()), TrialReport(study.ask())
    for report, value in ((poor, 0.0), (good, 0.26)):
        report.epoch("selection", 1, {"loss": 1.0, SELECTION_METRIC: value})
    good.epoch("selection", 2, {"loss": 1.0, SELECTION_METRIC: 0.0})  # the median of the four is .25
    with pytest.raises(optuna.TrialPruned):
        poor.epoch("selection", 2, {"loss": 1.0, SELECTION_METRIC: 0.24})


def test_trials_that_diverge_count_and_the_search_goes_on(tmp_path: Path) -> None:
    config = settings(tmp_path, temperature=1e-38)
    result = tuned(tmp_path / "search", config, 2)
    first, second = result.trials
    assert (first["state"], first["value"], first["epoch"]) == ("diverged", None, None)
    assert (second["state"], result.settings) == ("complete", second["settings"])


def test_a_search_of_which_every_trial_diverges_fails(tmp_path: Path) -> None:
    broken = dataclasses.replace(problem(), text_NT=np.full_like(problem().text_NT, np.nan))
    with pytest.raises(NonFiniteLossError, match=r"each of 2 trials diverged; lower training\.learning_rate"):
        tune(settings(tmp_path), broken, CARD, tmp_path / "search", TrialBudget(2), show_progress=False)
    assert not (tmp_path / "search" / BEST).exists()
