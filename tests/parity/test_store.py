"""Access to the feature store: connection, shops on one server, registry file, lock and claims."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
import yaml
from feast.feature_view import FeatureViewState
from feast.infra.online_stores.redis import RedisOnlineStore

from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError, StoreUnavailableError
from feature_repo.common.paths import shop_paths
from feature_repo.online.claims import CLAIM_SECONDS, Claim, EventsInProgressError
from feature_repo.online.connection import read_connection
from feature_repo.online.embedded_redis import RedisAddress, embedded_redis
from feature_repo.online.stored_schemas import project_name, shop_prefix
from feature_repo.schema import HISTORY_VIEW
from feature_repo.store import STORE_YAML, FeatureStore, _substitute, feature_store
from tests.parity.parity_shop import build, pushed, shop

pytestmark = pytest.mark.store

EVENT = (0, "p1", "view")
HISTORY = [EVENT, (5 * 24 * 3600 * 1000, "p2", "view")]
BUYERS = ("u1", "u2", "u3")
SCHEMAS = ("0123456789abcdef", "fedcba9876543210")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisAddress]:
    with embedded_redis(tmp_path_factory.mktemp("redis")) as address:
        yield address


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A shop of one buyer with two events, whose features are built."""
    config = shop(tmp_path_factory.mktemp("shop"))
    build(config, {"u1": HISTORY})
    return config.model_copy(update={"feature_store": config.feature_store.model_copy(update={"online": "redis"})})


def environ(address: RedisAddress) -> dict[str, str]:
    return {"TAWSIYA_REDIS": f"{address.host}:{address.port}"}


@pytest.fixture
def store(config: Config, server: RedisAddress) -> Iterator[FeatureStore]:
    with feature_store(config, environ(server)) as store:
        store.online.redis.flushall()
        store.materialize(full=True)
        yield store


def registry(config: Config) -> Path:
    return shop_paths(config).feast / "registry.db"


# --- connection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["a\nb", 'say "no"', "a #b", "$HOME", "a: b", "1e5", "true", '"quoted"', "ü=ع\\"])
def test_a_password_arrives_as_it_is(password: str) -> None:
    variables = dict.fromkeys(("TAWSIYA_SHOP_DIR", "TAWSIYA_PROJECT", "TAWSIYA_REDIS_TYPE"), "x")
    variables["TAWSIYA_REDIS"] = read_connection(f"redis:6379,password={password},db=1").as_feast()
    content = _substitute(yaml.safe_load(STORE_YAML.read_text("utf-8")), variables)
    nodes, options = RedisOnlineStore._parse_connection_string(content["online_store"]["connection_string"])
    assert nodes == [{"host": "redis", "port": "6379"}]
    assert options == {"password": password, "db": 1, "socket_connect_timeout": 1, "socket_timeout": 10}


def test_time_outs_can_be_set() -> None:
    text = read_connection("r:1,socket_timeout=60").as_feast()
    assert text == "r:1,socket_connect_timeout=1,socket_timeout=60"


def test_a_store_works_with_any_password_and_folder(tmp_path: Path, server: RedisAddress) -> None:
    odd = shop(tmp_path / 'a #"b": $c')
    password = 'p"a #s$s\\n'
    with redis.Redis(server.host, server.port) as client:
        client.acl_setuser(
            "odd", enabled=True, passwords=[f"+{password}"], categories=["+@all"], keys=["*"], channels=["*"]
        )
    odd = odd.model_copy(update={"feature_store": odd.feature_store.model_copy(update={"online": "redis"})})
    address = f"{server.host}:{server.port},username=odd,password={password}"
    with feature_store(odd, {"TAWSIYA_REDIS": address}) as store:
        assert store.online.ping()
        assert store.online_with_timeout(1).ping()
        store.apply()
        assert registry(odd).is_file()


@pytest.mark.parametrize("connection", ["", "password=a:secret", "redis://:secret@host:6379"])
def test_an_address_that_is_none_is_refused_without_its_password(config: Config, connection: str) -> None:
    with pytest.raises(ConfigError, match="host:port") as refused, feature_store(config, {"TAWSIYA_REDIS": connection}):
        pass
    assert "secret" not in str(refused.value)


