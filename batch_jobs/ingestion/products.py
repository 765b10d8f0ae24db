"""The products part of ingest: clean values, product keys, deduplication."""

from typing import Any

import duckdb
import pandas as pd

from batch_jobs.ingestion.quarantine import quarantine_rows, quarantine_unreadable_lines, row_counts
from batch_jobs.ingestion.source_mapping import (
    METADATA,
    SourceMapping,
    TableMapping,
    field_expression,
    required_expression,
)
from feature_repo import columns as c
from feature_repo.transforms.keys import product_keys
from feature_repo.transforms.text import deduplication_key, language_of, product_text

PRODUCTS_TABLE = "products"
DUPLICATE_CONTENT = "duplicate_content"
MISSING_PRODUCT_ID = "missing_product_id"
# Boolean columns of the frame: the row has this value, but it cannot be read. The row is kept without the value.
UNREADABLE_VALUES = ("broken_metadata", "unreadable_price", "unreadable_stock", "unreadable_hidden")


def stage_products(db: duckdb.DuckDBPyConnection, mapping: SourceMapping) -> dict[str, Any]:
    """Creates the tables `products` and `product_aliases` (id of a merged product -> id of the kept one).

    Returns:
        The row counts, and under each name of UNREADABLE_VALUES the number of rows with such a value.
    """
    # In pandas, because the text functions are Python; a catalogue fits into memory.
    frame = _read(db, mapping.products)
    _add_photos(db, mapping.photos, frame)
    unreadable_values = {name: int(frame.pop(name).sum()) for name in UNREADABLE_VALUES}
    frame[c.TEXT] = frame[c.TEXT].fillna("").str.strip()
    frame[c.TEXT] = [
        text or product_text(title, description)
        for text, title, description in zip(frame[c.TEXT], frame[c.TITLE], frame[c.DESCRIPTION], strict=True)
    ]
    for field, language in ((c.TITLE, c.TITLE_LANGUAGE), (c.DESCRIPTION, c.DESCRIPTION_LANGUAGE)):
        frame[language] = frame[field].map(language_of)
    reason, alias = _duplicates(frame, deduplicate=mapping.deduplicate)
    kept = frame[reason.isna()].drop(columns=c.SOURCE_LINE)
    kept.insert(1, c.PRODUCT_KEY, product_keys(kept[c.PRODUCT_ID].tolist()))
    db.register("kept_products", kept)
    # The casts set the types of empty columns, which pandas does not know.
    db.execute("""
        CREATE TEMP TABLE products AS
        SELECT * REPLACE (product_id::VARCHAR AS product_id, title::VARCHAR AS title,
                          description::VARCHAR AS description, text::VARCHAR AS text, brand::VARCHAR AS brand,
                          category::VARCHAR AS category, photo::VARCHAR AS photo,
                          title_language::VARCHAR AS title_language,
                          description_language::VARCHAR AS description_language)
        FROM kept_products
    """)
    db.register("product_alias_frame", alias)
    db.execute("""
        CREATE TEMP TABLE product_aliases AS
        SELECT product_id::VARCHAR AS product_id, duplicate_of::VARCHAR AS duplicate_of FROM product_alias_frame
    """)
    rejected = pd.DataFrame({c.SOURCE_LINE: frame[c.SOURCE_LINE], c.REASON: reason}).dropna()
    db.register("rejected_products", rejected)
    quarantine_rows(db, PRODUCTS_TABLE, "product_source", "SELECT * FROM rejected_products")
    unreadable = quarantine_unreadable_lines(db, PRODUCTS_TABLE, "product_source")
    duplicates = (c.DUPLICATE_PRODUCT_ID, DUPLICATE_CONTENT)
    report = row_counts(db, PRODUCTS_TABLE, read=len(frame) + unreadable, excluded=(), duplicates=duplicates)
    return {**report, **unreadable_values}


