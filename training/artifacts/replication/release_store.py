"""A folder of releases elsewhere: on another disk, or in an S3-compatible object store.

    <address>/20261123T171200.123Z-1a2b3c4d/...    releases, as training.artifacts.release describes them
    <address>/current/manifest.json                the manifest of the live one

`current` is a folder with one file and no link, because object stores have no links. The folder of a shop's own
releases can be such an address too: the link `current` leads to the same file.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs

from training.artifacts.release_manifest import MANIFEST, is_release_name

LIVE_MANIFEST = f"current/{MANIFEST}"
MAX_MANIFEST_BYTES = 50_000_000
STORE_READ_BYTES = 2**20


class ReleaseStoreError(RuntimeError):
    """The store cannot be reached, or not read from or written to; the message names the address and the reason."""


class ReleaseStore:
    """The releases at an address; what it returns is not checked."""

    def __init__(self, address: str) -> None:
        """Opens nothing yet.

        Args:
            address: A path or a URL that fsspec knows, such as /mnt/releases, file:///mnt/releases or
                s3://bucket/releases. Credentials come from where the store's client looks for them.

        Raises:
            ValueError: Nothing can open such an address; the message says what to install, if that would help.
        """
        self.address = address.rstrip("/")
        try:
            self._files, self._root = _file_system(self.address)
        except (ValueError, ImportError, OSError) as error:
            raise ValueError(f"{address} cannot be opened: {_reason(error)}") from None

    def live_name(self) -> str:
        """The name of the live release.

        Raises:
            ReleaseStoreError: The store cannot be read.
            ValueError: No release is live there, or the answer is no name of a release.
        """
        try:
            manifest = json.loads(self.read(LIVE_MANIFEST))
        except FileNotFoundError:
            raise ValueError(f"no release is live in {self.address}: it has no {LIVE_MANIFEST}") from None
        except ValueError as error:
            raise ValueError(f"{self.address}/{LIVE_MANIFEST} is damaged: {error}") from None
        name = manifest.get("name") if isinstance(manifest, dict) else None
        if not isinstance(name, str) or not is_release_name(name):
            raise ValueError(f"{self.address}/{LIVE_MANIFEST} has {name!r} as its name, which is none of a release")
        return name

    def read(self, path: str) -> bytes:
        """The content of a small file.

        Raises:
            FileNotFoundError: There is none.
            ReleaseStoreError: The store cannot be read.
            ValueError: It has more than MAX_MANIFEST_BYTES.
        """
        with self._talking("read", path), self._open(path) as file:
            content: bytes = file.read(MAX_MANIFEST_BYTES + 1)
        if len(content) > MAX_MANIFEST_BYTES:
            raise ValueError(f"{self.address}/{path} has more than {MAX_MANIFEST_BYTES:,} bytes")
        return content

    def chunks(self, path: str, start: int) -> Iterator[bytes]:
        """The content of a file from byte `start` on; raises as `read`, but for the size."""
        with self._talking("read", path):
            file = self._open(path)
        with file:
            with self._talking("read", path):
                file.seek(start)
            while True:
                with self._talking("read", path):
                    chunk = file.read(STORE_READ_BYTES)
                if not chunk:
                    return
                yield chunk

    def size(self, path: str) -> int | None:
        """The size of a file in bytes, or None if there is none; raises ReleaseStoreError."""
        try:
            with self._talking("read", path):
                return int(self._files.size(self._path(path)))
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Writes a small file; raises ReleaseStoreError."""
        with self._talking("write", path):
            self._make_folder(path)
            self._files.pipe_file(self._path(path), content)

    def upload(self, path: str, file: Path) -> None:
        """Copies a file into the store; raises ReleaseStoreError."""
        with self._talking("write", path):
            self._make_folder(path)
            self._files.put_file(str(file), self._path(path))

    def _make_folder(self, path: str) -> None:
        self._files.makedirs(self._path(path).rpartition("/")[0], exist_ok=True)

    def _open(self, path: str) -> IO[bytes]:
        opened: IO[bytes] = self._files.open(self._path(path), "rb")
        return opened

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}"

    @contextmanager
    def _talking(self, verb: str, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.address}/{path} does not exist") from None
        except Exception as error:  # each store's client has errors of its own, which share no base class
            raise ReleaseStoreError(
                f"cannot {verb} {self.address}/{path}: {_reason(error)}; run the command again, it goes on from there"
            ) from None


def _file_system(address: str) -> tuple[AbstractFileSystem, str]:
    if address.startswith("s3://"):
        # pyarrow's client is installed anyway. fsspec's own, s3fs, needs an older python-dateutil than constraints.txt
        # pins (docs/adr/0017).
        from fsspec.implementations.arrow import ArrowFSWrapper
        from pyarrow.fs import FileSystem

        files, root = FileSystem.from_uri(address)
        return ArrowFSWrapper(files), root
    opened: tuple[Any, str] = url_to_fs(address)
    files, root = opened
    return files, root.rstrip("/")


def _reason(error: Exception) -> str:
    """The first line of an error, which has a type of its own if it has no text."""
    return str(error).partition("\n")[0] or type(error).__name__
