"""What an error of the online store means, in one line without keys, values or passwords."""

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# The first class that fits counts.
REASON_BY_ERROR: tuple[tuple[type[Exception], str], ...] = (
    (OutOfMemoryError, "out of memory (maxmemory)"),
    (ReadOnlyError, "the server is a replica that takes no writes"),
    (NoPermissionError, "the user may not run this command or use these keys; check its rights on the server"),
    (AuthenticationError, "user name or password are not right; check $TAWSIYA_REDIS"),
    (BusyLoadingError, "the server is still loading its data; try again soon"),
)
LONGEST_REASON = 200


def store_failure(error: Exception) -> str:
    """The message for an error of redis-py."""
    return f"the online store (Redis) failed: {failure_reason(error)}"


def failure_reason(error: Exception) -> str:
    """What went wrong, without what was read or written."""
    for kind, reason in REASON_BY_ERROR:
        if isinstance(error, kind):
            return reason
    text = str(error).partition("\n")[0]
    if isinstance(error, ResponseError):
        # redis-py puts the command with its key and values before the server's words, and Redis the arguments after.
        text = text.rpartition("of pipeline caused error: ")[2].partition(", with args")[0]
        return "".join(char for char in text if char.isascii() and char.isprintable())[:LONGEST_REASON]
    if isinstance(error, RedisConnectionError | RedisTimeoutError | RedisClusterException | OSError):
        return f"{text}; check that it is up and reachable"
    return text
