"""Parts of the benchmark of the data path that run in a process of their own; started by benchmarks.data.

    python -m benchmarks.tools.plain_data PART CONFIG

Prints one JSON object: `seconds` and `cpu_seconds` of the work alone, without imports, `rows`, and `digest` where two
parts must give the same rows. The plain parts do by hand, in DuckDB or redis-py, what Tawsiya does through Feast.
"""

import contextlib
import hashlib
import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.common.sql import sql_string
from feature_repo.transforms.events import EVENT_TYPE_CODES

CONTEXTS = 200_000
ROW = "context_row"
ARRAYS = (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)
COMMANDS_PER_PIPELINE = 10_000

Result = dict[str, Any]


@contextlib.contextmanager
def timed(result: Result) -> Iterator[None]:
    """Adds the seconds of the block to `result`."""
    start, cpu_start = time.monotonic(), time.process_time()
    yield
    result |= {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu_start}


def _connect(paths: ShopPaths) -> duckdb.DuckDBPyConnection:
    # No memory limit: with the 4 GB of the commands, the plain feature build fails at 10 million events.
    con = duckdb.connect(config={"temp_directory": str(paths.root / "tmp")})
    con.execute("SET TimeZone = 'UTC'")
    return con


def _sequences(paths: ShopPaths) -> str:
    return f"read_parquet({sql_string(str(paths.sequence_features / '*.parquet'))})"


def _create_contexts(con: duckdb.DuckDBPyConnection, paths: ShopPaths) -> None:
    """The table `contexts`: the newest CONTEXTS contexts, numbered."""
    # A table and not Arrow, whose number of rows DuckDB does not know: it would join them in nested loops.
    con.execute(f"""
        CREATE TEMP TABLE contexts AS
        SELECT buyer_id, event_timestamp, row_number() OVER () - 1 AS {ROW}
        FROM (SELECT DISTINCT buyer_id, event_timestamp FROM {sql_string(str(paths.contexts))}
              ORDER BY event_timestamp DESC, buyer_id LIMIT {CONTEXTS})""")


def _digest(table: pa.Table) -> str:
    """A hash of all sequences by the number of the context; a context without events has an empty one."""
    table = table.sort_by(ROW)
    digest = hashlib.sha256()
    for name in (ROW, *ARRAYS):
        column = table[name].combine_chunks()
        if name in ARRAYS:
            digest.update(column.value_lengths().fill_null(0).to_numpy().tobytes())
            column = column.flatten()
        digest.update(column.to_numpy(zero_copy_only=False).tobytes())
    return digest.hexdigest()


# ---- contexts and historical features --------------------------------------------------------------------------------


def contexts(config: Config) -> Result:
    """The contexts of training and the sequences before them."""
    from batch_jobs.feature_build.build_contexts import build_contexts

    result: Result = {}
    with timed(result):
        report = build_contexts(config)
    return {**result, "rows": report["rows"]["contexts"]}


def historical(config: Config) -> Result:
    """The sequences of the contexts, through Feast."""
    from feature_repo.store import feature_store

    paths = shop_paths(config)
    result: Result = {}
    con = _connect(paths)
    _create_contexts(con, paths)
    contexts = con.table("contexts").df()
    with feature_store(config) as store:
        store.apply()
        with timed(result):
            table = store.historical_sequences(contexts)
    return {**result, "rows": table.num_rows, "digest": _digest(table)}


def historical_as_of(config: Config) -> Result:
    """The same by an as-of query over the same files."""
    paths = shop_paths(config)
    result: Result = {}
    con = _connect(paths)
    _create_contexts(con, paths)
    with timed(result):
        table = con.sql(f"""
            SELECT contexts.*, product_keys, event_types, event_times FROM contexts
            ASOF LEFT JOIN {_sequences(paths)} rows
            ON contexts.buyer_id = rows.buyer_id AND contexts.event_timestamp >= rows.event_timestamp
        """).to_arrow_table()
    return {**result, "rows": table.num_rows, "digest": _digest(table)}


