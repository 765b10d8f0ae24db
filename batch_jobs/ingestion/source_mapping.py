"""Source mappings: one YAML file per shop says where its tables lie and what their columns mean."""

import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationError

from batch_jobs.ingestion.column_names import named_column
from batch_jobs.ingestion.files.csv_header import AROUND_HEADINGS
from batch_jobs.ingestion.files.encodings import known_encoding
from batch_jobs.ingestion.files.parts import table_parts
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config, read_yaml
from feature_repo.common.errors import ConfigError
from feature_repo.common.sql import quoted_identifier
from feature_repo.settings.data import DataConfig
from feature_repo.settings.model import TrainingConfig
from feature_repo.settings.section import Section
from feature_repo.transforms.values.amounts import DecimalMark

SOURCES_FOLDER = Path("config/sources")
PACKAGE_PREFIX = "package:"

# The names of ingest's own tables begin with these.
RESERVED_PREFIXES = ("source", "event", "product", "photo", "quarantine", "rejected", "kept")


def _not_reserved(name: str) -> str:
    if name.startswith(RESERVED_PREFIXES):
        raise ValueError(
            f"the table name {name} is not allowed: the prefixes {', '.join(RESERVED_PREFIXES)} are reserved"
        )
    return name


# Without what ingest strips from headings: a preview on a terminal puts such a mark behind a name in Arabic.
Heading = Annotated[str, AfterValidator(lambda name: name.strip(AROUND_HEADINGS))]
Encoding = Annotated[str, AfterValidator(known_encoding)]
TableName = Annotated[str, Field(pattern="^[a-z_]+$"), AfterValidator(_not_reserved)]


class TableMapping(Section):
    """One table of a source.

    A canonical field comes from `sql` (a DuckDB expression over the table's columns), else from the column named in
    `columns`, else from the column with its name or a common variation of it (column_names).
    """

    path: str = Field(
        description="File, folder of parts or pattern in the source's folder: CSV, Parquet, or text (see `lines`); "
        "CSV and text may be compressed with gzip or zstd"
    )
    encoding: Encoding | None = Field(
        None, description="Encoding of text that is not UTF-8 and has no byte order mark, such as windows-1256"
    )
    lines: bool = Field(False, description="Read the file as text: one row per line, in the column `line`")
    query: str | None = Field(None, description="DuckDB query over the view `source`, read instead of the file's rows")
    columns: dict[str, Heading] = Field(default_factory=dict, description="Canonical field -> column of the file")
    sql: dict[str, str] = Field(default_factory=dict, description="Canonical field -> DuckDB expression")


class EventsMapping(TableMapping):
    """The events table of a source."""

    exclude: dict[str, str] = Field(default_factory=dict, description="Reason -> condition of rows that do not belong")


class ProductsMapping(TableMapping):
    """The products table of a source."""

    decimal_mark: DecimalMark | None = Field(
        None, description="The decimal mark of prices that are text; unset, it is told from the prices"
    )


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
    """The mapping of one source."""

    description: str
    licence: str
    folder: str = Field(description="Path, `$VARIABLE/path`, or `package:NAME/path` for data inside a Python package")
    deduplicate: bool = Field(False, description="Merge products of equal title, description and brand")
    tables: dict[TableName, str] = Field(
        default_factory=dict,
        description="Further tables for queries to join: name -> CSV file beside the mapping, or Parquet of the source",
    )
    events: EventsMapping
    products: ProductsMapping
    photos: TableMapping | None = None
    subset: SubsetMapping | None = None


# ---- loading ---------------------------------------------------------------------------------------------------------


def mapping_path(source: str) -> Path:
    """The mapping file of a source, which is given by name or by path.

    Raises:
        ConfigError: There is no such file; the message lists the known sources.
    """
    path = Path(source) if source.endswith((".yaml", ".yml")) else SOURCES_FOLDER / f"{source}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SOURCES_FOLDER.glob("*.yaml"))) or "none here"
        raise ConfigError(f"data.source: {path} does not exist; known sources: {known}")
    return path


def load_mapping(source: str) -> SourceMapping:
    """Loads the mapping of a source, which is given by name or by path.

    Raises:
        ConfigError: There is no such file, or its content is not valid; the message names the problem.
    """
    path = mapping_path(source)
    content = read_yaml(path)
    # The former name; pydantic would only say that the key is unknown.
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
    # Loaded again, because which subset applies is known only from the configuration.
    return load_config(path, overrides, defaults={"training": subset.training.model_dump(exclude_unset=True)})


