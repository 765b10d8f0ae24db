"""The tables of a source as DuckDB views, each with its rows numbered by source_line."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import duckdb

from batch_jobs.ingestion.column_names import COLUMN_ALIASES
from batch_jobs.ingestion.events import EVENTS_TABLE
from batch_jobs.ingestion.files.ids import mend_ids, move_mangled_ids
from batch_jobs.ingestion.files.sample import keep_first_rows, keep_matching_photos, keep_matching_products
from batch_jobs.ingestion.files.tables import OpenedTable, SourceFile, open_table_files
from batch_jobs.ingestion.products import PHOTOS_TABLE, PRODUCTS_TABLE
from batch_jobs.ingestion.quarantine import add_source_files
from batch_jobs.ingestion.source_mapping import (
    EventsMapping,
    SourceMapping,
    TableMapping,
    field_expression,
    lookup_path,
    overrides_by_table,
    table_path,
)
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import out_of_resources
from feature_repo.common.sql import quoted_identifier

log = logging.getLogger(__name__)

ID_FIELDS = (c.BUYER_ID, c.PRODUCT_ID, c.EVENT_ID)
NO_TEXT_TYPES = ("STRUCT", "MAP", "UNION", "BLOB")


@dataclass
class SourceTables:
    """The opened tables of a source, by name.

    Attributes:
        opened: The tables.
        warnings: One line for each thing that was unusual.
        sampled: The tables of which only a sample was read.
    """

    opened: dict[str, OpenedTable] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    sampled: set[str] = field(default_factory=set)

    def add(self, db: duckdb.DuckDBPyConnection, name: str, table: OpenedTable, places: Sequence[SourceFile]) -> None:
        """Adds a table, and where its rows stand to the quarantine."""
        self.opened[name] = table
        self.warnings += table.warnings
        add_source_files(db, name, places)

    @property
    def files(self) -> dict[str, list[SourceFile]]:
        """The files of each table."""
        return {name: table.files for name, table in self.opened.items()}


def open_sources(
    db: duckdb.DuckDBPyConnection,
    mapping: SourceMapping,
    config: Config,
    scratch: Path,
    sampled_rows: int | None = None,
) -> SourceTables:
    """Creates the views `event_source`, `product_source` and, if there is a photo file, `photo_source`.

    `scratch` holds temporary copies of files, which must stay as long as the views are read. With `sampled_rows`, the
    views have so many rows of events and of products, and the products and photos that belong to these.

    Raises:
        FileNotFoundError: A file of events or products is missing.
        ValueError: A file cannot be read, or the mapping's SQL does not fit it.
    """
    tables = SourceTables()
    _open_lookups(db, mapping, config.data.source, scratch)
    overrides = overrides_by_table(config.data)
    subset = mapping.subset if config.data.use_subset else None
    # Events first: the subset's condition on products reads the view `event_source`.
    events = table_path(mapping, mapping.events, overrides[EVENTS_TABLE])
    condition = subset.events if subset else None
    _open_table(db, tables, EVENTS_TABLE, "event_source", mapping.events, events, condition, scratch, sampled_rows)
    if sampled_rows and keep_first_rows(db, "event_source", sampled_rows):
        tables.sampled.add(EVENTS_TABLE)
    products = table_path(mapping, mapping.products, overrides[PRODUCTS_TABLE])
    condition = subset.products if subset else None
    _open_table(db, tables, PRODUCTS_TABLE, "product_source", mapping.products, products, condition, scratch)
    if sampled_rows and keep_matching_products(db, sampled_rows):
        tables.sampled.add(PRODUCTS_TABLE)
    if mapping.photos is not None:
        try:
            photos = table_path(mapping, mapping.photos, overrides[PHOTOS_TABLE])
        except FileNotFoundError as error:
            log.warning("no photos: %s", error)
            return tables
        _open_table(db, tables, PHOTOS_TABLE, "photo_source", mapping.photos, photos, None, scratch)
        if PRODUCTS_TABLE in tables.sampled and keep_matching_photos(db):
            tables.sampled.add(PHOTOS_TABLE)
    return tables


def open_products(
    db: duckdb.DuckDBPyConnection, mapping: SourceMapping, config: Config, scratch: Path, path: Path | None
) -> SourceTables:
    """Creates the view `product_source` alone, of `path` or, without one, of the shop's file of products.

    All its rows are read: a subset's condition may need the events.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It cannot be read, or the mapping's SQL does not fit it.
    """
    tables = SourceTables()
    _open_lookups(db, mapping, config.data.source, scratch)
    override = str(path) if path else overrides_by_table(config.data)[PRODUCTS_TABLE]
    file = table_path(mapping, mapping.products, override)
    _open_table(db, tables, PRODUCTS_TABLE, "product_source", mapping.products, file, None, scratch)
    return tables


def _open_lookups(db: duckdb.DuckDBPyConnection, mapping: SourceMapping, source: str, scratch: Path) -> None:
    """Creates the mapping's further tables."""
    for name, file in mapping.tables.items():
        _open_lookup(db, name, lookup_path(mapping, source, file), scratch)


