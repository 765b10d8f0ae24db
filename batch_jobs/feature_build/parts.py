"""Writes the parts of buyer sequences and purchases, and joins many small parts into few (compaction)."""

import datetime as dt
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import duckdb
import ibis
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from ibis.expr.types import Table

from batch_jobs.feature_build.buyer_buckets import Bucket, buckets
from batch_jobs.feature_build.split_time import UTC_MICROSECONDS
from batch_jobs.feature_build.tables import encode_events, write_query, write_table
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.files import glob_literal, sha256
from feature_repo.common.paths import ShopPaths
from feature_repo.common.sql import sql_string
from feature_repo.console.progress import progress_bar
from feature_repo.feature_report import PARTS, part_name, part_time
from feature_repo.spark_session import run_tasks
from feature_repo.transforms.events import PURCHASE
from feature_repo.transforms.sequences import latest_sequences, purchase_lists

# Beyond these limits, readers of all parts do too much work for rows that newer ones replaced.
MAX_DELTA_SHARE = 1 / 3  # rows of delta parts, per row of the base
MAX_DELTA_PARTS = 20
# Of a task's DuckDB on Spark, which spills to disk beyond it.
TASK_MEMORY_LIMIT = "1GB"
_SEQUENCE_ARRAYS = {c.PRODUCT_KEYS: "array<int64>", c.EVENT_TYPES: "array<int32>", c.EVENT_TIMES: "array<int64>"}
_PURCHASE_ARRAYS = {c.PURCHASED_KEYS: "array<int64>", c.PURCHASED_TIMES: "array<int64>"}


def write_parts(con: Backend, paths: ShopPaths, config: Config, as_of: dt.datetime) -> list[Path]:
    """Writes a row of sequences and, for those who have or had purchases, one of purchases for each changed buyer.

    The rows carry `as_of` and not the time of the buyer's last event: Feast drops an online write that is not newer
    than the stored row, so an event that arrives late would never reach the online store. A buyer whose events are all
    gone gets empty arrays, which replace the stored ones.

    Args:
        con: The database, with the table `buyers`.
        paths: The shop.
        config: The configuration.
        as_of: When the build began.
    """
    numbered = list(enumerate(buckets(con.con, f"FROM buyers WHERE {c.CHANGED}")))
    max_length = config.model.buyer_tower.max_interaction_history
    if config.feature_store.offline == "spark":
        # In a file, because tasks have no access to this database.
        write_query(con.con, f"SELECT * FROM buyers WHERE {c.CHANGED}", paths.changed_buyers)
        parts = run_tasks(config.spark, partial(_write_in_task, paths, max_length, as_of), numbered)
        paths.changed_buyers.unlink()
    else:
        with progress_bar(numbered, total=len(numbered), title="Building buyers", unit="bucket") as bar:
            parts = [write_bucket(con, con.table("buyers"), paths, max_length, as_of, *bucket) for bucket in bar]
    return [path for written in parts for path in written]


def write_bucket(
    con: Backend, buyers: Table, paths: ShopPaths, max_length: int, as_of: dt.datetime, number: int, bucket: Bucket
) -> list[Path]:
    """Writes the parts of one bucket, from `buyers` as find_changed_buyers makes it; see write_parts."""
    events, name = con.read_parquet(glob_literal(paths.events)), part_name(as_of, number)
    changed = buyers.filter(buyers[c.CHANGED], bucket.contains(buyers[c.BUYER_ID]))
    # As a table, because two queries read these events. The join lets DuckDB skip row groups of other buckets.
    query = con.compile(encode_events(events.semi_join(changed, c.BUYER_ID)).drop(c.EVENT_TIMESTAMP))
    con.con.execute(f"CREATE OR REPLACE TABLE bucket_events AS {query}")
    encoded = con.table("bucket_events")
    sequences = _rows(changed, latest_sequences(encoded, max_length), _SEQUENCE_ARRAYS, as_of)
    write_table(con, sequences, paths.sequence_features / name)
    written = [paths.sequence_features / name]
    customers = changed.filter(changed[c.HAS_PURCHASES])
    # The first part of purchases always, because Feast reads the schema from a file.
    if number == 0 or customers.count().execute():
        bought = purchase_lists(encoded.filter(encoded[c.EVENT_TYPE] == PURCHASE))
        purchases = _rows(customers, bought, _PURCHASE_ARRAYS, as_of)
        write_table(con, purchases, paths.purchase_features / name)
        written.append(paths.purchase_features / name)
    con.con.execute("DROP TABLE bucket_events")
    return written


