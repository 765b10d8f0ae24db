"""Counts searches in memory, and appends the counts to the search log every few seconds."""

import datetime as dt
import logging
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from feature_repo.common.search_log import (
    SEARCHED,
    Searches,
    SearchOutcome,
    append_searches,
    delete_searches,
    logged_query,
)

log = logging.getLogger(__name__)

MOST_QUERIES_AT_ONCE = 5_000  # different ones between two writes; of further ones, only the number of searches counts


def _utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class SearchRecorder:
    """Records searches without results; safe to use from several threads, and several processes may write one log.

    A killed process loses what it has counted since its last write.
    """

    def __init__(self, folder: Path, days: int, clock: Callable[[], dt.datetime] = _utc_now) -> None:
        """Writes to `folder`, and keeps what was written for `days`; 0 records nothing."""
        self._folder, self._days, self._clock = folder, days, clock
        self._lock = threading.Lock()
        self._searches: Searches = Counter()
        self._cleaned: dt.date | None = None

    def record(self, query: str, outcome: SearchOutcome) -> None:
        """Counts a search; its query only if the outcome is one to report."""
        if not self._days:
            return
        key = None if outcome == SEARCHED else (logged_query(query), outcome)
        with self._lock:
            self._searches[None, SEARCHED] += 1
            if key is not None and key[0] and (key in self._searches or len(self._searches) < MOST_QUERIES_AT_ONCE):
                self._searches[key] += 1

    def write(self) -> None:
        """Appends what was counted since the last call, and deletes the files of days that are over."""
        with self._lock:
            searches, self._searches = self._searches, Counter()
        today = self._clock().date()
        try:
            if searches:
                append_searches(self._folder, searches, today)
            if self._cleaned != today:
                delete_searches(self._folder, today - dt.timedelta(days=max(self._days - 1, 0)))
                self._cleaned = today
        except OSError as error:
            # Not worth a failed request, nor the memory to keep them for later.
            log.warning("%d searches were not recorded in %s: %s", searches[None, SEARCHED], self._folder, error)
