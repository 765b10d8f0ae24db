"""Whether `tawsiya refresh` trains: by changes, age, drift and metric, as the section `refresh` says."""

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from batch_jobs.runs.stages import Difference, Work
from expectations.drift import drifted
from expectations.statistics import CanonicalStatistics, good_runs, statistics_from
from feature_repo.common.files import read_json, write_json
from feature_repo.common.paths import ShopPaths

# Of the evaluation: the metric that training selects by. A test compares the names; their modules load torch.
MODEL, KIND, METRIC = "two_tower", "all", "ndcg@20"
SAMPLED = "sample"  # says of an evaluation how many of the test contexts it is of


FORGOTTEN_BUYERS = "forgotten buyers"  # named so among the data of the training


class Decision(NamedTuple):
    """Whether to train, and why."""

    train: bool
    why: str


def decide(work: Work, found: Sequence[Difference], *, same: str, now: dt.datetime) -> Decision:
    """Whether the model must be trained before products are embedded; the metric is compared later.

    Args:
        work: The run.
        found: What differs from the last training.
        same: What to say if nothing does.
        now: The present.
    """
    settings = work.config.refresh
    reasons = "; ".join(map(str, found))
    if not found:
        return Decision(False, same)
    if unusable := _why_unusable(work):
        return Decision(True, unusable)
    if settings.retrain == "changed":
        return Decision(True, reasons)
    if settings.retrain == "never":
        return Decision(False, f"refresh.retrain is never, in spite of {reasons}")
    # An erasure promises that the next model is trained without the buyer.
    if any(difference.kind != "data" or FORGOTTEN_BUYERS in difference.names for difference in found):
        return Decision(True, reasons)
    training = _last_training(work)
    if training is None:
        return Decision(True, "it is not recorded when the model was trained")
    return _by_age_and_drift(work, training, now)


def _by_age_and_drift(work: Work, training: Mapping[str, Any], now: dt.datetime) -> Decision:
    settings, kept = work.config.refresh, []
    days = (now - dt.datetime.fromisoformat(training["trained_at"])).total_seconds() / 86_400
    if settings.retrain_days:
        if days >= settings.retrain_days:
            return Decision(True, f"the model is {days:.1f} days old (refresh.retrain_days={settings.retrain_days})")
        kept.append(f"the model is {days:.1f} days old of {settings.retrain_days}")
    if settings.retrain_on_drift:
        before, present = statistics_from(training["statistics"]), _statistics(work.paths)
        if found := drifted(work.config.expectations, present, before):
            named = "; ".join(f"{name}: {what}" for name, what in found.items())
            return Decision(True, f"the data have drifted since the training: {named}")
        kept.append("no drift since its training")
    return Decision(False, f"not due: {', '.join(kept) or 'no age and no drift is set'}")


def metric_drop(work: Work) -> str | None:
    """How far the model's metric fell since its training, if it is enough to train; else None.

    Call it after the evaluation of a model that was not trained in this run.
    """
    limit, training = work.config.refresh.retrain_on_metric_drop, _last_training(work)
    if work.config.refresh.retrain != "due" or not limit or training is None:
        return None
    before, measured = training.get("metric"), _present_metric(work.paths)
    if before is None or measured is None or measured.at_most >= before * (1 - limit):
        return None
    sample = f", of a sample, at most {measured.at_most:.4f}" if measured.at_most > measured.value else ""
    return (
        f"{METRIC} of the model fell from {before:.4f} to {measured.value:.4f}{sample} "
        f"(refresh.retrain_on_metric_drop={limit:g})"
    )


class _Measured(NamedTuple):
    """A metric; `at_most` is the upper end of its interval if it is of a sample, which may be low by chance."""

    value: float
    at_most: float


def _present_metric(paths: ShopPaths) -> _Measured | None:
    """The metric of the last evaluation; None if it has none."""
    evaluation = read_json(paths.evaluation, "tawsiya evaluate")
    measured = evaluation["targets"].get(KIND)
    if measured is None:
        return None
    value, interval = measured["models"][MODEL][METRIC], measured["ci"][MODEL][METRIC]
    return _Measured(value, interval[1] if SAMPLED in evaluation["split"] else value)


def _why_unusable(work: Work) -> str | None:
    """Why there must be a training whatever is set; None if there is a model that this program can use."""
    from training.artifacts.model import CARD, MODEL_FORMAT

    try:
        card = json.loads((work.paths.model / CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "there is no model"
    if card.get("format_version") != MODEL_FORMAT:
        return "the model is of another version of Tawsiya"
    if card.get("schema_hash") != work.opened_store.schema_hash:
        return "the model was trained on another feature schema"
    return None


# ---- what is known of the last training ------------------------------------------------------------------------------


def record_training(work: Work, now: dt.datetime) -> None:
    """Records when the model was trained, and the statistics of its data."""
    content = {
        "weights": _weights(work),
        "trained_at": now.isoformat(timespec="seconds"),
        "statistics": dataclasses.asdict(_statistics(work.paths)),
    }
    write_json(_path(work.paths), content)


def record_metric(work: Work) -> None:
    """Records the metric of the first evaluation after the training."""
    training = _last_training(work)
    if training is not None and "metric" not in training:
        measured = _present_metric(work.paths)
        write_json(_path(work.paths), training | {"metric": measured and measured.value})


def _last_training(work: Work) -> dict[str, Any] | None:
    """What is known of the training of the present model; None if that is another one."""
    try:
        content: dict[str, Any] = json.loads(_path(work.paths).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if content["weights"] == _weights(work) else None


def _weights(work: Work) -> str:
    return work.checksums.sum(work.paths.model / "model.safetensors")


def _statistics(paths: ShopPaths) -> CanonicalStatistics:
    """Those of the present data, which have passed the gate."""
    return good_runs(paths)[0].statistics


def _path(paths: ShopPaths) -> Path:
    return paths.refreshes / "training.json"
