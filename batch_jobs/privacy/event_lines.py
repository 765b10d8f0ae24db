"""The events of a buyer in the files that the API appends to: the event log and the pending events."""

import json
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batch_jobs.privacy.mentions import Mentions
from feature_repo import columns as c
from feature_repo.common.files import locked, replacing
from feature_repo.transforms.values.ids import clean_buyer_id

LineFilter = Callable[[str], bool]


def line_filter(buyer_ids: Collection[str]) -> LineFilter:
    """Whether a line is an event of these buyers; also a torn line that mentions one of them."""
    wanted, mentions = frozenset(buyer_ids), Mentions(buyer_ids)

    def is_theirs(line: str) -> bool:
        try:
            content = json.loads(line)
            # A merge of buyers has a guest as well.
            ids = [content[c.BUYER_ID], *([content[c.GUEST_ID]] if c.GUEST_ID in content else [])]
            return not wanted.isdisjoint(clean_buyer_id(str(one)) for one in ids)
        except (ValueError, TypeError, KeyError):
            return mentions.in_text(line)

    return is_theirs


def events_in(path: Path, buyer_ids: Collection[str]) -> Iterator[dict[str, Any]]:
    """The events of these buyers in a file, in its order."""
    is_theirs = line_filter(buyer_ids)
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if is_theirs(line):
                try:
                    yield json.loads(line)
                except ValueError:
                    yield {"line": line}


def blank_events(path: Path, buyer_ids: Collection[str]) -> int:
    """Overwrites the events of these buyers with blanks in a file of the event log; returns their number.

    The API may be appending to the file, and it remembers places in it (online_api/events/in_flight.py), which must
    not move. All readers skip blank lines.
    """
    is_theirs = line_filter(buyer_ids)
    with path.open("r+b") as file, locked(file.fileno()):
        places, start = [], 0
        for line in file:
            if is_theirs(line.decode(errors="surrogateescape")):
                places.append((start, len(line.rstrip(b"\n"))))
            start += len(line)
        for start, length in places:
            file.seek(start)
            file.write(b" " * length)
        if places:
            file.flush()
            os.fsync(file.fileno())
    return len(places)


def remove_events(path: Path, buyer_ids: Collection[str]) -> int:
    """Removes the events of these buyers from a file of waiting events, and returns their number.

    The API locks the file to append. It sees that the locked file was replaced, and appends to the new one.
    """
    is_theirs = line_filter(buyer_ids)
    removed = 0
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file, locked(file.fileno()):
        removed = sum(map(is_theirs, file))
        if removed:
            file.seek(0)
            with (
                replacing(path) as temporary,
                temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="\n") as kept,
            ):
                temporary.chmod(os.fstat(file.fileno()).st_mode & 0o777)
                kept.writelines(line for line in file if not is_theirs(line))
                # On the disk before it replaces events that were acknowledged.
                kept.flush()
                os.fsync(kept.fileno())
    return removed


@contextmanager
def no_replay(folder: Path) -> Iterator[None]:
    """Keeps the API from replaying the pending events of `folder` meanwhile; waits for a replay in progress."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with locked(file):
            yield
    finally:
        os.close(file)
