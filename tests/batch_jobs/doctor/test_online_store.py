"""What the doctor says of the online store: a real server, and literal answers of one."""

from pathlib import Path
from typing import Any

import pytest

from batch_jobs.doctor.diagnosis import Diagnosis
from batch_jobs.doctor.online_store import latency_check, online_store_checks, server_checks, skew_check
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store
from tests.valkey_server import ValkeyServer


def by_name(items: Any) -> dict[str, Diagnosis]:
    return {item.name: item for item in items}


def shop(folder: Path) -> Config:
    return Config.model_validate({"data_dir": folder, "data": {"source": "csv"}, "feature_store": {"online": "redis"}})


@pytest.mark.store
def test_a_server_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = ValkeyServer(tmp_path)
    monkeypatch.setenv("TAWSIYA_REDIS", server.connection)
    config = shop(tmp_path / "var")
    try:
        found = by_name(online_store_checks(config, shop_paths(config)))
        assert found["online store"].text == "answers, and has no features yet: `tawsiya materialize`"
        assert found["server"].text.startswith("Valkey ")
        assert {
            found[name].state for name in ("persistence", "eviction", "memory of the store", "clock of the store")
        } == {"ok"}
        assert (found["feast registry"].state, found["feast registry"].remedy) == ("warning", "tawsiya materialize")
        with feature_store(config) as store:
            store.apply()
            redis = store.online.redis
            redis.config_set("maxmemory", 10**9)
            redis.config_set("maxmemory-policy", "allkeys-lru")
            redis.config_set("appendonly", "no")
        found = by_name(online_store_checks(config, shop_paths(config)))
        assert found["feast registry"].state == "ok"
        assert found["eviction"].remedy == "redis-cli CONFIG SET maxmemory-policy noeviction"
        assert found["persistence"].remedy == "redis-cli CONFIG SET appendonly yes"
    finally:
        server.kill()
    gone = by_name(online_store_checks(config, shop_paths(config)))
    assert list(gone) == ["online store"]
    assert gone["online store"].state == "problem"
    assert gone["online store"].remedy == "redis-cli -u redis://HOST:PORT ping, with the server of $TAWSIYA_REDIS"


def test_an_embedded_server_is_not_started_for_a_shop_without_data(tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": tmp_path})
    (item,) = online_store_checks(config, shop_paths(config))
    assert item.text == "has no data yet: `tawsiya materialize`"
    assert list(tmp_path.iterdir()) == []


def test_memory_that_is_almost_used_up_is_a_warning() -> None:
    info = {"redis_version": "7.4.0", "aof_enabled": 1, "used_memory": 81_000_000, "maxmemory": 100_000_000}
    found = by_name(server_checks(info))
    assert found["server"].text == "Redis 7.4.0"
    assert found["memory of the store"].text == "81 MB of 100 (maxmemory)"
    assert found["memory of the store"].remedy == "redis-cli CONFIG SET maxmemory 200000000"
    assert by_name(server_checks(info | {"maxmemory": 0}))["memory of the store"].remedy is None


def test_a_slow_server_and_a_clock_that_is_off_are_warnings() -> None:
    assert (latency_check(0.2).state, latency_check(11.0).state) == ("ok", "warning")
    assert latency_check(11.0).text == "11.0 ms for an answer"
    assert (skew_check(-59.0).state, skew_check(61.0).state) == ("ok", "warning")
    assert skew_check(61.0).text == "+61.0 s against this machine"