# ---- feature build ---------------------------------------------------------------------------------------------------


def latest_sequences(config: Config) -> Result:
    """Each buyer's newest events and all purchases, from the canonical events to Parquet."""
    paths = shop_paths(config)
    result: Result = {}
    con, folder = _connect(paths), paths.root / "tmp"
    folder.mkdir(exist_ok=True)
    codes = " ".join(f"WHEN '{name}' THEN {code}" for name, code in EVENT_TYPE_CODES.items())
    length = config.model.buyer_tower.max_interaction_history
    events = f"""(SELECT buyer_id, product_key, epoch_ms(event_time) AS time_ms,
        (CASE event_type {codes} END)::INTEGER AS code FROM {sql_string(str(paths.events))})"""
    sequences, purchases = folder / "plain_sequences.parquet", folder / "plain_purchases.parquet"
    order = "ORDER BY time_ms, product_key, code"
    with timed(result):
        con.execute(f"""COPY (SELECT buyer_id, list(product_key {order})[-{length}:] AS product_keys,
            list(code {order})[-{length}:] AS event_types, list(time_ms {order})[-{length}:] AS event_times
            FROM {events} GROUP BY buyer_id) TO {sql_string(str(sequences))} (FORMAT parquet, COMPRESSION zstd)""")
        con.execute(f"""COPY (SELECT buyer_id, list(product_key {order}) AS keys, list(time_ms {order}) AS times
            FROM {events} WHERE code = {EVENT_TYPE_CODES["purchase"]} GROUP BY buyer_id)
            TO {sql_string(str(purchases))} (FORMAT parquet, COMPRESSION zstd)""")
    rows = pq.read_metadata(sequences).num_rows + pq.read_metadata(purchases).num_rows
    sequences.unlink()
    purchases.unlink()
    return {**result, "rows": rows}


# ---- materialize -----------------------------------------------------------------------------------------------------


def materialize(config: Config) -> Result:
    """All features to the online store through Feast, without the imports and the gate of the command."""
    from feature_repo.store import feature_store

    result: Result = {}
    with feature_store(config) as store:
        store.apply()
        with timed(result), contextlib.redirect_stdout(io.StringIO()):
            store.materialize(full=True)
        return {**result, **_stored(store.online.redis)}


def raw_redis(config: Config) -> Result:
    """Writes what the online store holds a second time: the same bytes by redis-py alone."""
    from feature_repo.store import feature_store

    result: Result = {}
    with feature_store(config) as store:
        redis = store.online.redis
        keys = [key for key in redis.scan_iter(count=10_000) if redis.type(key) == b"hash"]
        hashes = {key: redis.hgetall(key) for key in keys}
        redis.delete(*keys)
        with timed(result):
            for start in range(0, len(keys), COMMANDS_PER_PIPELINE):
                with redis.pipeline(transaction=False) as pipe:
                    for key in keys[start : start + COMMANDS_PER_PIPELINE]:
                        pipe.hset(key, mapping=hashes[key])
                    pipe.execute()
        return {**result, **_stored(redis)}


def _stored(redis: Any) -> Result:
    """The number of rows in the store (a row of a view has one time) and a hash of all keys, fields and values."""
    rows, digest = 0, hashlib.sha256()
    for key in sorted(key for key in redis.scan_iter(count=10_000) if redis.type(key) == b"hash"):
        fields = redis.hgetall(key)
        rows += sum(name.startswith(b"_ts:") for name in fields)
        digest.update(key)
        digest.update(repr(sorted(fields.items())).encode())
    return {"rows": rows, "digest": digest.hexdigest()}


PARTS: dict[str, Callable[[Config], Result]] = {
    part.__name__: part
    for part in (
        contexts, historical, historical_as_of, latest_sequences, materialize, raw_redis,
    )
}  # fmt: skip


def main() -> None:
    """Runs the part that the command line names."""
    name, config = sys.argv[1:]
    print(json.dumps(PARTS[name](load_config(Path(config)))))  # noqa: T201


if __name__ == "__main__":
    main()
