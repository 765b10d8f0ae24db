"""The rows of a buyer in Parquet files, found and removed batch by batch, so that a file of any size fits in memory."""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_jobs.privacy.mentions import Mentions
from feature_repo import columns as c
from feature_repo.common.files import replacing

BATCH_ROWS = 50_000
RAW, VALUE, LINE = "raw", "value", "line"  # of the quarantine and the archived event log: what was left out, as text
_BUYER_TABLES = ("events", c.Origin.EVENT_LOG.value)  # of the quarantine

# Which rows of a batch are the buyers': a Boolean per row, without nulls.
RowFilter = Callable[[pa.RecordBatch], pa.BooleanArray]


def row_filter(schema: pa.Schema, buyer_ids: Collection[str]) -> RowFilter | None:
    """How the rows of these buyers are found in a file; None if it has no column that tells of buyers."""
    wanted, mentions = pa.array(buyer_ids, pa.string()), Mentions(buyer_ids)
    has_buyer = c.BUYER_ID in schema.names
    texts = [
        name for name in (RAW, VALUE, LINE) if name in schema.names and pa.types.is_string(schema.field(name).type)
    ]
    if not has_buyer and not texts:
        return None

    def theirs(batch: pa.RecordBatch) -> pa.BooleanArray:
        found = pa.array([False] * len(batch), pa.bool_())
        if has_buyer:
            # As text: a file may hold the ids in a dictionary. Nulls are in no list.
            found = pc.is_in(batch.column(c.BUYER_ID).cast(pa.string()), value_set=wanted)
        for name in texts:
            found = pc.or_(found, pa.array(map(mentions.in_text, batch.column(name).to_pylist()), pa.bool_()))
        if c.TABLE in schema.names:
            # A row of the catalogue is no buyer's, whatever number is in it.
            found = pc.and_(found, pc.is_in(batch.column(c.TABLE), value_set=pa.array(_BUYER_TABLES)))
        return found

    return theirs


def rows_of(path: Path, buyer_ids: Collection[str]) -> Iterator[pa.RecordBatch]:
    """The rows of these buyers in a file, in its order.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            found = row_filter(file.schema_arrow, buyer_ids)
            if found is None:
                return
            for batch in file.iter_batches(BATCH_ROWS):
                theirs = batch.filter(found(batch))
                if len(theirs):
                    yield theirs
    except FileNotFoundError:
        raise
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}; make it again or delete it, then repeat this") from None


def sync(path: Path) -> None:
    """Waits until a file is on the disk; before it replaces one with data that exist nowhere else."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def count_rows_of(path: Path, buyer_ids: Collection[str]) -> int:
    """The number of rows of these buyers in a file."""
    return sum(map(len, rows_of(path, buyer_ids)))


def copy_without(path: Path, target: Path, buyer_ids: Collection[str]) -> Path:
    """Writes a copy of a file without the rows of these buyers, which replaces `target`; returns `target`."""
    with pq.ParquetFile(path) as file, replacing(target) as temporary:
        # The schema has the file's own metadata, too, such as the archive's of the event log.
        schema = file.schema_arrow
        found = row_filter(schema, buyer_ids)
        assert found is not None
        with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for batch in file.iter_batches(BATCH_ROWS):
                writer.write_batch(batch.filter(pc.invert(found(batch))))
        temporary.chmod(path.stat().st_mode & 0o777)
        sync(temporary)
    return target


def remove_rows(path: Path, buyer_ids: Collection[str]) -> int:
    """Removes the rows of these buyers, and returns their number; a file without any stays as it is."""
    removed = count_rows_of(path, buyer_ids)
    if removed:
        copy_without(path, path, buyer_ids)
    return removed
