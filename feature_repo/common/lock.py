"""The shop's batch lock: one chain at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths


class BusyError(RuntimeError):
    """Another job works on the same shop."""


@contextmanager
def shop_lock(config: Config) -> Iterator[None]:
    """Holds the shop's batch lock; the kernel frees it when the process ends, however it ends.

    Raises:
        BusyError: Another process holds it.
    """
    path = shop_paths(config).lock
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(f"another job is at work on this shop ({path} is locked); try again when it is done") from None
    try:
        yield
    finally:
        lock.release()
