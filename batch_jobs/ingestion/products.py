"""The products part of ingest: clean values, product keys, photos, deduplication."""

import time
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from batch_jobs.ingestion.event_fields import INVALID_PRODUCT_ID
from batch_jobs.ingestion.files.tables import OpenedTable
from batch_jobs.ingestion.product_rules.availability import read_hidden, read_stock_levels
from batch_jobs.ingestion.product_rules.duplicates import DUPLICATE_CONTENT, merge_duplicates
from batch_jobs.ingestion.product_rules.findings import Findings
from batch_jobs.ingestion.product_rules.ids import (
    MISSING_PRODUCT_ID,
    choose_id_column,
    whole_numbers,
)
from batch_jobs.ingestion.product_rules.listing_dates import read_listed_at
from batch_jobs.ingestion.product_rules.markup import plain_text
from batch_jobs.ingestion.product_rules.photos import DUPLICATE_PHOTO, UNREADABLE_PHOTO, photo_link, photo_reasons
from batch_jobs.ingestion.product_rules.prices import READ_COLUMNS, SALE_DATE_FIELDS, PriceRules, read_prices
from batch_jobs.ingestion.product_rules.reading import RawProducts, read_raw_products
from batch_jobs.ingestion.product_rules.texts import category_name, read_texts
from batch_jobs.ingestion.quarantine import quarantine_rows, quarantine_unreadable_lines, row_counts
from batch_jobs.ingestion.source_mapping import SourceMapping, TableMapping, required_expression
from feature_repo import columns as c
from feature_repo.ingest_report import BROKEN_METADATA, DUPLICATE_PRODUCT_ID
from feature_repo.settings.data import DataConfig
from feature_repo.transforms.keys import product_keys
from feature_repo.transforms.text import language_of
from feature_repo.transforms.values.ids import clean_id, id_problem
from feature_repo.transforms.values.times import TimeReader

PRODUCTS_TABLE, PHOTOS_TABLE = "products", "photos"
# The columns of the table `products` and their types, which an empty column of pandas does not know.
PRODUCT_TYPES = {
    c.PRODUCT_ID: "VARCHAR", c.PRODUCT_KEY: "BIGINT", c.TITLE: "VARCHAR", c.DESCRIPTION: "VARCHAR", c.TEXT: "VARCHAR",
    c.TITLES: "VARCHAR", c.TITLE_LANGUAGE: "VARCHAR", c.DESCRIPTION_LANGUAGE: "VARCHAR", c.BRAND: "VARCHAR",
    c.CATEGORY: "VARCHAR", c.PRICE: "DOUBLE", c.CURRENCY: "VARCHAR", c.STOCK: "BIGINT", c.PHOTO: "VARCHAR",
    c.HIDDEN: "BOOLEAN", c.GROUP_ID: "VARCHAR", c.REGULAR_PRICE: "DOUBLE",
    c.LISTED_AT: "TIMESTAMPTZ",
}  # fmt: skip


class StagedProducts(NamedTuple):
    """What ingest reports of products and photos.

    Attributes:
        products: The row counts; the counts of values that cannot be read, each with its first row under `examples`;
            `columns`, the column that each field is read from; `warnings`.
        photos: The row counts of the photo file; None without one.
    """

    products: dict[str, Any]
    photos: dict[str, Any] | None


def stage_products(
    db: duckdb.DuckDBPyConnection, mapping: SourceMapping, data: DataConfig, opened: OpenedTable
) -> StagedProducts:
    """Creates the tables `products` and `product_aliases` (id of a merged product -> id of the kept one).

    Args:
        db: The connection.
        mapping: The source's mapping.
        data: How times are read.
        opened: The opened table of products, which knows the line of each row.

    Raises:
        ValueError: A required column is missing, or the mapping names one that the file does not have.
    """
    # In pandas, because the rules are Python; a catalogue fits into memory.
    raw = read_raw_products(db, mapping.products)
    frame = raw.frame
    findings = Findings(db, PRODUCTS_TABLE, opened, frame[c.SOURCE_LINE])
    id_column = _add_ids(db, mapping, raw, findings)
    _add_values(raw, mapping, data, findings)
    photos = _add_photos(db, mapping.photos, frame)
    reasons = frame[c.PRODUCT_ID].map(id_reason).astype(object)
    identified = frame[reasons.isna()].copy()
    duplicates = merge_duplicates(identified, by_content=mapping.deduplicate)
    reasons.update(duplicates.reasons)
    _create_tables(db, identified[duplicates.reasons.isna()], duplicates.aliases)
    quarantine_products(db, PRODUCTS_TABLE, "product_source", frame, reasons)
    unreadable = quarantine_unreadable_lines(db, PRODUCTS_TABLE, "product_source")
    # With such prices, the next ingest of the same files may give others.
    dated_sales = int(frame[list(SALE_DATE_FIELDS)].notna().any(axis=1).sum())
    counts = row_counts(
        db, PRODUCTS_TABLE, read=len(frame) + unreadable, excluded=(),
        duplicates=(DUPLICATE_PRODUCT_ID, DUPLICATE_CONTENT),
    )  # fmt: skip
    return StagedProducts(
        {
            **counts, **findings.counts, **({"dated_sales": dated_sales} if dated_sales else {}),
            "columns": {c.PRODUCT_ID: id_column, **raw.columns}, "examples": findings.examples,
            "warnings": findings.warnings,
        },
        photos,
    )  # fmt: skip


# ---- ids -------------------------------------------------------------------------------------------------------------


