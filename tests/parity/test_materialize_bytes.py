"""Materialize writes the keys, fields and bytes that Feast's own engine and store write."""

from pathlib import Path

import pytest
from feast.infra.compute_engines.local.compute import LocalComputeEngine
from redis.exceptions import OutOfMemoryError

from feature_repo.store import FeatureStore, feature_store
from tests.parity.parity_shop import DAY, Event, build, shop

pytestmark = pytest.mark.store

EVENTS: dict[str, list[Event]] = {
    "u1": [(0, "p1", "view"), (DAY, "p2", "purchase"), (DAY, "p3", "purchase"), (3 * DAY, "p1", "add_to_cart")],
    "عمر": [(2 * DAY, "p1", "purchase")],
    "u 3": [(3 * DAY, "p3", "view")],
}


def contents(store: FeatureStore) -> dict[bytes, dict[bytes, bytes]]:
    """The rows: keys of entities; the shop's own keys begin with its name."""
    redis, own = store.online.redis, store.shop.encode()
    return {key: redis.hgetall(key) for key in redis.scan_iter() if not key.startswith(own)}


def use_feasts_engine(store: FeatureStore) -> None:
    provider = store._feast._get_provider()
    provider._batch_engine = LocalComputeEngine(
        repo_config=provider.repo_config,
        offline_store=provider.offline_store,
        online_store=provider.online_store,
        backend="pandas",
    )


def test_materialize_writes_what_feast_writes(tmp_path: Path) -> None:
    config = shop(tmp_path)
    build(config, EVENTS)
    with feature_store(config) as store:
        store.materialize(full=True)
        ours = contents(store)
        assert len(ours) == len(EVENTS) + 3  # three products
        store.online.redis.flushall()
        use_feasts_engine(store)
        store.materialize(full=True)
        assert contents(store) == ours


def test_a_failed_write_is_raised(tmp_path: Path) -> None:
    config = shop(tmp_path)
    build(config, EVENTS)
    with feature_store(config) as store:
        # Less than the server uses already: it refuses every write.
        store.online.redis.config_set("maxmemory", 1)
        with pytest.raises(OutOfMemoryError, match="maxmemory"):
            store.materialize(full=True)
        store.online.redis.config_set("maxmemory", 0)
