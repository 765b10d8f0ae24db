"""Access to the feature store: the only module that talks to Feast.

with feature_store(config) as store:
    store.materialize(full=False)
    store.push_events("buyer-1", sequence([key], [code], [time_ms]))
    store.read_sequence("buyer-1")
"""

import datetime as dt
import hashlib
import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml
from feast import FeatureStore as FeastStore
from feast import Project, RepoConfig
from feast.data_source import PushMode
from feast.errors import FeastObjectNotFoundException, ProjectObjectNotFoundException
from feast.online_response import OnlineResponse
from feast.version import get_version as feast_version
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from feature_repo import columns as c
from feature_repo.config import Config, ConfigError, environment
from feature_repo.definitions import (
    HISTORY_VIEW,
    ONLINE_SERVICE,
    PRODUCT_VIEW,
    RECENT_PUSH_SOURCE,
    RECENT_VIEW,
    TRAINING_SERVICE,
    Definitions,
    definitions,
)
from feature_repo.embedded_redis import embedded_redis
from feature_repo.errors import StoreUnavailableError
from feature_repo.event_claims import EventClaim, claimed
from feature_repo.paths import ShopPaths, shop_paths
from feature_repo.schema import schema_hash
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, Sequence, merge_sequences, sequence

log = logging.getLogger(__name__)

STORE_YAML = Path(__file__).with_name("feature_store.yaml")
REDIS_VARIABLE = "TAWSIYA_REDIS"
REDIS_TYPE_VARIABLE = "TAWSIYA_REDIS_TYPE"
BEFORE_ALL_DATA = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# Feast's join carries a buyer's earlier rows, arrays and all, before it keeps the latest one: all contexts of a year of
# Complete Journey at once took 21 GB.
HISTORICAL_CHUNK = 10_000
FINGERPRINT = "definitions"  # tag of the Feast project
# A push holds its buyer's lock for some milliseconds; a holder that died must not block the buyer for ever.
LOCK_SECONDS, LOCK_WAIT_SECONDS = 30.0, 5.0
# Of the connection, where $TAWSIYA_REDIS does not say otherwise: without them a silent server is waited for for ever.
TIMEOUTS = {"socket_connect_timeout": 1, "socket_timeout": 10}


@contextmanager
def feature_store(config: Config, environ: Mapping[str, str] | None = None) -> Iterator["FeatureStore"]:
    """Opens the shop's feature store; with `feature_store.online: embedded` also its Valkey server.

    Args:
        config: The configuration.
        environ: The environment; None takes `config.environment()`.

    Raises:
        ConfigError: `online: redis`, and $TAWSIYA_REDIS does not name the server.
        StoreUnavailableError: The online store fails while the block needs it.
    """
    paths = shop_paths(config)
    environ = environment() if environ is None else environ
    try:
        if config.feature_store.online == "embedded":
            with embedded_redis(paths.redis) as address:
                yield FeatureStore(config, paths, f"{address.host}:{address.port}", "redis")
            return
        connection = environ.get(REDIS_VARIABLE, "")
        if not re.match(r"[^=:,/\s]+:\d+(,|$)", connection):
            # Without its value, which may hold a password.
            raise ConfigError(
                f"feature_store.online is `redis`: set ${REDIS_VARIABLE} to host:port[,key=value...], e.g. redis:6379 "
                f"(now it {'does not begin with host:port' if connection else 'is empty'}), or use `embedded`"
            )
        yield FeatureStore(config, paths, connection, environ.get(REDIS_TYPE_VARIABLE, "redis"))
    except (RedisError, RedisClusterException) as error:
        reason = str(error).partition("\n")[0]
        raise StoreUnavailableError(f"the online store (Redis) failed: {reason}; is it up and reachable?") from error


