"""What an error of the online store means, in one line without keys, values or passwords."""

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# RedisClusterException does not inherit from RedisError.
REDIS_ERRORS = (RedisError, RedisClusterException)

# The first class that fits counts.
REASON_BY_ERROR: tuple[tuple[type[Exception], str], ...] = (
    (OutOfMemoryError, "out of memory (maxmemory)"),
    (ReadOnlyError, "the server is a replica that takes no writes"),
    (NoPermissionError, "the user may not run this command or use these keys; check its rights on the server"),
    (AuthenticationError, "user name or password are not right; check $TAWSIYA_REDIS"),
    (BusyLoadingError, "the server is still loading its data; try again soon"),
    (MovedError, "the server belongs to a cluster; set TAWSIYA_REDIS_TYPE=redis_cluster"),
    (ClusterDownError, "the cluster is down: a node that has no replica is missing"),
)
# For errors whose class does not tell; the first text that the message contains counts.
REASON_BY_TEXT = (
    ("Cluster mode is not enabled", "the server belongs to no cluster; set TAWSIYA_REDIS_TYPE=redis"),
    ("certificate verify failed", "the server's TLS certificate is not trusted; check ssl_ca_certs in $TAWSIYA_REDIS"),
)
# What a server says that speaks TLS where the client does not, or the other way round.
TLS_MISMATCHES = ("reset by peer", "closed by server", "Timeout connecting", "WRONG_VERSION_NUMBER")
LONGEST_REASON = 200


def store_failure(error: Exception) -> str:
    """The message for an error of redis-py."""
    return f"the online store (Redis) failed: {failure_reason(error)}"


def failure_reason(error: BaseException) -> str:
    """What went wrong, without what was read or written."""
    if isinstance(error, RedisClusterException) and error.__cause__ is not None:
        return failure_reason(error.__cause__)  # no node could be reached; the cause is the last node's error
    for kind, reason in REASON_BY_ERROR:
        if isinstance(error, kind):
            return reason
    text = str(error).partition("\n")[0]
    for part, reason in REASON_BY_TEXT:
        if part in text:
            return reason
    if isinstance(error, ResponseError):
        # redis-py puts the command with its key and values before the server's words, and Redis the arguments after.
        text = text.rpartition("of pipeline caused error: ")[2].partition(", with args")[0]
        return "".join(char for char in text if char.isascii() and char.isprintable())[:LONGEST_REASON]
    if isinstance(error, RedisConnectionError | RedisTimeoutError | RedisClusterException | OSError):
        or_tls = ", and whether it speaks TLS (ssl=true)" if any(sign in text for sign in TLS_MISMATCHES) else ""
        return f"{text}; check that it is up and reachable{or_tls}"
    return text
