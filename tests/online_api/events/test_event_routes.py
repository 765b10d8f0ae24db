"""POST /v1/events over HTTP: into the log and the feature store, and back out; test_event_intake.py has the rest."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import shop_paths
from feature_repo.online.claims import Claim
from feature_repo.store import FeatureStore
from feature_repo.transforms.keys import product_key
from online_api.app import create_app
from online_api.events.event_files import EventFiles
from online_api.events.intake import EventIntake
from online_api.runtime import Runtime
from online_api.service import now_ms
from tests.serving import serving

pytestmark = pytest.mark.store

NOON = 1_764_000_000_000  # some moment in the past, in milliseconds
NOTHING = {"accepted": 0, "duplicates": 0, "unknown_product": 0, "pending": 0, "rejected": []}


def event(buyer_id: str, product_id: str = "p1", event_type: str = "view", **more: Any) -> dict[str, Any]:
    return {"buyer_id": buyer_id, "product_id": product_id, "event_type": event_type, **more}


def post(client: httpx.Client, *events: Any) -> dict[str, Any]:
    answer = client.post("/v1/events", json={"events": list(events)})
    assert answer.status_code == 202, answer.text
    result: dict[str, Any] = answer.json()
    return result


def logged(folder: Path, buyer_id: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text("utf-8").splitlines()]
    return [line for line in lines if line[c.BUYER_ID] == buyer_id]


def test_an_event_is_in_the_next_recommendation(client: httpx.Client) -> None:
    url = "/v1/buyers/newcomer/recommendations"
    assert client.get(url).json()["source"] == "popular"
    assert post(client, event("newcomer", "p2", "Purchase", timestamp=NOON)) == NOTHING | {"accepted": 1}
    answer = client.get(url).json()
    assert answer["source"] == "personalised"
    session = {"interactions": [{"product_id": "p2", "event_type": "purchase", "timestamp": NOON}]}
    same = client.post("/retrieve", json=session).json()["items"]
    assert answer["items"] == [item | {"source": "personalised"} for item in same]


def test_an_event_joins_the_stored_history(client: httpx.Client, store: FeatureStore) -> None:
    before = store.online.read_sequence("u2")
    post(client, event("u2", "p1"))
    after = store.online.read_sequence("u2")
    assert after.product_keys.tolist() == [*before.product_keys.tolist(), product_key("p1")]


def test_event_ids_are_taken_once(client: httpx.Client, store: FeatureStore, log_folder: Path) -> None:
    first = event("repeater", event_id="e1", timestamp=NOON)
    second = event("repeater", "p2", event_id="e2", timestamp=NOON + 1)
    assert post(client, first, first) == NOTHING | {"accepted": 1, "duplicates": 1}
    assert post(client, first, second) == NOTHING | {"accepted": 1, "duplicates": 1}
    assert store.online.read_sequence("repeater").event_times.tolist() == [NOON, NOON + 1]
    assert [line[c.EVENT_ID] for line in logged(log_folder, "repeater")] == ["e1", "e2"]


def test_broken_events_do_not_stop_the_others(client: httpx.Client, store: FeatureStore) -> None:
    soon, later = (int(time.time() * 1000) + ahead for ahead in (2_000, 60_000))
    result = post(
        client,
        event("partial", timestamp=NOON),
        event("partial", event_type="wishlist"),
        event("partial", "gone"),
        event("  "),
        "no object",
        event("partial", timestamp=later),
        event("partial", timestamp="tomorrow"),
        {"buyer_id": "partial"},
        event("partial", event_id=5),
        event("partial", timestamp=10**400),
        event("partial", timestamp=-(10**400)),
        event(" partial ", " p2 ", timestamp=soon),
    )
    assert (result["accepted"], result["unknown_product"]) == (3, 1)
    assert [rejected["index"] for rejected in result["rejected"]] == [1, 3, 4, 5, 6, 7, 8, 9, 10]
    reasons = [rejected["reason"] for rejected in result["rejected"]]
    accepted = "accepted are view, add_to_cart, purchase, refund"
    assert reasons[0] == f"event_type: event type 'wishlist' does not count; {accepted}"
    assert reasons[3] == f"timestamp: lies in the future, got {later}"
    stored = store.online.read_sequence("partial")
    assert stored.product_keys.tolist() == [product_key("p1"), product_key("p2")]
    assert stored.event_times[-1] < soon


def test_refunds_are_logged_and_change_no_list(client: httpx.Client, store: FeatureStore, log_folder: Path) -> None:
    bought = event("returner", event_type="purchase", timestamp=NOON, quantity=2)
    returned = event("returner", event_type="purchase", timestamp=NOON + 1, quantity=-1)
    assert post(client, bought, returned, event("returner", event_type="refund")) == NOTHING | {"accepted": 3}
    lines = logged(log_folder, "returner")
    assert [(line[c.EVENT_TYPE], line.get(c.QUANTITY)) for line in lines] == [
        ("purchase", 2), ("refund", 1), ("refund", None),
    ]  # fmt: skip
    assert store.online.read_sequence("returner").event_times.tolist() == [NOON]


def test_nothing_and_too_much(client: httpx.Client, config: Config) -> None:
    assert post(client) == NOTHING
    many = [event("many")] * (config.api.max_events_per_request + 1)
    answer = client.post("/v1/events", json={"events": many})
    assert answer.status_code == 422
    assert "1000" in answer.json()["detail"]


def test_posts_at_once_lose_nothing_and_mix_nothing(
    client: httpx.Client, store: FeatureStore, log_folder: Path
) -> None:
    def send(number: int) -> int:
        buyer_id = "crowd-a" if number < 20 else "crowd-b"
        accepted: int = post(client, event(buyer_id, timestamp=NOON + number))["accepted"]
        return accepted

    with ThreadPoolExecutor(30) as pool:
        assert list(pool.map(send, range(30))) == [1] * 30
    for buyer_id, numbers in (("crowd-a", range(20)), ("crowd-b", range(20, 30))):
        assert store.online.read_sequence(buyer_id).event_times.tolist() == [NOON + number for number in numbers]
        assert len(logged(log_folder, buyer_id)) == len(numbers)


def test_ingest_reads_the_log(client: httpx.Client, config: Config) -> None:
    post(client, event("عميل", "p3", "Add to Cart", event_id="logged-1", timestamp="2025-11-23T17:30:00.250+03:00"))
    counts = ingest(config)["events"]["event_log"]
    assert counts["bad"] == counts["reasons"].get("unknown_product", 0)  # of other tests
    rows = pq.read_table(shop_paths(config).events).to_pylist()
    found = [row for row in rows if row[c.BUYER_ID] == "عميل"]
    assert len(found) == 1
    assert (found[0][c.EVENT_ID], found[0][c.PRODUCT_ID], found[0][c.EVENT_TYPE]) == ("logged-1", "p3", "add_to_cart")
    assert found[0][c.EVENT_TIME].isoformat() == "2025-11-23T14:30:00.250000+00:00"


def later(answer: httpx.Response) -> str:
    """What an answer says that tells the caller to come again."""
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1"), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    detail: str = answer.json()["detail"]
    return detail


def test_an_event_at_work_elsewhere_shall_come_again(client: httpx.Client, store: FeatureStore) -> None:
    body = event("twice", event_id="at-work", timestamp=NOON)
    with store.online.claim_events({"id:at-work": Claim("another", 60)}):
        assert "try again" in later(client.post("/v1/events", json={"events": [body]}))
    assert post(client, body) == NOTHING | {"accepted": 1}


def test_without_a_log_events_shall_come_again(runtime: Runtime, store: FeatureStore, tmp_path: Path) -> None:
    blocked = tmp_path / "log"
    blocked.touch()  # a file where the log wants its folder
    intake = EventIntake(
        store.online,
        runtime.breaker,
        EventFiles.in_folder(blocked, runtime.config.api),
        lambda: runtime.keeper.live.catalogue.products,
        runtime.config.api,
        runtime.metrics,
        now_ms,
        runtime.times,
        ForgottenBuyers(tmp_path / "forgotten.json"),
    )
    with serving(create_app(runtime.config, replace(runtime, intake=intake))) as client:
        answer = client.post("/v1/events", json={"events": [event("unlucky", event_id="retried")]})
        assert str(tmp_path) not in later(answer)
        blocked.unlink()
        assert post(client, event("unlucky", event_id="retried")) == NOTHING | {"accepted": 1}
