"""Access to the feature store: registers the definitions, materializes, and joins histories; `online` reads and pushes.

with feature_store(config) as store:
    store.materialize(full=False)
    store.online.push_events({"buyer-1": sequence([key], [code], [time_ms])})
    store.online.read_sequence("buyer-1")
"""

import datetime as dt
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

import ibis
import pandas as pd
import pyarrow as pa
import yaml
from feast import FeatureStore as FeastStore
from feast import Project, RepoConfig
from feast.errors import ProjectObjectNotFoundException
from feast.infra.online_stores.redis import RedisType
from feast.version import get_version as feast_version
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from feature_repo.common.config import Config
from feature_repo.common.config_loading import environment
from feature_repo.common.duckdb_session import duckdb_session
from feature_repo.common.errors import ConfigError, GateRefusedError, StoreUnavailableError
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.definitions import (
    TRAINING_SERVICE,
    Definitions,
    definitions,
)
from feature_repo.feature_report import BUILD_COMMAND, read_feature_report
from feature_repo.materialized_files import count_new_rows, paths_of_sources
from feature_repo.online.connection import REDIS_VARIABLE, read_connection
from feature_repo.online.embedded_redis import embedded_redis, revive
from feature_repo.online.features import BEFORE_ALL_DATA, OnlineFeatures
from feature_repo.online.redis_errors import REDIS_ERRORS, store_failure
from feature_repo.online.redis_store import PipelinedRedisOnlineStore
from feature_repo.online.stored_schemas import StoredSchemas, project_name, shop_prefix
from feature_repo.schema import HISTORY_VIEW, PRODUCT_VIEW, schema_hash
from feature_repo.spark_session import spark_conf

log = logging.getLogger(__name__)

STORE_YAML = Path(__file__).with_name("feature_store.yaml")
REDIS_TYPE_VARIABLE = "TAWSIYA_REDIS_TYPE"
REDIS_TYPES = tuple(kind.value for kind in RedisType)
SPARK_OFFLINE_STORE = "feature_repo.spark_offline_store.FileReadingSparkOfflineStore"
CLOCK_TOLERANCE = dt.timedelta(minutes=1)  # clocks of two machines may differ by so much without a word
FINGERPRINT = "definitions"  # tag of the Feast project that holds the hash of the definitions


