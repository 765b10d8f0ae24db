"""Ingest: turns a shop's raw tables into canonical Parquet; every row left out goes to quarantine with its reason.

DuckDB processes the events, so memory use is bounded whatever their number. Stages:

    source files -> views `event_source`, `product_source`, `photo_source` (each row with its source_line)
                 -> products (cleaned, keyed, deduplicated)
                 -> events (typed, matched to products, deduplicated), those of the event log included
"""

import datetime as dt
import logging
from typing import Any

import duckdb

from batch_jobs.ingestion.event_log.archive import archive_event_log
from batch_jobs.ingestion.event_log.source import open_event_log
from batch_jobs.ingestion.events import EVENT_LOG_TABLE, EVENTS_TABLE, stage_events
from batch_jobs.ingestion.files.utf8 import scratch_folder
from batch_jobs.ingestion.open_sources import SourceTables, open_sources
from batch_jobs.ingestion.products import PHOTOS_TABLE, PRODUCTS_TABLE, stage_products
from batch_jobs.ingestion.quarantine import LOCATED_ROWS, REMEDIES, examples, left_out_warnings
from batch_jobs.ingestion.shop_source import record_shop_source, require_own_shop
from batch_jobs.ingestion.source_mapping import load_mapping, mapping_path, with_overrides
from feature_repo.common.buyer_merges import accounts_of_guests, read_merges
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.files import replacing, write_json
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.common.sql import sql_string

log = logging.getLogger(__name__)


def ingest(config: Config, sampled_rows: int | None = None) -> dict[str, Any]:
    """Reads the configured source and writes canonical events, products, the quarantine and a report of counts.

    Args:
        config: The configuration.
        sampled_rows: Read a sample only, for a preview: so many rows of events and of products, and what belongs to
            these. The counts of a table that has more rows are marked by `sampled`.

    Returns:
        The report: {"dataset", "description", "licence", "cut", "events": {...}, "products": {...}, "warnings": [...]},
        where a table's counts are read, kept, excluded, duplicates and bad; `reasons`, `examples` and `remedies` are of
        the rows left out; `files` has path, bytes, rows and encoding of each file. The counts of `events` are those of
        the source; `events.event_log` has those of the event log, if it has any event.

    Raises:
        FileNotFoundError: A source file is missing (a missing photo file is only a warning).
        ValueError: A file is cut short, damaged, of another kind or in another encoding, a required column is missing,
            or a query or expression of the mapping does not fit the data; the message names it.
        RuntimeError: A file cannot be read or written, or disk space or memory is insufficient.
    """
    mapping = with_overrides(load_mapping(config.data.source), config.data)
    paths = shop_paths(config)
    paths.events.parent.mkdir(parents=True, exist_ok=True)
    require_own_shop(config)
    try:
        with scratch_folder(paths.source_copies) as scratch, duckdb_session(config, "ingest") as db:
            log.info("reading the files of %s", config.data.source)
            tables = open_sources(db, mapping, config, scratch, sampled_rows)
            now = dt.datetime.now(dt.UTC)
            event_logs = [host.event_log for host in paths.hosts()]
            for folder in event_logs:
                archive_event_log(db, folder, scratch, keep_days=config.data.event_log_days, now=now)
            open_event_log(db, tables, event_logs, scratch)
            log.info("cleaning products")
            # Products first: events are matched to them and follow merged ones.
            products, photos = stage_products(db, mapping, config.data, tables.opened[PRODUCTS_TABLE])
            log.info("cleaning events: %s products kept of %s", f"{products['kept']:,}", f"{products['read']:,}")
            accounts = accounts_of_guests(read_merges(host.buyer_merges for host in paths.hosts()))
            events = stage_events(db, mapping, config.data, ForgottenBuyers(paths.forgotten), accounts)
            warnings = tables.warnings + _finish_counts(db, tables, events, products, photos)
            log.info("writing tables: %s events kept of %s", f"{events['kept']:,}", f"{events['read']:,}")
            _write(db, paths)
    # Whoever wrote the mapping can mend these two; the others are the machine's (disk, memory).
    except (duckdb.ProgrammingError, duckdb.DataError) as error:
        raise ValueError(f"the SQL of {mapping_path(config.data.source)} does not fit its data: {error}") from None
    except duckdb.Error as error:
        raise RuntimeError(f"ingest failed in {paths.root}: {error}") from None
    subset = mapping.subset.description if mapping.subset and config.data.use_subset else None
    report = {
        "dataset": paths.root.name, "description": mapping.description, "licence": mapping.licence, "cut": subset,
        "events": events, "products": products, "warnings": warnings,
    }  # fmt: skip
    if photos is not None:
        report["photos"] = photos
    record_shop_source(config)
    write_json(paths.ingest_report, report)
    return report


def _finish_counts(
    db: duckdb.DuckDBPyConnection,
    tables: SourceTables,
    events: dict[str, Any],
    products: dict[str, Any],
    photos: dict[str, Any] | None,
) -> list[str]:
    """Adds the files and the examples to the counts of each table, and returns the warnings about rows."""
    reports = {
        EVENTS_TABLE: events, PRODUCTS_TABLE: products, PHOTOS_TABLE: photos,
        EVENT_LOG_TABLE: events.get(EVENT_LOG_TABLE),
    }  # fmt: skip
    warnings = []
    for name, counts in reports.items():
        if counts is not None:
            counts["files"] = [file.as_json() for file in tables.files[name]]
            if name in tables.sampled:
                counts["sampled"] = True
            # Those of rows left out, beside those of values that the table's own rules found.
            counts["examples"] = {**counts.get("examples", {}), **examples(db, name, tables.opened[name])}
            counts["remedies"] = {reason: REMEDIES[reason] for reason in counts["reasons"] if reason in REMEDIES}
            warnings += left_out_warnings(name, counts) + counts.pop("warnings", [])
    return warnings


# ---- output ----------------------------------------------------------------------------------------------------------


def _write(db: duckdb.DuckDBPyConnection, paths: ShopPaths) -> None:
    """Writes the tables. The caller writes the report last, so that it never describes tables that do not exist."""
    # Sorted, so that the same input gives the same bytes: a training run resumes only on the same data.
    outputs = {
        paths.products: "SELECT * FROM products ORDER BY product_id",
        paths.product_aliases: "SELECT * FROM product_aliases ORDER BY product_id",
        paths.events: "SELECT * FROM events ORDER BY buyer_id, event_time, product_key, event_type",
        paths.quarantine: f'{LOCATED_ROWS} ORDER BY q."table", f.file, q.source_line',
    }
    for path, query in outputs.items():
        with replacing(path) as temporary:
            db.execute(f"COPY ({query}) TO {sql_string(str(temporary))} (FORMAT parquet, COMPRESSION zstd)")
