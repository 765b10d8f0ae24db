"""Feast's engine of materialization, which here hands Arrow batches to the online store.

Feast's own local engine turns the whole table into pandas objects to drop duplicates, and each row into protobuf
objects (ADR 0011). This one selects the newest rows in DuckDB and never holds more than a batch.
"""

from collections.abc import Iterator
from typing import Any, Literal

import ibis
import pyarrow as pa
from feast.infra.common.materialization_job import MaterializationJobStatus, MaterializationTask
from feast.infra.compute_engines.dag.context import ColumnInfo
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig
from feast.infra.compute_engines.local.feature_builder import LocalFeatureBuilder
from feast.infra.compute_engines.local.job import LocalMaterializationJob
from feast.infra.compute_engines.utils import create_offline_store_retrieval_job
from feast.infra.offline_stores.ibis import IbisRetrievalJob, deduplicate
from feast.infra.registry.base_registry import BaseRegistry

from feature_repo.console.progress import progress_bar


# Feast finds an engine's configuration class by name: the engine's name and `Config`.
class ArrowComputeEngineConfig(LocalComputeEngineConfig):  # type: ignore[misc]  # Feast is untyped
    """Feast's settings of its local engine, under this engine's type."""

    type: Literal["feature_repo.compute_engine.ArrowComputeEngine"] = "feature_repo.compute_engine.ArrowComputeEngine"


class ArrowComputeEngine(LocalComputeEngine):  # type: ignore[misc]  # Feast is untyped
    """Materializes views whose features are columns of their source, as all of ours are."""

    def _materialize_one(self, registry: BaseRegistry, task: MaterializationTask, **_: Any) -> LocalMaterializationJob:
        """Writes the newest row of each entity between the task's times; Feast re-raises the error of the job."""
        view = task.feature_view
        try:
            # Counting the rows first would select them twice, so nobody knows how many there are.
            with progress_bar(total=None, title=f"Writing {view.name}", unit="row") as bar:
                for batch in self._newest_rows(registry, task):
                    self.online_store.write_arrow_batch(self.repo_config, view, batch)
                    bar.update(len(batch))
        except Exception as error:
            return LocalMaterializationJob(view.name, MaterializationJobStatus.ERROR, error)
        return LocalMaterializationJob(view.name, MaterializationJobStatus.SUCCEEDED)

    def _newest_rows(self, registry: BaseRegistry, task: MaterializationTask) -> Iterator[pa.RecordBatch]:
        columns = self._column_info(registry, task)
        job = create_offline_store_retrieval_job(
            task.feature_view.batch_source,
            columns,
            self.get_execution_context(registry, task),
            start_time=task.start_time,
            end_time=task.end_time,
        )
        # Spark's rows pass through this machine's memory, as with Feast's own engine.
        rows = job.table if isinstance(job, IbisRetrievalJob) else ibis.memtable(job.to_arrow())
        newest = deduplicate(rows, columns.join_keys, columns.ts_col, columns.created_ts_col)
        batch_rows = self.repo_config.materialization_config.online_write_batch_size
        yield from newest.to_pyarrow_batches(chunk_size=batch_rows)

    @staticmethod
    def _column_info(registry: BaseRegistry, task: MaterializationTask) -> ColumnInfo:
        # backend=None: only builds the nodes of other engines.
        return LocalFeatureBuilder(registry, task, backend=None).get_column_info(task.feature_view)
