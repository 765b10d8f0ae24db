"""What both feature builds need: events as sequences store them, and Parquet files written by DuckDB."""

from pathlib import Path

import duckdb
import ibis
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table, Value

from feature_repo import columns as c
from feature_repo.common.files import replacing
from feature_repo.common.sql import sql_string
from feature_repo.transforms.events import EVENT_TYPE_CODES


@ibis.udf.scalar.builtin(signature=(("timestamp('UTC')",), "int64"))  # type: ignore[untyped-decorator]
def epoch_ms(_moment: Value) -> Value:
    """DuckDB's function of this name; fractions of a millisecond are cut off."""


def encode_events(events: Table) -> Table:
    """Encodes events as sequences store them: the type as its code, the time in milliseconds."""
    code = events[c.EVENT_TYPE].cases(*EVENT_TYPE_CODES.items())
    # Not by ibis' truncate: for times with a zone, DuckDB's date_trunc took half of the whole build.
    time_ms = epoch_ms(events[c.EVENT_TIME])
    return events.select(
        c.BUYER_ID,
        c.PRODUCT_KEY,
        **{c.EVENT_TYPE: code.cast("int32"), c.EVENT_TIME: time_ms, c.EVENT_TIMESTAMP: events[c.EVENT_TIME]},
    )


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
