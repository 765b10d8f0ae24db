"""A content-addressed cache of text vectors on disk, so that each distinct text is encoded only once.

It consists of two append-only files; row i of one belongs to row i of the other:

    keys_D.bin      16 bytes per text: BLAKE2b of the vectors' id and the text
    vectors_D.f32   D float32 per text

Vectors are written before keys, so every key has its vector. Readers ignore what a killed process wrote after the last
complete key, and the next writer truncates it.

Legend: N texts, D dimensions.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

import numpy as np
from filelock import FileLock
from tqdm import tqdm

from feature_repo.common.arrays import Float32Array

# 128 bits: two of a billion texts share a key with a probability below 1e-20.
_KEY_BYTES = 16
_CHUNK = 256  # texts per write and per step of the progress bar; a killed run loses at most this many


class PassageEncoder(Protocol):
    """The part of a text encoder that the cache uses."""

    @property
    def vectors_id(self) -> str:
        """Identifies the exact vectors."""

    @property
    def dimension(self) -> int:
        """The number of dimensions, D."""

    def encode_passages(self, texts: Sequence[str]) -> Float32Array:
        """(N, D) vectors in the order of `texts`."""


class TextVectorCache:
    """The vectors of one encoder, by text. Several processes may read and write one folder at the same time."""

    def __init__(self, folder: Path, vectors_id: str, dim: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._vectors_id = vectors_id
        self._dim = dim
        self._keys_file = folder / f"keys_{dim}.bin"
        self._vectors_file = folder / f"vectors_{dim}.f32"
        self._lock = FileLock(folder / ".lock")
        self._rows: dict[bytes, int] = {}
        self._rows_read = 0
        # Kept open: after a deletion they are still what was read, and no later file gets their inodes.
        self._keys: BinaryIO | None = None
        self._vectors: BinaryIO | None = None
        self.refresh()

    def __len__(self) -> int:
        """The number of texts at the last refresh."""
        return len(self._rows)

    def refresh(self) -> None:
        """Reads what other processes have added."""
        self._open_files()
        if self._keys is None or self._vectors is None:
            return
        # A writer may be between its two files, and a killed one may have left half a key.
        rows = min(_size(self._keys) // _KEY_BYTES, _size(self._vectors) // (4 * self._dim))
        if rows <= self._rows_read:
            return
        start = self._rows_read * _KEY_BYTES
        new = os.pread(self._keys.fileno(), rows * _KEY_BYTES - start, start)
        for row in range(self._rows_read, rows):
            start = (row - self._rows_read) * _KEY_BYTES
            self._rows[new[start : start + _KEY_BYTES]] = row
        self._rows_read = rows

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The distinct texts that have no vector, in order of first appearance."""
        # A dictionary of the missing ones alone: a stream of ten million texts need not fit in memory.
        return list(dict.fromkeys(text for text in texts if self._key(text) not in self._rows))

    def add(self, texts: Sequence[str], vectors_ND: Float32Array) -> None:
        """Stores the vectors of `texts`; a text that already has a vector keeps it.

        Raises:
            ValueError: The vectors are not (N, D) or not finite.
        """
        if vectors_ND.shape != (len(texts), self._dim) or not np.isfinite(vectors_ND).all():
            raise ValueError(
                f"{len(texts)} texts need finite vectors of shape {(len(texts), self._dim)}, got {vectors_ND.shape}"
            )
        with self._lock:
            self.refresh()
            # Under the lock, after reading what other processes have added, so that no text gets two rows.
            by_key = {self._key(text): i for i, text in enumerate(texts)}
            fresh = {key: i for key, i in by_key.items() if key not in self._rows}
            new_ND = np.ascontiguousarray(vectors_ND[list(fresh.values())], "<f4")
            rows = self._rows_read
            # The vectors first: a key must never be on disk without its vector.
            _write_at(self._vectors_file, rows * self._dim * 4, new_ND.tobytes())
            _write_at(self._keys_file, rows * _KEY_BYTES, b"".join(fresh))
            self.refresh()

    def read(self, texts: Sequence[str]) -> Float32Array:
        """(N, D) vectors in the order of `texts`; raises KeyError for a text without a vector."""
        if not texts:
            return np.empty((0, self._dim), np.float32)
        rows = [self._rows[self._key(text)] for text in texts]
        # Mapped, so that a small shop does not read the vectors of every text that was ever encoded.
        assert self._vectors is not None
        stored = np.memmap(self._vectors, "<f4", mode="r", shape=(self._rows_read, self._dim))
        return np.asarray(stored[rows], np.float32)

    def _open_files(self) -> None:
        """Opens the files, those of a new cache if the one before was deleted; leaves None if there is none."""
        if self._keys is not None and not _is_linked(self._keys):
            self._keys, self._vectors, self._rows_read = None, None, 0
            self._rows.clear()
        if self._keys is None:
            try:
                # Both of one cache if the keys are linked afterwards: a deletion begins with them.
                keys, vectors = self._keys_file.open("rb"), self._vectors_file.open("rb")
            except FileNotFoundError:
                return
            if _is_linked(keys):
                self._keys, self._vectors = keys, vectors

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self._vectors_id}\0{text}".encode(), digest_size=_KEY_BYTES).digest()


