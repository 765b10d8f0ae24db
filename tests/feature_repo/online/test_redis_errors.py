"""Errors of the online store in one line, without what was read or written."""

import pytest
import redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from feature_repo.online.redis_errors import store_failure

COMMAND = "Command # 1 (HSET \\x01\\x02buyer_id u0secret _ts: price 5) of pipeline caused error: "


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OutOfMemoryError(f"{COMMAND}command not allowed"),
            "out of memory (maxmemory)",
        ),
        (ReadOnlyError(f"{COMMAND}You can't write against a read only replica."), "the server is a replica that"),
        (NoPermissionError(f"{COMMAND}No permissions to access a key"), "the user may not run this command"),
        (AuthenticationError("invalid username-password pair"), "user name or password are not right"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "the server is still loading its data"),
        (MovedError("1234 10.0.0.7:6379"), "the server belongs to a cluster; set TAWSIYA_REDIS_TYPE=redis_cluster"),
        (ClusterDownError("The cluster is down"), "the cluster is down: a node that has no replica is missing"),
        (RedisConnectionError("Error while reading: Connection reset by peer"), "whether it speaks TLS (ssl=true)"),
        (ResponseError(f"{COMMAND}MISCONF Errors writing to the AOF file"), "MISCONF Errors writing to the AOF file"),
        (ResponseError("unknown command 'X', with args beginning with: 'secret'"), "unknown command 'X'"),
        (ResponseError(f"{COMMAND}\x00\x01ü wrong"), " wrong"),
        (RedisConnectionError("Error 111 connecting to r:1.\nmore"), "connecting to r:1.; check that it is up"),
        (redis.TimeoutError("Timeout reading from r:1"), "Timeout reading from r:1; check that it is up and reachable"),
    ],
)
def test_what_went_wrong_is_said_and_no_more(error: Exception, said: str) -> None:
    message = store_failure(error)
    assert message.startswith("the online store (Redis) failed: ")
    assert said in message
    assert "secret" not in message
    assert message.isascii()
    assert message.isprintable()