class FeatureStore:
    """One shop's features, offline and online."""

    def __init__(self, config: Config, paths: ShopPaths, redis_connection: str, redis_type: str) -> None:
        """Connects; makes no change and sends nothing."""
        self._project = project_name(paths)
        variables = {
            "TAWSIYA_SHOP_DIR": str(paths.root),
            "TAWSIYA_PROJECT": self._project,
            REDIS_VARIABLE: _connection(redis_connection),
            REDIS_TYPE_VARIABLE: redis_type,
        }
        # Filled in here and not through the environment, so that one process can hold the stores of several shops.
        content = _filled_in(yaml.safe_load(STORE_YAML.read_text(encoding="utf-8")), variables)
        content["materialization"] = {"online_write_batch_size": config.feature_store.online_write_batch_size}
        repo_config = RepoConfig(**content)
        repo_config.repo_path = paths.root
        self._feast = FeastStore(config=repo_config)
        self._definitions = definitions(paths)
        self._fingerprint = _fingerprint(self._definitions)
        self._max_length = config.model.buyer_tower.max_interaction_history
        # Feast's own client, so that these settings hold for its reads and writes too.
        self._redis: Any = self._feast._get_provider().online_store._get_client(repo_config.online_store)
        # Once more for a connection that had gone stale, and at once: redis-py would retry a dead server for seconds.
        self._redis.set_retry(Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)))
        self.schema_hash = schema_hash(self._definitions, self._max_length)

    def apply(self) -> None:
        """Registers the definitions; where nothing changed, nothing is written."""
        try:
            if self._feast.registry.get_project(self._project).tags.get(FINGERPRINT) == self._fingerprint:
                return
        except ProjectObjectNotFoundException:
            pass
        # The project comes last in the registry's file and carries the fingerprint of all the rest.
        project = Project(name=self._project, tags={FINGERPRINT: self._fingerprint})
        self._feast.apply([project, *self._definitions])

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

    def historical_sequences(self, contexts: pd.DataFrame, chunk: int = HISTORICAL_CHUNK) -> pa.Table:
        """The sequences that buyers had at given moments (point-in-time join through the training feature service).

        Args:
            contexts: buyer_id, event_timestamp (UTC) and any columns to keep. Feast joins with <=: to leave out the
                event to predict, ask one microsecond before it.
            chunk: Contexts of one join.

        Returns:
            The contexts, in any order, with product_keys, event_types and event_times; null where there was no event.
        """
        self.apply()
        service = self._feast.get_feature_service(TRAINING_SERVICE)
        parts = [contexts.iloc[start : start + chunk].copy() for start in range(0, max(1, len(contexts)), chunk)]
        return pa.concat_tables(
            self._feast.get_historical_features(entity_df=part, features=service).to_arrow() for part in parts
        )

    def read_sequence(self, buyer_id: str) -> Sequence:
        """The buyer's last events: materialized and pushed ones together; empty for an unknown buyer."""
        row = self._read(buyer_id)
        return merge_sequences(_sequence_of(row, HISTORY_VIEW), _sequence_of(row, RECENT_VIEW), self._max_length)

    def push_events(self, buyer_id: str, events: Sequence) -> None:
        """Adds events to the buyer's recent ones; the next read of this buyer, by any process, sees them.

        Raises:
            StoreUnavailableError: Another writer held the buyer's lock for too long, or this one lost it. Nothing was
                written.
        """
        # Push replaces the arrays, and Feast drops a write that is not newer than the stored one. So: one writer per
        # buyer at a time, also across processes, and a stamp that always rises.
        with self._buyer_lock(buyer_id) as lock:
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
            # A process that was stopped for a while may find that the next writer has been and gone.
            if not lock.owned():
                raise StoreUnavailableError("the lock on the buyer's events ran out before they were written")
            self._feast.push(RECENT_PUSH_SOURCE, frame, to=PushMode.ONLINE)

    @contextmanager
    def _buyer_lock(self, buyer_id: str) -> Iterator[Any]:
        lock = self._redis.lock(
            f"{self._project}:lock:{buyer_id}", timeout=LOCK_SECONDS, blocking_timeout=LOCK_WAIT_SECONDS, sleep=0.01
        )
        if not lock.acquire():
            raise StoreUnavailableError(f"the events of one buyer were locked for {LOCK_WAIT_SECONDS:.0f} s; try again")
        try:
            yield lock
        finally:
            try:
                lock.release()
            except RedisError as error:
                # Lost or unreachable, it runs out by itself; whether the write succeeded is decided already.
                log.warning("the lock on a buyer's events was not released: %s", error)

    def claim_events(self, event_ids: Collection[str]) -> AbstractContextManager[EventClaim]:
        """Claims event ids for the block; see event_claims.claimed, also for the errors."""
        return claimed(self._redis, self._project, event_ids)

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


def project_name(paths: ShopPaths) -> str:
    """The shop's Feast project, the end of its keys in Redis: of one length, so that none ends with another."""
    return f"tawsiya_{hashlib.sha256(paths.root.name.encode()).hexdigest()[:12]}"


def _fingerprint(objects: Definitions) -> str:
    """A hash of the definitions as they are before Feast adds to them."""
    content = [feast_version(), *(_without_meta(MessageToDict(one.to_proto())) for one in objects)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _without_meta(node: Any) -> Any:
    """Less `meta`, which holds when an object was made."""
    if isinstance(node, dict):
        return {key: _without_meta(value) for key, value in node.items() if key != "meta"}
    return [_without_meta(value) for value in node] if isinstance(node, list) else node


def _filled_in(node: Any, variables: Mapping[str, str]) -> Any:
    """Parsed YAML with $NAME replaced in its strings; the values are not read as YAML, whatever they hold."""
    if isinstance(node, dict):
        return {key: _filled_in(value, variables) for key, value in node.items()}
    return Template(node).substitute(variables) if isinstance(node, str) else node


def _connection(text: str) -> str:
    """Feast's connection string, with time-outs, and with name and password as text also where they look like JSON."""
    parts = text.split(",")
    given = {part.partition("=")[0] for part in parts}
    for place, part in enumerate(parts):
        key, sign, value = part.partition("=")
        if sign and key in ("username", "password"):
            parts[place] = f"{key}={json.dumps(value)}"
    return ",".join([*parts, *(f"{key}={value}" for key, value in TIMEOUTS.items() if key not in given)])


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
