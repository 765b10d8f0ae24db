"""The popular list that a client keeps for the time when the service is away."""

import time
from collections.abc import Callable

from tawsiya_client.models import Item, ProductList
from tawsiya_client.options import AnyOptions

KEPT = 100  # products; the longest list that the service gives


class Fallback:
    """The kept list and when it was fetched; safe to use from several threads, since each update is one assignment."""

    def __init__(self, fresh_seconds: float, away_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Starts without a list.

        Args:
            fresh_seconds: The list is due for replacement when it is older.
            away_seconds: How long a failed call counts.
            clock: Seconds that never go back.
        """
        self._fresh_seconds, self._away_seconds, self._clock = fresh_seconds, away_seconds, clock
        self._popular: ProductList | None = None
        self._due = self._away_until = clock()

    def take_turn(self) -> bool:
        """Whether the list is due and the caller should fetch it; for a while, nobody else is told so."""
        if self._clock() < self._due:
            return False
        self._due = self._clock() + self._away_seconds  # for the case that fetching fails
        return True

    @property
    def is_away(self) -> bool:
        """Whether a call failed a moment ago, so that asking the service again would only make the caller wait."""
        return self._popular is not None and self._clock() < self._away_until

    def keep(self, popular: ProductList) -> None:
        """Replaces the list."""
        self._popular, self._due = popular, self._clock() + self._fresh_seconds

    def note_failure(self) -> None:
        """Remembers that a call failed."""
        self._away_until = self._clock() + self._away_seconds

    def list(self, options: AnyOptions) -> ProductList | None:
        """The kept products that meet the conditions; None if nothing was kept yet.

        Limits per brand and category and the shop's rules are not applied, and `new_only` leaves nothing out.
        """
        if self._popular is None:
            return None
        items = [item for item in self._popular.items if _meets(item, options)][: options.get("k", 10)]
        return self._popular.model_copy(update={"source": "fallback", "degraded": ["service"], "items": items})


def _meets(item: Item, options: AnyOptions) -> bool:
    """Whether a product meets the conditions; as in the service, an unknown price meets no condition on prices."""
    low, high = options.get("min_price"), options.get("max_price")
    by_price = low is not None or high is not None
    return not (
        item.product_id in options.get("exclude", ())
        or (options.get("category") and item.category not in options["category"])
        or (options.get("brand") and item.brand not in options["brand"])
        or (options.get("currency") and item.currency != options["currency"].upper())
        or (options.get("in_stock") and item.stock == 0)
        or (by_price and item.price is None)
        or (low is not None and item.price is not None and item.price < low)
        or (high is not None and item.price is not None and item.price > high)
    )