def _open_lookup(db: duckdb.DuckDBPyConnection, name: str, path: Path, scratch: Path) -> None:
    """Creates one of the mapping's further tables; its file belongs to the mapping: an unreadable line is an error."""
    if not path.is_file():
        raise FileNotFoundError(f"table {name} of the source mapping: {path} does not exist")
    # Its headings are the mapping's own: any of them is a header.
    opened = open_table_files(db, name, path, scratch, lines=False, encoding=None, known=len)
    db.execute(f"CREATE TEMP TABLE {name} AS {opened.rows}")
    first = db.execute(f"SELECT source_line, raw FROM {name}_unreadable ORDER BY source_line LIMIT 1").fetchone()
    if first:
        (line,) = opened.lines_of(first[:1]).values()
        raise ValueError(f"table {name} of the source mapping: line {line} of {path} cannot be read: {first[1]}")


def _open_table(
    db: duckdb.DuckDBPyConnection,
    tables: SourceTables,
    name: str,
    view: str,
    table: TableMapping,
    path: Path,
    condition: str | None,
    scratch: Path,
    sampled_rows: int | None = None,
) -> None:
    """Creates a view of a source table's rows; `source_line` numbers them in the order of the files.

    Args:
        db: The connection.
        tables: Where the table is added.
        name: Name of the table in the mapping.
        view: Name of the view.
        table: The table.
        path: Its file, folder or pattern.
        condition: Which of its rows belong to the subset; None takes all.
        scratch: Folder of temporary copies.
        sampled_rows: So many rows and one more are enough, from which is seen that there are more.

    Raises:
        ValueError: A file cannot be read, or the table's SQL does not fit it.
    """
    # Which rows of the files the first ones of a query come from is unknown.
    max_rows = sampled_rows + 1 if sampled_rows and table.query is None else None
    try:
        opened = open_table_files(
            db, view, path, scratch, lines=table.lines, encoding=table.encoding, known=partial(_n_known, table),
            max_rows=max_rows,
        )  # fmt: skip
        if table.query is not None:
            db.execute(f"CREATE OR REPLACE TEMP VIEW source AS {opened.rows}")
            _check_sql(db, f"{name}.query", table.query)
            _create_rows(db, view, table.query)
        elif opened.texts:
            db.execute(f"ALTER TABLE {view}_file RENAME TO {view}_rows")
        else:
            _create_rows(db, view, opened.rows)
    except duckdb.Error as error:
        if out_of_resources(error):
            raise
        raise ValueError(f"{path} cannot be read: {error}") from None
    if table.query is None:
        tables.add(db, name, opened, opened.files)
    else:
        # A row is one of the query's result, and from which of the files is unknown.
        tables.add(db, name, replace(opened, texts=[]), [SourceFile(str(path), 0, 0, None)])
    _check_text(db, view, table, path)
    tables.warnings += _mend_ids(db, view, table, path)
    condition = condition or "true"
    # EXPLAIN each expression by itself: an error of the combined query would not name the mapping's field.
    _check_sql(db, f"subset.{name}", f"SELECT 1 FROM {view}_rows WHERE {condition}")
    exclude = table.exclude if isinstance(table, EventsMapping) else {}
    for kind, expressions in (("sql", table.sql), ("exclude", exclude)):
        for key, expression in expressions.items():
            _check_sql(db, f"{name}.{kind}.{key}", f"SELECT ({expression}) FROM {view}_rows")
    db.execute(f"CREATE TEMP VIEW {view} AS SELECT * FROM {view}_rows WHERE {condition}")


