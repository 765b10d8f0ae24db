"""A Redis server that is out of memory: one clear line, answers that say so, and events that arrive later."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from feature_repo.common.config import Config
from feature_repo.common.errors import StoreUnavailableError
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from online_api.schemas.responses import Health
from tests.online_api.api_shop import body_of, wait_for
from tests.online_api.shop_variants import api_of, copied
from tests.online_api.test_degradation import degraded, event, post
from tests.valkey_server import ValkeyServer
from training.artifacts.recommender import Recommender

pytestmark = pytest.mark.store


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path, "--maxmemory-policy", "noeviction")
    yield server
    server.kill()


@pytest.fixture
def shop(config: Config, recommender: Recommender, tmp_path: Path) -> Config:
    assert recommender
    redis_store = config.feature_store.model_copy(update={"online": "redis"})
    return copied(config, tmp_path / "var").model_copy(update={"feature_store": redis_store})


def limit_memory(server: ValkeyServer, size: str) -> None:
    with redis.Redis(port=server.port) as client:
        client.config_set("maxmemory", size)


def test_materialize_into_a_full_store_is_one_clear_error(shop: Config, server: ValkeyServer) -> None:
    limit_memory(server, "100kb")
    with (
        pytest.raises(StoreUnavailableError) as error,
        feature_store(shop, {"TAWSIYA_REDIS": server.connection}) as store,
    ):
        store.materialize(full=True)
    assert str(error.value) == "the online store (Redis) failed: out of memory (maxmemory)"


def test_while_the_store_is_full_answers_say_so(shop: Config, server: ValkeyServer) -> None:
    store = FeatureStore(shop, shop_paths(shop), server.connection, "redis")
    store.materialize(full=True)
    with api_of(shop, store) as client:
        limit_memory(server, "100kb")
        assert post(client, event("u1"))["pending"] == 1
        health = body_of(client.get("/health"), Health)
        assert (health["status"], health["feature_store"]) == ("degraded", "refuses_writes")
        answer = body_of(client.get("/v1/buyers/u1/recommendations"))
        assert (answer["source"], answer["degraded"]) == ("personalised", ["feature_store"])
        assert degraded(client, "/v1/trending") == []
        limit_memory(server, "0")
        wait_for(lambda: body_of(client.get("/health"), Health)["status"] == "ok")
        assert body_of(client.get("/health"), Health)["pending_events"] == 0
        assert degraded(client) == []
