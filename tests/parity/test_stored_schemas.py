"""Two versions of the program, whose features differ, on one Redis."""

import datetime as dt
import logging
from collections.abc import Iterator

import pytest

from feature_repo.common.config import Config
from feature_repo.common.errors import OtherSchemaError
from feature_repo.common.paths import shop_paths
from feature_repo.online.stored_schemas import StoredSchemas
from feature_repo.store import FeatureStore, feature_store
from tests.parity.parity_shop import DAY, Event, build, online, pushed, shop, stored

pytestmark = pytest.mark.store

FIRST: list[Event] = [(0, "p1", "view"), (5 * DAY, "p2", "purchase")]
PUSHED: Event = (6 * DAY, "p3", "view")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = shop(tmp_path_factory.mktemp("shop"))
    build(config, {"u1": FIRST, "u2": FIRST})
    return config


@pytest.fixture
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as store:
        store.online.redis.flushall()
        yield store


def version(config: Config, store: FeatureStore, max_length: int) -> FeatureStore:
    """Another version of the program on the same server; its sequences have another length."""
    settings = config.model_dump()
    settings["model"]["buyer_tower"]["max_interaction_history"] = max_length
    return FeatureStore(Config.model_validate(settings), shop_paths(config), *store.connection)


def materialize(store: FeatureStore, *, full: bool) -> None:
    """Builds the features of the store's version, and materializes them."""
    build(store._config, {"u1": FIRST, "u2": FIRST})
    store.materialize(full=full)


def rows(store: FeatureStore) -> int:
    return len(list(store.online.redis.scan_iter(f"*{store.project}")))


def test_versions_read_their_own_rows_and_share_claims(config: Config, store: FeatureStore) -> None:
    materialize(store, full=True)
    new = version(config, store, 7)
    assert new.schema_hash != store.schema_hash
    assert online(new, ["u1"]) == {"u1": []}
    materialize(new, full=False)  # nothing of this schema is there yet, so all is written
    store.online.push_events({"u1": pushed(PUSHED)})
    assert online(store, ["u1"]) == {"u1": stored([*FIRST, PUSHED])}
    assert online(new, ["u1"]) == {"u1": stored(FIRST)}
    assert new.online.schemas.shop == store.online.schemas.shop
    store.online.schemas.require()
    new.online.schemas.require()


def test_a_store_of_another_schema_only_is_refused(config: Config, store: FeatureStore) -> None:
    materialize(store, full=True)
    new = version(config, store, 8)
    with pytest.raises(OtherSchemaError) as refused:
        new.online.schemas.require()
    assert str(refused.value) == (
        f"the online store holds this shop's features of schema {store.schema_hash[:8]}, none of this program's schema "
        f"{new.schema_hash[:8]}; run `tawsiya materialize --full`"
    )


def test_a_store_of_the_first_version_is_refused(store: FeatureStore) -> None:
    store.online.redis.set(f"{store.shop}:materialized_at", 1)
    with pytest.raises(OtherSchemaError, match=r"of version 0\.1\.0, none of .* `tawsiya materialize --full`"):
        store.online.schemas.require()


def test_an_empty_store_is_one_warning(store: FeatureStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        store.online.schemas.require()
    assert [record.getMessage() for record in caplog.records] == [
        "the online store holds no features of this shop; until `tawsiya materialize`, buyers are new ones"
    ]


def test_rows_of_the_two_newest_schemas_stay(config: Config, store: FeatureStore) -> None:
    versions = [store, *(version(config, store, length) for length in (7, 8))]
    for place, each in enumerate(versions[:2]):
        materialize(each, full=True)
        each.online.schemas.record_materialized(dt.datetime.fromtimestamp(place + 1, dt.UTC), "")
    assert [rows(each) for each in versions] == [5, 5, 0]
    materialize(versions[2], full=False)
    assert [rows(each) for each in versions] == [0, 5, 5]
    assert versions[2].online.schemas.others() == [versions[1].schema_hash[:8]]
    materialize(versions[0], full=False)  # back to the first version, whose rows are gone
    assert online(versions[0], ["u2"]) == {"u2": stored(FIRST)}


def test_only_rows_of_the_shop_are_deleted(store: FeatureStore) -> None:
    """Whatever else carries its name, such as ids in keys of other shops."""
    redis, shop_name, other = store.online.redis, store.shop, "tawsiya_" + "0" * 12
    row, end = b"\x01\x00\x00\x00\x02\x00\x00\x00\x08\x00\x00\x00buyer_id\x02\x00\x00\x00", f"_{'a' * 8}".encode()
    mine = [row + b"u1" + shop_name.encode(), row + f"x{other}_bbbbbbbb".encode() + shop_name.encode() + end]
    strange = [
        row + shop_name.encode() + end + other.encode() + end,
        f"{other}:event:id:{shop_name}".encode() + end,
        f"{shop_name}:event:id:{shop_name}".encode() + end,
        row + b"u1" + shop_name.encode() + b"_0123456g",
        row + b"u1" + shop_name.encode() + b"_cccccccc",
    ]
    for key in (*mine, *strange):
        redis.set(key, "x")
    redis.hset(f"{shop_name}:schemas", mapping={"aaaaaaaa": 1, "cccccccc": 2})
    redis.set(f"{shop_name}:materialized_at", 1)
    assert store.online.schemas.delete_old() == len(mine)
    assert [redis.exists(key) for key in strange] == [1] * len(strange)
    assert store.online.schemas.delete_old() == 0


def test_a_store_without_old_schemas_is_not_scanned(store: FeatureStore) -> None:
    class NoScan:
        """A client that refuses to scan."""

        def __getattr__(self, name: str) -> object:
            assert name != "scan_iter"
            return getattr(store.online.redis, name)

    store.online.redis.hset(f"{store.shop}:schemas", "aaaaaaaa", 1)
    assert StoredSchemas(NoScan(), store.shop, store.schema_hash).delete_old() == 0