@contextmanager
def feature_store(config: Config, environ: Mapping[str, str] | None = None) -> Iterator["FeatureStore"]:
    """Opens the shop's feature store; with `feature_store.online: embedded` also runs its Valkey server.

    Args:
        config: The configuration.
        environ: The environment variables; None takes `config_loading.environment()`.

    Raises:
        ConfigError: `feature_store.online` is `redis`, and $TAWSIYA_REDIS does not name a server.
        StoreUnavailableError: The online store failed while the block used it.
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
        yield FeatureStore(config, paths, connection, environ.get(REDIS_TYPE_VARIABLE, "redis"))
    except REDIS_ERRORS as error:
        raise StoreUnavailableError(store_failure(error)) from error


class FeatureStore:
    """One shop's features, offline and online.

    Attributes:
        shop: Beginning of the shop's keys in Redis that do not depend on the schema.
        project: Name of the Feast project of the shop and the schema.
        online: Reads and writes of the online store.
        revive: Restarts a dead server of ours; None for a server that Tawsiya does not run.
        schema_hash: Hash of what the features mean (see schema.schema_hash).
    """

    def __init__(
        self,
        config: Config,
        paths: ShopPaths,
        redis_connection: str,
        redis_type: str,
        revive: Callable[[], None] | None = None,
    ) -> None:
        """Changes nothing, and sends nothing but a cluster's question for its slots.

        Args:
            config: The configuration.
            paths: Where the shop's files lie.
            redis_connection: host:port,option=value,... (see online.connection)
            redis_type: `redis` or `redis_cluster`.
            revive: Restarts a dead server of ours; None for a server that Tawsiya does not run.

        Raises:
            ConfigError: The connection or its type is not usable.
        """
        if redis_type not in REDIS_TYPES:
            raise ConfigError(f"{REDIS_TYPE_VARIABLE} is {redis_type!r}; use one of {', '.join(REDIS_TYPES)}")
        self._connection = read_connection(redis_connection)
        self.revive = revive
        self._config, self._paths = config, paths
        self._definitions = definitions(paths)
        self._max_length = config.model.buyer_tower.max_interaction_history
        self.schema_hash = schema_hash(self._max_length)
        self.shop = shop_prefix(paths.root.name)
        self.project = project_name(self.shop, self.schema_hash)
        variables = {
            "TAWSIYA_SHOP_DIR": str(paths.root),
            "TAWSIYA_PROJECT": self.project,
            REDIS_VARIABLE: self._connection.as_feast(),
            REDIS_TYPE_VARIABLE: redis_type,
        }
        # Substituted here and not through the environment, so that one process can open the stores of several shops.
        content = _substitute(yaml.safe_load(STORE_YAML.read_text(encoding="utf-8")), variables)
        content["online_store"]["buyer_ttl_days"] = config.feature_store.buyer_ttl_days
        if config.feature_store.offline == "spark":
            content["offline_store"] = {"type": SPARK_OFFLINE_STORE, "spark_conf": spark_conf(config.spark)}
        content["materialization"] = {"online_write_batch_size": config.feature_store.online_write_batch_size}
        repo_config = RepoConfig(**content)
        repo_config.repo_path = paths.root
        self._feast = FeastStore(config=repo_config)
        self.online = self._online_features(repo_config, self._feast._get_provider().online_store)

    @property
    def connection(self) -> tuple[str, str]:
        """Feast's connection string (it may hold a password) and type of the online store."""
        online = self._feast.config.online_store
        return online.connection_string, str(online.redis_type.value)

    def apply(self) -> None:
        """Registers the definitions; writes nothing if they have not changed."""
        # Made anew: which columns the product view has depends on the file, which may have been built since.
        objects = definitions(self._paths)
        fingerprint = _fingerprint(objects)
        if self._registered() == fingerprint:
            return
        # Feast registers the project last, so its fingerprint stands for everything before it.
        project = Project(name=self.project, tags={FINGERPRINT: fingerprint})
        self._feast.apply([project, *objects])

    def is_applied(self) -> bool:
        """Whether the registry has the definitions of this program."""
        return self._registered() == _fingerprint(definitions(self._paths))

    def _registered(self) -> str | None:
        """The hash of the registered definitions; None without any."""
        try:
            tags: Mapping[str, str] = self._feast.registry.get_project(self.project).tags
        except ProjectObjectNotFoundException:
            return None
        return tags.get(FINGERPRINT)

    def materialize(
        self, *, full: bool, copies: ShopPaths | None = None, since: dt.datetime | None = None
    ) -> dict[str, int]:
        """Copies the newest features to the online store; without news it writes nothing.

        Args:
            full: Copy all of them, not only those built since the last call.
            copies: A folder with files to read instead of the feature files (see expectations.gate.passed_copies).
            since: The `first_unwritten` that the copies were made for. Asked again, a store that lost its data since
                would want rows that the copies lack.

        Returns:
            The numbers of "buyers" and "products" that were written.

        Raises:
            FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
            GateRefusedError: They were built with another schema; nothing was written.
        """
        report = read_feature_report(self._paths)
        self._require_schema(report)
        self.apply()
        now, built_at = dt.datetime.now(dt.UTC), dt.datetime.fromisoformat(report["as_of"])
        self._warn_of_the_future(now, built_at)
        start = self.first_unwritten(full=full) if since is None else since
        files = copies or self._paths
        new_rows = count_new_rows(self._config, files, start)
        # Not the pushed view: its batch source is empty.
        if views := [view for view, rows in new_rows.items() if rows]:
            sources = [paths_of_sources(shop) for shop in (self._paths, files)]
            self._feast.config.offline_store.copies = dict(zip(*sources, strict=True))
            # The end is the build's time and not the clock's: features that a build stamped while its clock was ahead
            # are the newest all the same.
            with _as_default_backend(self._config, "materialize"):
                self._feast.materialize(start, built_at, feature_views=views)
        if views or self.online.schemas.materialized_build() != report["as_of"]:
            # Last: a process that sees the new time must find the new features.
            self.online.schemas.record_materialized(dt.datetime.now(dt.UTC), report["as_of"])
        if deleted := self.online.schemas.delete_old():
            log.info("deleted %d rows of older feature schemas from the online store", deleted)
        return {"buyers": new_rows[HISTORY_VIEW], "products": new_rows[PRODUCT_VIEW]}

    def first_unwritten(self, *, full: bool) -> dt.datetime:
        """Where materialize starts: rows stamped before this moment are in the online store.

        The store itself says which build it holds. It is no moment of the clock, which may have been set back since. A
        store that holds an unknown build, or lost its data, gets everything.

        Raises:
            FileNotFoundError: The features were not built yet, or by another version of Tawsiya.
        """
        build = self.online.schemas.materialized_build()
        if full or not build or build not in read_feature_report(self._paths)["builds"]:
            return BEFORE_ALL_DATA
        return dt.datetime.fromisoformat(build) + dt.timedelta(microseconds=1)

    def _require_schema(self, report: Mapping[str, Any]) -> None:
        if report["schema_hash"] != self.schema_hash:
            raise GateRefusedError(
                f"the features in {self._paths.feature_report.parent} have the schema {report['schema_hash']}, but "
                f"this program with this configuration needs {self.schema_hash}; run `{BUILD_COMMAND}`"
            )

    def _warn_of_the_future(self, now: dt.datetime, built_at: dt.datetime) -> None:
        """Says when rows or features are stamped later than now: some clock was or is wrong."""
        stored = BEFORE_ALL_DATA + dt.timedelta(milliseconds=self.online.materialized_at())
        for what, moment in (("the online store holds rows", stored), ("the features are", built_at)):
            if moment > now + CLOCK_TOLERANCE:
                log.warning(
                    "%s stamped %s, in the future: a clock was wrong then or is now; they are replaced",
                    what,
                    moment.date().isoformat(),
                )

    def historical_sequences(self, contexts: pd.DataFrame) -> pa.Table:
        """The sequences that buyers had at given times: a point-in-time join through the training feature service.

        Args:
            contexts: buyer_id, event_timestamp (UTC) and any further columns. Feast joins with <=, so to exclude the
                event to predict, event_timestamp must lie one microsecond before it.

        Returns:
            The contexts, in any order, with product_keys, event_types and event_times; null if there was no event.
        """
        self.apply()
        service = self._feast.get_feature_service(TRAINING_SERVICE)
        with _as_default_backend(self._config, "train"):
            # A copy: Feast changes the frame that it is given.
            return self._feast.get_historical_features(entity_df=contexts.copy(), features=service).to_arrow()

    def online_with_timeout(self, seconds: float) -> OnlineFeatures:
        """Online features over a separate connection, with `seconds` as its socket time-out."""
        # A copy: the time-out must not change for the store's other users.
        repo_config = self._feast.config.model_copy(deep=True)
        repo_config.online_store.connection_string = self._connection.as_feast(socket_timeout=seconds)
        return self._online_features(repo_config, PipelinedRedisOnlineStore())

    def _online_features(self, repo_config: RepoConfig, store: PipelinedRedisOnlineStore) -> OnlineFeatures:
        # A copy: pushes compare times, so that a writer that lost its lock replaces nothing newer.
        repo_config = repo_config.model_copy(deep=True)
        repo_config.online_store.skip_dedup = False
        # One immediate retry, for a stale connection: by default redis-py retries a dead server for seconds.
        client = store.client(repo_config)
        client.set_retry(Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)))
        schemas = StoredSchemas(client, self.shop, self.schema_hash)
        return OnlineFeatures(store, repo_config, self._definitions, self._max_length, schemas)


