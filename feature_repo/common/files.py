"""Atomic writes and appends, so that a reader never sees a half-written file; texts that people write.

Those must be UTF-8.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feature_repo.common.errors import ConfigError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which replaces `path` atomically if the block ends without an error.

    Only one process may write `path` at a time: the temporary name is fixed, so that a writer overwrites the leftover
    of a killed one.

    Raises:
        ValueError: `path` is a device or a named pipe, which would be replaced by a file.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is a device or the like and would be replaced; name a file or a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - Path.replace does the same, but os.replace is documented as atomic
    finally:
        # After a success the name no longer exists; after an error the old file stays and the part is removed.
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(file: int) -> Iterator[None]:
    """Locks a file descriptor exclusively for the block; the kernel releases the lock if the process dies."""
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def try_lock(file: int) -> bool:
    """Locks a file descriptor exclusively if nobody else holds its lock; closing it unlocks it.

    A failed attempt may drop a shared lock held before.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked_beside(path: Path) -> Iterator[None]:
    """Excludes others who call this for `path`, which may be missing, appended to or replaced within the block.

    The lock is a file beside it. Each call opens it anew, so that threads exclude each other too.
    """
    file = os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o640)
    try:
        with locked(file):
            yield
    finally:
        os.close(file)


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Appends complete lines to a file that others append to or delete; they are on the disk when this returns.

    Raises:
        OSError: The lines could not be written. If the disk is full, the file has none of them.
    """
    content = "".join(lines).encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    while not _append(path, content):
        pass  # the file was deleted between opening and locking it


def _append(path: Path, content: bytes) -> bool:
    # Readable, because the last byte is checked before the write; not for others: it has what buyers did.
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
    try:
        with locked(file):
            status = os.fstat(file)
            if not status.st_nlink:  # no folder names the file any more, so what is written to it would be lost
                return False
            _write_all_or_nothing(file, status.st_size, content)
        # Without the lock, so that other requests can append while this one waits for the disk.
        os.fsync(file)
        if not status.st_size:
            # A new file survives a crash only if the entries of its folder, which may be new too, are on the disk.
            for folder in (path.parent, path.parent.parent):
                sync_folder(folder)
        return True
    finally:
        os.close(file)


def _write_all_or_nothing(file: int, size: int, content: bytes) -> None:
    """Appends to a locked file; restores its size after an error."""
    # A crash of the machine can leave an incomplete last line. The first line of this batch must not become part of it.
    if size and os.pread(file, 1, size - 1) != b"\n":
        content = b"\n" + content
    try:
        while content:
            content = content[os.write(file, content) :]  # os.write may write a part only
    except OSError:
        os.ftruncate(file, size)
        raise


def sync_folder(folder: Path) -> None:
    """Writes the entries of a folder to the disk: a new name survives a crash of the machine only then."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes `content` as indented JSON, atomically."""
    with replacing(path) as temporary:
        # Not escaped to ASCII: people read these files, and they may contain Arabic.
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path, made_by: str) -> dict[str, Any]:
    """Reads a JSON report.

    Raises:
        FileNotFoundError: The file does not exist; the message names the command `made_by` that writes it.
        ValueError: The file is damaged; the message names the command, too.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist yet; run `{made_by}` first")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); delete it, and run `{made_by}`") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged (it holds no JSON object); delete it, and run `{made_by}`")
    return content


def read_utf8(path: Path) -> str:
    """The text of a file that a person wrote, without the byte order mark that editors on Windows begin it with.

    Raises:
        ConfigError: It is not UTF-8; the message names the file, the byte and its place, counted from 0.
    """
    content = path.read_bytes()
    # UTF-16 without a byte order mark is valid UTF-8 with a null byte beside each Latin letter.
    if (place := content.find(0)) >= 0 and content[0] not in (0xFE, 0xFF):
        raise _not_utf8(path, content, place)
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, content, error.start) from None


def _not_utf8(path: Path, content: bytes, place: int) -> ConfigError:
    return ConfigError(f"{path} is not UTF-8 (byte 0x{content[place]:02x} at {place}); save it as UTF-8")


def glob_literal(path: Path) -> str:
    """`path` as DuckDB must get it to read this file alone: DuckDB takes the path of a file to read as a pattern.

    Raises:
        ValueError: The path has a backslash, at which DuckDB splits patterns, beside a character of patterns.
    """
    literal = re.sub(r"[\[*?]", r"[\g<0>]", str(path))
    if "\\" in literal and literal != str(path):
        raise ValueError(f"{path} has a backslash and one of [ * ? in its name, which cannot be read; rename it")
    return literal


def sha256(path: Path) -> str:
    """The hex digest of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_stamp(path: Path) -> tuple[int, ...]:
    """Values that change with the file's content and permissions and when it is replaced; empty if it is missing."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    # Not the modification time: a restored backup or `cp -p` keeps an old one.
    return status.st_ino, status.st_size, status.st_ctime_ns
