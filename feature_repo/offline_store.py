"""Feast's DuckDB offline store, which reads copies of the feature files while they are materialized.

It also joins point in time faster.
"""

from datetime import datetime

import pandas as pd
from feast import FeatureView
from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig
from pydantic import Field

from feature_repo.point_in_time import as_of_join


class CopyReadingOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # Feast is untyped
    """Settings of CopyReadingOfflineStore; Feast finds the class by its name.

    Attributes:
        copies: The paths to read for materialization instead of those of the sources, by the paths of the sources.
    """

    copies: dict[str, str] = Field(default_factory=dict)


class CopyReadingOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # Feast is untyped
    """Reads for materialization what the data gate has passed, and not what lies at a source's path by then.

    A point-in-time join of one view without ttl, as training asks for, is an as-of join.
    """

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Feast's own method, with the faster join where it returns the same rows."""
        job = DuckDBOfflineStore.get_historical_features(
            config,
            feature_views,
            feature_refs,
            entity_df,
            registry,
            project,
            full_feature_names,
            filter_by_created_timestamp,
        )
        if len(feature_views) == 1 and not (full_feature_names or filter_by_created_timestamp):
            (view,) = feature_views
            if not view.ttl and view.batch_source.created_timestamp_column:
                moment = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
                # Nothing has run yet: the job's table is an expression.
                job.table = as_of_join(entity_df, moment, view, [ref.split(":")[1] for ref in feature_refs])
        return job

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
        copy = config.offline_store.copies.get(data_source.path)
        return DuckDBOfflineStore.pull_all_from_table_or_query(
            config,
            FileSource(path=copy, timestamp_field=timestamp_field) if copy else data_source,
            join_key_columns,
            feature_name_columns,
            timestamp_field,
            created_timestamp_column,
            start_date,
            end_date,
        )
