"""Guests who become buyers: through real HTTP, Feast, Valkey and ingest."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.privacy.export import export
from batch_jobs.privacy.forget import forget
from feature_repo import columns as c
from feature_repo.access.buyer_tokens import SECRETS_VARIABLE
from feature_repo.access.scope import Scope
from feature_repo.common.buyer_merges import BuyerMerge, read_merges
from online_api.app import create_app
from online_api.runtime import Runtime
from online_api.schemas.responses import MergeResponse
from tests.batch_jobs.privacy.decoded import texts_of
from tests.online_api.api_shop import EVENTS, PRODUCTS, Json, body_of, ids_of, open_shop, problem_of, wait_for
from tests.online_api.protection.test_buyer_token_access import SECRET, bearer
from tests.online_api.shop_variants import in_folder, make_key
from tests.serving import serving

pytestmark = pytest.mark.store


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("shop"), PRODUCTS, EVENTS) as runtime:
        yield runtime


@pytest.fixture(scope="module")
def client(shop: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(shop.config, shop)) as client:
        yield client


def event(buyer_id: str, product_id: str, event_type: str = "view", **more: Any) -> Json:
    return {"buyer_id": buyer_id, "product_id": product_id, "event_type": event_type, **more}


def send(client: httpx.Client, *events: Json) -> None:
    answer = client.post("/v1/events", json={"events": list(events)})
    assert answer.json()["accepted"] == len(events), answer.text


def merge(client: httpx.Client, guest_id: str, buyer_id: str, **more: Any) -> httpx.Response:
    return client.post(f"/v1/buyers/{buyer_id}/merge", json={"guest_id": guest_id, **more})


def outcome(answer: httpx.Response) -> str:
    assert answer.status_code == 202, answer.text
    return MergeResponse.model_validate_json(answer.content, strict=True).outcome


def history(shop: Runtime, buyer_id: str) -> list[str]:
    """The ids of the products of a buyer's events in the online store, oldest first."""
    products = shop.keeper.live.catalogue.products
    events = shop.online.read_sequence(buyer_id)
    return [products.row(int(place))["product_id"] for place in products.positions(events.product_keys)]


def merges_of(shop: Runtime, guest_id: str) -> list[BuyerMerge]:
    return [one for one in read_merges([shop.paths.buyer_merges]) if one.guest_id == guest_id]


# ---- online ----------------------------------------------------------------------------------------------------------


def test_the_next_recommendations_know_the_guests_history(client: httpx.Client, shop: Runtime) -> None:
    send(client, event("g1", "p4"), event("g1", "p3", "purchase"))
    assert body_of(client.get("/v1/buyers/a1/recommendations"))["source"] == "popular"
    assert outcome(merge(client, "g1", "a1")) == "merged"
    assert body_of(client.get("/v1/buyers/a1/recommendations"))["source"] == "personalised"
    assert "p3" not in ids_of(client.get("/v1/buyers/a1/recommendations", params={"new_only": True}))
    assert sorted(history(shop, "a1")) == ["p3", "p4"]
    # The guest is nobody any more.
    assert body_of(client.get("/v1/buyers/g1/recommendations"))["source"] == "popular"
    assert history(shop, "g1") == []


def test_a_materialized_history_moves_as_well(client: httpx.Client, shop: Runtime) -> None:
    assert history(shop, "u2") == ["p3", "p4"]
    send(client, event("a2", "p1"))
    assert outcome(merge(client, "u2", "a2")) == "merged"
    assert history(shop, "a2") == ["p3", "p4", "p1"]
    assert [int(key) for key in shop.online.read_buyers(["a2"])[0].purchases.product_keys] == [
        shop.keeper.live.catalogue.products.product_key("p3")
    ]
    assert history(shop, "u2") == []


def test_to_repeat_it_changes_nothing(client: httpx.Client, shop: Runtime) -> None:
    send(client, event("g3", "p4"))
    with ThreadPoolExecutor(8) as pool:
        outcomes = sorted(outcome(one) for one in pool.map(lambda _: merge(client, "g3", "a3"), range(8)))
    assert outcomes == ["known"] * 7 + ["merged"]
    assert len(merges_of(shop, "g3")) == 1
    assert history(shop, "a3") == ["p4"]


