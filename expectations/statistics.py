"""Statistics of canonical data, and the baseline: the statistics of the last run whose canonical data passed the gate.

The drift checks compare the two. The baseline also keeps the statistics before it: when the same data are validated
again, they must not be compared with themselves.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from expectations.checks import FILE, ROW
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import duckdb_session, out_of_resources
from feature_repo.common.files import glob_literal, write_json
from feature_repo.common.paths import ShopPaths
from feature_repo.common.sql import first_row
from feature_repo.ingest_report import BROKEN_METADATA, UNREADABLE_PREFIX


@dataclass(frozen=True)
class CanonicalStatistics:
    """Numbers of the canonical data of one run.

    Attributes:
        events_read: Rows of the source's files of events.
        events_kept: Canonical events, those of the event log included.
        products_read: Rows of the source's files of products.
        products_kept: Canonical products.
        buyers: Number of distinct buyers.
        visible_products: Products that are not hidden.
        available_products: Products whose stock is above 0 or unknown.
        priced_products: Products that have a price above 0.
        event_mix: Share of each event type.
        null_rates: Share of missing values, by `table.column`; an empty text is a missing value.
        unreadable_shares: Share of the products read whose value could not be read, by the count's name.
        categories: Number of products of each category.
        newest_event: The time of the newest event, ISO 8601 in UTC.
    """

    events_read: int = 0
    events_kept: int = 0
    products_read: int = 0
    products_kept: int = 0
    buyers: int = 0
    visible_products: int = 0
    available_products: int = 0
    priced_products: int = 0
    event_mix: Mapping[str, float] = field(default_factory=dict)
    null_rates: Mapping[str, float] = field(default_factory=dict)
    unreadable_shares: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)
    newest_event: str | None = None


@dataclass(frozen=True)
class GoodRun:
    """A run whose canonical data passed the gate.

    Attributes:
        validated_at: When, ISO 8601 in UTC.
        accepted_drift: Whether a person accepted it with `--accept-drift`.
        inputs: Checksums of the canonical files.
        statistics: Their statistics.
    """

    validated_at: str
    accepted_drift: bool
    inputs: Mapping[str, str]
    statistics: CanonicalStatistics


def good_runs(paths: ShopPaths) -> list[GoodRun]:
    """The last good run and the one of other data before it, newest first; empty before the first good run."""
    if not _baseline_path(paths).is_file():
        return []
    content = json.loads(_baseline_path(paths).read_text(encoding="utf-8"))
    return [GoodRun(**run | {"statistics": statistics_from(run["statistics"])}) for run in content["good_runs"]]


def run_to_compare(runs: list[GoodRun], inputs: Mapping[str, str]) -> GoodRun | None:
    """The newest good run of other data than `inputs`, or None."""
    return next((run for run in runs if dict(run.inputs) != dict(inputs)), None)


def keep_good_run(paths: ShopPaths, run: GoodRun) -> None:
    """Makes `run` the baseline, unless it already is. An accepted run stands alone: nothing before it counts."""
    runs = good_runs(paths)
    if runs and dict(runs[0].inputs) == dict(run.inputs) and not run.accepted_drift:
        return
    before = None if run.accepted_drift else run_to_compare(runs, run.inputs)
    write_json(_baseline_path(paths), {"good_runs": [asdict(item) for item in (run, before) if item]})


def utc_now() -> str:
    """The time as records and reports write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def statistics_from(content: Mapping[str, Any]) -> CanonicalStatistics:
    """The statistics in a baseline; another version of Tawsiya may have kept others too."""
    known = {field.name for field in fields(CanonicalStatistics)}
    return CanonicalStatistics(**{name: value for name, value in content.items() if name in known})


def _baseline_path(paths: ShopPaths) -> Path:
    return paths.validation / "baseline.json"


# ---- computing -------------------------------------------------------------------------------------------------------


def canonical_statistics(paths: ShopPaths, config: Config, report: Mapping[str, Any]) -> CanonicalStatistics:
    """Computes the statistics of the canonical files; `report` is the ingest report.

    Raises:
        ValueError: A file cannot be read; the message names it and the command that writes it.
    """
    with duckdb_session(config, "validate") as db:
        nulls: dict[str, float] = {}
        for table, path in (("products", paths.products), ("events", paths.events)):
            open_view(db, table, [path], "`tawsiya ingest`")
            nulls |= _null_rates(db, table)
        categories = dict(
            db.execute(f"SELECT {c.CATEGORY}, count(*) FROM products WHERE {c.CATEGORY} <> '' GROUP BY 1").fetchall()
        )
        types = dict(db.execute(f"SELECT coalesce({c.EVENT_TYPE}, ''), count(*) FROM events GROUP BY 1").fetchall())
        buyers, newest = first_row(
            db.execute(f"SELECT count(DISTINCT {c.BUYER_ID}), max({c.EVENT_TIME})::VARCHAR FROM events")
        )
        products, visible, available, priced = first_row(
            db.execute(f"""
                SELECT count(*), count(*) FILTER (NOT coalesce({c.HIDDEN}, false)),
                       count(*) FILTER (coalesce(try_cast({c.STOCK} AS DOUBLE), 1) > 0),
                       count(*) FILTER (try_cast({c.PRICE} AS DOUBLE) > 0)
                FROM products
            """)
        )
    events = sum(types.values())
    counts = report.get("products", {})
    products_read = rows_read(counts) or products
    return CanonicalStatistics(
        events_read=rows_read(report.get("events", {})) or events,
        events_kept=events,
        products_read=products_read,
        products_kept=products,
        buyers=buyers,
        visible_products=visible,
        available_products=available,
        priced_products=priced,
        event_mix={kind: count / events for kind, count in types.items()},
        null_rates=nulls,
        unreadable_shares={name: n / max(products_read, 1) for name, n in unreadable_counts(counts).items()},
        categories=categories,
        newest_event=newest,
    )


def rows_read(counts: Mapping[str, Any]) -> int:
    """The rows of a table of the ingest report that the mapping did not exclude."""
    return int(counts.get("read", 0)) - int(counts.get("excluded", 0))


def unreadable_counts(counts: Mapping[str, Any]) -> dict[str, int]:
    """How many products have a value that cannot be read, by name of the count, from the report of the products."""
    return {
        name: int(count)
        for name, count in counts.items()
        if name.startswith(UNREADABLE_PREFIX) or name == BROKEN_METADATA
    }


def open_view(db: duckdb.DuckDBPyConnection, name: str, files: Sequence[Path], made_by: str) -> None:
    """Creates a view of one or several Parquet files, whose rows also have their file and their number in it.

    Raises:
        ValueError: A file cannot be read; the message names it, or their folder, and the command `made_by` that writes
            them.
    """
    try:
        db.read_parquet([glob_literal(part) for part in files], file_row_number=True, filename=True).create_view(name)
    except duckdb.Error as error:
        if out_of_resources(error):
            raise
        reason = str(error).partition("\n")[0]
        place = files[0] if len(files) == 1 else files[0].parent
        raise ValueError(f"{place} cannot be read: {reason}; run {made_by} again") from None


def _null_rates(db: duckdb.DuckDBPyConnection, table: str) -> dict[str, float]:
    columns = db.execute(f"DESCRIBE SELECT * EXCLUDE ({FILE}, {ROW}) FROM {table}").fetchall()
    missing = [
        f"count(*) FILTER ({name} IS NULL" + (f" OR {name} = '')" if kind == "VARCHAR" else ")")
        for name, kind, *_ in columns
    ]
    rows, *counts = first_row(db.execute(f"SELECT count(*), {', '.join(missing)} FROM {table}"))
    return {f"{table}.{name}": count / max(rows, 1) for (name, *_), count in zip(columns, counts, strict=True)}
