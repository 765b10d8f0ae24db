"""Keeps in the online store only buyers whose last event is younger than `feature_store.buyer_ttl_days`.

The expiry of a buyer's Redis key covers all views of the buyer. Feast's key_ttl_seconds would hold for products, too,
and every write would renew it. Needs Redis 7 or Valkey, for the options of EXPIREAT.
"""

import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from feature_repo import columns as c

DAY_SECONDS = 24 * 3600

# A row as Feast writes it: entity, values, its time, and when it was made.
FeastRow = tuple[EntityKey, dict[str, Value], datetime, datetime | None]


class BuyerExpiry:
    """The expiry of buyers' keys."""

    def __init__(self, redis: Any, ttl_days: int) -> None:
        """Sends nothing to Redis.

        Args:
            redis: The client.
            ttl_days: Days after a buyer's last event.
        """
        self._redis, self._ttl_seconds = redis, ttl_days * DAY_SECONDS

    def kept(self, keys: Sequence[bytes], rows: Sequence[FeastRow]) -> tuple[list[bytes], list[FeastRow]]:
        """Those rows of materialized buyers, with their keys, that are to be written.

        These are the rows of active buyers, and those whose key the store has already: a purchase row does not tell
        when the buyer's last event was, and a stored row may be wrong by now.
        """
        since = time.time() - self._ttl_seconds
        unsure = [key for key, row in zip(keys, rows, strict=True) if _last_event(row) < since]
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in unsure:
                pipeline.exists(key)
            stored = dict(zip(unsure, pipeline.execute(), strict=True))
        kept = [(key, row) for key, row in zip(keys, rows, strict=True) if stored.get(key, True)]
        return [key for key, _ in kept], [row for _, row in kept]

    def limit(self, keys: Sequence[bytes], rows: Sequence[FeastRow]) -> None:
        """Lets materialized buyers expire: after their last event, or from now on if that is unknown or long ago."""
        now = time.time()
        with self._redis.pipeline(transaction=False) as pipeline:
            for key, row in zip(keys, rows, strict=True):
                end = int(_last_event(row) + self._ttl_seconds)
                if end > now:
                    # Not earlier than now: the buyer may have pushed events since. GT ignores keys without an expiry.
                    pipeline.expireat(key, end, nx=True)
                    pipeline.expireat(key, end, gt=True)
                else:
                    pipeline.expire(key, self._ttl_seconds, nx=True)
            pipeline.execute()

    def renew(self, keys: Sequence[bytes]) -> None:
        """Lets buyers expire from now on: they have just pushed events."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.expire(key, self._ttl_seconds)
            pipeline.execute()


def _last_event(row: FeastRow) -> float:
    """Seconds since 1970 of a row's last event; 0 for a row without events or of another view."""
    times = row[1].get(c.EVENT_TIMES)
    return max(times.int64_list_val.val, default=0) / 1000 if times is not None else 0.0
