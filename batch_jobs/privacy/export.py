"""Export: everything that Tawsiya stores of one buyer, as one JSON object."""

import datetime as dt
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from batch_jobs.privacy.event_lines import events_in
from batch_jobs.privacy.parquet_rows import rows_of
from feature_repo import columns as c
from feature_repo.common.buyer_merges import accounts_of_guests, guests_of, read_merges
from feature_repo.common.config import Config
from feature_repo.common.files import replacing
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import feature_store
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from feature_repo.transforms.sequences import EventSequence

Json = dict[str, Any]


def export(config: Config, buyer_id: str) -> dict[str, Any]:
    """Everything of a buyer, by the cleaned id, and of the guests who became this buyer.

    Returns:
        {"buyer_id", "guests", "became", "forgotten", "files": {path in the shop's folder: rows}, "event_log",
        "online": {"events", "purchases"}}. `guests` became this buyer, and `became` is whom this one became, or null.
        `online` is what recommendations are made from; it is null if the shop has no online store.

    Raises:
        StoreUnavailableError: The online store cannot be reached.
    """
    paths = shop_paths(config)
    accounts = accounts_of_guests(read_merges(host.buyer_merges for host in paths.hosts()))
    ids = [buyer_id, *guests_of([buyer_id], accounts)]
    files = _found(paths, _tables(paths), lambda path: _rows(path, ids))
    lines = [path for host in paths.hosts() for path in sorted(host.event_log.rglob("*.jsonl"))]
    logged = _found(paths, lines, lambda path: list(events_in(path, ids)))
    return {
        c.BUYER_ID: buyer_id,
        "guests": ids[1:],
        "became": accounts.get(buyer_id),
        "forgotten": ForgottenBuyers(paths.forgotten).holds(buyer_id),
        "files": files,
        "event_log": logged,
        "online": _online(config, paths, buyer_id),
    }


def write_export(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Writes an export for its reader alone, and returns where, and how much of what it has."""
    with replacing(path) as temporary:
        temporary.touch(mode=0o600)
        text = json.dumps(content, ensure_ascii=False, indent=2, default=str)
        temporary.write_text(text + "\n", encoding="utf-8")
    counts = {name: len(rows) for part in ("files", "event_log") for name, rows in content[part].items()}
    online = {f"online {name}": len(rows) for name, rows in (content["online"] or {}).items()}
    return {"written": str(path), **counts, **online}


def _tables(paths: ShopPaths) -> list[Path]:
    """The shop's Parquet files, without the copies that a running job makes of them."""
    copies = {paths.root / "tmp", paths.passed_features}
    # Not rglob, which fails if a folder is deleted meanwhile.
    files = (Path(folder) / name for folder, _, names in os.walk(paths.root) for name in names)
    return sorted(
        path
        for path in files
        if path.suffix == ".parquet" and not path.name.startswith(".") and copies.isdisjoint(path.parents)
    )


def _found(paths: ShopPaths, files: Iterable[Path], read: Callable[[Path], list[Json]]) -> dict[str, list[Json]]:
    """What the files hold, by their names in the shop's folder; files without any are left out."""
    found = {}
    for path in files:
        # A refresh may have replaced the file by another one since it was listed.
        with suppress(FileNotFoundError):
            found[path.relative_to(paths.root).as_posix()] = read(path)
    return {name: rows for name, rows in found.items() if rows}


def _rows(path: Path, buyer_ids: Sequence[str]) -> list[dict[str, Any]]:
    return [row for batch in rows_of(path, buyer_ids) for row in batch.to_pylist()]


# ---- online store ----------------------------------------------------------------------------------------------------


def _online(config: Config, paths: ShopPaths, buyer_id: str) -> dict[str, list[dict[str, Any]]] | None:
    if config.feature_store.online == "embedded" and not paths.redis.is_dir():
        return None
    with feature_store(config) as store:
        (features,) = store.online.read_buyers([buyer_id])
    wanted = {*features.events.product_keys.tolist(), *features.purchases.product_keys.tolist()}
    products = _product_ids(paths, wanted)
    return {
        "events": list(_events(features.events, products)),
        "purchases": list(_events(features.purchases, products)),
    }


def _product_ids(paths: ShopPaths, keys: Iterable[int]) -> dict[int, str]:
    """The ids of products by their keys, which are all that sequences have."""
    if not paths.products.is_file():
        return {}
    table = pq.read_table(paths.products, columns=[c.PRODUCT_KEY, c.PRODUCT_ID])
    rows = np.flatnonzero(np.isin(table[c.PRODUCT_KEY].to_numpy(), np.array(list(keys), dtype=np.int64)))
    chosen = table.take(rows)
    return dict(zip(chosen[c.PRODUCT_KEY].to_pylist(), chosen[c.PRODUCT_ID].to_pylist(), strict=True))


def _events(sequence: EventSequence, products: dict[int, str]) -> Iterator[dict[str, Any]]:
    for key, code, time_ms in zip(
        sequence.product_keys.tolist(), sequence.event_types.tolist(), sequence.event_times.tolist(), strict=True
    ):
        moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
        yield {
            c.PRODUCT_ID: products.get(key),
            c.PRODUCT_KEY: key,
            c.EVENT_TYPE: EVENT_TYPE_NAMES[code],
            c.EVENT_TIME: moment.isoformat(timespec="milliseconds"),
        }
