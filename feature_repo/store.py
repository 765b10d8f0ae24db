"""Access to the feature store: the only module that talks to Feast.

with feature_store(config) as store:
    store.materialize(full=False)
    store.push_events("buyer-1", sequence([key], [code], [time_ms]))
    store.read_sequence("buyer-1")
"""

import datetime as dt
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml
from feast import FeatureStore as FeastStore
from feast import RepoConfig
from feast.data_source import PushMode
from feast.errors import FeastObjectNotFoundException
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.online_response import OnlineResponse

from feature_repo import columns as c
from feature_repo.config import Config, ConfigError
from feature_repo.definitions import (
    HISTORY_VIEW,
    ONLINE_SERVICE,
    PRODUCT_VIEW,
    RECENT_PUSH_SOURCE,
    RECENT_VIEW,
    TRAINING_SERVICE,
    definitions,
)
from feature_repo.embedded_redis import embedded_redis
from feature_repo.paths import ShopPaths, shop_paths
from feature_repo.schema import schema_hash
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, Sequence, merge_sequences, sequence

log = logging.getLogger(__name__)

STORE_YAML = Path(__file__).with_name("feature_store.yaml")
REDIS_VARIABLE = "TAWSIYA_REDIS"
REDIS_TYPE_VARIABLE = "TAWSIYA_REDIS_TYPE"
BEFORE_ALL_DATA = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# A push holds its buyer's lock for some milliseconds; a holder that died must not block the buyer for long.
LOCK_SECONDS, LOCK_WAIT_SECONDS = 5.0, 5.0


class StoreUnavailableError(RuntimeError):
    """The online store cannot take the request now; trying again later may succeed."""


@contextmanager
def feature_store(config: Config, environ: Mapping[str, str] = os.environ) -> Iterator["FeatureStore"]:
    """Opens the shop's feature store; with `feature_store.online: embedded` also its Valkey server.

    Raises:
        ConfigError: `online: redis`, and $TAWSIYA_REDIS does not name the server.
    """
    paths = shop_paths(config)
    if config.feature_store.online == "embedded":
        with embedded_redis(paths.redis) as address:
            yield FeatureStore(config, paths, f"{address.host}:{address.port}", "redis")
        return
    connection = environ.get(REDIS_VARIABLE, "")
    if ":" not in connection:
        raise ConfigError(
            f"feature_store.online is `redis`: set ${REDIS_VARIABLE} to host:port[,key=value...], e.g. redis:6379 "
            f"(now {connection!r}), or use `embedded`"
        )
    yield FeatureStore(config, paths, connection, environ.get(REDIS_TYPE_VARIABLE, "redis"))


