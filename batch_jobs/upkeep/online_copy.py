"""A copy of what the online store holds of a shop, as Parquet: one row per key, in no server's own format."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.online.shop_keys import KEYS_PER_CALL, shop_keys

SCHEMA = pa.schema(
    {
        "key": pa.binary(),
        "text": pa.binary(),  # of a key that is no hash
        "fields": pa.list_(pa.binary()),
        "values": pa.list_(pa.binary()),
        "expires_ms": pa.int64(),  # from the moment of the copy on; -1: never
    }
)


def write_online_copy(redis: Any, shop: str, path: Path) -> int:
    """Writes the shop's keys to a file, and returns their number.

    Locks, claims and rate limits, which expire within minutes or days, stay out.
    """
    limits = f"{shop}:rate:".encode()
    keys, written = (key for key in shop_keys(redis, shop) if not key.startswith(limits)), 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while batch := list(islice(keys, KEYS_PER_CALL)):
            rows = list(_rows(redis, batch))
            written += len(rows)
            writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return written


def read_online_copy(redis: Any, shop: str, path: Path) -> int:
    """Replaces the shop's keys by those of a file, and returns their number."""
    keys = shop_keys(redis, shop)
    while batch := list(islice(keys, KEYS_PER_CALL)):
        with redis.pipeline(transaction=False) as pipeline:
            for key in batch:
                pipeline.delete(key)
            pipeline.execute()
    written = 0
    with pq.ParquetFile(path) as file:
        for rows in file.iter_batches(KEYS_PER_CALL):
            with redis.pipeline(transaction=False) as pipeline:
                for row in rows.to_pylist():
                    _put(pipeline, row)
                pipeline.execute()
            written += len(rows)
    return written


def _rows(redis: Any, keys: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    with redis.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.type(key)
            pipeline.pttl(key)
        states = pipeline.execute()
    kinds, times = states[::2], states[1::2]
    with redis.pipeline(transaction=False) as pipeline:
        for key, kind in zip(keys, kinds, strict=True):
            if kind == b"hash":
                pipeline.hgetall(key)
            else:
                pipeline.execute_command("GET", key)
        contents = pipeline.execute()
    for key, kind, expires_ms, content in zip(keys, kinds, times, contents, strict=True):
        if kind == b"hash" and content:
            yield {"key": key, "fields": list(content), "values": list(content.values()), "expires_ms": expires_ms}
        elif kind == b"string" and expires_ms == -1 and content is not None:
            yield {"key": key, "text": content, "expires_ms": expires_ms}


def _put(pipeline: Any, row: dict[str, Any]) -> None:
    if row["fields"] is None:
        pipeline.set(row["key"], row["text"])
        return
    pipeline.hset(row["key"], mapping=dict(zip(row["fields"], row["values"], strict=True)))
    if row["expires_ms"] >= 0:
        pipeline.pexpire(row["key"], row["expires_ms"])
