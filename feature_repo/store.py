"""Access to the feature store: opening it, registering, materializing and joining; `online` reads and writes rows.

with feature_store(config) as store:
    store.materialize(full=False)
    store.online.push_events({"buyer-1": sequence([key], [code], [time_ms])})
    store.online.read_sequence("buyer-1")
"""

import datetime as dt
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import pyarrow as pa
import yaml
from feast import FeatureStore as FeastStore
from feast import Project, RepoConfig
from feast.errors import ProjectObjectNotFoundException
from feast.version import get_version as feast_version
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

from feature_repo.common.config import Config, ConfigError
from feature_repo.common.config_loading import environment
from feature_repo.common.errors import StoreUnavailableError
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.definitions import (
    HISTORY_VIEW,
    PRODUCT_VIEW,
    PURCHASES_VIEW,
    TRAINING_SERVICE,
    Definitions,
    definitions,
)
from feature_repo.online.embedded_redis import embedded_redis, revive
from feature_repo.online.features import BEFORE_ALL_DATA, OnlineFeatures
from feature_repo.online.redis_store import PipelinedRedisOnlineStore
from feature_repo.schema import schema_hash

log = logging.getLogger(__name__)

STORE_YAML = Path(__file__).with_name("feature_store.yaml")
REDIS_VARIABLE = "TAWSIYA_REDIS"
REDIS_TYPE_VARIABLE = "TAWSIYA_REDIS_TYPE"
# Feast's join carries a buyer's earlier rows, arrays and all, before it keeps the latest one: all contexts of a year of
# Complete Journey at once took 21 GB.
HISTORICAL_CHUNK = 10_000
FINGERPRINT = "definitions"  # tag of the Feast project
# Of the connection, where $TAWSIYA_REDIS does not say otherwise: without them a silent server is waited for for ever.
TIMEOUTS = {"socket_connect_timeout": 1, "socket_timeout": 10}


@contextmanager
def feature_store(config: Config, environ: Mapping[str, str] | None = None) -> Iterator["FeatureStore"]:
    """Opens the shop's feature store; with `feature_store.online: embedded` also its Valkey server.

    Args:
        config: The configuration.
        environ: The environment; None takes `environment()`.

    Raises:
        ConfigError: `online: redis`, and $TAWSIYA_REDIS does not name the server.
        StoreUnavailableError: The online store fails while the block needs it.
    """
    paths = shop_paths(config)
    environ = environment() if environ is None else environ
    try:
        if config.feature_store.online == "embedded":
            with embedded_redis(paths.redis) as address:
                connection = f"{address.host}:{address.port}"
                yield FeatureStore(config, paths, connection, "redis", partial(revive, paths.redis))
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

    def __init__(
        self,
        config: Config,
        paths: ShopPaths,
        redis_connection: str,
        redis_type: str,
        revive: Callable[[], None] | None = None,
    ) -> None:
        """Connects; makes no change and sends nothing.

        Args:
            config: The configuration.
            paths: Where the shop's files lie.
            redis_connection: Feast's connection string, host:port,key=value,...
            redis_type: `redis` or `redis_cluster`.
            revive: Starts the server again where it died; None where it is not ours.
        """
        self.revive = revive
        self.project = project_name(paths)
        variables = {
            "TAWSIYA_SHOP_DIR": str(paths.root),
            "TAWSIYA_PROJECT": self.project,
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
        self.online = self._online_features(repo_config, self._feast._get_provider().online_store)
        self.schema_hash = schema_hash(self._definitions, self._max_length)

    @property
    def connection(self) -> tuple[str, str]:
        """Connection string (it may hold a password) and type of the online store, as Feast names them."""
        online = self._feast.config.online_store
        return online.connection_string, str(online.redis_type.value)

    def apply(self) -> None:
        """Registers the definitions; where nothing changed, nothing is written."""
        try:
            if self._feast.registry.get_project(self.project).tags.get(FINGERPRINT) == self._fingerprint:
                return
        except ProjectObjectNotFoundException:
            pass
        # The project comes last in the registry's file and carries the fingerprint of all the rest.
        project = Project(name=self.project, tags={FINGERPRINT: self._fingerprint})
        self._feast.apply([project, *self._definitions])

    def materialize(self, *, full: bool) -> None:
        """Copies the newest features into the online store: all of them, or those built since the last time."""
        self.apply()
        views = [HISTORY_VIEW, PURCHASES_VIEW, PRODUCT_VIEW]
        now = dt.datetime.now(dt.UTC)
        # Feast would begin the first incremental run a year ago, and miss features that were built before that.
        if full or not all(self._feast.get_feature_view(view).materialization_intervals for view in views):
            self._feast.materialize(BEFORE_ALL_DATA, now, feature_views=views)
        else:
            self._feast.materialize_incremental(now, feature_views=views)
        self.online.note_materialized()

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

    def online_within(self, seconds: float) -> OnlineFeatures:
        """Online features over a connection of its own, which gives up on a silent server after so long."""
        repo_config = self._feast.config.model_copy(deep=True)
        online = repo_config.online_store
        online.connection_string = _connection(online.connection_string, socket_timeout=seconds)
        return self._online_features(repo_config, PipelinedRedisOnlineStore())

    def _online_features(self, repo_config: RepoConfig, store: PipelinedRedisOnlineStore) -> OnlineFeatures:
        # Once more for a connection that had gone stale, and at once: redis-py would retry a dead server for seconds.
        store.client(repo_config).set_retry(Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)))
        return OnlineFeatures(store, repo_config, self._definitions, self._max_length)


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


def _connection(text: str, **options: object) -> str:
    """Feast's connection string, with time-outs, and with name and password as text also where they look like JSON.

    Args:
        text: host:port,key=value,...
        options: Replace those of `text`.
    """
    parts = [part for part in text.split(",") if part.partition("=")[0] not in options]
    given = {part.partition("=")[0] for part in parts}
    for place, part in enumerate(parts):
        key, sign, value = part.partition("=")
        if sign and key in ("username", "password"):
            parts[place] = f"{key}={json.dumps(value)}"
    defaults = {key: value for key, value in TIMEOUTS.items() if key not in given}
    return ",".join([*parts, *(f"{key}={value}" for key, value in (defaults | options).items())])
