"""Source mappings: one YAML file per shop export says where its tables lie and what their columns mean."""

import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from feature_repo import columns as c
from feature_repo.common.config import Config, ConfigError, DataConfig, Section, TrainingConfig
from feature_repo.common.config_loading import load_config, read_yaml

SOURCES_FOLDER = Path("config/sources")
PACKAGE_PREFIX = "package:"

METADATA = "metadata"  # a product's further values as JSON, in a mapping

# Names that shops give to the canonical fields, compared without case, spaces, dashes and underscores. The first one
# that a file has is taken, so `id` comes last: in a file of events it may be the event's own.
ALIASES: dict[str, tuple[str, ...]] = {
    c.BUYER_ID: ("buyer", "user", "user_id", "customer", "customer_id", "visitor_id", "household_id"),
    c.PRODUCT_ID: ("product", "item", "item_id", "sku", "id"),
    c.EVENT_TYPE: ("event", "event_name", "action", "type"),
    c.TIMESTAMP: ("event_time", "time", "ts", "date", "datetime", "created_at", "event_timestamp"),
    c.EVENT_ID: ("uuid",),
    c.TITLE: ("name", "product_name", "title_ar"),
    c.DESCRIPTION: ("desc", "details", "product_description"),
    c.BRAND: ("brand_name", "manufacturer"),
    c.CATEGORY: ("category_id", "catalog_id", "category_name"),
    c.PRICE: ("unit_price", "sale_price"),
    c.STOCK: ("quantity_in_stock", "stock_quantity", "inventory"),
    c.PHOTO: ("thumbnail", "photo_link", "photo_url", "image", "image_url", "image_link"),
    c.HIDDEN: ("is_hidden", "unlisted"),
    METADATA: ("meta", "attributes"),
}


# Names of ingest's own tables begin with these.
TAKEN = ("source", "event", "product", "photo", "quarantine", "rejected", "kept")


def _free(name: str) -> str:
    if name.startswith(TAKEN):
        raise ValueError(f"a table may not be called {name}: names that begin with {', '.join(TAKEN)} are taken")
    return name


TableName = Annotated[str, Field(pattern="^[a-z_]+$"), AfterValidator(_free)]


class TableMapping(Section):
    """One table of a source.

    A canonical field comes from `sql` (a DuckDB expression over the table's columns), else from the column named in
    `columns`, else from the column that bears its name or a usual variation of it (ALIASES).
    """

    path: str = Field(description="File name in the source's folder: CSV, gzipped CSV, Parquet, or text (see `lines`)")
    lines: bool = Field(False, description="Read the file as text: one row per line, in the column `line`")
    query: str | None = Field(None, description="DuckDB query over the view `source`, read instead of the file's rows")
    columns: dict[str, str] = Field(default_factory=dict, description="Canonical field -> column of the file")
    sql: dict[str, str] = Field(default_factory=dict, description="Canonical field -> DuckDB expression")


class EventsMapping(TableMapping):
    """The events of a source."""

    exclude: dict[str, str] = Field(default_factory=dict, description="Reason -> condition of rows that do not belong")


class SubsetMapping(Section):
    """A smaller part of a source, for demonstrations."""

    description: str
    events: str = Field(description="Condition on the rows of the events file")
    products: str = Field(
        "true", description="Condition on product rows; the view `event_source` holds the subset's events"
    )
    training: TrainingConfig = Field(
        default_factory=TrainingConfig, description="Defaults of the section `training` while the subset is in use"
    )


class SourceMapping(Section):
    """A whole source."""

    description: str
    licence: str
    folder: str = Field(description="Path, `$VARIABLE/path`, or `package:NAME/path` for data inside a Python package")
    deduplicate: bool = Field(False, description="Merge products of equal title, description and brand")
    tables: dict[TableName, str] = Field(
        default_factory=dict, description="Further tables for queries to join: name -> CSV file beside the mapping"
    )
    events: EventsMapping
    products: TableMapping
    photos: TableMapping | None = None
    subset: SubsetMapping | None = None


