"""Prices, stock and visibility alone: from the shop's products, or a feed of them, to the canonical products.

The values are those that an ingest of the same file reads: the same mapping, the same rules. Which products there are,
and all else of them, stays as the last ingest left it, and so do fields that no row of the file has a value of.
"""

import logging
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from batch_jobs.ingestion.column_names import METADATA, SALE_PRICE
from batch_jobs.ingestion.files.utf8 import scratch_folder
from batch_jobs.ingestion.open_sources import open_products
from batch_jobs.ingestion.product_rules.availability import (
    SHOWN_FIELDS,
    STOCK_FIELDS,
    read_hidden,
    read_stock_levels,
)
from batch_jobs.ingestion.product_rules.duplicates import DUPLICATE_CONTENT, add_stocks, repeated_ids
from batch_jobs.ingestion.product_rules.findings import Findings
from batch_jobs.ingestion.product_rules.ids import choose_id_column, whole_numbers
from batch_jobs.ingestion.product_rules.prices import PRICE_FIELDS, READ_COLUMNS, PriceRules, read_prices
from batch_jobs.ingestion.product_rules.reading import RawProducts, read_raw_products
from batch_jobs.ingestion.products import PRODUCTS_TABLE, id_reason, quarantine_products
from batch_jobs.ingestion.quarantine import (
    LOCATED_ROWS,
    examples,
    left_out_warnings,
    quarantine_unreadable_lines,
    row_counts,
)
from batch_jobs.ingestion.source_mapping import SourceMapping, load_mapping, with_overrides
from expectations.checks import TOLERATED_ROWS
from expectations.statistics import unreadable_counts
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.files import glob_literal, replacing
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.common.sql import first_row, sql_string
from feature_repo.ingest_report import DUPLICATE_PRODUCT_ID, UNKNOWN_PRODUCT_REASON
from feature_repo.transforms.values.times import TimeReader

log = logging.getLogger(__name__)

# The columns that are updated, and the fields of the file that they are read from.
UPDATED = {
    c.PRICE: PRICE_FIELDS,
    # A feed of prices alone leaves it: a price below it is reduced still.
    c.REGULAR_PRICE: (c.REGULAR_PRICE, SALE_PRICE),
    c.CURRENCY: (*PRICE_FIELDS, c.CURRENCY),
    c.STOCK: STOCK_FIELDS,
    c.HIDDEN: (c.HIDDEN, *SHOWN_FIELDS),
}


def update_prices(config: Config, feed: Path | None = None) -> dict[str, Any]:
    """Writes the canonical products with the values of the file, if any differs; rows left out go to quarantine.

    Args:
        config: The configuration.
        feed: The file; None is the shop's file of products.

    Returns:
        {"counts": {"read", "kept", "bad", "duplicates", "changed": products, "columns": those that were updated},
        "warnings"}

    Raises:
        FileNotFoundError: There is no catalogue yet, or no such file.
        ValueError: The file cannot be read, has no product of the catalogue, or none of the values.
        GateRefusedError: Too many of its values cannot be read, or too many rows are bad.
        RuntimeError: Disk space or memory is insufficient.
    """
    mapping = with_overrides(load_mapping(config.data.source), config.data)
    paths = shop_paths(config)
    if not paths.products.is_file():
        raise FileNotFoundError(f"{paths.products} does not exist yet; run `tawsiya refresh` first")
    try:
        with scratch_folder(paths.source_copies) as scratch, duckdb_session(config, "refresh --only prices") as db:
            tables = open_products(db, mapping, config, scratch, feed)
            raw = read_raw_products(db, mapping.products)
            findings = Findings(db, PRODUCTS_TABLE, tables.opened[PRODUCTS_TABLE], raw.frame[c.SOURCE_LINE])
            columns = _add_values(raw, mapping, config, findings)
            counts = _keep_known(db, raw, paths, findings)
            counts["examples"] = {**findings.examples, **examples(db, PRODUCTS_TABLE, tables.opened[PRODUCTS_TABLE])}
            warnings = tables.warnings + _left_out(counts) + findings.warnings
            _write_quarantine(db, paths)
            _require_readable(config, counts | findings.counts, paths)
            changed = _write_products(db, paths, columns)
    except duckdb.Error as error:
        raise RuntimeError(f"the update of prices failed in {paths.root}: {error}") from None
    log.info("prices: %d of %d rows kept, %d products changed", counts["kept"], counts["read"], changed)
    shown = {name: counts[name] for name in ("read", "kept", "bad", "duplicates")}
    return {"counts": {**shown, "changed": changed, "columns": columns}, "warnings": warnings}


