"""The online store on a Redis Cluster: rows, locks, claims, schemas and expiry over several nodes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import redis

from feature_repo.common.config import Config
from feature_repo.common.errors import StoreUnavailableError
from feature_repo.common.paths import shop_paths
from feature_repo.online.claims import EventsInProgressError
from feature_repo.online.redis_errors import REDIS_ERRORS
from feature_repo.store import FeatureStore, feature_store
from tests.parity.parity_shop import DAY, Event, as_stored, build, online, pushed, shop, stored
from tests.parity.secured_redis import documented_rights
from tests.parity.test_store import claims
from tests.redis_cluster import RedisCluster, redis_cluster

pytestmark = [pytest.mark.store, pytest.mark.cluster]

BUYERS = [f"u{number}" for number in range(30)]
HISTORIES: dict[str, list[Event]] = {
    buyer: [(number, "p1", "view"), (5 * DAY + number, "p2", "purchase")] for number, buyer in enumerate(BUYERS)
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = shop(tmp_path_factory.mktemp("shop"))
    build(config, HISTORIES)
    return config.model_copy(update={"feature_store": config.feature_store.model_copy(update={"online": "redis"})})


def environ(cluster: RedisCluster) -> dict[str, str]:
    return {"TAWSIYA_REDIS": cluster.connection, "TAWSIYA_REDIS_TYPE": "redis_cluster"}


@pytest.fixture
def store(config: Config, cluster: RedisCluster) -> Iterator[FeatureStore]:
    with feature_store(config, environ(cluster)) as store:
        store.online.redis.flushall()
        store.materialize(full=True)
        yield store


def test_buyers_of_all_nodes_are_read_in_order(store: FeatureStore, cluster: RedisCluster) -> None:
    assert online(store, BUYERS) == {buyer: stored(events) for buyer, events in HISTORIES.items()}
    times = [buyer.purchases.event_times[0] for buyer in store.online.read_buyers(BUYERS[::-1])]
    assert np.diff(times).tolist() == [-1] * (len(BUYERS) - 1)
    assert store.online.read_products(["p3", "none", "p1"]).known_P.tolist() == [True, False, True]
    assert store.online.materialized_at() > 0
    for node in cluster.nodes:  # each has a part
        with redis.Redis(port=node.port) as client:
            assert client.dbsize() > 0


def test_what_changed_is_materialized_later(store: FeatureStore, config: Config) -> None:
    first = store.online.materialized_at()
    late: Event = (6 * DAY, "p3", "view")
    build(config, HISTORIES | {"u0": [*HISTORIES["u0"], late]})
    store.materialize(full=False)
    assert online(store, ["u0", "u1"]) == {"u0": stored([*HISTORIES["u0"], late]), "u1": stored(HISTORIES["u1"])}
    assert store.online.materialized_at() > first
    build(config, HISTORIES)


def test_concurrent_writers_lose_nothing(store: FeatureStore) -> None:
    def push(place: int) -> None:
        store.online.push_events({buyer: pushed((7 * DAY + place, "p3", "view")) for buyer in BUYERS[:8]})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(push, range(12)))
    new: list[Event] = [(7 * DAY + place, "p3", "view") for place in range(12)]
    assert online(store, BUYERS[:8]) == {buyer: stored([*HISTORIES[buyer], *new]) for buyer in BUYERS[:8]}
    assert list(store.online.redis.scan_iter("*:lock:*")) == []


def test_a_lock_of_another_writer_is_left_alone(store: FeatureStore) -> None:
    with store.online._locks.acquire_available(["u1", "u2"]) as held:
        store.online.redis.set(held._keys["u1"], b"another")
        with pytest.raises(StoreUnavailableError, match="expired before"):
            held.require_held()
    assert store.online.redis.get(held._keys["u1"]) == b"another"
    assert store.online.redis.get(held._keys["u2"]) is None
    store.online.redis.delete(held._keys["u1"])


def test_events_are_claimed_once(store: FeatureStore) -> None:
    names = [f"event-{number}" for number in range(20)]
    with store.online.claim_events(claims(*names)) as claimed:
        assert claimed.fresh == set(names)
        claimed.mark_stored(names[:10])
        with (
            pytest.raises(EventsInProgressError),
            store.online.claim_events(claims(*names, token="theirs")),
        ):
            pass
    with store.online.claim_events(claims(*names, token="theirs")) as later:
        assert later.fresh == set(names[10:])


def test_rows_of_old_schemas_are_deleted_on_all_nodes(store: FeatureStore, config: Config) -> None:
    for place, project in enumerate((store.shop, f"{store.shop}_00000001", f"{store.shop}_00000002")):
        old = store._feast.config.model_copy(update={"project": project})
        rows = store.online._merged_rows({buyer: pushed((0, "p1", "view")) for buyer in BUYERS})
        store.online._store.online_write_batch(old, store._definitions.recent_view, rows, None)
        if place:
            store.online.redis.hset(f"{store.shop}:schemas", project[-8:], place)
        else:
            store.online.redis.set(f"{store.shop}:materialized_at", 1)
    assert store.online.schemas.delete_old() == 2 * len(BUYERS)
    assert len(list(store.online.redis.scan_iter("*_00000002"))) == len(BUYERS)
    assert store.online.schemas.others() == ["00000002"]
    assert online(store, BUYERS) == {buyer: stored(events) for buyer, events in HISTORIES.items()}


def test_buyers_expire_and_products_do_not(config: Config, store: FeatureStore) -> None:
    expiring = FeatureStore(
        config.model_copy(update={"feature_store": config.feature_store.model_copy(update={"buyer_ttl_days": 36_000})}),
        shop_paths(config),
        *store.connection,
    )
    expiring.materialize(full=True)
    expiring.online.push_events({"new": pushed((7 * DAY, "p3", "view"))})
    client, products = store.online.redis, 0
    for key in client.scan_iter(f"*{store.project}"):
        products += b"product_id" in key
        assert (client.ttl(key) > 0) == (b"product_id" not in key)
    assert products == 3


def test_the_documented_rights_are_enough(config: Config, cluster: RedisCluster, store: FeatureStore) -> None:
    for node in cluster.nodes:
        with redis.Redis(port=node.port) as client:
            client.execute_command("ACL SETUSER", "tawsiya", "on", ">secret", *documented_rights().split())
    limited = environ(cluster) | {"TAWSIYA_REDIS": f"{cluster.connection},username=tawsiya,password=secret"}
    with feature_store(config, limited) as limited_store:
        limited_store.materialize(full=True)
        for old in ("00000001", "00000002"):
            limited_store.online.redis.hset(f"{store.shop}:schemas", old, 1)
        limited_store.online.push_events({buyer: pushed((7 * DAY, "p3", "view")) for buyer in BUYERS})
        assert limited_store.online.schemas.delete_old() == 0
        assert limited_store.online.ping()


def test_a_cluster_that_is_not_called_one_is_named(config: Config, cluster: RedisCluster, store: FeatureStore) -> None:
    assert store
    with (
        pytest.raises(StoreUnavailableError, match=r"set TAWSIYA_REDIS_TYPE=redis_cluster$"),
        feature_store(config, {"TAWSIYA_REDIS": cluster.connection}) as one_node,
    ):
        one_node.online.read_buyers(BUYERS)


def use(config: Config, cluster: RedisCluster) -> None:
    """Reads and writes buyers of all nodes."""
    with feature_store(config, environ(cluster)) as store:
        store.online.push_events({buyer: pushed((7 * DAY, "p3", "view")) for buyer in BUYERS})
        store.online.read_buyers(BUYERS)


def test_a_node_that_is_down_is_one_clear_error_and_comes_back(
    config: Config, store: FeatureStore, cluster: RedisCluster
) -> None:
    node = cluster.node_of(next(key for key in store.online.redis.scan_iter(f"*{store.project}") if b"u7" in key))
    node.kill()
    with pytest.raises(StoreUnavailableError, match=r"check that it is up and reachable|the cluster is down"):
        use(config, cluster)
    with pytest.raises((*REDIS_ERRORS, StoreUnavailableError)):
        store.online.push_events({"u7": pushed((7 * DAY, "p3", "view"))})
    with pytest.raises(REDIS_ERRORS):
        store.online.ping()
    node.start()
    cluster.wait_until_ok()
    assert store.online.ping()
    assert as_stored(store.online.read_sequence("u7")) == stored(HISTORIES["u7"])
    store.online.push_events({"u7": pushed((7 * DAY, "p3", "view"))})
    assert len(store.online.read_sequence("u7").event_times) == 3
