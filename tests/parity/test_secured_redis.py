"""A Redis with TLS, users and passwords: a shop works on it, and whatever does not fit is one clear line."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_jobs.upkeep.online_copy import read_online_copy, write_online_copy
from feature_repo.access.limits import Limit
from feature_repo.common.config import Config
from feature_repo.common.errors import ConfigError, StoreUnavailableError
from feature_repo.online.shop_keys import delete_buyers, rewrite_files
from feature_repo.store import feature_store
from online_api.protection.rate_limit import RateLimiter, limiter_client
from tests.parity.parity_shop import build, online, pushed, shop, stored
from tests.parity.secured_redis import REDIS_SERVER, SecuredRedis, documented_rights, secured_redis, write_certificates
from tests.parity.test_store import HISTORY, claims

pytestmark = [
    pytest.mark.store,
    pytest.mark.cluster,
    pytest.mark.skipif(REDIS_SERVER is None, reason="redis-server is not installed (a Debian package)"),
]

PASSWORD = 'a,b"c'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredRedis]:
    users = ("user default off", f"user tawsiya on >{PASSWORD} {documented_rights()}")
    with secured_redis(tmp_path_factory.mktemp("redis"), *users) as server:
        yield server


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = shop(tmp_path_factory.mktemp("shop"))
    build(config, {"u1": HISTORY})
    limits = config.feature_store.model_copy(update={"online": "redis", "buyer_ttl_days": 36_500})
    return config.model_copy(update={"feature_store": limits})


def address(server: SecuredRedis) -> str:
    """The address as docs/operations.md has it."""
    quoted = PASSWORD.replace('"', '""')
    return f'127.0.0.1:{server.tls_port},ssl=true,ssl_ca_certs={server.ca},username=tawsiya,"password={quoted}"'


def test_the_documented_rights_are_enough(config: Config, server: SecuredRedis) -> None:
    async def admitted(connection: tuple[str, str], prefix: str) -> list[float]:
        client = limiter_client(*connection)
        limiter = RateLimiter(client, prefix)
        waits = [await limiter.admit("key:1", Limit(rate_per_second=0.001, burst=1)) for _ in range(2)]
        assert limiter.shared
        await client.aclose()
        return waits

    with feature_store(config, {"TAWSIYA_REDIS": address(server)}) as store:
        store.online.schemas.require()
        store.materialize(full=True)
        for old in ("00000001", "00000002"):
            store.online.redis.hset(f"{store.shop}:schemas", old, 1)
        store.materialize(full=False)
        assert store.online.schemas.others() == ["00000001"]
        store.online.push_events({"u1": pushed((1, "p3", "view"))})
        with store.online.claim_events(claims("e1", "e2")) as claimed:
            claimed.mark_stored(["e1"])
        assert online(store, ["u1"]) == {"u1": stored([*HISTORY, (1, "p3", "view")])}
        first, second = asyncio.run(admitted(store.connection, store.shop))
        assert first == 0 < second
        assert store.online_with_timeout(1).ping()


def test_the_documented_rights_are_enough_for_backup_and_erasure(
    config: Config, server: SecuredRedis, tmp_path: Path
) -> None:
    with feature_store(config, {"TAWSIYA_REDIS": address(server)}) as store:
        store.materialize(full=True)
        redis, copy = store.online.redis, tmp_path / "online.parquet"
        rows = write_online_copy(redis, store.shop, copy)
        assert read_online_copy(redis, store.shop, copy) == rows > 0
        assert delete_buyers(redis, store.shop, ["u1"]) == 1
        assert rewrite_files(redis) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("password=a", "password=b", "user name or password are not right"),
        ("username=tawsiya", "username=stranger", "user name or password are not right"),
        ("ca.crt", "other/ca.crt", "the server's TLS certificate is not trusted; check ssl_ca_certs"),
        ("ssl=true,", "", "whether it speaks TLS (ssl=true)"),
        ("TLS_PORT", "PLAIN_PORT", "whether it speaks TLS (ssl=true)"),
    ],
)
@pytest.mark.parametrize("kind", ["redis", "redis_cluster"])
def test_what_does_not_fit_is_one_clear_line(
    config: Config, server: SecuredRedis, old: str, new: str, said: str, kind: str
) -> None:
    other = server.ca.parent / "other"
    other.mkdir(exist_ok=True)
    write_certificates(other)
    wrong = address(server).replace(str(server.tls_port), "TLS_PORT").replace(old, new)
    wrong = wrong.replace("TLS_PORT", str(server.tls_port)).replace("PLAIN_PORT", str(server.plain_port))
    # A server without TLS waits for the end of the line that greets it.
    variables = {"TAWSIYA_REDIS": f"{wrong},socket_timeout=0.5", "TAWSIYA_REDIS_TYPE": kind}
    with pytest.raises(StoreUnavailableError) as refused, feature_store(config, variables) as store:
        store.online.ping()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert 'b"c' not in str(refused.value)


def test_a_server_of_another_type_is_named(config: Config, server: SecuredRedis) -> None:
    variables = {"TAWSIYA_REDIS": address(server), "TAWSIYA_REDIS_TYPE": "redis_cluster"}
    with pytest.raises(StoreUnavailableError, match=r"TAWSIYA_REDIS_TYPE=redis$"), feature_store(config, variables):
        pass


def test_a_file_that_is_missing_is_named(config: Config, server: SecuredRedis) -> None:
    wrong = address(server).replace("ca.crt", "gone.crt")
    with (
        pytest.raises(ConfigError, match="the option ssl_ca_certs must be an existing file"),
        feature_store(config, {"TAWSIYA_REDIS": wrong}),
    ):
        pass
