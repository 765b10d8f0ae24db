"""The files that an ingest reads, and whether its result depends on the clock besides them."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from batch_jobs.ingestion.event_log.archive import archive_folder
from batch_jobs.ingestion.files.parts import table_parts
from batch_jobs.ingestion.source_mapping import (
    load_mapping,
    lookup_path,
    mapping_path,
    overrides_by_table,
    table_path,
)
from batch_jobs.runs.stages import Work
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths

FUTURE_EVENTS = "timestamp_in_future"


def ingest_inputs(work: Work) -> list[Path]:
    """The mapping and its tables, the files of the shop, the event log, merged and forgotten buyers.

    Raises:
        FileNotFoundError: A file of events or products is missing, as ingest says it.
        ConfigError: The mapping cannot be used.
    """
    return [
        *_mapping_files(work.config),
        *_source_files(work.config),
        *(path for host in work.paths.hosts() for path in _logged_files(host)),
        work.paths.forgotten,
    ]


def _logged_files(host: ShopPaths) -> Iterator[Path]:
    yield from sorted(host.event_log.glob("*.jsonl"))
    yield from sorted(archive_folder(host.event_log).glob("*.parquet"))
    yield host.buyer_merges


def _mapping_files(config: Config) -> Iterator[Path]:
    path = mapping_path(config.data.source)
    yield path
    mapping = load_mapping(config.data.source)
    yield from (lookup_path(mapping, config.data.source, file) for file in mapping.tables.values())


def _source_files(config: Config) -> Iterator[Path]:
    mapping = load_mapping(config.data.source)
    overrides = overrides_by_table(config.data)
    for name in ("events", "products"):
        yield from table_parts(table_path(mapping, getattr(mapping, name), overrides[name]))
    if mapping.photos is not None:
        try:
            yield from table_parts(table_path(mapping, mapping.photos, overrides["photos"]))
        except FileNotFoundError:  # ingest only warns
            return


def clock_facts(work: Work) -> dict[str, str]:
    """The moment or day, if the result of the last ingest depends on it; else nothing.

    Events of the future are left out until their time has come, and sale prices count within their dates. Both may
    change at any moment, so they have no day.
    """
    now, report = dt.datetime.now(dt.UTC), _last_report(work.paths)
    facts = {}
    if work.config.data.event_log_days:
        facts["the day (data.event_log_days)"] = now.date().isoformat()
    if report.get("products", {}).get("dated_sales"):
        facts["the time (sale prices with dates)"] = now.isoformat()
    events = report.get("events", {})
    if any(FUTURE_EVENTS in counts.get("reasons", {}) for counts in (events, events.get("event_log", {}))):
        facts["the time (events of the future)"] = now.isoformat()
    return facts


def _last_report(paths: ShopPaths) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(paths.ingest_report.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return report
