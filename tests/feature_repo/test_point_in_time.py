"""The as-of join finds the rows that Feast's own join finds."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import ibis
import pandas as pd
import pytest
from feast import FileSource
from feast.infra.offline_stores.ibis import point_in_time_join
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.point_in_time import as_of_join

pytestmark = pytest.mark.fast

NOON = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
# Few buyers and seconds, so that rows and contexts often share both.
BUYERS, SECONDS = st.sampled_from(["a", "b", "c c"]), st.integers(0, 4)


def write_rows(folder: Path, rows: list[tuple[str, int, int]], files: int) -> None:
    """Rows (buyer, second of the row, second of its creation) in Parquet files, each with a number of its own."""
    for path in folder.glob("*.parquet"):
        path.unlink()
    schema = "buyer_id VARCHAR, event_timestamp TIMESTAMPTZ, created_timestamp TIMESTAMPTZ, product_keys BIGINT[]"
    for file in range(files):
        with duckdb.connect() as con:
            con.execute(f"CREATE TABLE part ({schema})")
            for number, (buyer, second, created) in enumerate(rows):
                if number % files == file:
                    values = [buyer, NOON + dt.timedelta(seconds=second), NOON + dt.timedelta(seconds=created)]
                    con.execute("INSERT INTO part VALUES (?, ?, ?, ?)", [*values, [number] * (number % 3)])
            con.execute(f"COPY part TO '{folder}/{file}.parquet'")


def sorted_rows(table: ibis.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pyarrow().to_pylist(), key=lambda row: row["number"])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    # One row of a buyer, time and creation: of equals, Feast joins any.
    rows=st.lists(st.tuples(BUYERS, SECONDS, SECONDS), max_size=12, unique=True),
    contexts=st.lists(st.tuples(BUYERS, SECONDS), min_size=1, max_size=6),
    files=st.integers(1, 2),
)
def test_it_returns_what_feast_returns(
    tmp_path: Path, rows: list[tuple[str, int, int]], contexts: list[tuple[str, int]], files: int
) -> None:
    # Of a file replaced within a second by one of the same size, DuckDB 1.5 returns cached rows on the same connection.
    ibis.get_backend().raw_sql("SET enable_external_file_cache = false")
    write_rows(tmp_path, rows, files)
    frame = pd.DataFrame(
        [(buyer, NOON + dt.timedelta(seconds=second), number) for number, (buyer, second) in enumerate(contexts)],
        columns=["buyer_id", "moment", "number"],
    )
    source = FileSource(
        name="rows",
        path=f"{tmp_path}/*.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created_timestamp",
    )
    ours: Any = SimpleNamespace(join_keys=["buyer_id"], batch_source=source)
    feasts = point_in_time_join(
        ibis.memtable(frame),
        [
            (
                ibis.read_parquet(source.path),
                source.timestamp_field,
                source.created_timestamp_column,
                {"buyer_id": "buyer_id"},
                ["product_keys"],
                dt.timedelta(0),
            )
        ],
        event_timestamp_col="moment",
    )
    assert sorted_rows(as_of_join(frame, "moment", ours, ["product_keys"])) == sorted_rows(feasts)
