"""Builds the contexts of training, validation and test, and the sequences that buyers had at them.

contexts           buyer, moment, number of earlier events, targets and part of the time split
context_sequences  each buyer's newest events before each context, among the rows of Feast's history view

The data end with the last event of the source, not with the clock: an export of last month must not be split as of
today. Later events of the event log belong to sequences, but make no contexts and are no targets; so do a few stray
events after a long gap. If the source has no events, the events of the log define the end.
"""

import datetime as dt
import hashlib
import json
import logging
from typing import Any

import ibis
from ibis.expr.types import Table, Value

from batch_jobs.feature_build.split_time import UTC_MICROSECONDS, split_time
from batch_jobs.feature_build.tables import encode_events, write_table
from feature_repo import columns as c
from feature_repo.common.config import Config, EvaluationUnit
from feature_repo.common.files import glob_literal, read_json, sha256, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.time_split import TimeSplit
from feature_repo.transforms.sequences import POSITION, rolling_sequences, with_positions

log = logging.getLogger(__name__)

# Parquet and Feast store microseconds, so this is the smallest step before a moment.
ONE_MICROSECOND = ibis.interval(microseconds=1)
MEMORY_LIMIT = "4GB"


def ensure_contexts(config: Config) -> dict[str, Any]:
    """Builds the contexts unless they are those of the present canonical data and settings; returns their report.

    Raises:
        FileNotFoundError: There are no canonical data yet; the message names the command that writes them.
        ValueError: There are no events, or none before the test days; nothing was written.
    """
    paths = shop_paths(config)
    for path in (paths.events, paths.products):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya ingest` first")
    inputs = _inputs(paths, config)
    if paths.context_report.is_file() and paths.contexts.is_file() and paths.context_sequences.is_file():
        report = read_json(paths.context_report, "tawsiya train")
        if report["inputs"] == inputs:
            return report
    return build_contexts(config)


def build_contexts(config: Config) -> dict[str, Any]:
    """Builds the contexts from canonical events.

    Returns:
        The report: `rows` of contexts and of their sequences; the time split `validation_from`, `test_from` and
        `data_end`, in ISO 8601, UTC; `data_version`, a hash of the data that training depends on, equal for two builds
        of the same data; `inputs`, what the contexts were built from.

    Raises:
        ValueError: There are no events, or none before the test days; nothing was written.
    """
    paths = shop_paths(config)
    inputs = _inputs(paths, config)
    log.info("building the contexts of training")
    con = ibis.duckdb.connect(memory_limit=MEMORY_LIMIT, temp_directory=str(paths.root / "tmp"))
    # DuckDB returns times in the session's zone; days are days of UTC.
    con.raw_sql("SET TimeZone = 'UTC'")
    events = con.read_parquet(glob_literal(paths.events))
    split, _ = split_time(events, config.data)
    positioned = con.create_table("positioned", with_positions(encode_events(events)), temp=True)
    contexts = con.create_table("contexts", _contexts(positioned, split, config.data.evaluation_unit), temp=True)
    sequences = _sequences_before(positioned, contexts, config.model.buyer_tower.max_interaction_history)
    # Sorted, so that the same data give the same bytes: the data version hashes the file.
    rows = {
        "context_sequences": write_table(
            con, sequences.order_by([c.BUYER_ID, c.EVENT_TIMESTAMP]), paths.context_sequences
        ),
        "contexts": write_table(con, contexts.order_by([c.EVENT_TIMESTAMP, c.BUYER_ID]), paths.contexts),
    }
    report = {"rows": rows, **split.as_json(), "data_version": _data_version(paths, config), "inputs": inputs}
    write_json(paths.context_report, report)
    return report


def _inputs(paths: ShopPaths, config: Config) -> dict[str, Any]:
    """What contexts depend on."""
    return {
        "events": sha256(paths.events),
        "products": sha256(paths.products),
        "test_days": config.data.test_days,
        "evaluation_unit": config.data.evaluation_unit,
        "max_interaction_history": config.model.buyer_tower.max_interaction_history,
    }


# ---- contexts --------------------------------------------------------------------------------------------------------


def _contexts(positioned: Table, split: TimeSplit, unit: EvaluationUnit) -> Table:
    """The contexts of training, validation and test days. Each is stamped one microsecond early: Feast joins with <=.

    Training has one context per buyer and moment of events (a basket). Validation days are part of it for the refit
    after the best epoch is known. Validation and test depend on `data.evaluation_unit`: one context per buyer at the
    start of the days, with all following events as targets, or one per moment within the days.
    """
    validation, test, end = (
        ibis.literal(moment).cast(UTC_MICROSECONDS)
        for moment in (split.validation_from, split.test_from, split.data_end)
    )
    positioned = positioned.filter(positioned[c.EVENT_TIMESTAMP] <= end)
    before_test = positioned.filter(positioned[c.EVENT_TIMESTAMP] < test)
    validation_events = before_test.filter(before_test[c.EVENT_TIMESTAMP] >= validation)
    test_events = positioned.filter(positioned[c.EVENT_TIMESTAMP] >= test)
    per_buyer = unit == "per_buyer"
    return ibis.union(
        _group_contexts(before_test, c.TRAIN),
        _group_contexts(validation_events, c.VALIDATION, at=validation if per_buyer else None),
        _group_contexts(test_events, c.TEST, at=test if per_buyer else None),
    )


def _group_contexts(events: Table, split: str, at: Value | None = None) -> Table:
    """One row per buyer and moment: the number of earlier events, and the targets.

    The moment is `at`, with all events as targets; if None, each time of events is a moment of its own.
    """
    moment = (events[c.EVENT_TIMESTAMP] if at is None else at) - ONE_MICROSECOND
    events = events.mutate(**{c.EVENT_TIMESTAMP: moment.cast(UTC_MICROSECONDS), c.SPLIT: ibis.literal(split)})
    return events.group_by([c.BUYER_ID, c.EVENT_TIMESTAMP, c.SPLIT]).agg(
        **{
            c.EVENTS_BEFORE: events[POSITION].min(),
            c.PRODUCT_KEYS: events[c.PRODUCT_KEY].collect(order_by=events[POSITION]),
            c.EVENT_TYPES: events[c.EVENT_TYPE].collect(order_by=events[POSITION]),
            c.EVENT_TIMES: events[c.EVENT_TIME].collect(order_by=events[POSITION]),
        }
    )


def _sequences_before(positioned: Table, contexts: Table, max_length: int) -> Table:
    """Feast's rows of buyer sequences at the last event before each context."""
    last = contexts.mutate(**{POSITION: contexts[c.EVENTS_BEFORE] - 1})
    # A context without earlier events has no row: Feast then joins nulls, an empty history.
    before = last.filter(last[POSITION] >= 0).select(c.BUYER_ID, POSITION).distinct()
    anchors = before.inner_join(positioned.select(c.BUYER_ID, POSITION, c.EVENT_TIMESTAMP), [c.BUYER_ID, POSITION])
    stamp = ibis.literal(dt.datetime.now(dt.UTC)).cast(UTC_MICROSECONDS)
    rows = anchors.select(c.BUYER_ID, POSITION, c.EVENT_TIMESTAMP).mutate(**{c.CREATED_TIMESTAMP: stamp})
    return rolling_sequences(positioned, rows, max_length)


# ---- version of the data -------------------------------------------------------------------------------------------


def _data_version(paths: ShopPaths, config: Config) -> str:
    """A hash of the data that training depends on; a killed training run resumes only on the same data.

    The contexts contain every event up to the end of the data, so they determine all histories that training reads. A
    hash of the events file would not do: it changes with every event that the API accepts.
    """
    content = {
        "contexts": sha256(paths.contexts),
        "products": sha256(paths.products),
        "test_days": config.data.test_days,
        # The former name of the setting: another key would end the resumption of trainings in progress.
        "ask": config.data.evaluation_unit,
        "max_interaction_history": config.model.buyer_tower.max_interaction_history,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
