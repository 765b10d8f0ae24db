"""Parts that fail while the service runs: shoppers get an answer, it says what is missing, and all heals by itself."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.online.embedded_redis import EmbeddedRedisError, embedded_redis, revive
from feature_repo.store import FeatureStore
from online_api.app import create_app
from online_api.runtime import Runtime
from online_api.schemas.responses import Health
from tests.online_api.api_shop import EVENTS, PRODUCTS, Json, body_of, interaction, open_shop, problem_of, wait_for
from tests.online_api.shop_variants import api_of, copied, metric, redis_answers, running, with_settings
from tests.online_api.shoppers import Shoppers, get
from tests.random_release import write_random_release
from tests.serving import serving
from tests.valkey_server import ValkeyServer
from training.artifacts.recommender import Recommender

pytestmark = pytest.mark.store

HISTORY = "/v1/buyers/u1/recommendations"
STORE = ["feature_store"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    yield server
    server.process.send_signal(signal.SIGCONT)
    server.kill()


@pytest.fixture(scope="module")
def shop(config: Config, recommender: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A copy of the shop, so that its event log and its releases are its own; it waits a second for the store."""
    assert recommender
    copy = copied(config, tmp_path_factory.mktemp("copy") / "var")
    return with_settings(copy, api={"store_timeout_seconds": 1})


@pytest.fixture(scope="module")
def killable(shop: Config, server: ValkeyServer) -> FeatureStore:
    """The shop's features on a server that can be killed and stopped."""
    store = FeatureStore(shop, shop_paths(shop), server.connection, "redis")
    store.materialize(full=True)
    return store


def event(buyer_id: str, product_id: str = "p3") -> Json:
    return {"buyer_id": buyer_id, "product_id": product_id, "event_type": "view"}


def post(client: httpx.Client, *events: Json) -> Json:
    answer = client.post("/v1/events", json={"events": list(events)})
    assert answer.status_code == 202, answer.text
    result: Json = answer.json()
    return result


def degraded(client: httpx.Client, url: str = HISTORY) -> list[str]:
    parts: list[str] = body_of(client.get(url))["degraded"]
    return parts


def wait_until_seen(client: httpx.Client, buyer_id: str) -> None:
    """Until the store has the buyer's first event."""
    wait_for(lambda: body_of(client.get(f"/v1/buyers/{buyer_id}/recommendations"))["source"] == "personalised")


