"""Refresh: the whole pipeline from raw files to a live release, for a scheduler.

A stage whose data, settings and code are those of its last result is skipped (batch_jobs.runs.stages). Each stage
writes its result atomically. A killed run leaves the results of the finished stages, and the next run goes on from
there and ends in the same state as if nothing had happened.
"""

import datetime as dt
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batch_jobs.runs.comparison import changes_since, run_counts, run_metrics
from batch_jobs.runs.run_records import PRICES_RUN, REFRESH, RunRecord, last_done, started_run
from batch_jobs.runs.stage_runner import SAME, StageRunner
from batch_jobs.runs.stage_table import (
    BASELINES_STAGE,
    BUILD_FEATURES_STAGE,
    CONTEXTS_STAGE,
    EMBED_STAGE,
    EVALUATE_STAGE,
    INGEST_STAGE,
    MATERIALIZE_STAGE,
    PRICES_STAGE,
    RELEASE_STAGE,
    RELEASE_STAGES,
    TRAIN_STAGE,
    VALIDATE_FEATURES_STAGE,
    VALIDATE_STAGE,
    live_release,
)
from batch_jobs.runs.stages import Work, read_stage_record
from batch_jobs.runs.training_due import decide, metric_drop, record_metric, record_training
from batch_jobs.upkeep.retention import clean
from expectations.gate import recorded_warnings
from expectations.records import CANONICAL, FEATURE_STAGE
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.lock import BusyError, shop_lock
from feature_repo.feature_report import read_feature_report

log = logging.getLogger(__name__)


def refresh(config: Config, *, forced_because: str | None = None, show_progress: bool = True) -> dict[str, Any]:
    """Runs the whole pipeline under the shop's lock.

    Args:
        config: The configuration.
        forced_because: Why the release goes live although its gate refuses it; None respects the gate.
        show_progress: Whether jobs show progress bars on stderr.

    Returns:
        {"run", "release", "dataset", "seconds": {stage: s, ..., "total": s}, "stages": [{"stage", "state", "why",
        "seconds", "cpu_seconds"}], "counts", "metrics", "changes": against the last finished run, "quarantine",
        "report", "record", "gate": the judgement on the release (see publish), "shadow": the report that shows its
        lists beside those of the release before, "warnings", "evaluation"}; quarantine, report, record and shadow are
        paths. Of a release that was not made anew, gate and shadow are None.

    Raises:
        BusyError: Another job is running on the shop.
        GateRefusedError: A gate refused the data or the release; the live release stays live.
    """
    work = Work(config, show_progress=show_progress, forced_because=forced_because)
    warnings: list[str] = []
    # One lock for the whole run: another job between two stages would change their inputs.
    with _reports_afterwards(config), shop_lock(config), _run(work, REFRESH) as run, _logged_on_failure(warnings):
        runner = StageRunner(work, run)
        runner.advance(INGEST_STAGE)
        warnings += read_json(work.paths.ingest_report, "tawsiya ingest")["warnings"]
        warnings += _build_data(runner)
        with _opened_store(work):
            runner.advance(MATERIALIZE_STAGE)
            runner.advance(CONTEXTS_STAGE)
            _renew_model(runner)
            for stage in RELEASE_STAGES:
                runner.advance(stage)
        warnings += _not_live(work)
        clean(config)
        evaluation = read_json(work.paths.evaluation, "tawsiya evaluate")
        _add_facts(work, run, evaluation)
    published = work.published or {"gate": None, "shadow": None}
    judged = {name: published[name] for name in ("gate", "shadow")}
    return _result(work, run) | judged | {"warnings": warnings, "evaluation": evaluation}


def refresh_prices(config: Config, *, feed: Path | None = None) -> dict[str, Any]:
    """Brings prices, stock and visibility from the shop's products, or a feed of them, to the online store.

    Args:
        config: The configuration.
        feed: File to read by the mapping of the products, instead of the shop's file.

    Returns:
        {"run", "dataset", "seconds", "stages", "counts", "quarantine", "record", "warnings"}

    Raises:
        BusyError: Another job is running on the shop.
        FileNotFoundError: There is no catalogue yet, or no file.
        GateRefusedError: A gate refused the values; the online store keeps the present ones.
    """
    work = Work(config, feed=feed)
    warnings: list[str] = []
    with shop_lock(config), _run(work, PRICES_RUN) as run, _logged_on_failure(warnings):
        runner = StageRunner(work, run)
        runner.run(PRICES_STAGE, "asked for")
        assert work.price_report is not None
        run.content["counts"] = work.price_report["counts"]
        warnings += work.price_report["warnings"]
        warnings += _build_data(runner)
        with _opened_store(work):
            runner.advance(MATERIALIZE_STAGE)
    return _result(work, run) | {"quarantine": str(work.paths.price_quarantine), "warnings": warnings}


# ---- parts of a run --------------------------------------------------------------------------------------------------


@contextmanager
def _run(work: Work, kind: str) -> Iterator[RunRecord]:
    with started_run(work.paths, kind, work.config.refresh.keep_records) as run:
        if work.forced_because:
            run.content["forced_because"] = work.forced_because
        log.info("run %s", run.id)
        yield run


