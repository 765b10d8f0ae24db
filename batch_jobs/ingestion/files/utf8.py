"""Text files as plain UTF-8 files, which is all that DuckDB reads without an extension.

A file that is plain UTF-8 already is not copied. Others are unpacked and transcoded to the scratch folder as streams.
"""

import gzip
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from batch_jobs.ingestion.files.encodings import (
    GUESSES,
    UTF8,
    certain_encoding,
    guess_encoding,
    is_other_encoding,
    known_encoding,
)
from batch_jobs.ingestion.files.formats import Compression, compression_of, refuse_foreign

CHUNK_BYTES = 1 << 20
SNIFFED_BYTES = 1 << 16
SHOWN_CHARS = 60


class OtherEncodingError(ValueError):
    """A text file is in another encoding than UTF-8, which has to be declared."""

    def __init__(self, message: str, path: Path, encoding: str) -> None:
        super().__init__(message)
        self.path = path
        self.encoding = encoding


@dataclass(frozen=True)
class TextFile:
    """A text file of a source.

    Attributes:
        path: The file, as messages name it.
        plain: The same content as an uncompressed UTF-8 file; `path` itself if it is one.
        encoding: Encoding of `path`.
        ours: Whether Tawsiya wrote it: then it is UTF-8 but for lines that a crash cut off.
    """

    path: Path
    plain: Path
    encoding: str = UTF8
    ours: bool = False


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """An empty folder that is removed at the end, with what a killed run left there."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def text_file(path: Path, declared: str | None, scratch: Path, *, lines: bool) -> TextFile:
    """Checks a text file and makes it readable as UTF-8.

    Args:
        path: The file; plain, gzip or zstd, told by its content.
        declared: Its encoding, as the mapping declares it.
        scratch: Folder of the copies.
        lines: Whether any text is fine, such as JSON lines.

    Raises:
        ValueError: The file is cut short, damaged, no text, or not in its encoding.
    """
    compression = compression_of(path)
    plain = path if compression is None else _unpacked(path, compression, scratch)
    with plain.open("rb") as file:
        start = file.read(SNIFFED_BYTES)
    certain = certain_encoding(start)
    if certain is None or certain == UTF8:
        refuse_foreign(path, start, lines=lines)
    try:
        encoding = certain or (known_encoding(declared) if declared else UTF8)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if encoding != UTF8:
        plain = _transcoded(path, plain, encoding, _copy_path(path, scratch))
    return TextFile(path, plain, encoding)


def check_utf8(file: TextFile, *, header_is_other: bool = False) -> None:
    """Raises a ValueError if a file is not UTF-8 as a whole; the message says which encoding it looks like.

    A header that is not UTF-8 proves it for the file.

    Raises:
        OtherEncodingError: The ValueError where the encoding can be guessed.
    """
    count = non_ascii = invalid = 0
    samples: list[tuple[int, bytes]] = []
    with file.plain.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(CHUNK_BYTES), b""), start=1):
            count += 1
            if line.isascii():
                continue
            non_ascii += 1
            try:
                line.decode(UTF8)
            except UnicodeDecodeError:
                # A cut at CHUNK_BYTES may fall within a letter: a line that long proves nothing.
                if len(line) < CHUNK_BYTES:
                    invalid += 1
                    samples += [(number, line)] if len(samples) < 100 else []
    if not header_is_other and not is_other_encoding(count, non_ascii, invalid):
        return
    number, line = samples[0]
    guess = guess_encoding([sample for _, sample in samples])
    if guess is None:
        raise ValueError(f"{file.path} is not UTF-8 (line {number}); save it as UTF-8 or declare its encoding")
    text = line.decode(guess).strip()[:SHOWN_CHARS]
    raise OtherEncodingError(
        f"{file.path} is not UTF-8; it looks like {GUESSES[guess]} (line {number} would read {text!r}); "
        f"set encoding: {guess} in the mapping or save it as UTF-8",
        file.path,
        guess,
    )


def _unpacked(path: Path, compression: Compression, scratch: Path) -> Path:
    """Unpacks a file to its end, so that a file that is cut short is an error before anything is written."""
    target = _copy_path(path, scratch)
    size = lines = 0
    try:
        with (
            gzip.open(path) if compression == "gzip" else pa.CompressedInputStream(str(path), "zstd") as stream,
            target.open("wb") as output,
        ):
            while chunk := stream.read1(CHUNK_BYTES):  # read would lose what stands before an error
                size += len(chunk)
                lines += chunk.count(b"\n")
                output.write(chunk)
    except EOFError:
        problem = "ends early"
    except (OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise RuntimeError(f"{path} cannot be unpacked to {target}: {error}") from None
        problem = "ends early" if "Truncated" in str(error) else f"is damaged: {error}"
    else:
        return target
    summary = "is cut short" if problem == "ends early" else "is damaged"
    raise ValueError(
        f"{path} {summary}: the {compression} stream {problem} (after {size:,} bytes, in line {lines + 1:,}); "
        "export it again"
    )


def _transcoded(path: Path, plain: Path, encoding: str, target: Path) -> Path:
    """Writes a file as UTF-8."""
    done = 0
    try:
        # newline="": line ends stay as they are.
        with (
            plain.open(encoding=encoding, newline="") as text,
            target.open("w", encoding=UTF8, newline="") as output,
        ):
            while chunk := text.read(CHUNK_BYTES):
                done += chunk.count("\n")
                output.write(chunk)
    except UnicodeError as error:
        reason = getattr(error, "reason", str(error))
        if reason in ("truncated data", "unexpected end of data"):
            raise ValueError(f"{path} is cut short: it ends within a character of {encoding}") from None
        raise ValueError(
            f"{path} is not in the encoding {encoding}: {reason} after line {done + 1:,}; declare the encoding that "
            "it has, or save it as UTF-8"
        ) from None
    return target


def _copy_path(path: Path, scratch: Path) -> Path:
    """A new path; the number keeps files of one name in several folders apart."""
    return scratch / f"{len(list(scratch.iterdir()))}-{path.name[-100:]}.txt"
