"""How well the list "buy again" guesses what a buyer buys again, beside two simpler orders.

    python -m benchmarks.page_lists.again [--source complete_journey] [--full] [--work FOLDER] [--json]

Recall@10 of the products that buyers bought again in the days after a moment, of all that they had bought before: by
how due they are, most recent first, and most often first. Nothing of after the moment is known to any order.
"""

import argparse
import datetime as dt
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.shop_lists.build_lists import repurchases, stage_purchases
from feature_repo.common.arrays import Float64Array
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.time_split import read_time_split
from training.artifacts.lists.repurchases import OwnPurchases, Repurchases, due_scores, own_purchases

K = 10
PERIODS = ((30, 30), (7, 7), (60, 14))  # days before the end, and days whose purchases are to be guessed


def again(config: Config) -> list[dict[str, Any]]:
    """The recall of each order, for each of PERIODS."""
    ingest(config)
    build_features(config)
    paths = shop_paths(config)
    data_end = read_time_split(paths.feature_report).data_end
    return [_period(paths, data_end - dt.timedelta(days=back), days) for back, days in PERIODS]


def _period(paths: ShopPaths, moment: dt.datetime, days: int) -> dict[str, Any]:
    now_ms = int(moment.timestamp() * 1000)
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        n_products = stage_purchases(db, paths, moment + dt.timedelta(days=days))
        later = _by_buyer(db, f"time_ms > {now_ms}")
        db.execute(f"DELETE FROM purchases WHERE time_ms > {now_ms}")
        shop, earlier = repurchases(db, now_ms, n_products), _by_buyer(db, "true")
    recalls = defaultdict(list)
    for buyer_id, (positions, _) in later.items():
        if buyer_id not in earlier:
            continue
        own = own_purchases(*earlier[buyer_id])
        targets = np.intersect1d(positions, own.positions)
        if len(targets):
            for name, scores in _orders(own, shop, now_ms).items():
                best = own.positions[np.argsort(-scores, kind="stable")[:K]]
                recalls[name].append(len(np.intersect1d(best, targets)) / len(targets))
    figures = {name: round(float(np.mean(values)), 4) for name, values in recalls.items()}
    return {"from": f"{moment:%Y-%m-%d}", "days": days, "buyers": len(recalls["due"]), f"recall@{K}": figures}


def _orders(own: OwnPurchases, shop: Repurchases, now_ms: int) -> dict[str, Float64Array]:
    """The scores of a buyer's products by each order."""
    due = np.where(shop.is_rebought(own.positions), due_scores(own, shop, now_ms), 0)
    often = own.repeats + own.last_ms / now_ms  # ties: the most recent one
    return {"due": due.astype(np.float64), "most recent": own.last_ms.astype(np.float64), "most often": often}


def _by_buyer(db: duckdb.DuckDBPyConnection, condition: str) -> dict[str, tuple[Any, Any]]:
    rows = db.execute(
        f"SELECT buyer_id, list(position), list(time_ms) FROM purchases WHERE {condition} GROUP BY buyer_id"
    ).fetchall()
    return {buyer_id: (np.array(positions), np.array(times)) for buyer_id, positions, times in rows}


def text(periods: Sequence[dict[str, Any]]) -> str:
    """The result as text."""
    return "\n".join(
        f"{row['days']} days from {row['from']}, {row['buyers']} buyers: "
        + ", ".join(f"{name} {value:.3f}" for name, value in row[f"recall@{K}"].items())
        for row in periods
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="complete_journey")
    parser.add_argument("--full", action="store_true", help="the whole data set instead of its subset")
    parser.add_argument("--work", type=Path, help="folder that keeps the data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tawsiya-again-") as scratch:
        data = {"source": options.source, "use_subset": not options.full}
        folder = (options.work or Path(scratch)) / ("full" if options.full else "subset")
        periods = again(Config.model_validate({"data_dir": folder, "data": data}))
    print(json.dumps({"periods": periods}) if options.json else text(periods))  # noqa: T201


if __name__ == "__main__":
    main()
