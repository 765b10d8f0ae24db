"""Reads the texts of a products file: each field from its column, else from its key in the metadata."""

import re
from typing import NamedTuple

import duckdb
import pandas as pd

from batch_jobs.ingestion.column_names import COLUMN_ALIASES, METADATA, heading_key, named_column
from batch_jobs.ingestion.product_rules.availability import SHOWN_FIELDS, STOCK_FIELDS
from batch_jobs.ingestion.product_rules.prices import PRICE_FIELDS, SALE_DATE_FIELDS
from batch_jobs.ingestion.product_rules.texts import is_language_field, language_columns
from batch_jobs.ingestion.source_mapping import TableMapping, field_expression, required_expression
from feature_repo import columns as c
from feature_repo.ingest_report import BROKEN_METADATA
from feature_repo.transforms.values.ids import clean_id

_TEXT_FIELDS = (c.TITLE, c.DESCRIPTION, c.TEXT)
# Metadata may hold these as well.
_METADATA_FIELDS = (
    c.BRAND, c.CATEGORY, c.PHOTO, c.HIDDEN, c.CURRENCY, c.GROUP_ID, c.LISTED_AT, *PRICE_FIELDS, *SALE_DATE_FIELDS,
    *STOCK_FIELDS, *SHOWN_FIELDS,
)  # fmt: skip
_CATALOG_ID = "catalog_id"  # a further key of the category
_BLANKS = "e' \\t\\r\\n\u00a0'"  # for trim, which else removes spaces only
_NUMERIC_TYPE = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*")


class RawProducts(NamedTuple):
    """The rows of a products file, in file order.

    Attributes:
        frame: source_line, broken_metadata (the text; null if it is JSON) and the text of each field, null where the
            file says nothing.
        ids: The texts of each column that may hold the product ids, by its heading, the likeliest first. One alone if
            the mapping declares it.
        columns: Field -> column of the file, or the mapping's expression.
        numeric: Price fields whose column holds numbers, not text.
    """

    frame: pd.DataFrame
    ids: dict[str, "pd.Series[str]"]
    columns: dict[str, str]
    numeric: frozenset[str]


def read_raw_products(db: duckdb.DuckDBPyConnection, table: TableMapping) -> RawProducts:
    """Reads the view `product_source`.

    Raises:
        ValueError: The file has no column of product ids, or lacks a column that the mapping names.
    """
    file_columns = [name for name, *_ in db.execute("DESCRIBE product_source").fetchall()]
    id_columns = _id_columns(table, file_columns)
    id_fields = [f"{c.PRODUCT_ID}_{number}" for number in range(len(id_columns))]
    # As if the mapping named them, so that one function makes every expression.
    named = {**language_columns(table, file_columns), **dict(zip(id_fields, id_columns, strict=True))}
    table = table.model_copy(update={"columns": named | table.columns})
    languages = [field for field in (*table.columns, *table.sql) if is_language_field(field)]
    expressions = {
        field: expression
        for field in (*_TEXT_FIELDS, *languages, *_METADATA_FIELDS, METADATA)
        if (expression := field_expression(table, field, file_columns)) is not None
    }
    if c.TITLE not in table.columns | table.sql and named_column(c.TITLE, file_columns) in named.values():
        del expressions[c.TITLE]  # title_ar beside title_en is not the main title
    ids = {field: required_expression(table, field, file_columns) for field in id_fields or [c.PRODUCT_ID]}
    frame = db.execute(_query(expressions, ids)).df()
    for column in frame.columns.drop(c.SOURCE_LINE):
        frame[column] = frame[column].map(clean_id, na_action="ignore").astype(object)
    id_texts = {name: frame.pop(field) for name, field in zip(id_columns or [c.PRODUCT_ID], ids, strict=True)}
    return RawProducts(frame, id_texts, _columns_taken(table, expressions, file_columns), _numeric(db, expressions))


def _id_columns(table: TableMapping, file_columns: list[str]) -> list[str]:
    """The columns that may hold the product ids, the likeliest first; none if the mapping declares the field."""
    if c.PRODUCT_ID in table.columns | table.sql:
        return []
    by_key = {heading_key(column): column for column in reversed(file_columns)}
    keys = (heading_key(name) for name in (c.PRODUCT_ID, *COLUMN_ALIASES[c.PRODUCT_ID]))
    return list(dict.fromkeys(by_key[key] for key in keys if key in by_key))


def _query(expressions: dict[str, str], ids: dict[str, str]) -> str:
    metadata = f"({expressions[METADATA]})::VARCHAR" if METADATA in expressions else "NULL::VARCHAR"

    def text(field: str) -> str:
        """The field's own column, else its value in the metadata; a blank value counts as missing."""
        sources = [f"({expressions[field]})::VARCHAR"] if field in expressions else []
        if METADATA in expressions and field in _METADATA_FIELDS:
            keys = (_CATALOG_ID, field) if field == c.CATEGORY else (field,)
            sources += [f"json_extract_string(metadata_json, '$.{key}')" for key in keys]
        values = ", ".join(f"nullif(trim({source}, {_BLANKS}), '')" for source in sources)
        return f"coalesce({values})" if values else "NULL::VARCHAR"

    languages = [field for field in expressions if is_language_field(field)]
    fields = ", ".join(f"{text(field)} AS {field}" for field in (*_TEXT_FIELDS, *languages, *_METADATA_FIELDS))
    id_texts = ", ".join(f"({expression})::VARCHAR AS {field}" for field, expression in ids.items())
    return f"""
        WITH unwrapped AS (
            -- JSON that was written as JSON once more is a text that holds an object.
            SELECT *, CASE WHEN TRY(json_type({metadata})) = 'VARCHAR'
                           THEN {metadata} ->> '$' ELSE {metadata} END AS metadata_text
            FROM product_source),
        parsed AS (
            SELECT *, CASE WHEN json_valid(metadata_text) THEN metadata_text::JSON END AS metadata_json,
                   CASE WHEN trim(metadata_text) IN ('', '[]', 'null') OR TRY(json_type(metadata_text)) = 'OBJECT'
                        THEN NULL ELSE {metadata} END AS {BROKEN_METADATA}
            FROM unwrapped)
        SELECT source_line, {BROKEN_METADATA}, {id_texts}, {fields} FROM parsed ORDER BY source_line
    """


def _numeric(db: duckdb.DuckDBPyConnection, expressions: dict[str, str]) -> frozenset[str]:
    priced = {field: expression for field, expression in expressions.items() if field in PRICE_FIELDS}
    if not priced:
        return frozenset()
    selected = ", ".join(f"({expression}) AS {field}" for field, expression in priced.items())
    types = db.execute(f"DESCRIBE SELECT {selected} FROM product_source").fetchall()
    return frozenset(name for name, kind, *_ in types if _NUMERIC_TYPE.fullmatch(kind))


def _columns_taken(table: TableMapping, expressions: dict[str, str], file_columns: list[str]) -> dict[str, str]:
    return {
        field: table.sql.get(field) or table.columns.get(field) or named_column(field, file_columns) or expression
        for field, expression in expressions.items()
    }