def _build_data(runner: StageRunner) -> list[str]:
    """From canonical data to validated features; returns the warnings."""
    paths = runner.work.paths
    runner.advance(VALIDATE_STAGE)
    warnings = recorded_warnings(paths, CANONICAL)
    runner.advance(BUILD_FEATURES_STAGE)
    warnings += read_feature_report(paths)["warnings"]
    runner.advance(VALIDATE_FEATURES_STAGE)
    return warnings + recorded_warnings(paths, FEATURE_STAGE)


def _renew_model(runner: StageRunner) -> None:
    """Trains if it is due, embeds the products and evaluates; trains after that if the metric has fallen."""
    work, now = runner.work, dt.datetime.now(dt.UTC)
    train, why = decide(work, runner.differences(TRAIN_STAGE), same=SAME, now=now)
    if train:
        runner.run(TRAIN_STAGE, why)
        record_training(work, now)
    else:
        runner.skip(TRAIN_STAGE, why)
    _embed_and_evaluate(runner)
    if not train and (dropped := metric_drop(work)):
        runner.run(TRAIN_STAGE, dropped)
        record_training(work, now)
        _embed_and_evaluate(runner)
    record_metric(work)


def _embed_and_evaluate(runner: StageRunner) -> None:
    runner.advance(EMBED_STAGE)
    _measure_baselines(runner)
    runner.advance(EVALUATE_STAGE)


def _measure_baselines(runner: StageRunner) -> None:
    """Measures the baselines if the model is another one, or nobody could be asked when it was new."""
    if found := runner.differences(BASELINES_STAGE):
        runner.run(BASELINES_STAGE, "; ".join(map(str, found)))
        return
    kept = read_json(runner.work.paths.baselines, "tawsiya refresh")
    if kept["targets"]:
        runner.skip(BASELINES_STAGE, f"the model is the same; baselines of {kept['baselines']}")
    else:
        runner.run(BASELINES_STAGE, "there was nobody to measure on")


@contextmanager
def _opened_store(work: Work) -> Iterator[None]:
    """Opens the feature store once for all stages: an embedded server starts and stops with it."""
    from feature_repo.store import feature_store

    with feature_store(work.config) as store:
        work.store = store
        yield


def _not_live(work: Work) -> list[str]:
    """A warning if the release of these data is not live, such as after a rollback."""
    record = read_stage_record(work.paths, RELEASE_STAGE.name)
    made = next((Path(name).parts[1] for name in record["outputs"]), "") if record else ""
    live = live_release(work.paths).name
    if made in ("", live):
        return []
    return [
        f"the release of these data, {made}, is not live: {live} is; `tawsiya release promote {made}` makes it live, "
        "and the next release of other data goes live by itself"
    ]


@contextmanager
def _logged_on_failure(warnings: list[str]) -> Iterator[None]:
    """Logs the warnings so far if the block fails: then no result has them."""
    try:
        yield
    except BaseException:
        for warning in warnings:
            log.warning("%s", warning)
        raise


@contextmanager
def _reports_afterwards(config: Config) -> Iterator[None]:
    """Builds the reports when the block has ended, also by an error: then they say what went wrong."""
    try:
        yield
    except BusyError:
        raise  # the other job will build them
    except Exception:
        _build_reports(config)
        raise
    _build_reports(config)


def _build_reports(config: Config) -> None:
    from batch_jobs.reports.build import build_reports

    try:
        build_reports(config)
    except Exception:
        # Such as a full disk. The run has ended, and what it has made is live: it must not fail by its pages.
        # `tawsiya report build` makes up for them.
        log.warning("the reports were not built", exc_info=True)


# ---- results ---------------------------------------------------------------------------------------------------------


def _add_facts(work: Work, run: RunRecord, evaluation: dict[str, Any]) -> None:
    """Adds to the record what the run gives: counts, metrics, release, and how they differ from the last run."""
    paths = work.paths
    ingested, features = read_json(paths.ingest_report, "tawsiya ingest"), read_feature_report(paths)
    facts = {
        "release": live_release(paths).name,
        "counts": run_counts(ingested, features),
        "metrics": run_metrics(evaluation),
        "quarantine": str(paths.quarantine),
        "report": str(paths.report_index),
    }
    run.content |= facts | {"changes": changes_since(last_done(paths, REFRESH), facts)}


def _result(work: Work, run: RunRecord) -> dict[str, Any]:
    """What a command prints of a run."""
    content = run.content
    seconds: dict[str, float] = {}
    for stage in content["stages"]:
        seconds[stage["stage"]] = round(seconds.get(stage["stage"], 0.0) + stage["seconds"], 2)
    facts = ("release", "counts", "metrics", "changes", "quarantine", "report")
    return {
        "run": run.id,
        "dataset": work.paths.root.name,
        "stages": content["stages"],
        "seconds": seconds | {"total": round(content["seconds"], 2)},
        "record": str(work.paths.refreshes / f"{run.id}.json"),
        **{name: content[name] for name in facts if name in content},
    }
