"""How soon a buyer buys a product again, from the buyer's own purchases and those of all buyers.

Repeat purchases are taken for a Poisson process whose rate is the buyer's own, drawn from a gamma distribution around
the product's rate in the shop (Bhagat et al., Buy It Again: Modeling Repeat Purchase Recommendations, KDD 2018). With x
repeats in the T days since the first purchase, the expected rate is (x + PRIOR) / (T + PRIOR / product's rate): nearly
the product's for a buyer who bought once, nearly the buyer's own after many purchases. ADR 0019 has what this finds.

Legend: N products of the release, P products of a buyer, E purchases.
"""

from typing import NamedTuple

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from training.data.histories import DAY_MS

BUYER_PRIOR = 1  # repeats that the product's rate is worth beside the buyer's own
PRODUCT_PRIOR = 10  # repeats that the shop's rate is worth beside the product's
# A product that was just bought counts this much, and fully once half of its interval has passed.
JUST_BOUGHT, RESTED = 0.75, 0.5
HORIZON_DAYS = 7  # the score is the probability of a purchase within so many days


class Repurchases(NamedTuple):
    """The repeat purchases of each product up to the end of the data.

    Attributes:
        repeats_N: (N,) int32 days on which a buyer of the product bought it again.
        buyer_days_N: (N,) float32 days since each buyer's first purchase, added up.
    """

    repeats_N: Int32Array
    buyer_days_N: Float32Array

    def rates(self, positions: Int64Array) -> Float64Array:
        """Repeats per day and buyer of P products, (P,), drawn to the shop's rate where there are few."""
        shop = max(float(self.repeats_N.sum()), 1.0) / max(float(self.buyer_days_N.sum(dtype=np.float64)), 1.0)
        repeats, days = self.repeats_N[positions], self.buyer_days_N[positions].astype(np.float64)
        rates: Float64Array = (repeats + PRODUCT_PRIOR) / (days + PRODUCT_PRIOR / shop)
        return rates

    def is_rebought(self, positions: Int64Array) -> BoolArray:
        """Whether anybody ever bought the product again, (P,)."""
        rebought: BoolArray = self.repeats_N[positions] > 0
        return rebought


class OwnPurchases(NamedTuple):
    """A buyer's purchases by product.

    Attributes:
        positions: (P,) int64 products, ascending.
        repeats: (P,) days of purchase after the first one.
        first_ms, last_ms: (P,) int64 times of the first and the last purchase.
    """

    positions: Int64Array
    repeats: Int64Array
    first_ms: Int64Array
    last_ms: Int64Array


def own_purchases(positions: Int64Array, times_ms: Int64Array) -> OwnPurchases:
    """Groups E purchases, in any order, by product; those of one day (UTC) are one."""
    products, places = np.unique(positions, return_inverse=True)
    # Product and day in one number, which sorts faster than pairs do.
    days = np.unique((places << 32) | (times_ms // DAY_MS)) >> 32
    first_ms = np.full(len(products), np.iinfo(np.int64).max)
    last_ms = np.zeros(len(products), dtype=np.int64)
    np.minimum.at(first_ms, places, times_ms)
    np.maximum.at(last_ms, places, times_ms)
    return OwnPurchases(products, np.bincount(days, minlength=len(products)) - 1, first_ms, last_ms)


def due_scores(own: OwnPurchases, all_buyers: Repurchases, now_ms: int) -> Float32Array:
    """The probability that the buyer buys each product within HORIZON_DAYS, (P,).

    A product that was bought within half of its expected interval has up to a quarter less: it is not due yet.
    """
    age_days = np.maximum(now_ms - own.first_ms, 0) / DAY_MS
    rates = (own.repeats + BUYER_PRIOR) / (age_days + BUYER_PRIOR / all_buyers.rates(own.positions))
    # The expected interval is 1 / rate: of the buyer and of the shop, each by its count.
    share_of_interval = np.maximum(now_ms - own.last_ms, 0) / DAY_MS * rates
    due = JUST_BOUGHT + (1 - JUST_BOUGHT) * np.minimum(share_of_interval / RESTED, 1)
    probability: Float32Array = -np.expm1(-rates * due * HORIZON_DAYS).astype(np.float32)
    return probability
