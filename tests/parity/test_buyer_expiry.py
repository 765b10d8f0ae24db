"""Buyers without events for long leave the online store; products and active buyers stay."""

import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.keys import product_key
from feature_repo.transforms.sequences import sequence
from tests.parity.parity_shop import shop

pytestmark = pytest.mark.store

DAY_SECONDS = 24 * 3600
TTL_DAYS = 30
# Type, and how many days ago. `shopper` bought long ago and came back yesterday.
EVENTS = {
    "active": [("view", 10), ("purchase", 5)],
    "idle": [("purchase", 40)],
    "shopper": [("purchase", 90), ("view", 1)],
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = shop(tmp_path_factory.mktemp("shop"))
    write_events(config, EVENTS)
    return config


@pytest.fixture
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as store:
        store.online.redis.flushall()
        yield store


def write_events(config: Config, events: dict[str, list[tuple[str, int]]]) -> None:
    """Writes, ingests and builds events that happened so many days ago."""
    now = dt.datetime.now(dt.UTC)
    lines = [
        f"{buyer},p1,{kind},{(now - dt.timedelta(days=days)).isoformat()}\n"
        for buyer, of_buyer in events.items()
        for kind, days in of_buyer
    ]
    assert config.data.events_path is not None
    Path(config.data.events_path).write_text("buyer_id,product_id,event_type,timestamp\n" + "".join(lines))
    ingest(config)
    build_features(config)


def expiring(config: Config, store: FeatureStore, days: int = TTL_DAYS) -> FeatureStore:
    """The shop with `feature_store.buyer_ttl_days`, on the same server."""
    settings = config.model_copy(
        update={"feature_store": config.feature_store.model_copy(update={"buyer_ttl_days": days})}
    )
    return FeatureStore(settings, shop_paths(config), *store.connection)


def days_left(store: FeatureStore) -> dict[str, float | None]:
    """Days until each row expires, by id of its buyer or product; None for never."""
    left = {}
    for key in store.online.redis.scan_iter(f"*{store.project}"):
        seconds = store.online.redis.ttl(key)
        name = key.removesuffix(store.project.encode()).rpartition(b"\x00")[2].decode()
        left[name] = None if seconds == -1 else seconds / DAY_SECONDS
    return left


def push(store: FeatureStore, buyer: str, days_ago: int = 0) -> None:
    time_ms = int((time.time() - days_ago * DAY_SECONDS) * 1000)
    store.online.push_events({buyer: sequence([product_key("p2")], [0], [time_ms])})


def lengths(store: FeatureStore, buyer: str) -> tuple[int, int]:
    """Numbers of events and of purchases."""
    features = store.online.read_buyers([buyer])[0]
    return len(features.events.event_times), len(features.purchases.event_times)


def test_without_the_setting_nothing_expires(config: Config, store: FeatureStore) -> None:
    store.materialize(full=True)
    push(store, "new")
    assert set(days_left(store).values()) == {None}
    assert {"idle", "new", "p1"} <= set(days_left(store))


def test_buyers_expire_after_their_last_event(config: Config, store: FeatureStore) -> None:
    limited = expiring(config, store)
    limited.materialize(full=True)
    assert days_left(store) == {
        "p1": None,
        "p2": None,
        "p3": None,
        "active": pytest.approx(25, abs=0.1),
        "shopper": pytest.approx(29, abs=0.1),
    }
    assert lengths(limited, "shopper") == (2, 1)  # all purchases of an active buyer, however long ago
    assert lengths(limited, "idle") == (0, 0)


def test_a_push_renews_and_materialize_shortens_nothing(config: Config, store: FeatureStore) -> None:
    limited = expiring(config, store)
    limited.materialize(full=True)
    push(limited, "active", days_ago=2)
    push(limited, "new")
    for _ in range(2):
        left = days_left(store)
        assert left["active"] == pytest.approx(30, abs=0.1)
        assert left["new"] == pytest.approx(30, abs=0.1)
        limited.materialize(full=True)


def test_when_it_is_switched_on_stored_buyers_get_an_expiry(config: Config, store: FeatureStore) -> None:
    store.materialize(full=True)
    push(store, "idle")
    limited = expiring(config, store)
    limited.materialize(full=True)
    left = days_left(store)
    assert left["active"] == pytest.approx(25, abs=0.1)
    # When its last event was is unknown here: it pushed one that no build has seen.
    assert left["idle"] == pytest.approx(30, abs=0.1)
    assert lengths(limited, "idle") == (2, 1)
    assert left["p1"] is None
    expiring(config, store, days=36_500).materialize(full=True)
    assert days_left(store)["active"] == pytest.approx(36_495, abs=0.1)


def test_an_expired_buyer_is_a_new_one_and_comes_back(config: Config, store: FeatureStore, tmp_path: Path) -> None:
    limited = expiring(config, store)
    limited.materialize(full=True)
    (key,) = store.online.redis.scan_iter(f"*active{store.project}")
    store.online.redis.pexpire(key, 1)
    while store.online.redis.exists(key):
        time.sleep(0.001)
    assert lengths(limited, "active") == (0, 0)
    push(limited, "active")
    assert lengths(limited, "active") == (1, 0)
    write_events(config, EVENTS | {"active": [*EVENTS["active"], ("view", 0)]})
    limited.materialize(full=False)
    assert lengths(limited, "active") == (4, 1)
    write_events(config, EVENTS)