def test_later_events_of_the_guest_are_the_buyers(client: httpx.Client, shop: Runtime) -> None:
    assert outcome(merge(client, "g4", "a4")) == "merged"  # a guest whom nobody knows yet
    send(client, event("g4", "p4"), event("a4", "p1"))
    assert sorted(history(shop, "a4")) == ["p1", "p4"]
    assert history(shop, "g4") == []


def test_no_event_is_lost_while_buyers_are_merged(client: httpx.Client, shop: Runtime) -> None:
    times = [f"2024-05-01T10:{minute:02}:00Z" for minute in range(40)]
    with ThreadPoolExecutor(8) as pool:
        events = [pool.submit(send, client, event("g5", "p4", timestamp=time)) for time in times]
        merged = [pool.submit(merge, client, *pair) for pair in (("g5", "b5"), ("b5", "c5"))]
        for task in events:
            task.result()
        assert [outcome(task.result()) for task in merged] == ["merged", "merged"]
    assert len(history(shop, "c5")) == len(times)
    assert history(shop, "g5") == history(shop, "b5") == []


def test_chains_and_cycles(client: httpx.Client, shop: Runtime) -> None:
    send(client, event("x", "p1"), event("y", "p3"), event("z", "p4"))
    assert outcome(merge(client, "x", "y")) == "merged"
    assert outcome(merge(client, "y", "z")) == "merged"
    assert sorted(history(shop, "z")) == ["p1", "p3", "p4"]
    for guest_id, buyer_id in (("z", "x"), ("x", "z"), ("y", "x")):
        assert outcome(merge(client, guest_id, buyer_id)) == "known"
    send(client, event("x", "p4", "purchase"))
    assert len(history(shop, "z")) == 4
    assert history(shop, "x") == history(shop, "y") == []


def test_what_cannot_be_merged(client: httpx.Client) -> None:
    assert "another id" in problem_of(merge(client, "a6", "a6"), 422)["detail"]
    assert "names nobody" in problem_of(merge(client, "0", "a6"), 422)["detail"]
    problem_of(merge(client, "g6", "null"), 422)
    assert outcome(merge(client, "g6", "a6")) == "merged"
    assert "another buyer before" in problem_of(merge(client, "g6", "b6"), 409)["detail"]


def test_a_merge_waits_for_the_store(client: httpx.Client, shop: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    send(client, event("g7", "p4"))
    with monkeypatch.context() as patch:
        patch.setattr(type(shop.breaker), "is_open", property(lambda _: True))
        answer = shop.merges.merge("g7", "a7")
        assert answer.outcome == "pending"
        assert shop.merges.merge("g7", "b7").outcome == "pending"  # nobody knows yet that it is too late
    shop.merges.replay()
    assert (history(shop, "a7"), history(shop, "b7"), history(shop, "g7")) == (["p4"], [], [])
    assert outcome(merge(client, "g7", "a7")) == "known"


@pytest.mark.parametrize("step", ["_write_recent", "delete", "add"])
def test_a_killed_merge_is_finished(client: httpx.Client, shop: Runtime, step: str, monkeypatch: Any) -> None:
    guest_id, buyer_id = f"g{step}", f"a{step}"
    send(client, event(guest_id, "p4"))
    online = shop.merges._online
    owner = {"_write_recent": online, "delete": online._store, "add": online.merged}[step]

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killed)
        with pytest.raises(KeyboardInterrupt):
            shop.merges.merge(guest_id, buyer_id)
    shop.merges.replay()
    assert (history(shop, buyer_id), history(shop, guest_id)) == (["p4"], [])


def test_a_materialize_does_not_bring_guests_back(client: httpx.Client, shop: Runtime) -> None:
    assert outcome(merge(client, "u1", "a8")) == "merged"
    before = history(shop, "a8")
    assert before
    shop.store.materialize(full=True)  # of features that were built before; it writes the guest's row again
    wait_for(lambda: history(shop, "u1") == [])  # until the API's thread has noticed
    assert history(shop, "a8") == before


# ---- who may ---------------------------------------------------------------------------------------------------------