# ---- names and hashes ------------------------------------------------------------------------------------------------


def _fingerprint(objects: Definitions) -> str:
    """A hash of the definitions, taken before Feast adds inferred fields to them."""
    content = [feast_version(), *(_without_meta(MessageToDict(feast_object.to_proto())) for feast_object in objects)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _without_meta(node: Any) -> Any:
    """Removes every `meta`, which holds the time when an object was created."""
    if isinstance(node, dict):
        return {key: _without_meta(value) for key, value in node.items() if key != "meta"}
    return [_without_meta(value) for value in node] if isinstance(node, list) else node


# ---- DuckDB under Feast ----------------------------------------------------------------------------------------------


@contextmanager
def _as_default_backend(config: Config, step: str) -> Iterator[None]:
    """Lets Feast read within the configured memory: it takes ibis's default backend, which has no limit of its own."""
    with duckdb_session(config, step) as db:
        before = ibis.options.default_backend
        ibis.set_backend(ibis.duckdb.from_connection(db))
        try:
            yield
        finally:
            ibis.options.default_backend = before


# ---- settings of Feast -----------------------------------------------------------------------------------------------


def _substitute(node: Any, variables: Mapping[str, str]) -> Any:
    """Replaces $NAME in the strings of parsed YAML. The values are not parsed as YAML, so they may hold any text."""
    if isinstance(node, dict):
        return {key: _substitute(value, variables) for key, value in node.items()}
    return Template(node).substitute(variables) if isinstance(node, str) else node
