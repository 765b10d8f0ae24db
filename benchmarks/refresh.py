"""Processor seconds of `tawsiya refresh` by stage: everything, nothing new, one in a hundred new, prices alone.

    python -m benchmarks.refresh [--events 200000] [--work FOLDER] [--json]

Makes a shop (shops.event_shop), refreshes it, and refreshes it again after nothing, and after one buyer in a hundred
got two late events and one product in a hundred another title, price and stock, without training. Then prices alone. At
the end every stage but the training runs anew, which must give the same vectors, index and metrics.

The seconds of a stage are those of its work; imports and the start of the command are in `command`.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import yaml

from benchmarks.shops.event_shop import PRODUCTS_FILE, EventShop, write_changes, write_event_shop
from benchmarks.tools.machine import machine
from benchmarks.tools.measured_process import measured
from feature_repo.common.config_loading import load_config
from feature_repo.common.files import replacing, sha256
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.common.sql import sql_string

LIMIT_SECONDS = 3600.0
SUFFIX = "parquet"
KEEP_MODEL = ("--set", "refresh.retrain=never")
OF_THE_MODEL = ("train", "baselines")  # stages that do not depend on the data of a night without training
NOT_COMPARED = ("ingest", "train")  # in the share that one in a hundred costs
WHOLE = ("command", "wall")  # figures of the whole command, not of a stage


def run(work: Path, n_events: int) -> dict[str, Any]:
    """The figures of each refresh, in the order of their steps."""
    folder, shop = work / f"refresh-{n_events}", EventShop(n_events)
    shutil.rmtree(folder, ignore_errors=True)
    write_event_shop(folder, shop, SUFFIX)
    config = _write_config(folder)
    paths = shop_paths(load_config(config))
    figures = {"everything": _refresh(config), "nothing_new": _refresh(config)}
    write_changes(folder, shop, SUFFIX)
    _change_products(folder, title="another title")
    figures["one_in_a_hundred"] = _refresh(config, *KEEP_MODEL)
    results = _results(paths)
    _change_products(folder, title="another title", price=7)
    figures["prices_alone"] = _refresh(config, "--only", "prices")
    _change_products(folder, title="another title")
    for record in (paths.refreshes / "stages").glob("*.json"):
        if record.stem not in OF_THE_MODEL:
            record.unlink()
    shutil.rmtree(paths.feature_report.parent)
    figures["all_but_training_again"] = _refresh(config, *KEEP_MODEL)
    return {
        "machine": machine(),
        "shop": {"events": n_events, "buyers": shop.buyers, "products": shop.products},
        "cpu_seconds": figures,
        "share_of_everything": _share(figures["one_in_a_hundred"], figures["everything"]),
        "same_results": results == _results(paths),
    }


def _write_config(folder: Path) -> Path:
    settings = {
        "data_dir": str(folder / "var"),
        "data": {
            "source": "csv",
            "events_path": str(folder / f"events-*.{SUFFIX}"),
            "products_path": str(folder / PRODUCTS_FILE),
        },
        # As short as it can be: no figure here is of training.
        "training": {"num_epochs": 1, "refit": False, "max_contexts": 20_000},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def _change_products(folder: Path, *, title: str, price: int = 5) -> None:
    """Gives one product in a hundred a title, a price and a stock."""
    path = folder / PRODUCTS_FILE
    is_changed = "hash(product_id) % 100 = 0"
    query = f"""
        SELECT * REPLACE (CASE WHEN {is_changed} THEN '{title} ' || product_id ELSE title END AS title,
                          CASE WHEN {is_changed} THEN {price} ELSE price END AS price,
                          CASE WHEN {is_changed} THEN {price} ELSE stock END AS stock)
        FROM read_parquet({sql_string(str(path))})
    """
    with replacing(path) as temporary, duckdb.connect() as db:
        db.execute(f"COPY ({query}) TO {sql_string(str(temporary))} (FORMAT parquet, COMPRESSION zstd)")


def _refresh(config: Path, *arguments: str) -> dict[str, float]:
    """The processor seconds of each stage that ran, and of the whole command."""
    command = ["-m", "batch_jobs.cli", "refresh", "--config", str(config), "--json", *arguments]
    process = measured([sys.executable, *command], LIMIT_SECONDS)
    stages = json.loads(process.output)["stages"]
    ran = {stage["stage"]: stage["cpu_seconds"] for stage in stages if stage["state"] != "skipped"}
    return {**ran, **dict(zip(WHOLE, (round(process.cpu_seconds, 2), round(process.seconds, 2)), strict=True))}


def _share(changed: dict[str, float], everything: dict[str, float]) -> dict[str, float]:
    """What the changed run's stages cost of all stages of the first run, each and in all."""
    whole = sum(cpu for name, cpu in everything.items() if name not in WHOLE)
    parts = {name: round(cpu / whole, 4) for name, cpu in changed.items() if name not in (*NOT_COMPARED, *WHOLE)}
    return {"all": round(sum(parts.values()), 4), **parts}


def _results(paths: ShopPaths) -> dict[str, str]:
    files = [*paths.embeddings.glob("*.npy"), *paths.index.glob("*.faiss"), paths.evaluation]
    return {path.name: sha256(path) for path in files}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--work", type=Path, default=Path("var/bench"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    figures = run(options.work, options.events)
    print(json.dumps(figures, indent=None if options.json else 2))  # noqa: T201


if __name__ == "__main__":
    main()
