"""The file of merged buyers: which guests became which buyers, a JSON object per line, in the order of arrival.

The API appends to it; ingest counts a guest's events as the buyer's. It lies beside the days of the event log and not
in them, because it is kept when these go (`data.event_log_days`): the shop's exports may have the guest's events for
ever.
"""

import datetime as dt
import heapq
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from feature_repo import columns as c
from feature_repo.transforms.values.ids import clean_buyer_id


class BuyerMerge(NamedTuple):
    """One merge."""

    guest_id: str
    buyer_id: str

    def line(self, moment: dt.datetime) -> str:
        """The merge as a line of the file, at a moment with a zone."""
        content = {
            c.GUEST_ID: self.guest_id,
            c.BUYER_ID: self.buyer_id,
            c.TIMESTAMP: moment.astimezone(dt.UTC).isoformat(timespec="milliseconds"),
        }
        return json.dumps(content, ensure_ascii=False) + "\n"


def parse_merge(line: bytes) -> BuyerMerge | None:
    """The merge of a line; None for a line that is blank, or torn by a crash of the machine."""
    try:
        content = json.loads(line)
        return BuyerMerge(str(content[c.GUEST_ID]), str(content[c.BUYER_ID]))
    except (ValueError, KeyError, TypeError):
        return None


def read_merges(paths: Iterable[Path]) -> list[BuyerMerge]:
    """The merges of the files of all hosts, by cleaned ids, in the order of their times.

    Merges of one time, and all of a file whose times go backwards, keep the order of the lines. Some files may be
    missing.
    """
    merges = list(heapq.merge(*map(_timed_merges, paths), key=itemgetter(0)))
    cleaned = [(clean_buyer_id(merge.guest_id), clean_buyer_id(merge.buyer_id)) for _, merge in merges]
    return [BuyerMerge(guest_id, buyer_id) for guest_id, buyer_id in cleaned if guest_id and buyer_id]


def _timed_merges(path: Path) -> Iterator[tuple[str, BuyerMerge]]:
    """The merges of a file, with times that never go backwards."""
    if not path.is_file():
        return
    latest = ""
    with path.open("rb") as file:
        for line in file:
            merge = parse_merge(line)
            if merge is not None:
                # As texts, all of one form (BuyerMerge.line); a line without a time stays behind the one before.
                latest = max(latest, str(json.loads(line).get(c.TIMESTAMP, "")))
                yield latest, merge


def accounts_of_guests(merges: Iterable[BuyerMerge]) -> dict[str, str]:
    """The buyer whom each guest belongs to in the end.

    As the online store does it: the first merge of a guest counts, and one into somebody who belongs to the guest is
    none.
    """
    became: dict[str, str] = {}
    for guest_id, buyer_id in merges:
        account = _end_of(buyer_id, became)
        if guest_id not in became and account != guest_id:
            became[guest_id] = account
    return {guest_id: _end_of(guest_id, became) for guest_id in became}


def guests_of(buyer_ids: Collection[str], accounts: Mapping[str, str]) -> list[str]:
    """The guests who belong to some of these buyers."""
    wanted = set(buyer_ids)
    return [guest_id for guest_id, account in accounts.items() if account in wanted]


def _end_of(buyer_id: str, became: Mapping[str, str]) -> str:
    while buyer_id in became:
        buyer_id = became[buyer_id]
    return buyer_id