def _add_values(raw: RawProducts, mapping: SourceMapping, config: Config, findings: Findings) -> list[str]:
    """Replaces the texts of the fields by values, as ingest does; returns the columns that the file has values of."""
    frame = raw.frame
    columns = [column for column, fields in UPDATED.items() if frame[list(fields)].notna().any(axis=None)]
    if not columns:
        place = "metadata" if METADATA in raw.columns else "columns"
        raise ValueError(
            f"{mapping.products.path}: no row has a price, a stock or a visibility; the {place} read are "
            f"{', '.join(sorted(raw.columns.values())) or 'none'}"
        )
    times = TimeReader(config.data.timezone, config.data.date_order)
    rules = PriceRules(raw.numeric, mapping.products.decimal_mark, times, now_ms=round(time.time() * 1000))
    frame[READ_COLUMNS] = read_prices(frame, rules, findings)
    frame[c.STOCK] = read_stock_levels(frame, findings)
    frame[c.HIDDEN] = read_hidden(frame, findings)
    return columns


def _keep_known(
    db: duckdb.DuckDBPyConnection, raw: RawProducts, paths: ShopPaths, findings: Findings
) -> dict[str, Any]:
    """Creates the table `updates` of the rows of known products, and quarantines the others; returns the counts."""
    frame = raw.frame
    known, kept_for = _ids(db, paths.products), _aliases(db, paths)
    candidates = {column: whole_numbers(ids, known) for column, ids in raw.ids.items()}
    frame[c.PRODUCT_ID] = candidates[choose_id_column(candidates, known, findings)]
    reasons = _reasons(frame, known, kept_for)
    _add_merged_stocks(frame, reasons, kept_for)
    updates = frame.loc[reasons.isna(), [c.PRODUCT_ID, *UPDATED]]
    if updates.empty:
        ids = ", ".join(map(repr, frame[c.PRODUCT_ID].dropna().head(3)))
        raise ValueError(
            f"no row names a product of the catalogue in {paths.products}; the first ids are {ids or 'missing'}"
        )
    db.register("update_frame", updates)
    db.execute(f"""
        CREATE TEMP TABLE updates AS
        SELECT {c.PRODUCT_ID}::VARCHAR AS {c.PRODUCT_ID}, {c.PRICE}::DOUBLE AS {c.PRICE},
               {c.REGULAR_PRICE}::DOUBLE AS {c.REGULAR_PRICE},
               {c.CURRENCY}::VARCHAR AS {c.CURRENCY}, {c.STOCK}::BIGINT AS {c.STOCK}, {c.HIDDEN}::BOOLEAN AS {c.HIDDEN}
        FROM update_frame
    """)
    quarantine_products(db, PRODUCTS_TABLE, "product_source", frame, reasons)
    unreadable = quarantine_unreadable_lines(db, PRODUCTS_TABLE, "product_source")
    return row_counts(
        db, PRODUCTS_TABLE, read=len(frame) + unreadable, excluded=(UNKNOWN_PRODUCT_REASON,),
        duplicates=(DUPLICATE_PRODUCT_ID, DUPLICATE_CONTENT),
    )  # fmt: skip


def _reasons(frame: pd.DataFrame, known: Collection[str], kept_for: Mapping[str, str]) -> "pd.Series[str]":
    """Why each row is left out; null for those that are kept: of a repeated id, the row that ingest keeps."""
    ids = frame[c.PRODUCT_ID]
    reasons = ids.map(id_reason).astype(object)
    # Of a new product, or one that ingest has left out: the next refresh decides.
    reasons[reasons.isna() & ~ids.isin(known) & ~ids.isin(kept_for.keys())] = UNKNOWN_PRODUCT_REASON
    reasons.update(repeated_ids(frame[reasons.isna()]))
    reasons[reasons.isna() & ids.isin(kept_for.keys())] = DUPLICATE_CONTENT
    return reasons


