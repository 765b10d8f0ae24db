"""What it takes to compute the tables of the lists on a shop's pages: seconds and memory.

    python -m benchmarks.page_lists.cost [--lines 1200000] [--work FOLDER] [--json]

Synthetic baskets of a year in a shop with 100,000 products. The work runs in a process of its own, whose memory
includes the interpreter and its libraries.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from batch_jobs.shop_lists.build_lists import list_tables
from benchmarks.tools.machine import machine
from benchmarks.tools.measured_process import measured
from feature_repo.common.config import Config
from feature_repo.common.files import write_json
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.common.sql import sql_string

PRODUCTS, LINES_PER_BASKET, BASKETS_PER_BUYER = 100_000, 5, 20
LIMIT_SECONDS = 1800.0
JOB = "--job"


def cost(folder: Path, n_lines: int) -> dict[str, Any]:
    """Seconds and memory of the tables of a synthetic shop, in a process of its own."""
    config = Config.model_validate({"data_dir": folder / f"cost-{n_lines}", "data": {"source": "csv"}})
    _write_baskets(shop_paths(config), n_lines)
    job = measured([sys.executable, "-m", "benchmarks.page_lists.cost", JOB, str(config.data_dir)], LIMIT_SECONDS)
    return {
        "lines": n_lines,
        "products": PRODUCTS,
        "memory_limit": config.resources.memory_limit,
        "seconds": round(job.seconds, 1),
        "cpu_seconds": round(job.cpu_seconds, 1),
        "peak_mib": round(job.peak_mib),
        **json.loads(job.output),
    }


def _write_baskets(paths: ShopPaths, n_lines: int) -> None:
    """Canonical purchases of a year: popular products in most baskets, and products that go together."""
    n_baskets = n_lines // LINES_PER_BASKET
    n_buyers = max(1, n_baskets // BASKETS_PER_BUYER)
    for path in (paths.events, paths.product_features):
        path.parent.mkdir(parents=True, exist_ok=True)
    uniform = "(hash(i * 1000003 + {column}) / 18446744073709551616.0)"
    # Each basket is of one theme: most of its products are near each other in the catalogue.
    theme, popular = (f"floor(pow({uniform.format(column=column)}, 3) * {PRODUCTS})" for column in (1, 2))
    product = f"CASE WHEN j < 3 THEN (theme + j * 7) % {PRODUCTS} ELSE popular END"
    with duckdb.connect(config={"memory_limit": "2GB"}) as db:
        db.execute(f"""
            COPY (SELECT 'b' || (i % {n_buyers}) AS buyer_id, ({product})::BIGINT AS product_key,
                         'purchase' AS event_type,
                         TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_seconds(i * 31536000 // {n_baskets}) AS event_time
                  FROM (SELECT i, {theme} AS theme FROM range({n_baskets}) baskets(i)),
                       (SELECT j FROM range({LINES_PER_BASKET}) lines(j)),
                       LATERAL (SELECT {popular.replace("i *", "(i * 10 + j) *")} AS popular))
            TO {sql_string(str(paths.events))} (FORMAT parquet)""")
        db.execute(f"""
            COPY (SELECT i AS product_key, i::VARCHAR AS product_id FROM range({PRODUCTS}) products(i))
            TO {sql_string(str(paths.product_features))} (FORMAT parquet)""")
    split = {"validation_from": "2025-11-01T00:00:00+00:00", "test_from": "2025-12-01T00:00:00+00:00"}
    write_json(paths.feature_report, split | {"data_end": "2026-01-01T00:00:00+00:00"})


def _job(data_dir: Path) -> None:
    """The work that `cost` measures."""
    tables = list_tables(Config.model_validate({"data_dir": data_dir, "data": {"source": "csv"}}))
    names = {"bought_together": tables.basket.scores_NM[:, 0], "bought_within_days": tables.days.scores_NM[:, 0]}
    counts = {name: int((scores_N > 0).sum()) for name, scores_N in names.items()}
    table_mib = sum(array.nbytes for pair in (tables.basket, tables.days) for array in pair) / 2**20
    print(json.dumps(counts | {"table_mib": round(table_mib)}))  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_200_000, help="purchases of the synthetic shop")
    parser.add_argument("--work", type=Path, help="folder that keeps the data")
    parser.add_argument(JOB, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.job:
        _job(options.job)
        return
    with tempfile.TemporaryDirectory(prefix="tawsiya-lists-") as scratch:
        result = cost(options.work or Path(scratch), options.lines) | {"machine": machine()}
    lines = "\n".join(f"{name}: {value}" for name, value in result.items())
    print(json.dumps(result) if options.json else lines)  # noqa: T201


if __name__ == "__main__":
    main()
