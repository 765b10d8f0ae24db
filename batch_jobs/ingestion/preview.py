"""Preview of an ingest: what a shop's files say, the mapping file to start from, and what ingest would leave out.

Nothing is written to the shop: ingest of a sample runs into a temporary folder.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from batch_jobs.ingestion.column_detection import (
    BY_NAME,
    ColumnValues,
    FoundColumn,
    Table,
    detect_columns,
    id_columns,
    match_share,
)
from batch_jobs.ingestion.files.json_lines import json_lines_query
from batch_jobs.ingestion.files.parts import table_parts
from batch_jobs.ingestion.files.utf8 import OtherEncodingError
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.ingestion.open_sources import open_sources
from batch_jobs.ingestion.source_mapping import (
    SourceMapping,
    TableMapping,
    load_mapping,
    lookup_path,
    overrides_by_table,
    table_path,
    taken_columns,
)
from batch_jobs.ingestion.value_samples import read_as
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.transforms.values.times import AmbiguousDateError, TimeReader, UnreadableTimeError, proven_date_order

# Rows at the start of a file from which its columns are told, and of which ingest is tried. Products that these events
# name are sampled too, wherever they stand.
SAMPLED_ROWS = 10_000
SAMPLES = 3  # values shown of each field
EVENTS, PRODUCTS, PHOTOS = "events", "products", "photos"


@dataclass(frozen=True)
class _Files:
    """A shop's tables: sampled values by column, the columns of the fields, and whether there is a photo file."""

    values: dict[str, Table]
    found: dict[str, dict[str, FoundColumn]]
    has_photos: bool


def preview(config: Config) -> dict[str, Any]:
    """Looks at the files of the configured source.

    Returns:
        {"mapping": the mapping file to start from, as YAML; "events" and "products": {"fields": [{"field", "column",
        "why", "samples": [[raw, read as], ...]}], "unused": columns, "counts": ingest's counts, with reasons and
        examples; `sampled` in them says that they are those of a sample}; "unmapped": what the configured source does
        not read in this way by itself, such as "products.price"; "warnings": one line each}.

    Raises:
        FileNotFoundError: A source file is missing.
        ValueError: A file cannot be read at all.
    """
    configured = load_mapping(config.data.source)
    mapping, warnings = _with_json_lines(configured, config), list[str]()
    while True:
        try:
            files = _detect(mapping, config)
            break
        except OtherEncodingError as error:  # once for each table at most
            mapping, warning = _with_encoding(mapping, error, config)
            warnings.append(warning)
    text = _proposed_mapping(mapping, files, config)
    warnings += _warnings(files, config)
    with tempfile.TemporaryDirectory() as folder:
        report = _trial(text, Path(folder), config, warnings)
    return {
        "mapping": text,
        **{name: _table_result(name, files, report.get(name, {}), config) for name in (EVENTS, PRODUCTS)},
        "unmapped": _unmapped(configured, mapping, files),
        "warnings": [*warnings, *report.get("warnings", [])],
    }


def _unmapped(configured: SourceMapping, read: SourceMapping, files: _Files) -> list[str]:
    """What was found here, and would not be with the configured mapping."""
    result = []
    for name in (EVENTS, PRODUCTS):
        table: TableMapping = getattr(configured, name)
        if table != getattr(read, name):
            result.append(f"{name} (their encoding or format)")
        found = {field: column for field, column in files.found[name].items() if field not in table.columns}
        taken = taken_columns(table, found, files.values[name])
        result += [f"{name}.{field}" for field, column in found.items() if taken.get(field) != column.column]
    if c.EVENT_TYPE not in files.found[EVENTS] and c.EVENT_TYPE not in configured.events.sql:
        result.append(f"{EVENTS}.{c.EVENT_TYPE}")
    return result


# ---- columns ---------------------------------------------------------------------------------------------------------


def _with_json_lines(mapping: SourceMapping, config: Config) -> SourceMapping:
    """The mapping, with a query for each table of JSON objects, one a line, that has none."""
    overrides = overrides_by_table(config.data)
    for name in (EVENTS, PRODUCTS):
        table: TableMapping = getattr(mapping, name)
        if table.lines or table.query:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            query = json_lines_query(table_path(mapping, table, overrides[name]), Path(scratch))
        if query:
            mapping = mapping.model_copy(update={name: table.model_copy(update={"lines": True, "query": query})})
    return mapping


