"""The one way to open DuckDB on a shop's data: within the configured memory, in UTC, with clear errors."""

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
from pydantic import ByteSize, TypeAdapter

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths

SPILL_PREFIX = "tawsiya-"  # of the sessions' folders, so that nothing else in a shared spill folder is ever deleted
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# The least memory DuckDB's guide gives a thread. With less, a machine of many cores runs out before it spills.
BYTES_PER_THREAD = 125_000_000


class OutOfResourcesError(RuntimeError):
    """Memory or disk space did not suffice; the message names the step, the limit and what to do."""


@contextmanager
def duckdb_session(config: Config, step: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory, which spills to disk what exceeds `resources.memory_limit`.

    It uses all cores, or as many threads as the limit has 125 MB for. The spilled data are deleted at the end, with
    those of killed runs. `ibis.duckdb.from_connection` takes the
    connection. Code inside that catches `duckdb.Error` lets errors pass for which `out_of_resources` holds.

    Args:
        config: The configuration.
        step: The command, for messages, such as `build-features`.

    Raises:
        OutOfResourcesError: The block ran out of memory or of disk space.
        RuntimeError: The spill folder cannot be written.
    """
    root = (config.resources.spill_folder or shop_paths(config).spill).absolute()
    limit = config.resources.memory_limit
    with _spill_folder(root) as spill:
        db = duckdb.connect(config={"memory_limit": limit, "temp_directory": str(spill), "threads": _threads(limit)})
        try:
            # DuckDB reads times without a zone, and returns all times, in the session's zone.
            db.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            yield db
        except (duckdb.Error, OSError) as error:
            if not out_of_resources(error):
                raise
            raise OutOfResourcesError(_explanation(error, step, limit, root)) from None
        finally:
            db.close()


def _threads(memory_limit: str) -> int:
    affordable = TypeAdapter(ByteSize).validate_python(memory_limit) // BYTES_PER_THREAD
    return max(1, min(os.cpu_count() or 1, affordable))


def out_of_resources(error: duckdb.Error | OSError) -> bool:
    """Whether the error says that memory or disk space did not suffice."""
    return _out_of_memory(error) or _disk_full(error)


def _out_of_memory(error: Exception) -> bool:
    # By its text too: an error within a scan or a result reaches Python as one of another type.
    return isinstance(error, duckdb.OutOfMemoryException) or "Out of Memory Error" in str(error)


def _disk_full(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in DISK_FULL
    # DuckDB has no error number; the last text is its own limit, by default 90% of the free space.
    texts = [*map(os.strerror, DISK_FULL), "max_temp_directory_size"]
    return any(text in str(error) for text in texts)


def _explanation(error: Exception, step: str, limit: str, spill: Path) -> str:
    if not _disk_full(error):
        return f"{step} needs more memory than resources.memory_limit ({limit}); raise the setting"
    named = error.filename if isinstance(error, OSError) else _quoted_path(str(error))
    if named and not Path(named).is_relative_to(spill):
        return f"{step} cannot write to {Path(named).parent}: the disk is full; free space there"
    return (
        f"{step} needs more disk space than there is in {spill}; free space there, or set resources.spill_folder to a "
        "folder on a larger disk"
    )


def _quoted_path(message: str) -> str | None:
    found = re.search(r'"(/[^"]+)"', message)
    return found[1] if found else None


# ---- the spill folder ------------------------------------------------------------------------------------------------


@contextmanager
def _spill_folder(root: Path) -> Iterator[Path]:
    """A new folder in `root`, deleted at the end. Sessions, also of other processes, may share `root`."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        # Held while folders are created and deleted: a new folder that is not locked yet must not pass for a leftover.
        with _locked(root, fcntl.LOCK_EX):
            _delete_leftovers(root)
            folder = Path(tempfile.mkdtemp(prefix=SPILL_PREFIX, dir=root))
            lock = _lock(folder, fcntl.LOCK_EX)
    except OSError as error:
        raise RuntimeError(
            f"the spill folder {root} cannot be used: {error.strerror}; set resources.spill_folder to one that can"
        ) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _delete_leftovers(root: Path) -> None:
    """Deletes the folders whose session has ended: the kernel releases a lock however a process ends."""
    for folder in root.glob(f"{SPILL_PREFIX}*"):
        try:
            with _locked(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
                shutil.rmtree(folder, ignore_errors=True)
        except (BlockingIOError, FileNotFoundError):
            continue  # in use, or deleted by its own session just now


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    lock = _lock(folder, how)
    try:
        yield
    finally:
        os.close(lock)


def _lock(folder: Path, how: int) -> int:
    """Locks a folder; closing the returned descriptor unlocks it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
