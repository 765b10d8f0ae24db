"""Small shops as CSV files, and readers of what ingest writes."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from batch_jobs.ingestion.source_mapping import load_mapping
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths

REPOSITORY = Path(__file__).parents[2]
CSV_MAPPING = str(REPOSITORY / "config/sources/csv.yaml")

EXPORTS = REPOSITORY / "tests/data/exports"  # a small export of each platform, in the documented shape

HEADER = "buyer_id,product_id,event_type,timestamp\n"

Row = dict[str, Any]


def shop(
    folder: Path, *, events: str | bytes, products: str | bytes, photos: str | None = None, **data: object
) -> Config:
    """Writes the files of a shop and returns the configuration that reads them; `data` are further data settings."""
    files = {"events": events, "products": products, "photos": photos}
    paths = {f"{name}_path": str(folder / f"{name}.csv") for name in files}
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if content is not None:
            content = content.encode("utf-8") if isinstance(content, str) else content
            (folder / f"{name}.csv").write_bytes(content)
    return Config.model_validate(
        {"data_dir": folder / "var", "data": {"source": CSV_MAPPING, "test_days": 1, **paths, **data}}
    )


def platform_shop(source: str, folder: Path, exports: Path | None = None) -> Config:
    """The configuration that reads the export of a platform."""
    path = REPOSITORY / "config" / "sources" / f"{source}.yaml"
    mapping, exports = load_mapping(str(path)), exports or EXPORTS / source
    return Config.model_validate(
        {
            "data_dir": folder / "var",
            "data": {
                "source": str(path),
                "events_path": str(exports / mapping.events.path),
                "products_path": str(exports / mapping.products.path),
            },
        }
    )


def rows(path: Path) -> list[Row]:
    table: list[Row] = pq.read_table(path).to_pylist()
    return table


def kept_events(config: Config) -> list[Row]:
    return rows(shop_paths(config).events)


def kept_products(config: Config) -> dict[str, Row]:
    return {row["product_id"]: row for row in rows(shop_paths(config).products)}


def row_counts(table: dict[str, Any]) -> dict[str, Any]:
    """The row counts of a table in the report of ingest."""
    return {name: table[name] for name in ("read", "kept", "excluded", "duplicates", "bad", "reasons")}


def quarantined(config: Config) -> list[tuple[str, int, str]]:
    """Table, source line and reason of each row left out."""
    return [(row["table"], row["source_line"], row["reason"]) for row in rows(shop_paths(config).quarantine)]
