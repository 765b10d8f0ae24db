"""The API on a Redis Cluster: events, answers and rate limits, while a node is down and after it is back."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from feature_repo.access.limits import Limit
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from online_api.schemas.responses import Health
from tests.online_api.api_shop import body_of, wait_for
from tests.online_api.shop_variants import api_of, copied, make_key, with_settings
from tests.online_api.test_degradation import degraded, event, post, wait_until_seen
from tests.redis_cluster import RedisCluster, redis_cluster
from training.artifacts.recommender import Recommender

pytestmark = [pytest.mark.store, pytest.mark.cluster]

BUYERS = [f"visitor-{number}" for number in range(12)]
LIMIT = Limit(rate_per_second=0.001, burst=3)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def shop(config: Config, recommender: Recommender, tmp_path: Path) -> Config:
    assert recommender
    return copied(with_settings(config, feature_store={"online": "redis"}), tmp_path / "var")


@pytest.fixture
def on_cluster(shop: Config, cluster: RedisCluster) -> FeatureStore:
    store = FeatureStore(shop, shop_paths(shop), cluster.connection, "redis_cluster")
    store.online.redis.flushall()
    store.materialize(full=True)
    return store


def source(client: httpx.Client, buyer: str) -> str:
    found: str = body_of(client.get(f"/v1/buyers/{buyer}/recommendations"))["source"]
    return found


def test_events_are_stored_once_and_shape_the_next_answer(shop: Config, on_cluster: FeatureStore) -> None:
    with api_of(shop, on_cluster) as client:
        assert source(client, BUYERS[0]) == "popular"
        events = [event(buyer) | {"event_id": f"e-{buyer}"} for buyer in BUYERS]
        assert post(client, *events)["accepted"] == len(BUYERS)
        repeated = post(client, *events)
        assert (repeated["accepted"], repeated["duplicates"]) == (0, len(BUYERS))
        assert {source(client, buyer) for buyer in (*BUYERS, "u1")} == {"personalised"}
        assert body_of(client.get("/health"), Health)["status"] == "ok"


def test_guests_become_buyers_whose_keys_lie_on_other_nodes(shop: Config, on_cluster: FeatureStore) -> None:
    with api_of(shop, on_cluster) as client:
        assert post(client, *(event(f"guest-of-{buyer}") for buyer in BUYERS))["accepted"] == len(BUYERS)
        for buyer in BUYERS:
            merged = client.post(f"/v1/buyers/{buyer}/merge", json={"guest_id": f"guest-of-{buyer}"})
            assert merged.json()["outcome"] == "merged"
        assert {source(client, buyer) for buyer in BUYERS} == {"personalised"}


def test_a_limit_holds_for_all_workers(shop: Config, on_cluster: FeatureStore) -> None:
    headers = make_key(shop, "storefront", [Scope.READ], LIMIT)
    with api_of(shop, on_cluster) as one, api_of(shop, on_cluster) as other:
        codes = [client.get("/v1/trending", headers=headers).status_code for client in (one, other) * 3]
    assert sorted(codes) == [200, 200, 200, 429, 429, 429]
    assert any(on_cluster.online.redis.scan_iter(f"{on_cluster.shop}:rate:key:*"))


def test_while_a_node_is_down_answers_say_so_and_events_wait(
    shop: Config, on_cluster: FeatureStore, cluster: RedisCluster
) -> None:
    with api_of(shop, on_cluster) as client:
        cluster.nodes[1].kill()
        assert post(client, *(event(buyer) for buyer in BUYERS))["accepted"] == len(BUYERS)
        wait_for(lambda: body_of(client.get("/health"), Health)["feature_store"] == "unavailable")
        assert degraded(client) == ["feature_store"]
        assert post(client, event("later"))["pending"] == 1
        cluster.nodes[1].start()
        wait_for(lambda: body_of(client.get("/health"), Health)["pending_events"] == 0)
        wait_for(lambda: body_of(client.get("/health"), Health)["status"] == "ok")
        for buyer in (*BUYERS, "later"):
            wait_until_seen(client, buyer)
        assert degraded(client) == []
