"""Builds the contexts of training, validation and test, and the sequences that buyers had at them.

contexts           buyer, moment, number of earlier events, targets and part of the time split
context_sequences  each buyer's newest events before each context, among the rows of Feast's history view

Contexts have a budget, so they are selected first: what follows costs as much as the selected ones, and not as much as
the shop's past. Events are then numbered and joined bucket by bucket (docs/adr/0012).

The data end with the last event of the source, not with the clock: an export of last month must not be split as of
today. Later events of the event log make no contexts and are no targets; so do a few stray events after a long gap. If
the source has no events, the events of the log define the end.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from typing import Any

import ibis
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from batch_jobs.feature_build.buyer_buckets import buyer_buckets
from batch_jobs.feature_build.context_selection import held_out_contexts, target_moments, training_contexts
from batch_jobs.feature_build.context_tables import contexts_with_targets, sequences_before
from batch_jobs.feature_build.split_time import UTC_MICROSECONDS, split_time
from batch_jobs.feature_build.tables import encode_events, write_table
from expectations.gate import require_passed
from expectations.records import CANONICAL
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.files import glob_literal, sha256, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.context_report import context_checksums, read_context_report
from feature_repo.time_split import TimeSplit
from feature_repo.transforms.sequences import with_positions

log = logging.getLogger(__name__)

MEMORY_LIMIT = "4GB"
# Tables of the build in DuckDB.
MOMENTS, SELECTED, POSITIONED = "moments", "selected", "positioned"
BUCKET_CONTEXTS, CONTEXTS, SEQUENCES = "bucket_contexts", "contexts", "context_sequences"


def ensure_contexts(config: Config) -> dict[str, Any]:
    """Builds the contexts unless they are those of the present canonical data and settings; returns their report.

    Raises:
        FileNotFoundError: There are no canonical data yet; the message names the command that writes them.
        GateRefusedError: Contexts are to be built, and the canonical data have not passed the gate.
        ValueError: There are no events, or none before the test days; nothing was written.
    """
    paths = shop_paths(config)
    _require_canonical(paths)
    report = _present_report(paths)
    if report is None or report["inputs"] != _inputs(paths, config):
        require_passed(paths, CANONICAL)
        report = build_contexts(config)
    _log_budget(report["contexts"])
    return report


def build_contexts(config: Config) -> dict[str, Any]:
    """Builds the contexts from canonical events.

    Returns:
        The report: `rows` of contexts and of their sequences; `contexts`, how many there are and how many the budget
        took, by part of the time split; the time split `validation_from`, `test_from` and `data_end`, in ISO 8601,
        UTC; `data_version`, a hash of the data that training depends on, equal for two builds of the same data;
        `checksums` of both files; `inputs`, what the contexts were built from.

    Raises:
        FileNotFoundError: There are no canonical data yet; the message names the command that writes them.
        ValueError: There are no events, or none before the test days; nothing was written.
    """
    paths = shop_paths(config)
    _require_canonical(paths)
    inputs = _inputs(paths, config)
    log.info("building the contexts of training")
    con = ibis.duckdb.connect(memory_limit=MEMORY_LIMIT, temp_directory=str(paths.root / "tmp"))
    # DuckDB returns times in the session's zone; days are days of UTC.
    con.raw_sql("SET TimeZone = 'UTC'")
    canonical = con.read_parquet(glob_literal(paths.events))
    split, _ = split_time(canonical, config.data)
    counts = _select(con, canonical, split, config)
    _fill(con, canonical, split, config)
    rows = _write(con, paths)
    checksums = context_checksums(paths)
    report = {
        "rows": rows,
        "contexts": counts,
        **split.as_json(),
        "data_version": _data_version(paths, config, checksums),
        "checksums": checksums,
        "inputs": inputs,
    }
    # Last: a build that is killed before leaves files that the old report does not fit.
    write_json(paths.context_report, report)
    return report


# ---- steps of the build ----------------------------------------------------------------------------------------------


def _select(con: Backend, canonical: Table, split: TimeSplit, config: Config) -> dict[str, dict[str, int]]:
    """Creates the table SELECTED; returns how many contexts there are and how many are taken, by split."""
    end, events = ibis.literal(split.data_end).cast(UTC_MICROSECONDS), encode_events(canonical)
    known = events.filter(events[c.EVENT_TIMESTAMP] <= end)
    moments = con.create_table(MOMENTS, target_moments(known, config.data.target_events))
    present = _count_by_split(_contexts_within(moments, split, _without_budget(config)))
    selected = con.create_table(SELECTED, _contexts_within(moments, split, config))
    taken = _count_by_split(selected)
    _drop(con, MOMENTS)
    return {name: {"present": present[name], "taken": taken[name]} for name in present}


def _without_budget(config: Config) -> Config:
    training = config.training.model_copy(update={"max_contexts": 0, "max_contexts_per_buyer": 0})
    data = config.data.model_copy(update={"max_held_out_contexts": 0})
    return config.model_copy(update={"training": training, "data": data})


def _contexts_within(moments: Table, split: TimeSplit, config: Config) -> Table:
    return ibis.union(
        training_contexts(moments, split, config.training),
        held_out_contexts(moments, split, c.VALIDATION, config.data),
        held_out_contexts(moments, split, c.TEST, config.data),
    )


def _count_by_split(contexts: Table) -> dict[str, int]:
    counts = contexts.group_by(c.SPLIT).agg(n=contexts.count()).execute().set_index(c.SPLIT)["n"]
    return {name: int(counts.get(name, 0)) for name in (c.TRAIN, c.VALIDATION, c.TEST)}


def _fill(con: Backend, canonical: Table, split: TimeSplit, config: Config) -> None:
    """Creates the tables CONTEXTS and SEQUENCES of the selected contexts, bucket by bucket."""
    paths, selected = shop_paths(config), con.table(SELECTED)
    n_events = pq.read_metadata(paths.events).num_rows
    columns = canonical.select(c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TYPE, c.EVENT_TIME)
    needed = columns.semi_join(selected, c.BUYER_ID)
    for bucket in buyer_buckets(con, needed, n_events, paths.root / "tmp" / "context_buckets"):
        # Tables, because each is read more than once.
        positioned = con.create_table(POSITIONED, with_positions(encode_events(bucket)))
        of_bucket = contexts_with_targets(positioned, selected, split, config.data.evaluation_unit)
        contexts = con.create_table(BUCKET_CONTEXTS, of_bucket)
        sequences = sequences_before(positioned, contexts, config.model.buyer_tower.max_interaction_history)
        _append(con, CONTEXTS, contexts)
        _append(con, SEQUENCES, sequences)
        _drop(con, POSITIONED, BUCKET_CONTEXTS)


def _append(con: Backend, name: str, rows: Table) -> None:
    if name in con.list_tables():
        con.insert(name, rows)
    else:
        con.create_table(name, rows)


def _drop(con: Backend, *names: str) -> None:
    for name in names:
        # Not drop_table and not overwrite=True: with sqlglot 30, ibis 12 writes a DROP without the name.
        con.raw_sql(f"DROP TABLE {name}")


def _write(con: Backend, paths: ShopPaths) -> dict[str, int]:
    """Writes both files; returns their numbers of rows."""
    contexts, sequences = con.table(CONTEXTS), con.table(SEQUENCES)
    # Sorted, so that the same data give the same bytes: the data version hashes the files.
    return {
        SEQUENCES: write_table(con, sequences.order_by([c.BUYER_ID, c.EVENT_TIMESTAMP]), paths.context_sequences),
        CONTEXTS: write_table(con, contexts.order_by([c.EVENT_TIMESTAMP, c.BUYER_ID, c.SPLIT]), paths.contexts),
    }


# ---- what contexts were built from -----------------------------------------------------------------------------------


def _require_canonical(paths: ShopPaths) -> None:
    for path in (paths.events, paths.products):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist yet; run `tawsiya ingest` first")


def _present_report(paths: ShopPaths) -> dict[str, Any] | None:
    """The report of complete contexts; None if there are none."""
    try:
        return read_context_report(paths)
    except (FileNotFoundError, ValueError):
        return None


def _inputs(paths: ShopPaths, config: Config) -> dict[str, Any]:
    """What contexts depend on."""
    return {
        "events": sha256(paths.events),
        "products": sha256(paths.products),
        "test_days": config.data.test_days,
        "evaluation_unit": config.data.evaluation_unit,
        "target_events": sorted(config.data.target_events),
        "max_held_out_contexts": config.data.max_held_out_contexts,
        "max_contexts": config.training.max_contexts,
        "max_contexts_per_buyer": config.training.max_contexts_per_buyer,
        "seed": config.training.seed,
        "max_interaction_history": config.model.buyer_tower.max_interaction_history,
    }


def _data_version(paths: ShopPaths, config: Config, checksums: Mapping[str, str]) -> str:
    """A hash of the data that training depends on; a killed training run resumes only on the same data.

    A hash of the events file would not do: it changes with every event that the API accepts.
    """
    content = {
        **checksums,
        "products": sha256(paths.products),
        "test_days": config.data.test_days,
        "evaluation_unit": config.data.evaluation_unit,
        "max_interaction_history": config.model.buyer_tower.max_interaction_history,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _log_budget(counts: Mapping[str, Mapping[str, int]]) -> None:
    """Says in one line what the budget left out; nothing if it took all."""
    left_out = {name: count for name, count in counts.items() if count["taken"] < count["present"]}
    if left_out:
        taken = ", ".join(f"{count['taken']:,} of {count['present']:,} ({name})" for name, count in left_out.items())
        log.info("contexts within the budget (training.max_contexts, data.max_held_out_contexts): %s", taken)
