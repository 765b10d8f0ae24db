"""Builds the contexts of training, validation and test, and the sequences that buyers had at them.

contexts           buyer, moment, number of earlier events, targets and part of the time split
context_sequences  each buyer's newest events before each context, among the rows of Feast's history view

Contexts have a budget, so they are selected first: what follows costs as much as the selected ones, and not as much as
the shop's past. Their rows are then made and written bucket by bucket (docs/adr/0012).

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
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from batch_jobs.feature_build.buyer_buckets import Bucket, buckets
from batch_jobs.feature_build.context_selection import held_out_contexts, target_moments, training_contexts
from batch_jobs.feature_build.context_tables import (
    CONTEXT_SCHEMA,
    SEQUENCE_SCHEMA,
    ContextWindows,
    context_rows,
    find_windows,
    sequence_rows,
)
from batch_jobs.feature_build.split_time import UTC_MICROSECONDS, split_time
from batch_jobs.feature_build.tables import encode_events, write_table
from expectations.gate import require_passed
from expectations.records import CANONICAL
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import glob_literal, replacing, sha256, write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.console.progress import progress_bar
from feature_repo.context_report import CONTEXT_FORMAT, context_checksums, read_context_report
from feature_repo.time_split import TimeSplit

log = logging.getLogger(__name__)

# Tables of the build in DuckDB, and the names of both files in the report.
MOMENTS, SELECTED, CONTEXTS, SEQUENCES = "moments", "selected", "contexts", "context_sequences"
# Sequences at a time in memory, and in a row group of their file: 40 MB at 100 events each.
SEQUENCE_ROWS = 20_000


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
        The report: `format_version`; `rows` of contexts and of their sequences; `contexts`, how many there are and how
        many the budget took, by part of the time split; the time split `validation_from`, `test_from` and `data_end`,
        in ISO 8601, UTC; `data_version`, a hash of the data that training depends on, equal for two builds of the same
        data; `checksums` of both files; `inputs`, what the contexts were built from.

    Raises:
        FileNotFoundError: There are no canonical data yet; the message names the command that writes them.
        ValueError: There are no events, or none before the test days; nothing was written.
    """
    paths = shop_paths(config)
    _require_canonical(paths)
    inputs = _inputs(paths, config)
    log.info("building the contexts of training")
    with duckdb_session(config, "train") as db:
        con = ibis.duckdb.from_connection(db)
        canonical = con.read_parquet(glob_literal(paths.events))
        split, _ = split_time(canonical, config.data)
        counts = _select(con, canonical, split, config)
        rows = _write(con, canonical, split, config)
    checksums = context_checksums(paths)
    report = {
        "format_version": CONTEXT_FORMAT,
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
    # Not drop_table and not overwrite=True: with sqlglot 30, ibis 12 writes a DROP without the name.
    con.raw_sql(f"DROP TABLE {MOMENTS}")
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


def _write(con: Backend, canonical: Table, split: TimeSplit, config: Config) -> dict[str, int]:
    """Writes both files of the selected contexts; returns their numbers of rows."""
    paths, max_length = shop_paths(config), config.model.buyer_tower.max_interaction_history
    con.create_table(CONTEXTS, schema=ibis.Schema.from_pyarrow(CONTEXT_SCHEMA))
    n_sequences = 0
    with (
        replacing(paths.context_sequences) as temporary,
        # Without dictionaries: they make the file larger, as adjacent sequences share most of their events.
        pq.ParquetWriter(temporary, SEQUENCE_SCHEMA, compression="zstd", use_dictionary=False) as writer,
    ):
        found = _buckets(con, canonical)
        for bucket in progress_bar(found, total=len(found), title="Building contexts", unit="bucket"):
            events, contexts = _read(con, canonical, bucket)
            windows = find_windows(events, contexts, _target_ends(split, config))
            con.insert(CONTEXTS, ibis.memtable(context_rows(events, contexts, windows)))
            n_sequences += _write_sequences(writer, events, contexts, windows, max_length)
    # Sorted, as the sequences are by bucket and buyer, so that the same data give the same bytes: the data version
    # hashes the files.
    contexts_by_time = con.table(CONTEXTS).order_by([c.EVENT_TIMESTAMP, c.BUYER_ID, c.SPLIT])
    return {SEQUENCES: n_sequences, CONTEXTS: write_table(con, contexts_by_time, paths.contexts)}


def _buckets(con: Backend, canonical: Table) -> list[Bucket]:
    """The buckets of the buyers who have a selected context."""
    buyers = canonical.semi_join(con.table(SELECTED), c.BUYER_ID).group_by(c.BUYER_ID)
    return buckets(con.con, con.compile(buyers.agg(**{c.N_EVENTS: lambda events: events.count()})))


def _read(con: Backend, canonical: Table, bucket: Bucket) -> tuple[pa.Table, pa.Table]:
    """The events of the bucket's buyers and their selected contexts, as context_tables.find_windows takes them."""
    selected = con.table(SELECTED)
    contexts = selected.filter(bucket.contains(selected[c.BUYER_ID]))
    events = encode_events(canonical.filter(bucket.contains(canonical[c.BUYER_ID])).semi_join(contexts, c.BUYER_ID))
    # The order of merge_sequences.
    in_order = events.drop(c.EVENT_TIMESTAMP).order_by([c.BUYER_ID, c.EVENT_TIME, c.PRODUCT_KEY, c.EVENT_TYPE])
    by_buyer = contexts.order_by([c.BUYER_ID, c.EVENT_TIMESTAMP, c.SPLIT])
    return con.to_pyarrow(in_order).combine_chunks(), con.to_pyarrow(by_buyer).combine_chunks()


def _target_ends(split: TimeSplit, config: Config) -> dict[str, int]:
    """The ends of the targets, in milliseconds, where they are not those of the context's moment."""
    if config.data.evaluation_unit == "per_moment":
        return {}
    test, end = (round(moment.timestamp() * 1000) for moment in (split.test_from, split.data_end))
    return {c.VALIDATION: test, c.TEST: end + 1}


def _write_sequences(
    writer: pq.ParquetWriter, events: pa.Table, contexts: pa.Table, windows: ContextWindows, max_length: int
) -> int:
    """Writes a row per buyer and time; returns the number of rows."""
    # A buyer's contexts of one time, of training and of validation, see the same events and are neighbours.
    times = contexts[c.EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    repeated = (np.diff(windows.first) == 0) & (np.diff(times) == 0)
    rows = np.flatnonzero(np.concatenate([[True], ~repeated]))
    for start in range(0, len(rows), SEQUENCE_ROWS):
        part = rows[start : start + SEQUENCE_ROWS]
        of_part = ContextWindows(*(places[part] for places in windows))
        writer.write_table(sequence_rows(events, contexts.take(part), of_part, max_length))
    return len(rows)


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
