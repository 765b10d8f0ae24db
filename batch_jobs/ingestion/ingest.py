"""Ingest: turns a shop's raw tables into canonical Parquet; every row left out goes to quarantine with its reason.

DuckDB processes the events, so memory use is bounded whatever their number. Stages:

    source files -> views `event_source`, `product_source`, `photo_source` (each row with its source_line)
                 -> products (cleaned, keyed, deduplicated)
                 -> events (typed, matched to products, deduplicated), those of the event log included
"""

import logging
from pathlib import Path
from typing import Any

import duckdb

from batch_jobs.ingestion.csv_files import (
    add_unreadable_to_source_line,
    csv_rows,
    line_rows,
    sql_string,
    unreadable_lines_query,
)
from batch_jobs.ingestion.events import stage_events
from batch_jobs.ingestion.products import stage_products
from batch_jobs.ingestion.shop_source import record_shop_source, require_own_shop
from batch_jobs.ingestion.source_mapping import (
    EventsMapping,
    SourceMapping,
    TableMapping,
    load_mapping,
    mapping_path,
    overrides_by_table,
    table_path,
)
from feature_repo.common.config import Config
from feature_repo.common.files import replacing, write_json
from feature_repo.common.paths import ShopPaths, shop_paths

log = logging.getLogger(__name__)

INGEST_MEMORY_LIMIT = "4GB"  # DuckDB spills to disk beyond it


def ingest(config: Config) -> dict[str, Any]:
    """Reads the configured source and writes canonical events, products, the quarantine and a report of counts.

    Returns:
        The report: {"dataset", "description", "licence", "cut", "events": {...}, "products": {...}}, where a table's
        counts are read, kept, excluded (by the mapping), duplicates, bad, and `reasons` of all left out. The counts of
        `events` are those of the source; `events.event_log` has those of the event log, if it has any event.

    Raises:
        FileNotFoundError: A source file is missing (a missing photo file is only a warning).
        ValueError: A required column is missing, or a query or expression of the mapping does not fit the data; the
            message names it.
        RuntimeError: A file cannot be read or written, or disk space or memory is insufficient.
    """
    mapping = load_mapping(config.data.source)
    paths = shop_paths(config)
    paths.events.parent.mkdir(parents=True, exist_ok=True)
    require_own_shop(config)
    try:
        with duckdb.connect() as db:
            spill = sql_string(str(paths.root / "tmp"))
            db.execute(f"SET memory_limit = '{INGEST_MEMORY_LIMIT}'; SET temp_directory = {spill}")
            # A time without a zone is UTC, whatever the zone of the machine.
            db.execute("SET TimeZone = 'UTC'")
            log.info("reading the files of %s", config.data.source)
            _open_sources(db, mapping, config)
            log.info("cleaning products")
            # Products first: events are matched to them and follow merged ones.
            products = stage_products(db, mapping)
            log.info("cleaning events: %s products kept of %s", f"{products['kept']:,}", f"{products['read']:,}")
            events = stage_events(db, mapping, paths.event_log)
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
        "events": events, "products": products,
    }  # fmt: skip
    record_shop_source(config)
    write_json(paths.ingest_report, report)
    return report


# ---- source files as views -------------------------------------------------------------------------------------------


def _open_sources(db: duckdb.DuckDBPyConnection, mapping: SourceMapping, config: Config) -> None:
    """Creates the views `event_source`, `product_source` and, if there is a photo file, `photo_source`."""
    for name, file in mapping.tables.items():
        _open_lookup(db, name, mapping_path(config.data.source).parent / file)
    overrides = overrides_by_table(config.data)
    subset = mapping.subset if config.data.use_subset else None
    events = table_path(mapping, mapping.events, overrides["events"])
    # Events first: the subset's condition on products reads the view `event_source`.
    _open_table(db, "event_source", "events", mapping.events, events, subset.events if subset else None)
    products = table_path(mapping, mapping.products, overrides["products"])
    _open_table(db, "product_source", "products", mapping.products, products, subset.products if subset else None)
    if mapping.photos is not None:
        try:
            path = table_path(mapping, mapping.photos, overrides["photos"])
        except FileNotFoundError as error:
            log.warning("no photos: %s", error)
            return
        _open_table(db, "photo_source", "photos", mapping.photos, path, None)


