"""Keeps in the online store only buyers whose last event is younger than `feature_store.buyer_ttl_days`.

The expiry of a buyer's Redis key covers all views of the buyer. Feast's key_ttl_seconds would hold for products, too,
and every write would renew it. Needs Redis 7 or Valkey, for the options of EXPIREAT.
"""

import time
from collections.abc import Sequence
from typing import Any

DAY_SECONDS = 24 * 3600


class BuyerExpiry:
    """The expiry of buyers' keys.

    A row is given by its key and its `last_event`, in seconds since 1970; 0 if the row does not tell.
    """

    def __init__(self, redis: Any, ttl_days: int) -> None:
        """Sends nothing to Redis.

        Args:
            redis: The client.
            ttl_days: Days after a buyer's last event.
        """
        self._redis, self._ttl_seconds = redis, ttl_days * DAY_SECONDS

    def are_kept(self, keys: Sequence[bytes], last_events: Sequence[float]) -> list[bool]:
        """Which rows of materialized buyers are to be written.

        These are the rows of active buyers, and those whose key the store has already: a purchase row does not tell
        when the buyer's last event was, and a stored row may be wrong by now.
        """
        since = time.time() - self._ttl_seconds
        unsure = [key for key, last_event in zip(keys, last_events, strict=True) if last_event < since]
        with self._redis.pipeline(transaction=False) as pipeline:
            for key in unsure:
                pipeline.exists(key)
            stored = dict(zip(unsure, pipeline.execute(), strict=True))
        return [bool(stored.get(key, True)) for key in keys]

    def limit(self, keys: Sequence[bytes], last_events: Sequence[float]) -> None:
        """Lets materialized buyers expire: after their last event, or from now on if that is unknown or long ago."""
        now = time.time()
        with self._redis.pipeline(transaction=False) as pipeline:
            for key, last_event in zip(keys, last_events, strict=True):
                end = int(last_event + self._ttl_seconds)
                if end > now:
                    # Never earlier than it is: the buyer may have pushed since. GT ignores keys without an expiry.
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