@contextmanager
def silent(server: ValkeyServer) -> Iterator[None]:
    """The server accepts connections and says nothing."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


# ---- the feature store is gone ---------------------------------------------------------------------------------------


def test_redis_gone_from_the_start(shop: Config, killable: FeatureStore, server: ValkeyServer) -> None:
    server.kill()
    with api_of(shop, killable) as client:
        answer = body_of(client.get(HISTORY))
        assert (answer["source"], answer["degraded"], len(answer["items"])) == ("popular", STORE, 5)
        session = body_of(client.post("/retrieve", json={"buyer_id": "u1", "interactions": [interaction("p1")]}))
        assert (session["source"], session["degraded"]) == ("session", [])
        assert degraded(client, "/v1/trending") == degraded(client, "/v1/products/p1/similar") == []
        health = body_of(client.get("/health"), Health)
        assert (health["status"], health["feature_store"]) == ("degraded", "unavailable")
        assert post(client, event("early"))["pending"] == 1
        server.start()
        wait_for(lambda: degraded(client) == [])
        assert body_of(client.get(HISTORY))["source"] == "personalised"
        wait_for(lambda: body_of(client.get("/health"), Health)["pending_events"] == 0)
        assert body_of(client.get("/v1/buyers/early/recommendations"))["source"] == "personalised"
        wait_for(lambda: body_of(client.get("/health"), Health)["status"] == "ok")


def test_redis_killed_and_restarted_under_load(shop: Config, killable: FeatureStore, server: ValkeyServer) -> None:
    seen: list[tuple[int, tuple[str, ...]]] = []

    def note(_: int, answer: httpx.Response) -> None:
        seen.append((answer.status_code, tuple(answer.json()["degraded"])))

    def wait_until_seen_often(parts: tuple[str, ...]) -> None:
        begin = len(seen)
        wait_for(lambda: seen[begin:].count((200, parts)) >= 20)

    with api_of(shop, killable) as client, Shoppers([client.base_url] * 4, [get(HISTORY)], note):
        for number in range(3):
            buyer = f"busy-{number}"
            wait_until_seen_often(())
            server.kill()
            wait_until_seen_often(("feature_store",))
            begin = len(seen)
            assert post(client, event(buyer))["pending"] == 1
            assert degraded(client) == STORE
            assert set(seen[begin:]) <= {(200, ("feature_store",))}
            server.start()
            wait_until_seen_often(())
            wait_until_seen(client, buyer)
        opened = metric(client, "tawsiya_breaker_opened_total")
        wait_for(lambda: metric(client, "tawsiya_breaker_state") == 0)
    assert set(seen) == {(200, ()), (200, ("feature_store",))}
    assert opened >= 3


def test_redis_silent(shop: Config, killable: FeatureStore, server: ValkeyServer) -> None:
    """Two requests find out by waiting; then the breaker is open, and nobody waits."""
    with api_of(shop, killable) as client:
        wait_for(lambda: degraded(client) == [])
        with silent(server):
            assert [degraded(client) for _ in range(10)] == [STORE] * 10
            assert client.get("/livez").status_code == client.get("/health").status_code == 200
            assert post(client, event("patient"))["pending"] == 1
            assert metric(client, 'tawsiya_store_errors_total{kind="timeout"}') == 2
            assert metric(client, "tawsiya_breaker_state") == 2
            assert metric(client, "tawsiya_breaker_opened_total") == 1
        wait_for(lambda: degraded(client) == [])
        wait_until_seen(client, "patient")
        assert metric(client, "tawsiya_breaker_state") == 0


# ---- too slow, too much ----------------------------------------------------------------------------------------------


def test_a_request_that_takes_too_long_gets_popular_products(
    config: Config, store: FeatureStore, recommender: Recommender
) -> None:
    assert recommender
    hasty = with_settings(config, api={"request_timeout_seconds": 1e-9})  # any request takes too long
    with api_of(hasty, store) as client:
        answer = body_of(client.get(HISTORY, params={"category": "phones"}))
        assert metric(client, 'tawsiya_degraded_total{reason="timeout"}') == 1
    assert (answer["source"], answer["degraded"]) == ("popular_in_filter", ["timeout"])
    assert {item["category"] for item in answer["items"]} == {"phones"}


def test_overload_is_refused_while_health_still_answers(
    config: Config, store: FeatureStore, recommender: Recommender
) -> None:
    assert recommender
    narrow = with_settings(config, api={"max_queue": 1})
    urls = [*[HISTORY] * 14, "/livez", "/health"]
    refused: list[httpx.Response] = []
    with api_of(narrow, store) as client, ThreadPoolExecutor(len(urls)) as shoppers:

        def rush() -> bool:
            *answers, live, health = shoppers.map(client.get, urls)
            assert live.status_code == health.status_code == 200
            refused.extend(answer for answer in answers if answer.status_code != 200)
            return bool(refused)

        wait_for(rush)
        assert metric(client, 'tawsiya_rejected_total{reason="overload"}') == len(refused)
    for answer in refused:
        assert "are waiting already" in problem_of(answer, 503)["detail"]
        assert answer.headers["retry-after"] == "1"


# ---- the release is broken -------------------------------------------------------------------------------------------


def damage_byte(folder: Path) -> None:
    path = folder / "popularity.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def lose_file(folder: Path) -> None:
    (folder / "product_index.faiss").unlink()


def lose_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def fits_as_it_is(folder: Path) -> None:
    """It is whole, but write_random_release makes it for other features than the shop has."""
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (damage_byte, "popularity.npy does not match"),
        (lose_file, "lacks product_index.faiss"),
        (lose_manifest, "is not a release"),
        (shutil.rmtree, "is not a release"),
        (fits_as_it_is, "was made for feature schema 0123456789abcdef"),
    ],
)
def test_a_release_that_cannot_be_served_leaves_the_old_one_live(
    config: Config,
    store: FeatureStore,
    recommender: Recommender,
    tmp_path: Path,
    break_it: Callable[[Path], object],
    reason: str,
) -> None:
    shop = copied(config, tmp_path / "var")
    releases = shop_paths(shop).releases
    good = recommender.name
    with running(shop, store) as runtime, serving(create_app(shop, runtime)) as client:
        made = write_random_release(tmp_path / "made", n_products=5)
        broken = Path(shutil.move(made, releases / made.name))
        break_it(broken)
        make_live(releases, broken.name)
        problem = problem_of(client.post("/v1/admin/releases/reload"), 409)
        assert reason in problem["detail"]
        assert str(tmp_path) not in problem["detail"]
        assert body_of(client.get(HISTORY))["release"] == good
        wait_for(lambda: metric(client, 'tawsiya_release_loads_total{outcome="failed"}') == 2)  # and by the watch
        for _ in range(3):
            runtime.keeper.poll()
        assert metric(client, 'tawsiya_release_loads_total{outcome="failed"}') == 2
        assert metric(client, f'tawsiya_release_info{{release="{good}"}}') == 1


def make_live(releases: Path, name: str) -> None:
    """As promote() does, without its checks: the disk may lose a byte at any later time."""
    link = releases / ".current-test"
    link.symlink_to(name)
    link.replace(releases / "current")


# ---- the disk and the text encoder -----------------------------------------------------------------------------------


def test_without_a_disk_events_are_refused_and_shoppers_served(
    config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path
) -> None:
    assert recommender
    shop = copied(config, tmp_path / "var")
    log = shop_paths(shop).event_log
    shutil.rmtree(log, ignore_errors=True)
    log.touch()  # a file where the log wants its folder
    body = {"events": [event("diskless") | {"event_id": "d1"}]}
    with api_of(shop, store) as client:
        refused = client.post("/v1/events", json=body)
        assert str(tmp_path) not in problem_of(refused, 503)["detail"]
        assert refused.headers["retry-after"] == "1"
        assert degraded(client) == []
        assert body_of(client.get("/health"), Health)["pending_events"] == 0
        log.unlink()
        assert post(client, *body["events"])["accepted"] == 1


@pytest.mark.parametrize("installed", ["none", "another one"])
def test_without_the_releases_text_encoder_texts_are_left_out(
    config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path, tiny_encoder: Path, installed: str
) -> None:
    assert recommender
    folder = tmp_path if installed == "none" else tiny_encoder
    lost = with_settings(config, model={"item_tower": {"text_encoder": str(folder)}})
    new = interaction("new", text="a phone that the release does not have")
    with api_of(lost, store) as client:
        for _ in range(2):  # before and after it is known
            found = body_of(client.get("/v1/search", params={"q": "phone"}))
            assert (found["source"], found["degraded"], len(found["items"])) == ("search", ["text_encoder"], 5)
            response = body_of(client.post("/v1/recommendations", json={"interactions": [new, interaction("p1")]}))
            assert (response["source"], response["degraded"]) == ("session", ["text_encoder"])
            wait_for(lambda: not any(thread.name == "text-encoder" for thread in threading.enumerate()))


# ---- the embedded server ---------------------------------------------------------------------------------------------


def kill_embedded(port: int) -> None:
    with redis.Redis(port=port) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not (Path("/proc") / str(pid)).exists())


@pytest.fixture
def own_shop(tmp_path: Path) -> Iterator[Runtime]:
    """A shop with an embedded server that nobody else uses."""
    with open_shop(tmp_path, PRODUCTS, EVENTS) as runtime:
        yield runtime


def test_an_embedded_server_that_dies_comes_back_with_its_data(own_shop: Runtime) -> None:
    port = int(own_shop.store.connection[0].split(",")[0].rpartition(":")[2])
    with serving(create_app(own_shop.config, own_shop)) as client:
        assert post(client, event("fresh"))["pending"] == 0
        before = body_of(client.get(HISTORY))
        for _ in range(2):
            kill_embedded(port)
            assert degraded(client) in ([], STORE)  # so fast that it may be back already
            wait_for(lambda: body_of(client.get(HISTORY)) == before)
            assert body_of(client.get("/v1/buyers/fresh/recommendations"))["source"] == "personalised"
        assert metric(client, "tawsiya_breaker_opened_total") == 2


def test_reviving_needs_users_and_a_dead_server(tmp_path: Path) -> None:
    revive(tmp_path)  # no server was ever here
    with embedded_redis(tmp_path) as address, redis.Redis(address.host, address.port) as client:
        run = client.info("server")["run_id"]
        revive(tmp_path)
        assert client.info("server")["run_id"] == run
    revive(tmp_path)  # nobody uses it any more
    assert not redis_answers(address.port)


def test_a_revived_server_has_its_port_and_its_last_user_stops_it(tmp_path: Path) -> None:
    with embedded_redis(tmp_path) as address, redis.Redis(address.host, address.port) as client:
        client.set("key", "value")
        kill_embedded(address.port)
        revive(tmp_path)
        assert client.get("key") == b"value"
        kill_embedded(address.port)
        with embedded_redis(tmp_path) as again:  # the next user revives it too
            assert again == address
    assert not redis_answers(address.port)


def test_a_port_that_another_has_taken_is_an_error_and_not_another_port(tmp_path: Path) -> None:
    with embedded_redis(tmp_path / "ours") as address:
        kill_embedded(address.port)
        with taken(address.port), pytest.raises(EmbeddedRedisError, match="does not restart"):
            revive(tmp_path / "ours")
        revive(tmp_path / "ours")
        assert redis_answers(address.port)


@contextmanager
def taken(port: int) -> Iterator[None]:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield
