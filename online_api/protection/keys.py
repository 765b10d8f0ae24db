"""The API keys of the key file, kept up to date."""

import hmac
import logging
import time
from collections.abc import Callable
from pathlib import Path

from feature_repo.access.api_keys import ApiKey, read_keys, token_hash, token_id
from feature_repo.common.files import file_stamp

log = logging.getLogger(__name__)

KEYS_POLL_SECONDS = 1.0  # docs/security.md promises that a revoked key is refused within a second
NO_HASH = "0" * 64  # as long as a SHA-256 hash in hex, which no token will have


class KeyRing:
    """The keys of a file. Without the file there are no keys; while it is invalid, the previous keys stay valid."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic, shop: str | None = None) -> None:
        """Starts without keys; use load."""
        self._path, self._clock, self._shop = path, clock, shop
        self._keys: dict[str, ApiKey] = {}
        self._stamp: tuple[int, ...] | None = None  # of the file as it was read last; None: read it at the next poll
        self._polled = clock()

    @classmethod
    def load(cls, path: Path, clock: Callable[[], float] = time.monotonic, shop: str | None = None) -> "KeyRing":
        """Reads the keys; the file may be missing.

        Args:
            path: The file.
            clock: Returns seconds since any start.
            shop: The shop whose keys are found, beside those of all shops.

        Raises:
            ValueError: The content of the file is not valid.
            OSError: The file cannot be read.
        """
        ring = cls(path, clock, shop)
        ring._read()
        return ring

    def find(self, token: str) -> ApiKey | None:
        """The key with this token, or None. The comparison takes constant time."""
        self._poll_if_due()
        key = self._keys.get(token_id(token))
        # An unknown id is compared too, so that it takes the same time as a wrong secret.
        same = hmac.compare_digest(token_hash(token), key.sha256 if key else NO_HASH)
        return key if key is not None and same and key.shop in (None, self._shop) else None

    def any(self) -> bool:
        """Whether there is any key, also of other shops: who made keys expects no API to be open."""
        self._poll_if_due()
        return bool(self._keys)

    def _poll_if_due(self) -> None:
        if self._clock() - self._polled >= KEYS_POLL_SECONDS:
            self._polled = self._clock()
            self._poll()

    def _poll(self) -> None:
        """Reads the file again if it has changed; keeps the keys after an error."""
        try:
            self._read()
        except ValueError as error:
            log.error("the API keys stay as they were: %s", error)
        except OSError as error:
            # The cause may be temporary, such as too many open files or a network disk, so the next poll reads again.
            self._stamp = None
            log.error("the API keys stay as they were: %s", error)

    def _read(self) -> None:
        # The stamp is taken before the read: a change during the read is noticed later. It is stored before the file is
        # parsed: an invalid file is reported once.
        stamp = file_stamp(self._path)
        if stamp != self._stamp:
            self._stamp = stamp
            self._keys = {key.key_id: key for key in read_keys(self._path)}
