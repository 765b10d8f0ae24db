"""A YAML file that people edit while the API runs: it is read again when it changes, and a broken one is not used."""

import logging
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

import yaml

from feature_repo.common.errors import ConfigError
from feature_repo.common.files import file_stamp, read_utf8

log = logging.getLogger(__name__)

FILE_POLL_SECONDS = 1.0

ContentT = TypeVar("ContentT")


class WatchedFile(Generic[ContentT]):
    """Reads a file again when it changes; safe to use from several threads."""

    def __init__(
        self,
        path: Path,
        load: Callable[[Path], ContentT],
        empty: ContentT,
        what: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the file, which may be missing.

        Args:
            path: The file.
            load: Reads it; raises ConfigError if it is not valid.
            empty: What a missing file holds.
            what: What the file holds, for the log.
            clock: Returns seconds.
        """
        self._path, self._load, self._empty, self._what, self._clock = path, load, empty, what, clock
        self._lock = threading.Lock()
        self._content = empty
        self._error: str | None = None
        self._stamp: tuple[int, ...] | None = None  # of the file as it was read last; None: read it at the next poll
        self._next_poll = -math.inf
        self._poll()

    @property
    def error(self) -> str | None:
        """Why the file in its current state is not used (the previous content stays), or None."""
        return self._error

    def content(self) -> ContentT:
        """The current content: the same object until the file changes. Polls the file at most once a second."""
        # While one thread reads the file, the others use the previous content.
        if self._clock() >= self._next_poll and self._lock.acquire(blocking=False):
            try:
                self._poll()
            finally:
                self._lock.release()
        return self._content

    def _poll(self) -> None:
        self._next_poll = self._clock() + FILE_POLL_SECONDS
        try:
            stamp = file_stamp(self._path)
            if stamp == self._stamp:
                return
            # Stored before the file is read, so that the next poll notices a change during the read.
            self._stamp = stamp
            self._content = self._load(self._path) if stamp else self._empty
            self._error = None
            log.info("read %s from %s", self._what, self._path)
        except ConfigError as error:  # the stamp stays: the file is read again once it changes
            self._keep_old(str(error))
        except OSError as error:
            self._stamp = None  # the cause may be temporary, so the next poll reads again
            self._keep_old(str(error))

    def _keep_old(self, error: str) -> None:
        if error != self._error:  # logged once, not at every poll
            log.error("%s stay as they were: %s", self._what, error)
        self._error = error


def read_yaml_texts(path: Path) -> object:
    """A YAML file in which every value is a text: the product 0123, the brand No, the day 2026-03-20.

    Raises:
        ConfigError: It is not valid YAML or not UTF-8.
        OSError: It cannot be read.
    """
    try:
        return yaml.load(read_utf8(path), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
