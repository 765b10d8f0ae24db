"""The log of merged buyers: what the API accepted, and how much of it the online store has.

A merge is on the disk before the API answers 202. What the store did not take, because it was down or the process was
killed, the replay applies later: a position says how far it has come. To apply a merge again changes nothing.
"""

import datetime as dt
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from feature_repo.common.buyer_merges import BuyerMerge, parse_merge
from feature_repo.common.files import read_json, try_lock, write_json
from feature_repo.common.paths import MERGES_FILE
from online_api.events.event_log import append_lines

POSITION_FILE = "applied.json"


class _Position(NamedTuple):
    """How far the replay has come, in bytes of the file.

    Attributes:
        applied: The online store has the merges before this.
        at_materialize: Where the file ended when the replay noticed the last materialize.
        materialized_at: When that was, milliseconds since 1970.
    """

    applied: int = 0
    at_materialize: int = 0
    materialized_at: int = 0


class MergeLog:
    """The merges of one shop; safe to use from several threads and processes."""

    def __init__(self, folder: Path) -> None:
        """Creates no file before the first merge."""
        self._folder, self._path, self._position_path = folder, folder / MERGES_FILE, folder / POSITION_FILE

    def append(self, merge: BuyerMerge, moment: dt.datetime) -> None:
        """Writes a merge; it is on the disk when this returns.

        Raises:
            EventLogUnavailableError: It could not be written.
        """
        append_lines(self._path, [merge.line(moment)])

    @property
    def is_empty(self) -> bool:
        """Whether nobody was merged yet."""
        return not self._path.is_file()

    def replay(self, materialized_at: int, apply: Callable[[BuyerMerge], bool]) -> None:
        """Passes merges to `apply` that the online store may lack.

        These are the new ones, and after a materialize also those since the materialize before: it may have written the
        rows of guests again, because its ingest ran before the merge.

        Args:
            materialized_at: When features were materialized last, milliseconds since 1970.
            apply: Applies a merge; False if the store does not take it, which ends the replay.
        """
        if self.is_empty:
            return
        with self._replay_lock() as acquired:
            if not acquired:
                return
            position = self._position()
            if position.materialized_at != materialized_at:
                end = self._path.stat().st_size
                position = _Position(position.at_materialize, end, materialized_at)
            elif position.applied == self._path.stat().st_size:
                return
            self._save(self._apply_from(position, apply))

    def _apply_from(self, position: _Position, apply: Callable[[BuyerMerge], bool]) -> _Position:
        with self._path.open("rb") as file:
            file.seek(position.applied)
            for line in file:
                merge = parse_merge(line)
                if not line.endswith(b"\n") or (merge is not None and not apply(merge)):
                    break  # an incomplete line is being written
                position = position._replace(applied=position.applied + len(line))
        return position

    def _position(self) -> _Position:
        if not self._position_path.is_file():
            return _Position()
        return _Position(**read_json(self._position_path, "the API"))

    def _save(self, position: _Position) -> None:
        write_json(self._position_path, position._asdict())

    @contextmanager
    def _replay_lock(self) -> Iterator[bool]:
        """Tries to become the only replay; the kernel releases the lock if the process dies."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield try_lock(folder)
        finally:
            os.close(folder)