def _write_in_task(paths: ShopPaths, max_length: int, as_of: dt.datetime, numbered: tuple[int, Bucket]) -> list[Path]:
    """`write_bucket` in a task of Spark, with a DuckDB of its own."""
    with tempfile.TemporaryDirectory() as spill:
        # One thread, because Spark runs as many tasks as there are cores.
        con = ibis.duckdb.connect(threads=1, memory_limit=TASK_MEMORY_LIMIT, temp_directory=spill)
        try:
            con.raw_sql("SET TimeZone = 'UTC'")
            buyers = con.read_parquet(glob_literal(paths.changed_buyers))
            return write_bucket(con, buyers, paths, max_length, as_of, *numbered)
        finally:
            con.disconnect()


def _rows(buyers: Table, arrays: Table, types: dict[str, str], as_of: dt.datetime) -> Table:
    """Feast's rows: one per buyer, with empty arrays for those who have none."""
    stamp = ibis.literal(as_of).cast(UTC_MICROSECONDS)
    joined = buyers.select(c.BUYER_ID).left_join(arrays, c.BUYER_ID)
    filled = {name: joined[name].fill_null(ibis.literal([], type=kind)).cast(kind) for name, kind in types.items()}
    return joined.select(c.BUYER_ID, **{c.EVENT_TIMESTAMP: stamp, c.CREATED_TIMESTAMP: stamp}, **filled).order_by(
        c.BUYER_ID
    )


# ---- compaction ------------------------------------------------------------------------------------------------------


def needs_compaction(parts: Iterable[Path], base: dt.datetime) -> bool:
    """Whether the parts of one folder hold too many rows that are younger than the base, or are too many files."""
    deltas = [part for part in parts if part_time(part) > base]
    base_rows = sum(_rows_of(part) for part in parts if part_time(part) <= base)
    return len(deltas) > MAX_DELTA_PARTS or sum(map(_rows_of, deltas)) > MAX_DELTA_SHARE * base_rows


def compact_parts(db: duckdb.DuckDBPyConnection, folder: Path, parts: list[Path], as_of: dt.datetime) -> list[Path]:
    """Writes the newest row of each buyer in `parts` into new parts; rows keep their times.

    So nothing has to be materialized again. Buyers that are no longer in the table `buyers` are left out.

    Args:
        db: The database, with the table `buyers`.
        folder: Where the parts lie.
        parts: All parts that count.
        as_of: When the build began.
    """
    # The parts that this build has written before bear its time too.
    first = 1 + max((_number(part) for part in parts if part_time(part) == as_of), default=-1)
    files = f"read_parquet([{', '.join(sql_string(glob_literal(part)) for part in parts)}])"
    written = []
    found = buckets(db, "FROM buyers")
    for number, bucket in enumerate(progress_bar(found, total=len(found), title="Joining parts", unit="bucket")):
        path = folder / part_name(as_of, first + number)
        write_query(db, _newest_rows(files, bucket), path)
        written.append(path)
    return written


def _newest_rows(files: str, bucket: Bucket) -> str:
    key = f"({c.BUYER_ID}, {c.EVENT_TIMESTAMP})"
    return f"""
        SELECT * FROM {files} SEMI JOIN buyers USING ({c.BUYER_ID}) WHERE {bucket.condition} AND {key} IN (
            SELECT ({c.BUYER_ID}, max({c.EVENT_TIMESTAMP})) FROM {files} WHERE {bucket.condition} GROUP BY {c.BUYER_ID}
        ) ORDER BY {c.BUYER_ID}"""


def _number(part: Path) -> int:
    return int(part.stem.rpartition("-")[2])


def _rows_of(part: Path) -> int:
    return int(pq.read_metadata(part).num_rows)


# ---- which parts count -----------------------------------------------------------------------------------------------


def describe_parts(folder: Path, parts: Iterable[Path], known: dict[str, str]) -> dict[str, str]:
    """The entry of a folder's parts in the report: their checksums, by file name; `known` are those of intact parts."""
    of_folder = sorted(part for part in parts if part.parent == folder)
    return {part.name: known.get(part.name) or sha256(part) for part in of_folder}


def are_intact(folder: Path, checksums: dict[str, str]) -> bool:
    """Whether the files that a report lists are there, and nobody has changed them."""
    return all((folder / name).is_file() and sha256(folder / name) == checksum for name, checksum in checksums.items())


def remove_dead_parts(folder: Path, live: Iterable[Path]) -> None:
    """Removes the parts that do not count: replaced ones, and what a killed build left."""
    kept = set(live)
    for part in [*folder.glob(PARTS), *folder.glob(f".{PARTS}.tmp")]:
        if part not in kept:
            part.unlink()