def _add_merged_stocks(frame: pd.DataFrame, reasons: "pd.Series[str]", kept_for: Mapping[str, str]) -> None:
    """Gives a product that stands for others the stock of all of them, as ingest does."""
    place = dict(zip(frame.loc[reasons.isna(), c.PRODUCT_ID], frame.index[reasons.isna()], strict=True))
    groups = {product_id: [place[product_id]] for product_id in place if product_id in kept_for.values()}
    merged = frame.loc[reasons == DUPLICATE_CONTENT, c.PRODUCT_ID]
    for row, product_id in merged.items():
        if (kept := kept_for[product_id]) in groups:
            groups[kept].append(row)
    add_stocks(frame, list(groups.values()))


def _left_out(counts: Mapping[str, Any]) -> list[str]:
    """The warnings of rows that are left out."""
    reasons = dict(counts["reasons"])
    unknown = reasons.pop(UNKNOWN_PRODUCT_REASON, 0)
    waiting = f"{PRODUCTS_TABLE}: {unknown:,} rows of products that the catalogue lacks; `tawsiya refresh` adds them"
    return [*([waiting] if unknown else []), *left_out_warnings(PRODUCTS_TABLE, {**counts, "reasons": reasons})]


def _require_readable(config: Config, counts: Mapping[str, Any], paths: ShopPaths) -> None:
    """Refuses a file most of whose values or rows are bad, as the gate refuses an ingest of it.

    Raises:
        GateRefusedError: It exceeds a limit of the section `expectations`.
    """
    limits, read = config.expectations, max(counts["read"], 1)
    checks = [(name, count, limits.max_unreadable_share) for name, count in unreadable_counts(counts).items()]
    checks.append(("bad rows", counts["bad"], limits.max_bad_product_share))
    checks.append((DUPLICATE_PRODUCT_ID, counts["reasons"].get(DUPLICATE_PRODUCT_ID, 0), limits.max_bad_product_share))
    failed = [
        f"  {name}: {count:,} of {read:,} rows, at most {limit:.1%} may be"
        for name, count, limit in checks
        if count > TOLERATED_ROWS and count > limit * read
    ]
    if failed:
        raise GateRefusedError(
            "\n".join(["the prices did not pass the gate; the present ones stay:", *failed,
                       f"quarantined rows: {paths.price_quarantine}"])
        )  # fmt: skip


def _aliases(db: duckdb.DuckDBPyConnection, paths: ShopPaths) -> dict[str, str]:
    """The products that ingest merged, by id, and the one that stands for each."""
    if not paths.product_aliases.is_file():
        return {}
    query = (
        f"SELECT {c.PRODUCT_ID}, {c.DUPLICATE_OF} FROM read_parquet({sql_string(glob_literal(paths.product_aliases))})"
    )
    return dict(db.execute(query).fetchall())


def _ids(db: duckdb.DuckDBPyConnection, path: Path) -> set[str]:
    rows = db.execute(f"SELECT {c.PRODUCT_ID} FROM read_parquet({sql_string(glob_literal(path))})").fetchall()
    return {product_id for (product_id,) in rows}


def _write_products(db: duckdb.DuckDBPyConnection, paths: ShopPaths, columns: Collection[str]) -> int:
    """Writes the products with the updates; returns how many changed. Without a change it writes nothing."""
    products = f"read_parquet({sql_string(glob_literal(paths.products))})"
    differs = " OR ".join(f"u.{name} IS DISTINCT FROM p.{name}" for name in columns)
    joined = f"{products} p LEFT JOIN updates u USING ({c.PRODUCT_ID})"
    (changed,) = first_row(
        db.execute(f"SELECT count(*) FROM {products} p JOIN updates u USING ({c.PRODUCT_ID}) WHERE {differs}")
    )
    if changed:
        values = ", ".join(f"CASE WHEN u.{c.PRODUCT_ID} IS NULL THEN p.{name} ELSE u.{name} END AS {name}"
                           for name in columns)  # fmt: skip
        with replacing(paths.products) as temporary:
            db.execute(
                f"COPY (SELECT p.* REPLACE ({values}) FROM {joined} ORDER BY {c.PRODUCT_ID}) "
                f"TO {sql_string(str(temporary))} (FORMAT parquet, COMPRESSION zstd)"
            )
    return int(changed)


def _write_quarantine(db: duckdb.DuckDBPyConnection, paths: ShopPaths) -> None:
    with replacing(paths.price_quarantine) as temporary:
        db.execute(
            f"COPY ({LOCATED_ROWS} ORDER BY f.file, q.source_line) TO {sql_string(str(temporary))} "
            "(FORMAT parquet, COMPRESSION zstd)"
        )