def _add_ids(db: duckdb.DuckDBPyConnection, mapping: SourceMapping, raw: RawProducts, findings: Findings) -> str:
    """Adds the product ids, and returns the column that they are read from."""
    columns = [name for name, *_ in db.execute("DESCRIBE event_source").fetchall()]
    of_event = required_expression(mapping.events, c.PRODUCT_ID, columns)
    texts = db.execute(f"SELECT DISTINCT ({of_event})::VARCHAR FROM event_source").fetchall()
    event_ids = {known for (text,) in texts if (known := clean_id(text))}
    candidates = {column: whole_numbers(ids, event_ids) for column, ids in raw.ids.items()}
    chosen = choose_id_column(candidates, event_ids, findings)
    raw.frame[c.PRODUCT_ID] = candidates[chosen]
    return chosen


def id_reason(product_id: str | None) -> str | None:
    """Why a row with this id is left out; None: it is not."""
    if product_id is None:
        return MISSING_PRODUCT_ID
    return INVALID_PRODUCT_ID if id_problem(product_id) else None


# ---- values ----------------------------------------------------------------------------------------------------------


def _add_values(raw: RawProducts, mapping: SourceMapping, data: DataConfig, findings: Findings) -> None:
    """Replaces the raw texts of the fields by the values of the canonical columns."""
    frame = raw.frame
    findings.count(BROKEN_METADATA, frame[BROKEN_METADATA])
    findings.warn_of(BROKEN_METADATA, "it is no JSON object, so its values are left empty")
    times = TimeReader(data.timezone, data.date_order)
    rules = PriceRules(raw.numeric, mapping.products.decimal_mark, times, now_ms=round(time.time() * 1000))
    frame[READ_COLUMNS] = read_prices(frame, rules, findings)
    frame[c.LISTED_AT] = read_listed_at(frame, times, rules.now_ms, findings)
    frame[c.STOCK] = read_stock_levels(frame, findings)
    frame[c.HIDDEN] = read_hidden(frame, findings)
    links = frame[c.PHOTO].map(photo_link, na_action="ignore").astype(object)
    findings.count(UNREADABLE_PHOTO, frame[c.PHOTO].where(links.isna()))
    findings.warn_of(UNREADABLE_PHOTO, "it is left empty; write a link that begins with https://")
    frame[c.PHOTO] = links
    frame[c.CATEGORY] = frame[c.CATEGORY].map(category_name, na_action="ignore").astype(object)
    frame[c.BRAND] = frame[c.BRAND].map(plain_text, na_action="ignore").astype(object)
    frame[[c.TITLE, c.DESCRIPTION, c.TITLES, c.TEXT]] = read_texts(frame, findings)
    for field, language in ((c.TITLE, c.TITLE_LANGUAGE), (c.DESCRIPTION, c.DESCRIPTION_LANGUAGE)):
        frame[language] = frame[field].map(language_of)


def _add_photos(
    db: duckdb.DuckDBPyConnection, table: TableMapping | None, frame: pd.DataFrame
) -> dict[str, Any] | None:
    """Adds photos from the photo file to products that have none, and returns the row counts; None without a file."""
    views = {name for (name,) in db.execute("SELECT view_name FROM duckdb_views() WHERE temporary").fetchall()}
    if table is None or "photo_source" not in views:
        return None
    columns = [name for name, *_ in db.execute("DESCRIBE photo_source").fetchall()]
    product_id, photo = (required_expression(table, field, columns) for field in (c.PRODUCT_ID, c.PHOTO))
    photos = db.execute(f"""
        SELECT source_line, ({product_id})::VARCHAR AS product_id, ({photo})::VARCHAR AS photo
        FROM photo_source ORDER BY source_line
    """).df()
    reasons = photo_reasons(photos, frame)
    by_product = photos[reasons.isna()].set_index(c.PRODUCT_ID)[c.PHOTO]
    frame[c.PHOTO] = frame[c.PHOTO].fillna(frame[c.PRODUCT_ID].map(by_product))
    quarantine_products(db, PHOTOS_TABLE, "photo_source", photos, reasons)
    unreadable = quarantine_unreadable_lines(db, PHOTOS_TABLE, "photo_source")
    return row_counts(db, PHOTOS_TABLE, read=len(photos) + unreadable, excluded=(), duplicates=(DUPLICATE_PHOTO,))


# ---- tables ----------------------------------------------------------------------------------------------------------


def _create_tables(db: duckdb.DuckDBPyConnection, kept: pd.DataFrame, aliases: pd.DataFrame) -> None:
    kept = kept.assign(**{c.PRODUCT_KEY: product_keys(kept[c.PRODUCT_ID].tolist())})[list(PRODUCT_TYPES)]
    db.register("kept_products", kept)
    columns = ", ".join(f"{name}::{kind} AS {name}" for name, kind in PRODUCT_TYPES.items())
    db.execute(f"CREATE TEMP TABLE products AS SELECT {columns} FROM kept_products")
    db.register("product_alias_frame", aliases)
    db.execute("""
        CREATE TEMP TABLE product_aliases AS
        SELECT product_id::VARCHAR AS product_id, duplicate_of::VARCHAR AS duplicate_of FROM product_alias_frame
    """)


def quarantine_products(
    db: duckdb.DuckDBPyConnection, table: str, view: str, rows: pd.DataFrame, reasons: "pd.Series[str]"
) -> None:
    """Quarantines the rows that have a reason; the value of each is its product id."""
    rejected = rows[[c.SOURCE_LINE]].assign(**{c.REASON: reasons, "value": rows[c.PRODUCT_ID]})[reasons.notna()]
    db.register(f"rejected_{table}", rejected)
    quarantine_rows(
        db, table, view, f"SELECT source_line, reason::VARCHAR AS reason, value::VARCHAR AS value FROM rejected_{table}"
    )
