"""The log of searches without results: one file per UTC day, with a line per query and outcome, counted.

    {"query": "فستان سهره", "outcome": "no_match", "count": 3}

A line without a query counts all searches. The lines name no buyers, and of a text they have only what shows a shop
what it lacks: normalised, without long numbers and addresses (`logged_query`). Several processes append, and a query
may have many lines.
"""

import datetime as dt
import json
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

from feature_repo.common.files import append_lines
from feature_repo.transforms.normalise import normalise

log = logging.getLogger(__name__)

# no_match: the query is like no product. filtered: the conditions left none of the products that match. weak: a match,
# but no product has a word of the query. searched: any search.
SearchOutcome = Literal["no_match", "filtered", "weak", "searched"]
SEARCHED: SearchOutcome = "searched"
Searches = Counter[tuple[str | None, SearchOutcome]]

MAX_DAY_BYTES = 4_000_000  # about 60,000 lines
LONGEST_QUERY = 80
_MOST_DIGITS = 6  # more may be the number of a phone, a card or a person
_ADDRESS = re.compile(r"\S+@\S+")


def logged_query(query: str) -> str:
    """What the log keeps of a query."""
    text = normalise(_ADDRESS.sub(" ", query))[:LONGEST_QUERY]
    if sum(map(str.isdigit, text)) > _MOST_DIGITS:
        text = re.sub(r"\d", "#", text)
    return text.strip()


def append_searches(folder: Path, searches: Mapping[tuple[str | None, SearchOutcome], int], day: dt.date) -> None:
    """Appends counted searches to the file of a day, unless it has MAX_DAY_BYTES already.

    Raises:
        OSError: They could not be written.
    """
    path = folder / f"{day:%Y-%m-%d}.jsonl"
    if path.is_file() and path.stat().st_size >= MAX_DAY_BYTES:
        return
    lines = (
        json.dumps({"query": query, "outcome": outcome, "count": count}, ensure_ascii=False) + "\n"
        for (query, outcome), count in searches.items()
    )
    append_lines(path, lines)


def delete_searches(folder: Path, before: dt.date) -> None:
    """Deletes the files of days before `before`."""
    for path in folder.glob("*.jsonl"):
        if path.stem < f"{before:%Y-%m-%d}":
            path.unlink(missing_ok=True)  # another process may have deleted it


def read_searches(folders: Iterable[Path]) -> Iterator[tuple[str, Searches]]:
    """The days of the hosts' logs, the oldest first, and what was searched there; torn lines are left out."""
    for path in sorted((path for folder in folders for path in folder.glob("*.jsonl")), key=lambda path: path.stem):
        searches: Searches = Counter()
        for line in path.read_bytes().splitlines():
            try:
                content = json.loads(line)
                query, outcome, count = content["query"], content["outcome"], int(content["count"])
                if outcome not in get_args(SearchOutcome):
                    raise ValueError(outcome)
            except (ValueError, KeyError, TypeError):
                log.warning("%s: skipped a damaged line of %d bytes", path, len(line))
                continue
            searches[query, outcome] += count
        yield path.stem, searches
