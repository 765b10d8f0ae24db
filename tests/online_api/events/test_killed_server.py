"""A server that is killed at random moments, under writers: what it has acknowledged is in the log, and log and online
store agree, each event once.
"""

import json
import logging
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.keys import product_key
from online_api.events.event_log import LoggedEvent
from tests.online_api.api_shop import EVENTS, PRODUCTS, publish_random_release
from tests.processes import Background
from tests.valkey_server import ValkeyServer

log = logging.getLogger(__name__)

# Two hundred starts of a server take longer than other tests may.
pytestmark = [pytest.mark.store, pytest.mark.processes, pytest.mark.timeout(1800)]

MOMENTS = int(os.environ.get("KILLED_SERVERS", "200"))
WRITERS = 4
PRODUCT_IDS = ("p1", "p2", "p3", "p4", "p5")
PATIENCE_S = 300.0


def _serve(config: Config, connection: str, port: int) -> None:
    import uvicorn

    from online_api.app import create_app

    os.environ["TAWSIYA_REDIS"] = connection
    uvicorn.run(create_app(config), host="127.0.0.1", port=port, log_level="critical")


@dataclass
class Writer:
    """Sends events until it is told to stop; some again after a failure, as callers do."""

    number: int
    url: str
    stopped: threading.Event
    acknowledged: set[str] = field(default_factory=set)
    waiting: int = 0  # acknowledged events of unknown products

    def run(self) -> None:
        draw, sent = random.Random(self.number), 0
        while not self.stopped.is_set():
            # One event of each product per buyer, so that no two of a buyer's events are alike.
            batch = [self._event(sent // len(PRODUCT_IDS), PRODUCT_IDS[sent % len(PRODUCT_IDS)], draw)]
            sent += 1
            if draw.random() < 0.2:
                batch.append({**batch[0], c.EVENT_ID: f"{batch[0][c.EVENT_ID]}-new", c.PRODUCT_ID: "new"})
            for _ in range(draw.choice([1, 40])):
                if self._send(batch) or self.stopped.is_set():
                    break
                time.sleep(0.05)

    def _event(self, buyer: int, product_id: str, draw: random.Random) -> dict[str, Any]:
        event = {c.EVENT_ID: f"w{self.number}-{buyer}-{product_id}", c.BUYER_ID: f"w{self.number}-{buyer}"}
        event |= {c.PRODUCT_ID: product_id, c.EVENT_TYPE: draw.choice(["view", "add_to_cart", "purchase"])}
        return event if draw.random() < 0.5 else event | {c.TIMESTAMP: "2025-11-24T16:00:00Z"}

    def _send(self, batch: list[dict[str, Any]]) -> bool:
        try:
            answer = httpx.post(f"{self.url}/v1/events", json={"events": batch}, timeout=5)
        except httpx.HTTPError:
            return False
        if answer.status_code != 202:
            return False
        content = answer.json()
        assert content["rejected"] == [], content
        self.acknowledged |= {event[c.EVENT_ID] for event in batch}
        self.waiting += content["unknown_product"]
        return True


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "products.csv").write_text(PRODUCTS, encoding="utf-8")
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    tables = {f"{table}_path": str(folder / f"{table}.csv") for table in ("events", "products")}
    return Config.model_validate(
        {
            "data_dir": folder / "var",
            "data": {"source": "csv", "test_days": 1, **tables},
            "feature_store": {"online": "redis"},
            "api": {"log_level": "error", "max_unknown_product_events_per_key": 1_000_000},
        }
    )


@pytest.fixture(scope="module")
def store(config: Config, server: ValkeyServer) -> Iterator[FeatureStore]:
    ingest(config)
    build_features(config)
    with feature_store(config, {"TAWSIYA_REDIS": server.connection}) as store:
        store.materialize(full=True)
        publish_random_release(config, store.schema_hash)
        yield store


def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(
    config: Config, store: FeatureStore, server: ValkeyServer
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url, stopped = f"http://127.0.0.1:{port}", threading.Event()
    writers = [Writer(number, url, stopped) for number in range(WRITERS)]
    threads = [threading.Thread(target=writer.run, daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    draw = random.Random(7)
    try:
        for number in range(MOMENTS):
            process = Background(_serve, config, server.connection, port).process
            _wait_for(lambda: _is_served(url))
            time.sleep(draw.uniform(0, 0.15))  # within some of the requests of four writers
            process.kill()
            process.join()
            log.info("killed server %d", number)
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    last = Background(_serve, config, server.connection, port).process
    try:
        _wait_for(lambda: _is_served(url))
        _wait_for(lambda: httpx.get(f"{url}/health").json()["pending_events"] == 0)
        time.sleep(1.5)  # beyond a round of the replay
        _wait_for(lambda: httpx.get(f"{url}/health").json()["pending_events"] == 0)
    finally:
        last.kill()
        last.join()
    acknowledged = set().union(*(writer.acknowledged for writer in writers))
    events = _logged(shop_paths(config).event_log)
    log.info(
        "%d kills: %d acknowledged, %d logged, %d of them unanswered",
        MOMENTS, len(acknowledged), len(events), len({event.event_id for event in events} - acknowledged),
    )  # fmt: skip
    assert events
    assert acknowledged <= {event.event_id for event in events}
    _check_online(store, events)
    _check_waiting(shop_paths(config).event_log, events)


def _check_online(store: FeatureStore, logged: list[LoggedEvent]) -> None:
    expected: dict[str, dict[str, tuple[int, int, int]]] = {}
    for event in logged:
        if event.product_id in PRODUCT_IDS:
            stored = (event.time_ms, product_key(event.product_id), EVENT_TYPE_CODES[event.event_type])
            # A retry may have been logged twice; the first line counts, as in ingest.
            expected.setdefault(event.buyer_id, {}).setdefault(event.event_id, stored)
    for buyer_id, events in expected.items():
        found = store.online.read_sequence(buyer_id)
        rows = zip(found.event_times.tolist(), found.product_keys.tolist(), found.event_types.tolist(), strict=True)
        assert list(rows) == sorted(events.values()), buyer_id


def _check_waiting(event_log: Path, logged: list[LoggedEvent]) -> None:
    lines = (event_log / "pending" / "unknown_products.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)[c.EVENT_ID] for line in lines} == {
        event.event_id for event in logged if event.product_id not in PRODUCT_IDS
    }


def _logged(event_log: Path) -> list[LoggedEvent]:
    lines = [line for path in sorted(event_log.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [LoggedEvent.from_json(json.loads(line)) for line in lines]


def _is_served(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _wait_for(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)
