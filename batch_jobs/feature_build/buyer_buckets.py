"""Splits events by buyer into buckets that fit into memory; all events of a buyer lie in one bucket."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from feature_repo import columns as c
from feature_repo.common.files import glob_literal
from feature_repo.common.sql import sql_string

# A million events take 0.3 GB while they are numbered and joined.
BUCKET_EVENTS = 2_000_000
_BUCKET = "bucket"


def buyer_buckets(con: Backend, events: Table, n_events: int, folder: Path) -> Iterator[Table]:
    """Yields the events bucket by bucket.

    Args:
        con: DuckDB.
        events: The events, with buyer_id.
        n_events: Number of events, or more; decides how many buckets there are.
        folder: Holds the buckets meanwhile; deleted before and after.
    """
    n_buckets = -(-n_events // BUCKET_EVENTS)
    if n_buckets <= 1:
        yield events
        return
    # Written once and read once each. A filter by bucket would read all events for every bucket.
    bucketed = events.mutate(**{_BUCKET: (events[c.BUYER_ID].hash() % n_buckets + n_buckets) % n_buckets})
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        con.raw_sql(
            f"COPY ({con.compile(bucketed)}) TO {sql_string(str(folder))} "
            f"(FORMAT parquet, PARTITION_BY ({_BUCKET}), OVERWRITE_OR_IGNORE)"
        )
        for part in sorted(folder.iterdir()):
            yield con.read_parquet(f"{glob_literal(part)}/*.parquet", hive_partitioning=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
