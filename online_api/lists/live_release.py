"""The live release with current product values and merchandising rules, kept up to date."""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch

from feature_repo.online.features import LiveProducts, OnlineFeatures
from feature_repo.online.redis_errors import failure_reason
from online_api.lists.live_catalogue import LiveCatalogue
from online_api.lists.rule_file import RuleFile
from online_api.lists.rules import CompiledRules, compile_rules
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import STORE_FAILURES
from training.artifacts.recommender import Recommender, SchemaMismatchError
from training.artifacts.release import current_release

log = logging.getLogger(__name__)

# Between two polls of the feature store for changed products. Responses promise values that are at most 10 s old.
LIVE_PRODUCTS_POLL_SECONDS = 2.0
LOADING_NICENESS = 10  # see low_priority


class LiveRelease(NamedTuple):
    """A snapshot of release, product values and compiled rules; a batch of requests reads one from start to end."""

    recommender: Recommender
    catalogue: LiveCatalogue
    rules: CompiledRules


class ReleaseKeeper:
    """Holds the live release and replaces it by the next one once that is loaded completely.

    Attributes:
        releases: Folder of all releases.
        live: The current snapshot; read it once per batch.
    """

    def __init__(
        self,
        releases: Path,
        schema_hash: str,
        device: torch.device,
        online: OnlineFeatures,
        rule_file: RuleFile,
        metrics: Metrics,
    ) -> None:
        """Loads the live release.

        Raises:
            FileNotFoundError: No release is live.
            SchemaMismatchError: The release was made for other features than this code and configuration make.
            ValueError: The release is damaged.
        """
        self.releases, self._schema_hash, self._device = releases, schema_hash, device
        self._online, self._rule_file, self._metrics = online, rule_file, metrics
        # For the background thread and `reload`. Requests take no lock: `live` is replaced by one assignment.
        self._update_lock = threading.Lock()
        self._refused: str | None = None  # a release that failed to load; it is not tried again every second
        self._materialized_at = -1
        self._next_poll = 0.0
        self._live_values: tuple[pa.Array, LiveProducts] | None = None  # product ids and their values
        folder = current_release(releases)
        if folder is None:
            raise FileNotFoundError(f"no release is live in {releases}; run `tawsiya refresh` first")
        self._rule_set = rule_file.content()
        self.live = self._load(folder)

    @property
    def rules_error(self) -> str | None:
        """Why the rules file in its current state is not used, or None."""
        return self._rule_file.error

    def poll(self) -> None:
        """Updates release, rules and product values if they have changed; for a background thread."""
        with self._update_lock:
            self._update_release()
            self._update_rules()
            self._update_products()

    def reload(self) -> bool:
        """Loads the release that `current` points to now; returns whether it is another one.

        Raises:
            SchemaMismatchError, ValueError, OSError: The release cannot be loaded; the previous one stays live.
        """
        with self._update_lock:
            folder = current_release(self.releases)
            if folder is None or folder.name == self.live.recommender.name:
                return False
            self.live = self._load(folder)
            return True

    def load_beside(self, folder: Path) -> LiveRelease:
        """Loads a release that does not go live, with the rules and, of the same products, the values of the live one.

        Raises:
            SchemaMismatchError, ValueError, OSError: The release cannot be loaded.
        """
        return self._snapshot(Recommender(folder, schema_hash=self._schema_hash, device=self._device))

    def updated(self, beside: LiveRelease) -> LiveRelease:
        """A release from load_beside with the present rules and values."""
        return self._snapshot(beside.recommender)

    def _update_release(self) -> None:
        folder = current_release(self.releases)
        if folder is None or folder.name in (self.live.recommender.name, self._refused):
            return
        try:
            with low_priority():
                self.live = self._load(folder)
        except (ValueError, OSError, SchemaMismatchError) as error:
            self._refused = folder.name
            log.error("release %s stays live: %s", self.live.recommender.name, error)

    def _update_rules(self) -> None:
        rule_set = self._rule_file.content()
        if rule_set is not self._rule_set:  # it returns the same object until the file changes
            self._rule_set = rule_set
            self.live = self.live._replace(rules=self._compiled_rules(self.live.catalogue))

    def _update_products(self) -> None:
        """Replaces prices, stock and visibility if features were materialized since the last poll."""
        if time.monotonic() < self._next_poll:
            return
        self._next_poll = time.monotonic() + LIVE_PRODUCTS_POLL_SECONDS
        recommender = self.live.recommender
        if self._read_products(recommender):
            self.live = self._snapshot(recommender)

    def _read_products(self, recommender: Recommender) -> bool:
        """Reads prices, stock and visibility unless the known values are the newest; returns whether it read any."""
        try:
            # Read before the values: a materialization during the read has a later time, so the next poll reads again.
            materialized_at = self._online.materialized_at()
            has_values = self._live_values_of(recommender) is not None
            # One small read instead of all products, if nothing has changed.
            if has_values and materialized_at == self._materialized_at:
                self._metrics.live_products_refreshed.set_to_current_time()
                return False
            values = self._online.read_products(recommender.products.product_ids.to_pylist())
        except STORE_FAILURES as error:
            log.warning("prices, stock and visibility stay as they were: %s", failure_reason(error))
            return False
        self._live_values, self._materialized_at = (recommender.products.product_ids, values), materialized_at
        self._metrics.live_products_refreshed.set_to_current_time()
        self._metrics.features_as_of.set(materialized_at / 1000)
        return True

    def _load(self, folder: Path) -> LiveRelease:
        """Loads a release with current values of its products.

        Without these values, a product that was hidden after the release was made would appear in the first answers.
        """
        try:
            recommender = Recommender(folder, schema_hash=self._schema_hash, device=self._device)
            if len(recommender):  # the first search is slow: the kernel has to read the index from the disk
                recommender.nearest(recommender.product_vectors(np.array([0])), 1)
            self._read_products(recommender)
            snapshot = self._snapshot(recommender)
        except Exception:
            self._metrics.release_loads("failed").inc()
            raise
        self._metrics.release_loads("loaded").inc()
        self._metrics.release_is_live(recommender.name, recommender.created.timestamp())
        log.info("release %s is live", recommender.name)
        return snapshot

    def _live_values_of(self, recommender: Recommender) -> LiveProducts | None:
        """The values that were read last, if they are of the same products in the same order, as in most releases."""
        if self._live_values is None or not self._live_values[0].equals(recommender.products.product_ids):
            return None
        return self._live_values[1]

    def _snapshot(self, recommender: Recommender) -> LiveRelease:
        catalogue = LiveCatalogue(recommender.products, self._live_values_of(recommender))
        return LiveRelease(recommender, catalogue, self._compiled_rules(catalogue))

    def _compiled_rules(self, catalogue: LiveCatalogue) -> CompiledRules:
        return compile_rules(self._rule_set, catalogue.conditions, catalogue.products.position_of)


@contextlib.contextmanager
def low_priority() -> Iterator[None]:
    """Gives requests precedence over what this thread does in the block; on Linux, where niceness is per thread."""
    if sys.platform != "linux":
        yield
        return
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    os.setpriority(os.PRIO_PROCESS, thread, max(before, LOADING_NICENESS))
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):  # only root may raise it again; this thread does nothing urgent
            os.setpriority(os.PRIO_PROCESS, thread, before)