def _n_known(table: TableMapping, headings: Sequence[str]) -> int:
    """How many fields of a table the headings of a file name."""
    plain = TableMapping(path=table.path)
    by_name = sum(field_expression(plain, field, headings) is not None for field in COLUMN_ALIASES)
    return by_name + len(set(table.columns.values()).intersection(headings))


def _create_rows(db: duckdb.DuckDBPyConnection, view: str, query: str) -> None:
    db.execute(f"CREATE TEMP TABLE {view}_rows AS SELECT row_number() OVER () AS source_line, * FROM ({query})")


def _check_text(db: duckdb.DuckDBPyConnection, view: str, table: TableMapping, path: Path) -> None:
    """Raises a ValueError if the column of a field is no text, and cannot be written as text."""
    types = {name: kind for name, kind, *_ in db.execute(f"DESCRIBE {view}_rows").fetchall()}
    for name, canonical in _plain_columns(table, types, COLUMN_ALIASES).items():
        if types[name] == "BLOB":
            raise ValueError(f"{path}: column {name!r} (for {canonical}) holds bytes that are not UTF-8 text")
        if types[name].startswith(NO_TEXT_TYPES) or types[name].endswith("]"):
            raise ValueError(
                f"{path}: column {name!r} (for {canonical}) has the type {types[name]}, but text is expected; say in "
                f"the mapping how it is read, such as sql: {{{canonical}: {_part_of(name, types[name])}}}"
            )


def _part_of(column: str, kind: str) -> str:
    return f"{column}[1]" if kind.endswith("]") else f"{column}.PART"


def _mend_ids(db: duckdb.DuckDBPyConnection, view: str, table: TableMapping, path: Path) -> list[str]:
    """Reads ids as the shop wrote them; returns what to warn about."""
    names = [name for name, *_ in db.execute(f"DESCRIBE {view}_rows").fetchall()]
    columns = _plain_columns(table, names, ID_FIELDS)
    mend_ids(db, view, columns)
    # A row may do without the id of its event.
    example = move_mangled_ids(db, view, [name for name, id_field in columns.items() if id_field != c.EVENT_ID])
    if example is None:
        return []
    return [
        f"{path}: Excel destroyed ids, such as {example!r}: their last digits are gone; format the column as text "
        "before saving, or export without Excel"
    ]


def _plain_columns(
    table: TableMapping, names: Sequence[str] | dict[str, str], fields: Sequence[str] | dict[str, tuple[str, ...]]
) -> dict[str, str]:
    """The columns from which fields are read without SQL: column -> field."""
    expressions = {field: field_expression(table, field, names) for field in fields if field not in table.sql}
    return {name: field for name in names for field, found in expressions.items() if found == quoted_identifier(name)}


def _check_sql(db: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    """Raises a ValueError that names the mapping's field if DuckDB rejects its SQL."""
    try:
        db.execute(f"EXPLAIN {query}")
    except duckdb.Error as error:
        raise ValueError(f"{name} of the source mapping is not valid: {error}") from None
