"""Feast's DuckDB offline store, which reads copies of the feature files while they are materialized."""

from datetime import datetime

from feast.data_source import DataSource
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.repo_config import RepoConfig
from pydantic import Field


class CopyReadingOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc]  # Feast is untyped
    """Settings of CopyReadingOfflineStore; Feast finds the class by its name.

    Attributes:
        copies: The paths to read for materialization instead of those of the sources, by the paths of the sources.
    """

    copies: dict[str, str] = Field(default_factory=dict)


class CopyReadingOfflineStore(DuckDBOfflineStore):  # type: ignore[misc]  # Feast is untyped
    """Reads for materialization what the data gate has passed, and not what lies at a source's path by then."""

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