class FeatureStore:
    """One shop's features, offline and online."""

    def __init__(self, config: Config, paths: ShopPaths, redis_connection: str, redis_type: str) -> None:
        """Connects; makes no change and sends nothing."""
        variables = {
            "TAWSIYA_SHOP_DIR": str(paths.root),
            REDIS_VARIABLE: redis_connection,
            REDIS_TYPE_VARIABLE: redis_type,
        }
        # Filled in here and not through the environment, so that one process can hold the stores of several shops.
        content = yaml.safe_load(Template(STORE_YAML.read_text(encoding="utf-8")).substitute(variables))
        content["materialization"] = {"online_write_batch_size": config.feature_store.online_write_batch_size}
        repo_config = RepoConfig(**content)
        repo_config.repo_path = paths.root
        self._feast = FeastStore(config=repo_config)
        self._definitions = definitions(paths)
        self._max_length = config.model.buyer_tower.max_interaction_history
        self._redis: Any = RedisOnlineStore()._get_client(repo_config.online_store)
        self.schema_hash = schema_hash(self._definitions, self._max_length)

    def apply(self) -> None:
        """Registers the definitions; a no-op where nothing changed."""
        Path(str(self._feast.config.registry.path)).parent.mkdir(parents=True, exist_ok=True)
        self._feast.apply(list(self._definitions))

    def materialize(self, *, full: bool) -> None:
        """Copies the newest features into the online store: all of them, or those built since the last time."""
        self.apply()
        views = [HISTORY_VIEW, PRODUCT_VIEW]
        now = dt.datetime.now(dt.UTC)
        # Feast would begin the first incremental run a year ago, and miss features that were built before that.
        if full or not all(self._feast.get_feature_view(view).materialization_intervals for view in views):
            self._feast.materialize(BEFORE_ALL_DATA, now, feature_views=views)
        else:
            self._feast.materialize_incremental(now, feature_views=views)

    def historical_sequences(self, contexts: pd.DataFrame) -> pa.Table:
        """The sequences that buyers had at given moments (point-in-time join through the training feature service).

        Args:
            contexts: buyer_id, event_timestamp (UTC) and any columns to keep. Feast joins with <=: to leave out the
                event to predict, ask one microsecond before it.

        Returns:
            The contexts, in any order, with product_keys, event_types and event_times; null where there was no event.
        """
        self.apply()
        service = self._feast.get_feature_service(TRAINING_SERVICE)
        return self._feast.get_historical_features(entity_df=contexts, features=service).to_arrow()

    def read_sequence(self, buyer_id: str) -> Sequence:
        """The buyer's last events: materialized and pushed ones together; empty for an unknown buyer."""
        row = self._read(buyer_id)
        return merge_sequences(_sequence_of(row, HISTORY_VIEW), _sequence_of(row, RECENT_VIEW), self._max_length)

    def push_events(self, buyer_id: str, events: Sequence) -> None:
        """Adds events to the buyer's recent ones; the next read of this buyer, by any process, sees them.

        Raises:
            StoreUnavailableError: Another writer held the buyer's lock for too long.
        """
        # Push replaces the arrays, and Feast drops a write that is not newer than the stored one. So: one writer per
        # buyer at a time, also across processes, and a stamp that always rises.
        lock = self._redis.lock(
            f"tawsiya:lock:{buyer_id}", timeout=LOCK_SECONDS, blocking_timeout=LOCK_WAIT_SECONDS, sleep=0.01
        )
        if not lock.acquire():
            raise StoreUnavailableError(f"the events of one buyer were locked for {LOCK_WAIT_SECONDS:.0f} s; try again")
        try:
            row = self._read(buyer_id)
            merged = merge_sequences(_sequence_of(row, RECENT_VIEW), events, self._max_length)
            stamp = max(dt.datetime.now(dt.UTC), row.stamp(RECENT_VIEW) + dt.timedelta(microseconds=1))
            frame = pd.DataFrame(
                {
                    c.BUYER_ID: [buyer_id],
                    c.EVENT_TIMESTAMP: [pd.Timestamp(stamp)],
                    c.PRODUCT_KEYS: [merged.product_keys],
                    c.EVENT_TYPES: [merged.event_types],
                    c.EVENT_TIMES: [merged.event_times],
                }
            )
            self._feast.push(RECENT_PUSH_SOURCE, frame, to=PushMode.ONLINE)
        finally:
            lock.release()

    def claim_event(self, event_id: str, seconds: int) -> bool:
        """Marks an event id as seen for `seconds`; False where it was seen already."""
        return bool(self._redis.set(f"tawsiya:event:{event_id}", 1, nx=True, ex=seconds))

    def unclaim_event(self, event_id: str) -> None:
        """Takes a mark back, for an event that could not be stored after all."""
        self._redis.delete(f"tawsiya:event:{event_id}")

    def ping(self) -> bool:
        """Whether the online store answers."""
        return bool(self._redis.ping())

    def _read(self, buyer_id: str) -> "_BuyerRow":
        try:
            service = self._feast.get_feature_service(ONLINE_SERVICE, allow_cache=True)
        except FeastObjectNotFoundException:
            raise StoreUnavailableError("the feature store is empty; run `tawsiya materialize` first") from None
        response = self._feast.get_online_features(service, [{c.BUYER_ID: buyer_id}], full_feature_names=True)
        return _BuyerRow(response)


class _BuyerRow:
    """One buyer's online features, and the stamp of each view's row."""

    def __init__(self, response: OnlineResponse) -> None:
        self.features = {name: values[0] for name, values in response.to_dict().items()}
        # Not through to_dict, which gives whole seconds: Feast compares stamps to the nanosecond.
        self._stamps = {
            name: feature.event_timestamps[0].ToDatetime(tzinfo=dt.UTC)
            for name, feature in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True)
        }

    def stamp(self, view: str) -> dt.datetime:
        """When the view's row was written; 1970 where there is none."""
        stamp: dt.datetime = self._stamps[f"{view}__{c.PRODUCT_KEYS}"]
        return stamp


def _sequence_of(row: _BuyerRow, view: str) -> Sequence:
    """A view's sequence; a missing buyer reads as None."""
    arrays = [row.features[f"{view}__{name}"] for name in (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)]
    return EMPTY_SEQUENCE if arrays[0] is None else sequence(*arrays)
