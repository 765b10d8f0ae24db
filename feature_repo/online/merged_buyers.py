"""Which guests have become which buyers, as the online store knows it; the event log has it durably."""

from collections.abc import Collection
from typing import Any


class OtherAccountError(RuntimeError):
    """A guest was merged into another buyer before. The first merge counts."""


class MergedBuyers:
    """The merged guests of one shop: a key in Redis per guest, which holds the id of the buyer."""

    def __init__(self, redis: Any, shop: str) -> None:
        """Sends nothing to Redis; `shop` begins the shop's own keys (shop_prefix)."""
        self._redis, self._shop = redis, shop

    def accounts(self, buyer_ids: Collection[str]) -> dict[str, str]:
        """Whom each of these ids was merged into; ids that were not are left out. One round trip."""
        with self._redis.pipeline(transaction=False) as pipeline:
            for buyer_id in buyer_ids:
                pipeline.get(self._key(buyer_id))
            found = zip(buyer_ids, pipeline.execute(), strict=True)
        return {buyer_id: value.decode() for buyer_id, value in found if value is not None}

    def account_of(self, buyer_id: str) -> str:
        """The buyer whom an id belongs to in the end: itself, unless it was merged."""
        # It ends: an id is merged once, and never into one that belongs to it (OnlineFeatures.merge_buyer).
        while (account := self.accounts([buyer_id]).get(buyer_id)) is not None:
            buyer_id = account
        return buyer_id

    def add(self, guest_id: str, buyer_id: str) -> None:
        """Records that a guest was merged into a buyer; the caller holds the locks of both."""
        self._redis.set(self._key(guest_id), buyer_id)

    def _key(self, buyer_id: str) -> str:
        return f"{self._shop}:merged:{buyer_id}"
