"""Feast's Spark offline store on the sources of `definitions`, which are files.

The definitions are those of DuckDB: the same objects, so the same registry and schema hash. Feast's Spark store takes
only SparkSource, so each FileSource is read as one here.
"""

import copy
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
from feast import FeatureView
from feast.data_source import DataSource
from feast.infra.offline_stores.contrib.spark_offline_store.spark import (
    SparkOfflineStore,
    SparkOfflineStoreConfig,
    SparkRetrievalJob,
)
from feast.infra.offline_stores.contrib.spark_offline_store.spark_source import SparkSource
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig
from pydantic import Field

from feature_repo.spark_session import spark_pattern, spark_session


class FileReadingSparkOfflineStoreConfig(SparkOfflineStoreConfig):  # type: ignore[misc]  # Feast is untyped
    """Settings of FileReadingSparkOfflineStore; Feast finds the class by its name.

    Attributes:
        copies: The files to read for materialization instead of those of the sources, by the paths of the sources.
    """

    copies: dict[str, str] = Field(default_factory=dict)


class FileReadingSparkOfflineStore(SparkOfflineStore):  # type: ignore[misc]  # Feast is untyped
    """Joins histories on Spark, and reads for materialization what the data gate has passed."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        **options: Any,
    ) -> RetrievalJob:
        """Feast's own method, on the same views with Spark's sources."""
        spark_session(config.offline_store.spark_conf)
        job = SparkOfflineStore.get_historical_features(
            config,
            [_on_spark(view) for view in feature_views],
            feature_refs,
            entity_df,
            registry,
            project,
            full_feature_names,
            **options,
        )
        return _exact(job)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Feast's own method, on the copy of the source if there is one."""
        assert isinstance(data_source, FileSource)
        spark_session(config.offline_store.spark_conf)
        job = SparkOfflineStore.pull_all_from_table_or_query(
            config,
            _spark_source(data_source, config.offline_store.copies.get(data_source.path, data_source.path)),
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start_date,
            end_date,
        )
        return _exact(job)


class ArrowRetrievalJob(SparkRetrievalJob):  # type: ignore[misc]  # Feast is untyped
    """A retrieval that stays in Arrow: by way of pandas, lists become objects and times lose their zone."""

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 - Feast's signature
        return self.to_spark_df().toArrow()


def _exact(job: SparkRetrievalJob) -> ArrowRetrievalJob:
    return ArrowRetrievalJob(
        job.spark_session,
        job.query,
        job.full_feature_names,
        job._config,
        job.on_demand_feature_views,
        job.metadata,
    )


def _on_spark(view: FeatureView) -> FeatureView:
    """The view with Spark's source; a copy, because other calls of Feast read the view of the registry."""
    on_spark = copy.copy(view)
    on_spark.batch_source = _spark_source(view.batch_source, view.batch_source.path)
    return on_spark


def _spark_source(source: FileSource, path: str) -> SparkSource:
    return SparkSource(
        name=source.name,
        path=spark_pattern(path),
        file_format="parquet",
        timestamp_field=source.timestamp_field,
        created_timestamp_column=source.created_timestamp_column,
    )