# ---- files of a source -----------------------------------------------------------------------------------------------


def table_path(mapping: SourceMapping, table: TableMapping, override: str | None) -> Path:
    """The path of a table's file, folder or pattern; `override`, from the configuration, wins over the mapping.

    Raises:
        FileNotFoundError: The file, its Python package or the environment variable of its folder is missing.
        ValueError: A part is missing.
    """
    if override is not None:
        path = Path(override)
    elif mapping.folder.startswith(PACKAGE_PREFIX):
        path = _package_folder(mapping.folder.removeprefix(PACKAGE_PREFIX)) / table.path
    else:
        # expandvars leaves an unset variable as it is.
        folder = os.path.expandvars(mapping.folder)
        if "$" in folder:
            raise FileNotFoundError(
                f"the source's folder is {mapping.folder}, but this environment variable is not set; set it, or name "
                "the files with --set data.events_path=... and --set data.products_path=..."
            )
        path = Path(folder) / table.path
    table_parts(path)
    return path


def lookup_path(mapping: SourceMapping, source: str, file: str) -> Path:
    """The path of one of the mapping's further tables: Parquet of the source, or a CSV file beside the mapping.

    Raises:
        FileNotFoundError, ValueError: See table_path.
    """
    if Path(file).suffix == ".parquet":
        return table_path(mapping, TableMapping(path=file), None)
    return mapping_path(source).parent / file


def _package_folder(name: str) -> Path:
    package, _, inner = name.partition("/")
    # Not imported: only the folder of its data is needed.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            f"the source is part of the Python package {package}, which is not installed; pip install 'tawsiya[demo]'"
        )
    return Path(spec.origin).parent / inner


def overrides_by_table(data: DataConfig) -> dict[str, str | None]:
    """The paths that the configuration sets, by table name."""
    return {"events": data.events_path, "products": data.products_path, "photos": data.photos_path}


def with_overrides(mapping: SourceMapping, data: DataConfig) -> SourceMapping:
    """The mapping with the paths that the configuration sets, so that messages about a table name its file."""
    paths = {name: path for name, path in overrides_by_table(data).items() if path and getattr(mapping, name)}
    tables = {name: getattr(mapping, name).model_copy(update={"path": path}) for name, path in paths.items()}
    return mapping.model_copy(update=tables)


# ---- fields of a table -----------------------------------------------------------------------------------------------


def field_expression(table: TableMapping, field: str, file_columns: Iterable[str]) -> str | None:
    """The DuckDB expression of a canonical field; None if the table does not have the field.

    Raises:
        ValueError: The mapping names a column that the table does not have.
    """
    if field in table.sql:
        return f"({table.sql[field]})"
    file_columns = list(file_columns)
    if field in table.columns:
        column = table.columns[field]
        if column not in file_columns:
            raise ValueError(
                f"{table.path}: column {column!r} (for {field}) is missing; columns found: {_listed(file_columns)}"
            )
        return quoted_identifier(column)
    named = named_column(field, file_columns)
    return None if named is None else quoted_identifier(named)


def taken_columns(table: TableMapping, fields: Iterable[str], file_columns: Iterable[str]) -> dict[str, str]:
    """The column of the file that each field is read from, or the mapping's SQL; fields that are missing are left out.

    Raises:
        ValueError: The mapping names a column that the table does not have.
    """
    file_columns = list(file_columns)
    found = {field: field_expression(table, field, file_columns) for field in fields}
    by_expression = {quoted_identifier(column): column for column in file_columns}
    return {field: by_expression.get(source, source) for field, source in found.items() if source is not None}


def required_expression(table: TableMapping, field: str, file_columns: Iterable[str]) -> str:
    """The DuckDB expression of a canonical field that the table must have.

    Raises:
        ValueError: The table does not have the field, or the mapping names a column that the table does not have. The
            message names the field and the columns of the file.
    """
    file_columns = list(file_columns)
    expression = field_expression(table, field, file_columns)
    if expression is None:
        raise ValueError(
            f"{table.path}: required column {field!r} is missing; columns found: {_listed(file_columns)}. "
            f"Name it in the mapping under columns: {{{field}: YOUR_COLUMN}}"
        )
    return expression


def _listed(file_columns: Iterable[str]) -> str:
    return ", ".join(name for name in file_columns if name != c.SOURCE_LINE)
