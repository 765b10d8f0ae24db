"""The list of forgotten buyers: keyed hashes of their ids, so that ingest and the API know them and nobody reads them.

`tawsiya forget` writes the file; ingest and the API read it. HMAC-SHA256 with a random key of the shop, because plain
hashes of guessable ids, such as numbers, are undone in seconds. Whoever has the file can test a guess: it is for the
shop alone, like the data that it protects.
"""

import contextlib
import csv
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from feature_repo.common.files import file_stamp, replacing
from feature_repo.transforms.values.ids import clean_buyer_id

KEY_BYTES = 32
_CELL_ENDS = re.compile(r"[,;|\t\"'{}\[\]]|:(?=[\s\"'\d])")  # what stands around values in CSV and JSON
_DELIMITERS = ",;|\t"
_HASH_PATTERN = r"^[0-9a-f]{64}$"


class ForgottenFileError(ValueError):
    """The list of forgotten buyers is damaged. It must not count as empty, or they would come back."""


class _ForgottenFile(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[str, Field(pattern=_HASH_PATTERN, repr=False)]
    buyers: frozenset[Annotated[str, Field(pattern=_HASH_PATTERN)]]


class ForgottenBuyers:
    """The forgotten buyers of one shop, as the file says at each call; without the file there are none."""

    def __init__(self, path: Path) -> None:
        """Reads nothing yet."""
        self._path = path
        self._stamp: tuple[int, ...] = ()
        self._content: _ForgottenFile | None = None

    def holds(self, buyer_id: str) -> bool:
        """Whether the buyer of this cleaned id was forgotten.

        Raises:
            ForgottenFileError: The file is damaged.
        """
        content = self._read()
        return content is not None and _hash(content, buyer_id) in content.buyers

    def are_in(self, line: str) -> bool:
        """Whether one of them is a cell of a line that could not be read as a row; raises as `holds`."""
        cells = {clean_buyer_id(cell) for cell in _cells(line)}
        return any(self.holds(cell) for cell in cells if cell is not None)

    def is_empty(self) -> bool:
        """Whether nobody was forgotten; raises as `holds`."""
        content = self._read()
        return content is None or not content.buyers

    def add(self, buyer_ids: Iterable[str]) -> None:
        """Adds buyers to the file; the caller holds the shop's lock. Raises as `holds`."""
        content = self._read() or _ForgottenFile(key=secrets.token_hex(KEY_BYTES), buyers=frozenset())
        hashes = content.buyers | {_hash(content, buyer_id) for buyer_id in buyer_ids}
        if hashes == content.buyers:
            return
        # Sorted, so that the file does not say who was forgotten last.
        text = json.dumps({"key": content.key, "buyers": sorted(hashes)}, indent=2) + "\n"
        with replacing(self._path) as temporary:
            temporary.touch(mode=0o600)  # before the content is written
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                # On the disk before it replaces the list: a lost list would bring the buyers back.
                file.flush()
                os.fsync(file.fileno())

    def _read(self) -> _ForgottenFile | None:
        # The stamp at each call and not once a second: a `stat` takes a microsecond, and an event that is accepted
        # after `tawsiya forget` has ended would stay in the log.
        stamp = file_stamp(self._path)
        if stamp != self._stamp:
            self._content = _parsed(self._path) if stamp else None
            self._stamp = stamp
        return self._content


def _hash(content: _ForgottenFile, buyer_id: str) -> str:
    return hmac.new(bytes.fromhex(content.key), buyer_id.encode(), hashlib.sha256).hexdigest()


def _cells(line: str) -> Iterator[str]:
    """What may be the values of a line of CSV or JSON, whatever its delimiter."""
    yield from _CELL_ENDS.split(line)
    for delimiter in _DELIMITERS:
        with contextlib.suppress(csv.Error):
            yield from next(csv.reader([line], delimiter=delimiter), [])


def _parsed(path: Path) -> _ForgottenFile:
    try:
        return _ForgottenFile.model_validate_json(path.read_bytes())
    except ValidationError:
        raise ForgottenFileError(
            f"{path} is not a valid list of forgotten buyers; restore it from a backup (without it, forgotten buyers "
            "would be read again)"
        ) from None
