"""Runs the feature build on Spark: what builds one bucket of buyers runs in a task, with a DuckDB of its own."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from feature_repo import columns as c
from feature_repo.common.files import glob_literal
from feature_repo.spark_session import spark_pattern, task_errors

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EVENT_COLUMNS = (c.BUYER_ID, c.PRODUCT_KEY, c.EVENT_TYPE, c.EVENT_TIME)
EVENTS_PER_BUCKET = 500_000
# Of a task's DuckDB, which spills to disk beyond it. The bucket itself, as Arrow, comes on top of it.
TASK_MEMORY_LIMIT = "1GB"

# Takes the number of a bucket, a database, and the bucket's events in it; returns counts.
BucketFunction = Callable[[int, Backend, Table], Mapping[str, int]]


def run_by_bucket(session: "SparkSession", events: Path, build: BucketFunction) -> Counter[str]:
    """Splits the canonical events into buckets of buyers and calls `build` with each.

    Every row of the feature tables belongs to one buyer and depends on this buyer's events alone. So the tables of the
    buckets together are those of the whole, however the buyers are spread.

    Args:
        session: The Spark session.
        events: Canonical events, on a file system that every machine of the cluster mounts.
        build: Writes the tables of a bucket to such a file system. It is pickled. A task that Spark repeats gets the
            same number and events again.

    Returns:
        The sums of the counts.

    Raises:
        RuntimeError: A task failed; the message says why.
    """

    def in_task(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        if rows := list(batches):
            counts = _build(build, TaskContext.get().partitionId(), pa.Table.from_batches(rows))
            yield pa.RecordBatch.from_pydict({"name": list(counts), "count": list(counts.values())})

    buckets = max(session.sparkContext.defaultParallelism, -(-pq.read_metadata(events).num_rows // EVENTS_PER_BUCKET))
    rows = session.read.parquet(spark_pattern(glob_literal(events))).select(*EVENT_COLUMNS)
    counts: Counter[str] = Counter()
    with task_errors():
        for row in rows.repartition(buckets, c.BUYER_ID).mapInArrow(in_task, "name string, count long").collect():
            counts[row["name"]] += row["count"]
    return counts


def _build(build: BucketFunction, bucket: int, events: pa.Table) -> Mapping[str, int]:
    with tempfile.TemporaryDirectory() as spill:
        # One thread, because Spark runs as many tasks as there are cores.
        con = ibis.duckdb.connect(threads=1, memory_limit=TASK_MEMORY_LIMIT, temp_directory=spill)
        con.raw_sql("SET TimeZone = 'UTC'")
        con.con.register("events", events)
        counts = build(bucket, con, con.table("events"))
        con.disconnect()
        return counts
