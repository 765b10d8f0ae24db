"""What answers are made from, kept up to date: release, live product values, merchandising rules."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch

from feature_repo.online.features import LiveProducts, OnlineFeatures
from online_api.lists.live_catalogue import LiveCatalogue
from online_api.lists.rule_file import RuleFile
from online_api.lists.rules import CompiledRules, compile_rules
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import STORE_ERRORS
from training.artifacts.recommender import Recommender, SchemaMismatchError
from training.artifacts.release import current_release

log = logging.getLogger(__name__)

LIVE_PRODUCTS_SECONDS = 2.0  # how often the store is asked whether products have changed
NICENESS = 10


class LiveRelease(NamedTuple):
    """One consistent state; a request keeps the one that it began with until its end."""

    recommender: Recommender
    catalogue: LiveCatalogue
    rules: CompiledRules


class ReleaseKeeper:
    """Holds the live state and swaps in the next one when it is whole.

    Attributes:
        live: What answers are made from now.
    """

    def __init__(
        self,
        releases: Path,
        schema_hash: str,
        device: torch.device,
        online: OnlineFeatures,
        rule_file: RuleFile,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Loads the live release.

        Raises:
            FileNotFoundError: None is live.
            SchemaMismatchError: It was made for other features than this code and configuration make.
            ValueError: It is damaged.
        """
        self._releases, self._schema_hash, self._device = releases, schema_hash, device
        self._online, self._rule_file, self._metrics, self._clock = online, rule_file, metrics, clock
        self._changing = threading.Lock()
        self._refused: str | None = None  # a release that could not be loaded is not tried every second
        self._materialized_at = -1
        self._next_look = 0.0
        self._live_values: tuple[pa.Array, LiveProducts] | None = None  # and the ids of the products whose they are
        folder = current_release(releases)
        if folder is None:
            raise FileNotFoundError(f"no release is live in {releases}; run `tawsiya refresh` first")
        self._book = rule_file.book()
        self.live = self._taken_over(folder)

    @property
    def rules_error(self) -> str | None:
        """Why the rules file as it is now is not in force, or None."""
        return self._rule_file.error

    def look(self) -> None:
        """Takes over whatever has changed; for a background thread."""
        with self._changing:
            self._take_release()
            self._take_rules()
            self._take_products()

    def reload(self) -> bool:
        """Takes over the release that `current` points to now; returns whether it is another one.

        Raises:
            SchemaMismatchError, ValueError, OSError: It cannot be served; what was live stays live.
        """
        with self._changing:
            folder = current_release(self._releases)
            if folder is None or folder.name == self.live.recommender.name:
                return False
            self.live = self._taken_over(folder)
            return True

    def _take_release(self) -> None:
        folder = current_release(self._releases)
        if folder is None or folder.name in (self.live.recommender.name, self._refused):
            return
        try:
            with _in_the_background():
                self.live = self._taken_over(folder)
        except (ValueError, OSError, SchemaMismatchError) as error:
            self._refused = folder.name
            log.error("release %s stays live: %s", self.live.recommender.name, error)

    def _take_rules(self) -> None:
        if self._rule_file.book() is not self._book:
            self._book = self._rule_file.book()
            self.live = self.live._replace(rules=compile_rules(self._book, self.live.catalogue))

    def _take_products(self) -> None:
        """Takes over price, stock and visibility where features were materialized since the last time."""
        if self._clock() < self._next_look:
            return
        self._next_look = self._clock() + LIVE_PRODUCTS_SECONDS
        recommender = self.live.recommender
        if self._read_products(recommender):
            self.live = self._state(recommender)

    def _read_products(self, recommender: Recommender) -> bool:
        """Reads price, stock and visibility, unless those that are here are the newest; whether it read any."""
        try:
            materialized_at = self._online.materialized_at()
            known = self._known_values(recommender) is not None
            if known and materialized_at == self._materialized_at:
                self._metrics.live_products_refreshed.set_to_current_time()
                return False
            values = self._online.read_products(recommender.products.product_ids.to_pylist())
        except STORE_ERRORS as error:
            log.warning("prices, stock and visibility stay as they were: %s", str(error).partition("\n")[0])
            return False
        self._live_values, self._materialized_at = (recommender.products.product_ids, values), materialized_at
        self._metrics.live_products_refreshed.set_to_current_time()
        self._metrics.features_as_of.set(materialized_at / 1000)
        return True

    def _taken_over(self, folder: Path) -> LiveRelease:
        """The state with another release, ready to go live.

        It has the values of its products already: what was hidden since the release was made must not show at first.
        """
        try:
            recommender = Recommender(folder, schema_hash=self._schema_hash, device=self._device)
            recommender.towers.nearest(recommender.vectors_ND[:1], 1)  # warms the index up
            self._read_products(recommender)
            state = self._state(recommender)
        except Exception:
            self._metrics.release_loads("failed").inc()
            raise
        self._metrics.release_loads("loaded").inc()
        self._metrics.release_is_live(recommender.name, recommender.created.timestamp())
        log.info("release %s is live", recommender.name)
        return state

    def _known_values(self, recommender: Recommender) -> LiveProducts | None:
        """The values that are here, if they are of the same products in the same order, as most releases have them."""
        if self._live_values is None or not self._live_values[0].equals(recommender.products.product_ids):
            return None
        return self._live_values[1]

    def _state(self, recommender: Recommender) -> LiveRelease:
        catalogue = LiveCatalogue(recommender.products, self._known_values(recommender))
        return LiveRelease(recommender, catalogue, compile_rules(self._book, catalogue))


@contextlib.contextmanager
def _in_the_background() -> Iterator[None]:
    """Lets requests go first on the processor while this thread loads a release (Linux: niceness is per thread)."""
    if sys.platform != "linux":
        yield
        return
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, max(before, NICENESS))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # only root may go back; the thread does nothing else of urgency
            os.setpriority(os.PRIO_PROCESS, thread, before)
