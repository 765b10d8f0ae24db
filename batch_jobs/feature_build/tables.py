"""What both feature builds need: events as sequences store them, and Parquet files written by DuckDB."""

from pathlib import Path

import duckdb
import ibis
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table, Value

from batch_jobs.feature_build.split_time import UTC_MICROSECONDS
from feature_repo import columns as c
from feature_repo.common.files import replacing
from feature_repo.common.sql import sql_string
from feature_repo.transforms.events import EVENT_TYPE_CODES


@ibis.udf.scalar.builtin(name="epoch_ms", signature=((UTC_MICROSECONDS,), "int64"))  # type: ignore[untyped-decorator]
def _milliseconds(time: Value) -> Value:
    """DuckDB's own function: ibis has seconds alone, and to compute milliseconds from them takes ten times as long."""


def encode_events(events: Table) -> Table:
    """Encodes events as sequences store them: the type as its code, the time in milliseconds."""
    code, time = events[c.EVENT_TYPE].cases(*EVENT_TYPE_CODES.items()), events[c.EVENT_TIME]
    encoded = {c.EVENT_TYPE: code.cast("int32"), c.EVENT_TIME: _milliseconds(time), c.EVENT_TIMESTAMP: time}
    return events.select(c.BUYER_ID, c.PRODUCT_KEY, **encoded)


def write_table(con: Backend, table: Table, path: Path) -> int:
    """Writes a table atomically and returns its number of rows."""
    return write_query(con.con, con.compile(table), path)


def write_query(db: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
    """Writes the result of a query atomically and returns its number of rows."""
    with replacing(path) as temporary:
        # Not ibis' to_parquet, which does not escape an apostrophe in the path.
        db.execute(f"COPY ({query}) TO {sql_string(str(temporary))} (FORMAT parquet, COMPRESSION zstd)")
        # From the file: counting the query would run it again.
        return int(pq.read_metadata(temporary).num_rows)
