"""The shop's batch lock: one job at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths


class BusyError(RuntimeError):
    """Another job is running on the same shop."""


@contextmanager
def shop_lock(config: Config) -> Iterator[None]:
    """Holds the shop's batch lock; the kernel releases it however the process ends.

    Raises:
        BusyError: Another process holds the lock.
    """
    path = shop_paths(config).lock
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"another job is running on this shop ({path} is locked); try again when it has finished"
        ) from None
    try:
        yield
    finally:
        lock.release()
