"""The re-scorer: adds terms for popularity, repeats, co-occurrence and closeness to the similarity.

Buyers often buy the same products again, and what sells changes from week to week. A buyer with several interests also
wants products that are like one of these and unlike their mean, which is what the buyer vector comes near to. And what
the same buyers chose, vectors learn late from few events. The score of a product for a buyer is therefore

    similarity + popularity weight * ln(1 + recent buyers) + repeat weight * ln(1 + decayed count of the buyer's events)
        + co-occurrence weight * votes of the buyer's history (see co_occurrence)
        + closeness weight * highest inner product with a product of the buyer's history

training.evaluation.fit_rescorer fits the weights and time spans on the validation days. A list of new products has no
repeat term, and weights of its own; its popularity term may count first-time buyers, who say more about what is
bought for the first time. The closeness term is the late interaction of Khattab & Zaharia 2020 (ColBERT,
https://arxiv.org/abs/2004.12832) with a history as the query's parts and a product as the only part of the document.

Legend: L events of one buyer, N products of the catalogue.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.common.files import read_json, write_json
from training.data.histories import DAY_MS

RESCORER_FILE = "rescorer.json"
# A re-scorer without these was fitted without the terms that they belong to.
LATER_FIELDS = frozenset(
    {
        "new_popularity_first_time",
        "closeness_weight",
        "new_closeness_weight",
        "co_occurrence_weight",
        "new_co_occurrence_weight",
    }
)
# The best products by the other terms that get the closeness term, which costs an inner product for each event of the
# history: on Online Retail the lists are those of all products (ADR 0023).
CLOSENESS_POOL = 200


class CountedBuyers(NamedTuple):
    """The buyers of a product that make it popular.

    Attributes:
        days: Length of the period that ends with the data.
        first_time: Only those whose first event with the product lies in the period.
    """

    days: int
    first_time: bool


@dataclass(frozen=True)
class Rescorer:
    """The fitted weights, in units of the inner product.

    Attributes:
        popularity_days: Days over which the popularity term counts buyers, in a list of any products.
        popularity_weight: Weight of the popularity term in a list of any products.
        new_popularity_days: Days over which the popularity term counts buyers, in a list of new products.
        new_popularity_weight: Weight of the popularity term in a list of new products.
        new_popularity_first_time: In a list of new products, count only buyers to whom the product was new, too.
        repeat_weight: Weight of the repeat term.
        repeat_half_life_days: The weight of an event halves for every so many days before the end of the data.
        closeness_weight: Weight of the closeness term in a list of any products.
        new_closeness_weight: Weight of the closeness term in a list of new products.
        co_occurrence_weight: Weight of the co-occurrence term in a list of any products.
        new_co_occurrence_weight: Weight of the co-occurrence term in a list of new products.
    """

    popularity_days: int = 14
    popularity_weight: float = 0.0
    new_popularity_days: int = 14
    new_popularity_weight: float = 0.0
    new_popularity_first_time: bool = False
    repeat_weight: float = 0.0
    repeat_half_life_days: float = 90.0
    closeness_weight: float = 0.0
    new_closeness_weight: float = 0.0
    co_occurrence_weight: float = 0.0
    new_co_occurrence_weight: float = 0.0

    def save(self, folder: Path) -> None:
        """Writes the weights into a model folder."""
        write_json(folder / RESCORER_FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Rescorer":
        """Reads the weights from a model folder; raises ValueError if there are none, or others than this program's."""
        path = folder / RESCORER_FILE
        if not path.is_file():
            raise ValueError(f"{path} is missing; run `tawsiya train` again")
        content = read_json(path, "tawsiya train")
        # A missing weight would count as 0, an unknown one as nothing: other lists, silently. 0 is right where the term
        # came later.
        if differing := (content.keys() ^ cls.__dataclass_fields__.keys()) - (LATER_FIELDS - content.keys()):
            raise ValueError(
                f"{path} is of another version of Tawsiya ({', '.join(sorted(differing))}); run `tawsiya train`"
            )
        return cls(**content)

    def counted_buyers(self, *, new_only: bool) -> "CountedBuyers":
        """Which buyers the popularity term counts."""
        if new_only:
            return CountedBuyers(self.new_popularity_days, self.new_popularity_first_time)
        return CountedBuyers(self.popularity_days, first_time=False)

    def closeness(self, *, new_only: bool) -> float:
        """The weight of the closeness term."""
        return self.new_closeness_weight if new_only else self.closeness_weight

    def co_occurrence(self, *, new_only: bool) -> float:
        """The weight of the co-occurrence term."""
        return self.new_co_occurrence_weight if new_only else self.co_occurrence_weight

    @property
    def counts_co_occurrence(self) -> bool:
        """Whether any list has the co-occurrence term."""
        return bool(self.co_occurrence_weight or self.new_co_occurrence_weight)

    def popularity(self, recent_N: Float32Array, *, new_only: bool) -> Float32Array:
        """The popularity term of products, given their recent_popularity by counted_buyers."""
        return recent_N * np.float32(self.new_popularity_weight if new_only else self.popularity_weight)

    def repeats(self, event_times: Int64Array, weights_L: Float32Array, as_of_ms: int) -> Float32Array:
        """(L,) decayed weight of each event; repeat_term takes their sums by product."""
        return decayed(event_times, weights_L, as_of_ms, self.repeat_half_life_days)

    def repeat_term(self, counts: Float32Array) -> Float32Array:
        """The repeat term of products, given the sums of their events' decayed weights."""
        return np.log1p(counts) * np.float32(self.repeat_weight)


def decayed(event_times: Int64Array, weights: Float32Array, as_of_ms: int, half_life_days: float) -> Float32Array:
    """Event weights, halved for every `half_life_days` before `as_of_ms`; later events keep their full weight."""
    # Events after the release are younger than 0 days; 2^-age would exceed 1.
    age_days = np.maximum(as_of_ms - event_times, 0) / DAY_MS
    decayed_weights: Float32Array = (weights * np.exp2(-age_days / half_life_days)).astype(np.float32)
    return decayed_weights


def recent_popularity(
    buyers: npt.NDArray[np.integer],
    products: npt.NDArray[np.integer],
    event_times: Int64Array,
    *,
    until_ms: int,
    counted: CountedBuyers,
    n_products: int,
) -> Float32Array:
    """(N,) ln(1 + number of distinct counted buyers before `until_ms`) of each product.

    A product without any event may be new rather than unpopular, so it gets the median of the other products.

    Args:
        buyers: Buyer code of each event.
        products: Product position of each event; events with a negative position are ignored.
        event_times: Time of each event, milliseconds since 1970.
        until_ms: Exclusive end of the period, milliseconds since 1970.
        counted: Which buyers.
        n_products: N.
    """
    before = (event_times < until_ms) & (products >= 0)
    recent = event_times >= until_ms - counted.days * DAY_MS
    # One number for each pair of buyer and product: a buyer counts once, however often it buys.
    all_pairs = buyers.astype(np.int64) * n_products + products
    pairs = np.unique(all_pairs[before & recent])
    if counted.first_time:
        pairs = np.setdiff1d(pairs, all_pairs[before & ~recent])
    recent_N: Float32Array = np.log1p(np.bincount(pairs % n_products, minlength=n_products)).astype(np.float32)
    known_N = np.zeros(n_products, dtype=np.bool_)
    known_N[products[before]] = True
    if known_N.any():
        # Counted as unpopular, new products of Amazon Beauty were hardly ever shown: HR@20 .0251 (ADR 0005).
        recent_N[~known_N] = np.median(recent_N[known_N])
    return recent_N
