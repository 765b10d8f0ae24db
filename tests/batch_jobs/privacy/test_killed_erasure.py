"""`tawsiya forget` that is killed at random moments, beside an API that takes events: the same command ends it."""

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from batch_jobs.feature_build.build_contexts import ensure_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.privacy.export import export
from expectations.gate import require_passed, validate_canonical, validate_features
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from online_api.events.event_log import EventLog, LogPosition
from tests.batch_jobs.csv_shop import rows
from tests.batch_jobs.privacy.decoded import texts_of
from tests.online_api.api_shop import PRODUCTS, open_shop, wait_for
from tests.processes import Background, Command, tawsiya

pytestmark = [pytest.mark.store, pytest.mark.processes, pytest.mark.timeout(3600)]
log = logging.getLogger(__name__)

MOMENTS = int(os.environ.get("KILLED_ERASURES", "15"))
NUMBER = "7731093"  # of every buyer who goes
DAYS = [f"2024-03-0{day} 10:00:00" for day in range(1, 7)]
EVENTS = "buyer_id,product_id,event_type,timestamp\n" + "".join(
    f"{buyer},p{1 + (number + day) % 4},{kind},{moment}\n"
    for number in range(MOMENTS + 1)
    for buyer in (f"goes{number}-{NUMBER}", f"stays{number}")
    for day, moment in enumerate(DAYS)
    for kind in ("view", "purchase")
)


def _serve(config: Config, port: int) -> None:
    import uvicorn

    from online_api.app import create_app

    uvicorn.run(create_app(config), host="127.0.0.1", port=port, log_level="critical")


def _has_come(moment: float) -> bool:
    return time.monotonic() > moment


@dataclass
class Writer:
    """Sends events of one buyer who goes and one who stays, of known and unknown products."""

    url: str
    goes: str = f"goes0-{NUMBER}"
    acknowledged: set[str] = field(default_factory=set)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        sent = 0
        while not self.stopped.wait(0.05):
            sent += 1
            both = [self._event(buyer, sent) for buyer in ("stays0", self.goes)]
            answer = httpx.post(f"{self.url}/v1/events", json={"events": both}, timeout=60)
            if answer.status_code == 202 and 0 not in {one["index"] for one in answer.json()["rejected"]}:
                self.acknowledged.add(both[0][c.EVENT_ID])

    def _event(self, buyer: str, number: int) -> dict[str, str]:
        product = "new" if number % 10 == 0 else f"p{1 + number % 5}"
        return {c.EVENT_ID: f"{buyer}_{number}", c.BUYER_ID: buyer, c.PRODUCT_ID: product, c.EVENT_TYPE: "view"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    with open_shop(tmp_path, PRODUCTS, EVENTS) as runtime:
        validate_canonical(runtime.paths, runtime.config)
        validate_features(runtime.paths, runtime.config)
        ensure_contexts(runtime.config)
        return runtime.config


@pytest.fixture
def writer(config: Config) -> Iterator[Writer]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Background(_serve, config, port)
    found = Writer(f"http://127.0.0.1:{port}")

    def answers() -> bool:
        try:
            return httpx.get(f"{found.url}/health", timeout=5).status_code < 500
        except httpx.HTTPError:
            return False

    try:
        wait_for(answers, 240)
        thread = threading.Thread(target=found.run)
        thread.start()
        yield found
        found.stopped.set()
        thread.join()
    finally:
        found.stopped.set()
        server.process.terminate()
        server.process.join()


def test_the_same_command_ends_an_erasure_that_was_killed(config: Config, writer: Writer, tmp_path: Path) -> None:
    paths, draw = shop_paths(config), random.Random(7)
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    n_others = sum(not row[c.BUYER_ID].startswith("goes") for row in rows(paths.events))
    whole_s, unfinished = 0.0, 0
    for number in range(MOMENTS + 1):
        writer.goes = f"goes{number}-{NUMBER}"
        time.sleep(0.5)
        command = ("forget", "--buyer", writer.goes, "--config", "shop.yaml")
        if number:  # the first one shows how long it takes
            killed, moment = Command(tmp_path, *command), time.monotonic() + draw.uniform(0.1, whole_s)
            killed.kill_when(partial(_has_come, moment))
            unfinished += paths.unfinished_erasure.exists()
            log.warning("killed: %d, with work left: %d", number, unfinished)
        start = time.monotonic()
        finished = tawsiya(tmp_path, *command)
        whole_s = whole_s or time.monotonic() - start
        assert finished.code == 0, finished.stderr
        assert {path.name for path, said in texts_of(paths.root) if writer.goes in said} == set()
        left = export(config, writer.goes)
        assert (left["files"], left["event_log"], left["online"]) == ({}, {}, {"events": [], "purchases": []})
        assert not paths.unfinished_erasure.exists()
        require_passed(paths)
        assert sum(not row[c.BUYER_ID].startswith("goes") for row in rows(paths.events)) == n_others
        assert build_features(config)["changed"] == {"buyers": 0, "products": 0}
    logged = {event.event_id for event in EventLog(paths.event_log).events_since(LogPosition("", 0))}
    assert logged >= writer.acknowledged
    assert writer.acknowledged
    log.warning("%d events were acknowledged meanwhile", len(writer.acknowledged))
    assert unfinished