def delete_cache(folder: Path) -> None:
    """Deletes the cache of one encoder, which other processes may be reading or writing."""
    with FileLock(folder / ".lock"):
        # Keys first: a key must never be on disk without its vector. Not truncated, because readers map the vectors.
        for path in (*folder.glob("keys_*.bin"), *folder.glob("vectors_*.f32")):
            path.unlink()


def bytes_per_text(folder: Path) -> int:
    """What a text takes in the cache of one encoder; 0 if it is empty."""
    dims = (int(path.stem.removeprefix("keys_")) for path in folder.glob("keys_*.bin"))
    return max((_KEY_BYTES + 4 * dim for dim in dims), default=0)


def is_cache_of(folder: Path, encoder_id: str) -> bool:
    """Whether a cache has vectors of this encoder, in whatever number format."""
    return folder.name.startswith(quote(f"{encoder_id}-", safe=""))


def open_cache(encoder: PassageEncoder, cache_dir: Path) -> TextVectorCache:
    """The cache of an encoder's vectors; caches of several encoders lie side by side in `cache_dir`."""
    return TextVectorCache(cache_dir / quote(encoder.vectors_id, safe=""), encoder.vectors_id, encoder.dimension)


def chunks_to_encode(cache: TextVectorCache, texts: Iterable[str]) -> list[list[str]]:
    """The distinct texts without a vector, in chunks to encode one at a time.

    The last bits of a vector depend on the texts that it is encoded with. So whoever encodes these chunks, and in
    whatever order, makes the same vectors.
    """
    # Texts of similar length need less padding. With the longest first, the estimated time of the bar does not grow.
    missing = sorted(cache.missing(texts), key=len, reverse=True)
    return [missing[start : start + _CHUNK] for start in range(0, len(missing), _CHUNK)]


def encode_missing(
    texts: Iterable[str], encoder: PassageEncoder, cache_dir: Path, show_progress: bool = True
) -> TextVectorCache:
    """Encodes the texts that are not in the cache, and returns the cache, from which all of them can be read.

    `texts` is read more than once, so it must not be an iterator; it may read them from a file each time.
    """
    cache = open_cache(encoder, cache_dir)
    # Again if there are any: another shop's refresh may have deleted the cache meanwhile.
    while chunks := chunks_to_encode(cache, texts):
        n_missing = sum(map(len, chunks))
        with tqdm(total=n_missing, desc="Encoding texts", unit="text", disable=not show_progress) as bar:
            for chunk in chunks:
                cache.refresh()
                if wanted := cache.missing(chunk):  # another process may have encoded some of them
                    cache.add(wanted, encoder.encode_passages(wanted))
                bar.update(len(chunk))
    return cache


def encode_distinct(
    texts: Sequence[str], encoder: PassageEncoder, cache_dir: Path, show_progress: bool = True
) -> Float32Array:
    """(N, D) float32 vectors in the order of `texts`; encodes only texts that are not in the cache."""
    return encode_missing(texts, encoder, cache_dir, show_progress).read(texts)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _is_linked(file: BinaryIO) -> bool:
    """Whether a folder still names the file."""
    return os.fstat(file.fileno()).st_nlink > 0


def _write_at(file: Path, offset: int, content: bytes) -> None:
    """Replaces the end of the file, from `offset` on, by `content`; returns once it is on disk."""
    # "ab" writes at the end of the file, which is `offset` after truncate().
    with file.open("ab") as handle:
        handle.truncate(offset)
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