def _with_encoding(mapping: SourceMapping, error: OtherEncodingError, config: Config) -> tuple[SourceMapping, str]:
    """The mapping with the encoding of the file that is not UTF-8, and a warning."""
    overrides = overrides_by_table(config.data)
    tables = {EVENTS: mapping.events, PRODUCTS: mapping.products, PHOTOS: mapping.photos}
    for name, table in tables.items():
        if table and error.path in table_parts(table_path(mapping, table, overrides[name])):
            declared = table.model_copy(update={"encoding": error.encoding})
            warning = f"{name}: {error.path.name} looks like {error.encoding} and is read so; check the samples"
            return mapping.model_copy(update={name: declared}), warning
    raise error


def _detect(mapping: SourceMapping, config: Config) -> _Files:
    # A preview writes nothing into the shop's folder.
    with tempfile.TemporaryDirectory() as scratch, duckdb_session(_in_folder(config, scratch), "ingest") as db:
        open_sources(db, mapping, _without_subset(config), Path(scratch), SAMPLED_ROWS)
        values = {EVENTS: _sample(db, "event_source"), PRODUCTS: _sample(db, "product_source")}
        views = db.execute("SELECT view_name FROM duckdb_views() WHERE view_name = 'photo_source'").fetchall()
    events, products = detect_columns(values[EVENTS], values[PRODUCTS])
    found = {EVENTS: events, PRODUCTS: products}
    for name, table in ((EVENTS, mapping.events), (PRODUCTS, mapping.products)):
        declared = {field: FoundColumn(column, "the mapping") for field, column in table.columns.items()}
        taken = {column.column for column in declared.values()} | set(table.sql)
        found[name] = declared | {
            field: column
            for field, column in found[name].items()
            if field not in declared and field not in table.sql and column.column not in taken
        }
    return _Files(values, found, has_photos=bool(views))


def _in_folder(config: Config, folder: str) -> Config:
    return config.model_copy(update={"data_dir": Path(folder)})


def _without_subset(config: Config) -> Config:
    return config.model_copy(update={"data": config.data.model_copy(update={"use_subset": False})})


def _sample(db: duckdb.DuckDBPyConnection, view: str) -> Table:
    """The values by column, without blank ones."""
    cursor = db.execute(f"SELECT * EXCLUDE (source_line) FROM {view} ORDER BY source_line")
    names = [name for name, *_ in cursor.description]
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(names)
    return {
        name: [str(value) for value in values if value is not None and str(value).strip()]
        for name, values in zip(names, columns, strict=True)
    }


# ---- the mapping to start from ---------------------------------------------------------------------------------------