def mapping_path(source: str) -> Path:
    """The file of a source given by name or by path.

    Raises:
        ConfigError: There is no such file; the message lists the known sources.
    """
    path = Path(source) if source.endswith((".yaml", ".yml")) else SOURCES_FOLDER / f"{source}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SOURCES_FOLDER.glob("*.yaml"))) or "none here"
        raise ConfigError(f"data.source: {path} does not exist; known sources: {known}")
    return path


def load_mapping(source: str) -> SourceMapping:
    """Loads the mapping of a source given by name or by path; ConfigError where it is not usable."""
    path = mapping_path(source)
    content = read_yaml(path)
    if "cut" in content:
        raise ConfigError(f"{path}: cut is now called subset")
    try:
        return SourceMapping.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"{path}: {problems}") from None


def load_source_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Loads the configuration, with the training settings of the source's subset as defaults.

    A source without a mapping file adds nothing, so commands that do not read the source work without it.

    Raises:
        FileNotFoundError: `path` does not exist.
        ConfigError: The configuration or the mapping is not usable.
    """
    config = load_config(path, overrides)
    try:
        file = mapping_path(config.data.source)
    except ConfigError:
        return config
    subset = load_mapping(str(file)).subset if config.data.use_subset else None
    if subset is None or not subset.training.model_fields_set:
        return config
    return load_config(path, overrides, defaults={"training": subset.training.model_dump(exclude_unset=True)})


def table_path(mapping: SourceMapping, table: TableMapping, override: str | None) -> Path:
    """Where a table's file lies; `override` (from the configuration) wins over the mapping.

    Raises:
        FileNotFoundError: The file, its package or the folder's environment variable is missing.
    """
    if override is not None:
        path = Path(override)
    elif mapping.folder.startswith(PACKAGE_PREFIX):
        path = _package_folder(mapping.folder.removeprefix(PACKAGE_PREFIX)) / table.path
    else:
        folder = os.path.expandvars(mapping.folder)
        if "$" in folder:
            raise FileNotFoundError(
                f"the source's folder is {mapping.folder}, and that environment variable is not set; set it, or name "
                "the files with --set data.events_path=... and --set data.products_path=..."
            )
        path = Path(folder) / table.path
    if not path.is_file():
        raise FileNotFoundError(f"source file {path} does not exist")
    return path


def _package_folder(name: str) -> Path:
    package, _, inner = name.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"the source lies in the Python package {package}, which is not installed; pip install 'tawsiya[demo]'"
        )
    return Path(spec.origin).parent / inner


def overrides_by_table(data: DataConfig) -> dict[str, str | None]:
    """The configuration's paths, by table name."""
    return {"events": data.events_path, "products": data.products_path, "photos": data.photos_path}


def field_expression(table: TableMapping, field: str, found: Iterable[str]) -> str | None:
    """The DuckDB expression of a canonical field, or None where the table has no such thing.

    Raises:
        ValueError: The mapping names a column that the table does not have.
    """
    if field in table.sql:
        return f"({table.sql[field]})"
    found = list(found)
    if field in table.columns:
        column = table.columns[field]
        if column not in found:
            raise ValueError(
                f"{table.path}: column {column!r} (for {field}) is missing; columns found: {', '.join(found)}"
            )
        return _quoted(column)
    names = [_plain(name) for name in (field, *ALIASES.get(field, ()))]
    candidates = {_plain(column): column for column in reversed(found)}
    return next((_quoted(candidates[name]) for name in names if name in candidates), None)


def required_expression(table: TableMapping, field: str, found: Iterable[str]) -> str:
    """As field_expression, but a ValueError names the field and the columns found where there is none."""
    found = list(found)
    expression = field_expression(table, field, found)
    if expression is None:
        raise ValueError(
            f"{table.path}: required column {field!r} is missing; columns found: {', '.join(found)}. "
            f"Name it in the mapping under columns: {{{field}: YOUR_COLUMN}}"
        )
    return expression


def _plain(name: str) -> str:
    return "".join(char for char in name.lower() if char.isalnum())


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
