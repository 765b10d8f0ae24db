"""API keys as the API checks them: the content of the key file, kept up to date."""

import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from feature_repo.common.api_keys import ApiKey, read_keys, token_hash, token_id

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
NO_HASH = "0" * 64


class KeyRing:
    """The keys of one file. Where the file is gone, so are the keys; while it is broken, those of before stay valid."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Knows no key yet; see load."""
        self._path, self._clock = path, clock
        self._keys: dict[str, ApiKey] = {}
        self._stamp: tuple[int, ...] | None = None  # of the file that was read; None reads it again
        self._looked = clock()

    @classmethod
    def load(cls, path: Path, clock: Callable[[], float] = time.monotonic) -> "KeyRing":
        """Reads the keys; the file may be missing.

        Args:
            path: The file.
            clock: Seconds, from any start.

        Raises:
            ValueError: The file holds something else.
            OSError: It cannot be read.
        """
        ring = cls(path, clock)
        ring._read()
        return ring

    def find(self, token: str) -> ApiKey | None:
        """The key that `token` is, None where it is no valid one.

        How long it takes says nothing about how near a wrong secret comes.
        """
        self._look_now_and_then()
        key = self._keys.get(token_id(token))
        # One comparison for an unknown id too, so that an answer takes the same time for both.
        same = hmac.compare_digest(token_hash(token), key.sha256 if key else NO_HASH)
        return key if same else None

    def any(self) -> bool:
        """Whether there are keys at all."""
        self._look_now_and_then()
        return bool(self._keys)

    def _look_now_and_then(self) -> None:
        if self._clock() - self._looked >= LOOK_SECONDS:
            self._looked = self._clock()
            self._look()

    def _look(self) -> None:
        """Reads the file again if it has changed."""
        try:
            self._read()
        except ValueError as error:
            log.error("the API keys stay as they were: %s", error)
        except OSError as error:
            # Not the file's fault, perhaps: too many open files, a network disk. The next look tries again.
            self._stamp = None
            log.error("the API keys stay as they were: %s", error)

    def _read(self) -> None:
        # The stamp first: a file that changes meanwhile is then read once more, and a broken one is reported once.
        stamp = _stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._keys = {key.key_id: key for key in read_keys(self._path)}


def _stamp(path: Path) -> tuple[int, ...]:
    """Changes with the file: with its content, with its permissions and when another takes its place."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    # Not the time of modification, which a restored backup or `cp -p` sets back.
    return status.st_ino, status.st_size, status.st_ctime_ns