class _MappingDumper(yaml.SafeDumper):
    """Writes SQL strings, which hold quotes, in double quotes, and queries as blocks."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else '"' if "'" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_MappingDumper.add_representer(str, _text_node)


def _proposed_mapping(mapping: SourceMapping, files: _Files, config: Config) -> str:
    """The mapping with the columns that were found, as YAML."""
    overrides = overrides_by_table(config.data)
    content = mapping.model_dump(exclude_unset=True, exclude={"subset", *overrides})
    given = [Path(path).resolve().parent for path in overrides.values() if path]
    if given:
        content |= {"description": "My shop", "folder": str(given[0])}
    # Lookup tables lie beside their mapping, which this one will not be.
    content["tables"] = {
        name: str(lookup_path(mapping, config.data.source, file).resolve()) for name, file in mapping.tables.items()
    }
    for name, table in ((EVENTS, mapping.events), (PRODUCTS, mapping.products)):
        content[name] = _proposed_table(table, files.found[name], overrides[name], Path(content["folder"]))
    if mapping.photos and files.has_photos:
        content["photos"] = _proposed_table(mapping.photos, {}, overrides["photos"], Path(content["folder"]))
    if c.EVENT_TYPE not in files.found[EVENTS] and c.EVENT_TYPE not in mapping.events.sql:
        # A file without event types is a list of orders.
        content[EVENTS].setdefault("sql", {})[c.EVENT_TYPE] = "'purchase'"
    content = {key: value for key, value in content.items() if value != {}}
    return yaml.dump(content, Dumper=_MappingDumper, allow_unicode=True, sort_keys=False, width=120)


def _proposed_table(
    table: TableMapping, found: Mapping[str, FoundColumn], override: str | None, folder: Path
) -> dict[str, Any]:
    kept = table.model_dump(exclude_unset=True, exclude={"path", "columns"})
    path = Path(override).resolve() if override else Path(table.path)
    if path.is_relative_to(folder):
        path = path.relative_to(folder)
    return {"path": str(path), "columns": {field: column.column for field, column in found.items()}, **kept}


def _trial(text: str, folder: Path, config: Config, warnings: list[str]) -> dict[str, Any]:
    """The report of an ingest with the proposed mapping into a temporary folder; empty if it is refused."""
    path = folder / "preview.yaml"
    path.write_text(text, encoding="utf-8")
    no_overrides = dict.fromkeys(f"{table}_path" for table in overrides_by_table(config.data))
    data = config.data.model_copy(update={"source": str(path), **no_overrides})
    try:
        return ingest(config.model_copy(update={"data_dir": folder, "data": data}), SAMPLED_ROWS)
    except (ValueError, RuntimeError) as error:
        warnings.append(f"ingest would refuse these files: {error}")
        return {}


# ---- what is said ----------------------------------------------------------------------------------------------------


def _warnings(files: _Files, config: Config) -> list[str]:
    events, products = (files.found[name] for name in (EVENTS, PRODUCTS))
    warnings = [
        f"{table}: no column for {field}; name it in the mapping under columns"
        for table, fields in ((EVENTS, (c.BUYER_ID, c.PRODUCT_ID, c.TIMESTAMP)), (PRODUCTS, (c.PRODUCT_ID,)))
        for field in fields
        if field not in files.found[table]
    ]
    if c.EVENT_TYPE not in events:
        warnings.append("events: no column names the type of an event, so all are read as purchases")
    if c.TIMESTAMP in events and (date := _ambiguous_date(files.values[EVENTS][events[c.TIMESTAMP].column], config)):
        warnings.append(f"events: {date} has two readings and no date proves one: set data.date_order")
    if c.PRODUCT_ID in events and c.PRODUCT_ID in products:
        warnings += _id_warnings(files, events[c.PRODUCT_ID].column, products[c.PRODUCT_ID].column)
    return warnings


def _ambiguous_date(texts: ColumnValues, config: Config) -> str | None:
    """A date that cannot be read without data.date_order, if there is one."""
    reader = TimeReader(config.data.timezone, config.data.date_order or proven_date_order(texts))
    for text in texts:
        try:
            reader.milliseconds(text)
        except AmbiguousDateError:
            return repr(text)
        except UnreadableTimeError:
            continue
    return None


def _id_warnings(files: _Files, ours: str, theirs: str) -> list[str]:
    ids, columns = files.values[EVENTS][ours], files.values[PRODUCTS]
    shares = {column: match_share(ids, columns[column]) for column in {theirs, *id_columns(columns)}}
    others = [column for column in shares if column != theirs]
    text = ", ".join(f"{column} {shares[column]:.0%}" for column in sorted(shares, key=lambda name: -shares[name]))
    if others:
        return [f"products: several columns hold ids; share of the events' {ours} that each has: {text}"]
    if shares[theirs] == 0:
        return [f"no id in {ours} of the events is in {theirs} of the products"]
    return []


def _table_result(name: str, files: _Files, counts: Mapping[str, Any], config: Config) -> dict[str, Any]:
    values, found = files.values[name], files.found[name]
    fields = [
        {
            "field": field,
            "column": column.column,
            "why": "its name" if column.reason == BY_NAME else column.reason,
            "samples": [[raw, read_as(field, raw, values[column.column], config)] for raw in _distinct(values, column)],
        }
        for field, column in found.items()
    ]
    taken = {column.column for column in found.values()}
    return {"fields": fields, "unused": [column for column in values if column not in taken], "counts": dict(counts)}


def _distinct(values: Table, column: FoundColumn) -> list[str]:
    return list(dict.fromkeys(values.get(column.column, ())))[:SAMPLES]