def _open_lookup(db: duckdb.DuckDBPyConnection, name: str, path: Path) -> None:
    """Creates one of the mapping's further tables; its file belongs to the mapping: an unreadable line is an error."""
    if not path.is_file():
        raise FileNotFoundError(f"table {name} of the source mapping: {path} does not exist")
    db.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM {csv_rows(path, name)}")
    query = unreadable_lines_query(db, name, header=True)
    if query and (first := db.execute(f"SELECT data_row, line FROM ({query}) ORDER BY data_row LIMIT 1").fetchone()):
        row, line = first
        raise ValueError(f"table {name} of the source mapping: row {row} of {path} cannot be read: {line}")


def _open_table(
    db: duckdb.DuckDBPyConnection, view: str, name: str, table: TableMapping, path: Path, condition: str | None
) -> None:
    """Creates a view of a source table's rows; `source_line` numbers them in file order.

    Args:
        db: The connection.
        view: Name of the view.
        name: Name of the table in the mapping.
        table: The table.
        path: Its file.
        condition: Which of its rows belong to the subset; None takes all.

    Raises:
        ValueError: The file does not have the format of its name, or the table's SQL does not fit it.
    """
    is_text = table.lines or path.suffix != ".parquet"
    rows = f"SELECT * FROM {_file_rows(table, path, view)}"
    try:
        if table.query is not None:
            db.execute(f"CREATE OR REPLACE TEMP VIEW source AS {rows}")
            _check_sql(db, f"{name}.query", table.query)
            rows = table.query
        db.execute(f"CREATE TEMP TABLE {view}_rows AS SELECT row_number() OVER () AS source_line, * FROM ({rows})")
    except duckdb.Error as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    # Only then is a row of the view a row of the file.
    if is_text and table.query is None:
        add_unreadable_to_source_line(db, view, header=not table.lines)
    condition = condition or "true"
    # EXPLAIN each expression by itself: an error of the combined query would not name the mapping's field.
    _check_sql(db, f"subset.{name}", f"SELECT 1 FROM {view}_rows WHERE {condition}")
    exclude = table.exclude if isinstance(table, EventsMapping) else {}
    for kind, expressions in (("sql", table.sql), ("exclude", exclude)):
        for key, expression in expressions.items():
            _check_sql(db, f"{name}.{kind}.{key}", f"SELECT ({expression}) FROM {view}_rows")
    db.execute(f"CREATE TEMP VIEW {view} AS SELECT * FROM {view}_rows WHERE {condition}")


def _file_rows(table: TableMapping, path: Path, view: str) -> str:
    """The DuckDB table expression of a file's rows."""
    if table.lines:
        return line_rows(path, view)
    return f"read_parquet({sql_string(str(path))})" if path.suffix == ".parquet" else csv_rows(path, view)


def _check_sql(db: duckdb.DuckDBPyConnection, field: str, query: str) -> None:
    """Raises a ValueError that names the mapping's field if DuckDB rejects its SQL."""
    try:
        db.execute(f"EXPLAIN {query}")
    except duckdb.Error as error:
        raise ValueError(f"{field} of the source mapping is not valid: {error}") from None


# ---- output ----------------------------------------------------------------------------------------------------------


def _write(db: duckdb.DuckDBPyConnection, paths: ShopPaths) -> None:
    """Writes the tables. The caller writes the report last, so that it never describes tables that do not exist."""
    # Sorted, so that the same input gives the same bytes: a training run resumes only on the same data.
    outputs = {
        paths.products: "SELECT * FROM products ORDER BY product_id",
        paths.product_aliases: "SELECT * FROM product_aliases ORDER BY product_id",
        paths.events: "SELECT * FROM events ORDER BY buyer_id, event_time, product_key, event_type",
        paths.quarantine: 'SELECT * FROM quarantine ORDER BY "table", source_line',
    }
    for path, query in outputs.items():
        with replacing(path) as temporary:
            db.execute(f"COPY ({query}) TO {sql_string(str(temporary))} (FORMAT parquet, COMPRESSION zstd)")