def test_a_browser_proves_both_ids(shop: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECRETS_VARIABLE, SECRET)
    guarded = in_folder(shop.config, tmp_path)
    server, reader = make_key(guarded, "server", [Scope.WRITE]), make_key(guarded, "reader", [Scope.READ])

    def token(buyer_id: str, minutes: float = 5) -> str:
        return bearer(guarded, buyer_id, minutes)["Authorization"].removeprefix("Bearer ")

    account = bearer(guarded, "a9")
    with serving(create_app(guarded, shop)) as client:

        def answer(headers: dict[str, str], guest_id: str = "g9", buyer_id: str = "a9", **more: Any) -> httpx.Response:
            return client.post(f"/v1/buyers/{buyer_id}/merge", json={"guest_id": guest_id, **more}, headers=headers)

        problem_of(answer({}), 401)
        problem_of(answer(reader), 403)
        assert "guest_token" in problem_of(answer(account), 403)["detail"]
        assert "another guest" in problem_of(answer(account, guest_token=token("h9")), 403)["detail"]
        assert "expired" in problem_of(answer(account, guest_token=token("g9", -5)), 403)["detail"]
        assert "not valid" in problem_of(answer(account, guest_token="x"), 403)["detail"]
        assert "another buyer" in problem_of(answer(account, buyer_id="b9", guest_token=token("g9")), 403)["detail"]
        problem_of(answer(server, guest_token=token("h9")), 403)
        assert merges_of(shop, "g9") == []
        assert outcome(answer(account, guest_token=token("g9"))) == "merged"
        assert outcome(answer(server, guest_id="k9")) == "merged"


# ---- ingest and privacy ----------------------------------------------------------------------------------------------


def canonical(shop: Runtime) -> dict[str, list[str]]:
    """The products of each buyer's canonical events."""
    found: dict[str, list[str]] = {}
    for row in pq.read_table(shop.paths.events).to_pylist():
        found.setdefault(row[c.BUYER_ID], []).append(row[c.PRODUCT_ID])
    return found


def test_ingest_and_erasure(tmp_path: Path) -> None:
    source = EVENTS + "guest-5550123,p4,view,2024-03-03 10:00:00\n"
    with open_shop(tmp_path, PRODUCTS, source) as shop, serving(create_app(shop.config, shop)) as client:
        send(client, event("guest-5550123", "p1"))
        assert outcome(merge(client, "guest-5550123", "account-77")) == "merged"
        assert outcome(merge(client, "account-77", "u2")) == "merged"
        send(client, event("guest-5550123", "p3"))  # after the merge
        ingest(shop.config)
        by_buyer = canonical(shop)
        assert set(by_buyer) == {"u1", "u2"}
        assert sorted(by_buyer["u2"]) == ["p1", "p3", "p3", "p4", "p4"]

        exported = export(shop.config, "u2")
        assert (exported["guests"], exported["became"]) == (["guest-5550123", "account-77"], None)
        logged = [line for lines in exported["event_log"].values() for line in lines]
        assert {line["product_id"] for line in logged if "product_id" in line} == {"p1", "p3"}
        assert {line["guest_id"] for line in logged if "guest_id" in line} == {"guest-5550123", "account-77"}
        assert export(shop.config, "guest-5550123")["became"] == "u2"

        with pytest.raises(ValueError, match=r"'guest-5550123' has become buyer 'u2'.*erase 'u2'"):
            forget(shop.config, ["guest-5550123"])
        result = forget(shop.config, ["u2"])
        assert result["buyers"] == 3
        assert result["removed"]["event_log/merges"] == 2
        assert read_merges([shop.paths.buyer_merges]) == []
        for path, text in texts_of(shop.paths.root):
            assert "5550123" not in text, path
        redis = shop.online.redis
        assert not [key for key in redis.scan_iter() if b"5550123" in key]
        ingest(shop.config)
        assert set(canonical(shop)) == {"u1"}
        assert json.loads(shop.paths.ingest_report.read_text())["events"]["reasons"]["forgotten_buyer"] == 3
        assert "erased" in problem_of(merge(client, "guest-5550123", "u1"), 422)["detail"]
        assert "erased" in problem_of(merge(client, "u1", "u2"), 422)["detail"]