def test_the_address_may_stand_in_the_env_file(
    config: Config, server: RedisAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(f"TAWSIYA_REDIS={server.host}:{server.port}\n")
    monkeypatch.delenv("TAWSIYA_REDIS", raising=False)
    monkeypatch.chdir(tmp_path)
    with feature_store(config) as store:
        assert store.online.ping()


def test_a_server_that_is_gone_is_one_short_error_at_once(config: Config) -> None:
    started = time.monotonic()
    gone = {"TAWSIYA_REDIS": "127.0.0.1:1"}
    with pytest.raises(StoreUnavailableError) as error, feature_store(config, gone) as store:
        store.online.ping()
    assert time.monotonic() - started < 1
    assert "127.0.0.1:1" in str(error.value)
    assert "\n" not in str(error.value)


# --- shops on one server ----------------------------------------------------------------------------------------------


def test_shops_on_one_server_do_not_see_each_other(
    config: Config, store: FeatureStore, server: RedisAddress, tmp_path: Path
) -> None:
    other_config = shop(tmp_path)
    mapping = tmp_path / "other.yaml"
    mapping.write_text(Path(other_config.data.source).read_text("utf-8"), encoding="utf-8")
    data = other_config.data.model_copy(update={"source": str(mapping)})
    other_config = other_config.model_copy(update={"data": data, "feature_store": config.feature_store})
    build(other_config, {"u2": HISTORY})
    with feature_store(other_config, environ(server)) as other:
        other.materialize(full=True)
        store.online.push_events({"u3": pushed(EVENT)})
        lengths = [
            [len(buyer.events.event_times) for buyer in shop.online.read_buyers(BUYERS)] for shop in (store, other)
        ]
        assert lengths == [[2, 0, 1], [0, 2, 0]]
        with store.online._locks.acquire_available(["u1"]):
            other.online.push_events({"u1": pushed(EVENT)})
        with store.online.claim_events(claims("e1")) as ours, other.online.claim_events(claims("e1")) as theirs:
            assert ours.fresh == theirs.fresh == {"e1"}


def test_no_project_ends_with_another() -> None:
    shops = [shop_prefix(source) for source in ("csv", "my_csv", "متجر", "x" * 200)]
    names = {project_name(shop, schema) for shop in shops for schema in SCHEMAS}
    assert len(names) == 8
    assert {len(name) for name in names} == {29}
    assert all(name.isascii() and name.replace("_", "").isalnum() for name in names)


# --- registry file ----------------------------------------------------------------------------------------------------


def test_applying_the_same_again_writes_nothing(config: Config, store: FeatureStore, server: RedisAddress) -> None:
    before = registry(config).read_bytes()
    store.apply()
    with feature_store(config, environ(server)) as another:
        another.apply()
    assert registry(config).read_bytes() == before


def test_changed_definitions_are_applied(config: Config, store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = registry(config).read_bytes()
    monkeypatch.setattr("feature_repo.store._fingerprint", lambda _: "another")
    store.apply()
    assert registry(config).read_bytes() != before


def test_the_registry_is_replaced_and_never_rewritten(config: Config, store: FeatureStore) -> None:
    with registry(config).open("rb") as reader:
        before = os.fstat(reader.fileno()).st_size
        store.materialize(full=True)
        assert len(reader.read()) == before
        assert registry(config).stat().st_ino != os.fstat(reader.fileno()).st_ino
    assert [path.name for path in registry(config).parent.iterdir()] == ["registry.db"]


def test_opening_a_store_writes_no_registry(tmp_path: Path, config: Config, server: RedisAddress) -> None:
    empty = config.model_copy(update={"data_dir": tmp_path})
    with feature_store(empty, environ(server)) as store:
        store.online.read_sequence("u1")
        assert not registry(empty).exists()


@pytest.mark.parametrize("keep", [0, 100, -7])
def test_a_damaged_registry_heals(config: Config, store: FeatureStore, server: RedisAddress, keep: int) -> None:
    registry(config).write_bytes(registry(config).read_bytes()[:keep])
    store.online.redis.flushall()
    with feature_store(config, environ(server)) as reopened:
        reopened.materialize(full=keep < 0)
        assert len(reopened.online.read_sequence("u1").event_times) == 2


def test_reads_go_on_while_another_process_materializes(
    config: Config, store: FeatureStore, server: RedisAddress
) -> None:
    view = store._feast.get_feature_view(HISTORY_VIEW)
    for state in (FeatureViewState.MATERIALIZING, FeatureViewState.GENERATED):  # materializing; killed and failed again
        view.state = state
        store._feast.registry.apply_feature_view(view, store.project)
        with feature_store(config, environ(server)) as reader:
            assert len(reader.online.read_sequence("u1").event_times) == 2


# --- lock and claims --------------------------------------------------------------------------------------------------


def lose_lock_when(store: FeatureStore, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletes every lock after a call of the online store's `method`, as if it had expired during the call."""
    original = getattr(store.online._store, method)

    def losing(*arguments: object, **options: object) -> object:
        result = original(*arguments, **options)
        store.online.redis.delete(*store.online.redis.keys("*:lock:*"))
        return result

    monkeypatch.setattr(store.online._store, method, losing)


def test_without_its_lock_a_push_writes_nothing(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        lose_lock_when(store, "read_views", patch)
        with pytest.raises(StoreUnavailableError, match="expired before"):
            store.online.push_events({"u9": pushed(EVENT)})
    assert len(store.online.read_sequence("u9").event_times) == 0


def test_a_lock_lost_after_the_write_is_no_failure(store: FeatureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_lock_when(store, "online_write_batch", monkeypatch)
    store.online.push_events({"u9": pushed(EVENT)})
    assert len(store.online.read_sequence("u9").event_times) == 1


def claims(*names: str, token: str = "ours", seconds: int = 60) -> dict[str, Claim]:
    return dict.fromkeys(names, Claim(token, seconds))


def test_events_are_claimed_by_one_at_a_time_and_stored_once(store: FeatureStore) -> None:
    with store.online.claim_events(claims("a", "b")) as claimed:
        assert claimed.fresh == {"a", "b"}
        claimed.mark_stored(["a"])
        with store.online.claim_events(claims("a", "c", token="theirs")) as other:
            assert other.fresh == {"c"}
        with (
            pytest.raises(EventsInProgressError, match="try again"),
            store.online.claim_events(claims("c", "b", token="theirs")),
        ):
            pass
    with store.online.claim_events(claims("a", "b", "c", token="theirs")) as later:
        assert later.fresh == {"b", "c"}


def test_who_comes_while_another_is_at_work_waits_for_the_outcome(store: FeatureStore) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.online.claim_events(claims("a", "b")) as claimed:
            waiting = pool.submit(lambda: store.online.claim_events(claims("a", "b", token="theirs")).__enter__())
            time.sleep(0.05)
            claimed.mark_stored(["a"])
        assert waiting.result().fresh == {"b"}


def test_a_stored_event_is_remembered_for_as_long_as_was_asked(store: FeatureStore) -> None:
    with store.online.claim_events(claims("a", seconds=86_400) | claims("b", seconds=10)) as claimed:
        claimed.mark_stored(["a", "b"])
    a, b = (store.online.redis.ttl(*store.online.redis.keys(f"*:event:{name}")) for name in ("a", "b"))
    assert 86_000 < a <= 86_400
    assert 0 < b <= 10


def test_what_is_kept_can_be_claimed_again_under_its_token_only(store: FeatureStore) -> None:
    with store.online.claim_events(claims("a")) as claimed:
        claimed.keep_claimed(["a"])
    with pytest.raises(EventsInProgressError), store.online.claim_events(claims("a", token="theirs")):
        pass
    with store.online.claim_events(claims("a")) as again:
        assert again.fresh == {"a"}
    with store.online.claim_events(claims("a", token="theirs")) as other:
        assert other.fresh == {"a"}


def test_the_claim_of_a_killed_request_runs_out(store: FeatureStore) -> None:
    killed = store.online.claim_events(claims("a"))
    killed.__enter__()
    (key,) = store.online.redis.keys("*:event:a")
    assert 0 < store.online.redis.ttl(key) <= CLAIM_SECONDS
    store.online.redis.delete(key)  # the claim expired, and another request claimed the event
    with store.online.claim_events(claims("a", token="theirs")) as other:
        killed.__exit__(None, None, None)  # it was only slow, and must not release the claim of the other request
        with pytest.raises(EventsInProgressError), store.online.claim_events(claims("a", token="third")):
            pass
        other.mark_stored(["a"])
    with store.online.claim_events(claims("a")) as again:
        assert not again.fresh