def _read(db: duckdb.DuckDBPyConnection, table: TableMapping) -> pd.DataFrame:
    """The source's products in canonical columns; title and description are never null, the other texts may be."""
    file_columns = [name for name, *_ in db.execute("DESCRIBE product_source").fetchall()]
    metadata = field_expression(table, METADATA, file_columns)

    def expression(field: str, *json_keys: str) -> str:
        """The field's own column, else its value in the metadata JSON; a blank value counts as missing."""
        sources = [source for source in [field_expression(table, field, file_columns)] if source]
        if metadata:
            sources += [f"json_extract_string(metadata_json, '$.{key}')" for key in json_keys]
        values = ", ".join(f"nullif(trim(({source})::VARCHAR), '')" for source in sources) or "NULL::VARCHAR"
        return f"coalesce({values}) AS {field}"

    metadata_sql = f"({metadata})::VARCHAR" if metadata else "NULL::VARCHAR"
    products: pd.DataFrame = db.execute(f"""
        WITH parsed AS (
            SELECT *, CASE WHEN json_valid({metadata_sql}) THEN {metadata_sql}::JSON END AS metadata_json,
                   coalesce(NOT json_valid(nullif(trim({metadata_sql}), '')), false) AS broken_metadata
            FROM product_source),
        named AS (
            SELECT source_line, broken_metadata,
                   trim(({required_expression(table, c.PRODUCT_ID, file_columns)})::VARCHAR) AS product_id,
                   {expression(c.TITLE)}, {expression(c.DESCRIPTION)}, {expression(c.TEXT)},
                   {expression(c.BRAND, "brand")}, {expression(c.CATEGORY, "catalog_id", "category")},
                   {expression(c.PRICE, "price")}, {expression(c.STOCK, "stock")}, {expression(c.PHOTO, "photo")},
                   {expression(c.HIDDEN, "hidden")}
            FROM parsed),
        typed AS (
            SELECT * REPLACE (
                       -- DuckDB reads nan and inf as numbers, too. A stock may be written 3.0.
                       CASE WHEN isfinite(try_cast(price AS DOUBLE)) THEN price::DOUBLE END AS price,
                       try_cast(try_cast(stock AS DOUBLE) AS BIGINT) AS stock,
                       -- DuckDB reads true/false, t/f, yes/no, y/n, 1/0 in any case. An unreadable value is false.
                       coalesce(try_cast(hidden AS BOOLEAN), false) AS hidden),
                   price AS price_text, stock AS stock_text,
                   hidden IS NOT NULL AND try_cast(hidden AS BOOLEAN) IS NULL AS unreadable_hidden
            FROM named)
        SELECT source_line, product_id, coalesce(title, '') AS title, coalesce(description, '') AS description, text,
               brand, category, price, stock, photo, hidden, broken_metadata, unreadable_hidden,
               price IS NULL AND price_text IS NOT NULL AS unreadable_price,
               stock IS NULL AND stock_text IS NOT NULL AS unreadable_stock
        FROM typed ORDER BY source_line
    """).df()
    return products


def _add_photos(db: duckdb.DuckDBPyConnection, table: TableMapping | None, frame: pd.DataFrame) -> None:
    """Adds photos from the photo file, if there is one, to products that have none."""
    views = {name for (name,) in db.execute("SELECT view_name FROM duckdb_views() WHERE temporary").fetchall()}
    if table is None or "photo_source" not in views:
        return
    file_columns = [name for name, *_ in db.execute("DESCRIBE photo_source").fetchall()]
    product_id, photo = (required_expression(table, field, file_columns) for field in (c.PRODUCT_ID, c.PHOTO))
    photos = db.execute(f"""
        SELECT trim(({product_id})::VARCHAR) AS product_id, first(({photo})::VARCHAR ORDER BY source_line) AS photo
        FROM photo_source WHERE {photo} IS NOT NULL GROUP BY 1
    """).df()
    by_product = photos.set_index(c.PRODUCT_ID)[c.PHOTO]
    frame[c.PHOTO] = frame[c.PHOTO].fillna(frame[c.PRODUCT_ID].map(by_product))


def _duplicates(frame: pd.DataFrame, *, deduplicate: bool) -> tuple["pd.Series[str]", pd.DataFrame]:
    """The reason why each row is left out (null: kept), and the merged products, each with its replacement."""
    reason = pd.Series(None, index=frame.index, dtype="object")
    missing = frame[c.PRODUCT_ID].isna() | (frame[c.PRODUCT_ID] == "")
    reason[missing] = MISSING_PRODUCT_ID
    reason[~missing & frame[c.PRODUCT_ID].duplicated()] = c.DUPLICATE_PRODUCT_ID
    kept_by_key: dict[tuple[str, str, str], str] = {}
    alias: list[tuple[str, str]] = []
    if deduplicate:
        columns = (c.PRODUCT_ID, c.TITLE, c.DESCRIPTION, c.BRAND)
        for row in frame[reason.isna()][list(columns)].itertuples():
            index, product_id, title, description, brand = row
            key = deduplication_key(title, description, brand)
            if key is None:
                continue
            # The first row wins, as for repeated ids.
            kept_id = kept_by_key.setdefault(key, product_id)
            if kept_id != product_id:
                reason[index] = DUPLICATE_CONTENT
                alias.append((product_id, kept_id))
    return reason, pd.DataFrame(alias, columns=[c.PRODUCT_ID, c.DUPLICATE_OF], dtype="string")
