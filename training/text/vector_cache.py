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
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import quote

import numpy as np
from filelock import FileLock

from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.console.progress import progress_bar
from training.text.sorted_keys import NO_ROW, TEXT_KEY_BYTES, SortedKeys, first_halves

# 128 bits of key: two of a billion texts share one with a probability below 1e-20.
_CHUNK = 256  # texts per write and per step of the progress bar; a killed run loses at most this many
_LOOKED_UP_AT_ONCE = 16_384  # texts
WAVE = 262_144  # texts that wait for their vectors: about 100 MB
_UNSORTED = 65_536  # new keys; sorting them in takes as long as all keys, and a dictionary 140 bytes for each


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
        self._sorted = SortedKeys()  # of the first rows
        self._recent: dict[bytes, int] = {}  # of the rows after them
        self._rows_read = 0
        # Kept open: after a deletion they are still what was read, and no later file gets their inodes.
        self._keys: BinaryIO | None = None
        self._vectors: BinaryIO | None = None
        self.refresh()

    def __len__(self) -> int:
        """The number of texts at the last refresh."""
        return self._rows_read

    def refresh(self) -> None:
        """Reads what other processes have added."""
        self._open_files()
        if self._keys is None or self._vectors is None:
            return
        # A writer may be between its two files, and a killed one may have left half a key.
        rows = min(_size(self._keys) // TEXT_KEY_BYTES, _size(self._vectors) // (4 * self._dim))
        if rows <= self._rows_read:
            return
        if rows - len(self._sorted) > _UNSORTED:
            self._sorted.extend(self._read_keys(len(self._sorted), rows))
            self._recent.clear()
        else:
            new = self._read_keys(self._rows_read, rows)
            for row in range(self._rows_read, rows):
                start = (row - self._rows_read) * TEXT_KEY_BYTES
                self._recent[new[start : start + TEXT_KEY_BYTES]] = row
        self._rows_read = rows

    def missing(self, texts: Iterable[str]) -> list[str]:
        """The distinct texts that have no vector, in order of first appearance."""
        found: dict[str, None] = {}
        for batch in _batches(texts):
            rows = self._rows_of(batch).tolist()
            found |= dict.fromkeys(text for text, row in zip(batch, rows, strict=True) if row == NO_ROW)
        return list(found)

    def n_missing(self, texts: Iterable[str]) -> int:
        """The number of distinct texts that have no vector, which need not fit in memory."""
        # By half of each key, which takes 8 bytes: two of ten million texts share it with a probability below 1e-5,
        # and the number is for the progress bar.
        found = [np.empty(0, np.uint64)]
        for batch in _batches(texts):
            missing = (text for text, row in zip(batch, self._rows_of(batch).tolist(), strict=True) if row == NO_ROW)
            found.append(first_halves(b"".join(map(self._key, missing))))
        return len(np.unique(np.concatenate(found)))

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
            rows = self._rows_of_keys(list(by_key)).tolist()
            fresh = {key: i for (key, i), row in zip(by_key.items(), rows, strict=True) if row == NO_ROW}
            new_ND = np.ascontiguousarray(vectors_ND[list(fresh.values())], "<f4")
            # The vectors first: a key must never be on disk without its vector.
            _write_at(self._vectors_file, self._rows_read * self._dim * 4, new_ND.tobytes())
            _write_at(self._keys_file, self._rows_read * TEXT_KEY_BYTES, b"".join(fresh))
            self.refresh()

    def read(self, texts: Sequence[str]) -> Float32Array:
        """(N, D) vectors in the order of `texts`; raises KeyError for a text without a vector."""
        vectors_ND = np.empty((len(texts), self._dim), np.float32)
        rows = self._rows_of(texts)
        if (rows == NO_ROW).any():
            raise KeyError(texts[int(np.argmin(rows))])
        # Vector by vector in the order of the file. A mapped file would count as memory, with all pages around each.
        for place in np.argsort(rows).tolist():
            assert self._vectors is not None
            stored = os.pread(self._vectors.fileno(), 4 * self._dim, int(rows[place]) * 4 * self._dim)
            vectors_ND[place] = np.frombuffer(stored, "<f4")
        return vectors_ND

    def _open_files(self) -> None:
        """Opens the files, those of a new cache if the one before was deleted; leaves None if there is none."""
        if self._keys is not None and not _is_linked(self._keys):
            self._keys, self._vectors = None, None
            self._sorted, self._recent, self._rows_read = SortedKeys(), {}, 0
        if self._keys is None:
            try:
                # Both of one cache if the keys are linked afterwards: a deletion begins with them.
                keys, vectors = self._keys_file.open("rb"), self._vectors_file.open("rb")
            except FileNotFoundError:
                return
            if _is_linked(keys):
                self._keys, self._vectors = keys, vectors

    def _read_keys(self, start: int, end: int) -> bytes:
        assert self._keys is not None
        return os.pread(self._keys.fileno(), (end - start) * TEXT_KEY_BYTES, start * TEXT_KEY_BYTES)

    def _rows_of(self, texts: Sequence[str]) -> Int64Array:
        """(N,) rows of texts; NO_ROW for a text without a vector."""
        return self._rows_of_keys(list(map(self._key, texts)))

    def _rows_of_keys(self, keys: list[bytes]) -> Int64Array:
        rows = self._sorted.rows(b"".join(keys))
        if self._recent:
            for place in np.flatnonzero(rows == NO_ROW).tolist():
                rows[place] = self._recent.get(keys[place], NO_ROW)
        return rows

    def _key(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self._vectors_id}\0{text}".encode(), digest_size=TEXT_KEY_BYTES).digest()


def delete_cache(folder: Path) -> None:
    """Deletes the cache of one encoder, which other processes may be reading or writing."""
    with FileLock(folder / ".lock"):
        # Keys first: a key must never be on disk without its vector. Not truncated: readers go on with the open files.
        for path in (*folder.glob("keys_*.bin"), *folder.glob("vectors_*.f32")):
            path.unlink()


def bytes_per_text(folder: Path) -> int:
    """What a text takes in the cache of one encoder; 0 if it is empty."""
    dims = (int(path.stem.removeprefix("keys_")) for path in folder.glob("keys_*.bin"))
    return max((TEXT_KEY_BYTES + 4 * dim for dim in dims), default=0)


def is_cache_of(folder: Path, encoder_id: str) -> bool:
    """Whether a cache has vectors of this encoder, in whatever number format."""
    return folder.name.startswith(quote(f"{encoder_id}-", safe=""))


def open_cache(encoder: PassageEncoder, cache_dir: Path) -> TextVectorCache:
    """The cache of an encoder's vectors; caches of several encoders lie side by side in `cache_dir`."""
    return TextVectorCache(cache_dir / quote(encoder.vectors_id, safe=""), encoder.vectors_id, encoder.dimension)


def waves_to_encode(cache: TextVectorCache, texts: Iterable[str]) -> Iterator[list[list[str]]]:
    """The distinct texts without a vector, in chunks to encode one at a time; WAVE texts or a few more in each list.

    The vectors of a list must be in the cache before the next is taken. So these texts are in memory, and no others.

    The last bits of a vector depend on the texts that it is encoded with. So whoever encodes these chunks, and in
    whatever order, makes the same vectors.
    """
    wave: dict[str, None] = {}
    for batch in _batches(texts):
        wave |= dict.fromkeys(cache.missing(batch))
        if len(wave) >= WAVE:
            yield _chunks(wave)
            wave = {}
    if wave:
        yield _chunks(wave)


def _chunks(texts: Iterable[str]) -> list[list[str]]:
    # Texts of similar length need less padding. With the longest first, the estimated time of the bar does not grow.
    longest_first = sorted(texts, key=len, reverse=True)
    return [longest_first[start : start + _CHUNK] for start in range(0, len(longest_first), _CHUNK)]


def encode_missing(
    texts: Iterable[str], encoder: PassageEncoder, cache_dir: Path, show_progress: bool = True
) -> TextVectorCache:
    """Encodes the texts that are not in the cache, and returns the cache, from which all of them can be read.

    `texts` is read more than once, so it must not be an iterator; it may read them from a file each time.
    """
    cache = open_cache(encoder, cache_dir)
    # Again if there are any: another shop's refresh may have deleted the cache meanwhile.
    while n_missing := cache.n_missing(texts):
        with progress_bar(total=n_missing, title="Encoding texts", unit="text", shown=show_progress) as bar:
            for chunk in (chunk for wave in waves_to_encode(cache, texts) for chunk in wave):
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


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(texts)
    while batch := list(islice(remaining, _LOOKED_UP_AT_ONCE)):
        yield batch
