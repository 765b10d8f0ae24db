"""The re-scorer: what the towers' inner product cannot say, as two explicit terms on top of it.

Buyers buy again what they bought, and what sells changes by the week; an inner product of trained vectors knows
neither. So a product's score for a buyer is

    inner product + popularity weight * ln(1 + buyers lately) + repeat weight * ln(1 + the buyer's own events, decayed)

with weights and spans that training.evaluation.fit_rescorer fits on the validation days. For a list of new products
only, the repeat term is off and the popularity term has a weight of its own.

Legend: L events of one buyer, N products of the catalogue.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.common.files import write_json
from training.data.histories import DAY_MS

RESCORER = "rescorer.json"


@dataclass(frozen=True)
class Rescorer:
    """The fitted weights, in units of the inner product.

    Attributes:
        popularity_days: Over how many days buyers are counted, in a list of any products.
        popularity_weight: Of that popularity term.
        new_popularity_days: Over how many days buyers are counted, in a list of new products.
        new_popularity_weight: Of that popularity term.
        repeat_weight: Of the repeat term.
        repeat_half_life_days: An event so many days before the release's data end counts half.
    """

    popularity_days: int = 14
    popularity_weight: float = 0.0
    new_popularity_days: int = 14
    new_popularity_weight: float = 0.0
    repeat_weight: float = 0.0
    repeat_half_life_days: float = 90.0

    def save(self, folder: Path) -> None:
        """Writes it beside a model."""
        write_json(folder / RESCORER, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Rescorer":
        """The inverse of save; ValueError where the folder has none."""
        path = folder / RESCORER
        if not path.is_file():
            raise ValueError(f"{path} is missing; run `tawsiya train` again")
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def popularity_span(self, *, new_only: bool) -> int:
        """Over how many days buyers are counted."""
        return self.new_popularity_days if new_only else self.popularity_days

    def popularity(self, lately_N: Float32Array, *, new_only: bool) -> Float32Array:
        """The popularity term of products, from their `recent_popularity` over `popularity_span`."""
        return lately_N * np.float32(self.new_popularity_weight if new_only else self.popularity_weight)

    def repeats(self, event_times: Int64Array, weights_L: Float32Array, as_of_ms: int) -> Float32Array:
        """What each event of a history counts, (L,), before `repeat_term`."""
        return decayed(event_times, weights_L, as_of_ms, self.repeat_half_life_days)

    def repeat_term(self, counts: Float32Array) -> Float32Array:
        """The repeat term of products, from the sums of what their events count."""
        return np.log1p(counts) * np.float32(self.repeat_weight)


def decayed(event_times: Int64Array, weights: Float32Array, as_of_ms: int, half_life_days: float) -> Float32Array:
    """Event weights, halved for every `half_life_days` before `as_of_ms`; later events count in full."""
    age_days = np.maximum(as_of_ms - event_times, 0) / DAY_MS
    faded: Float32Array = (weights * np.exp2(-age_days / half_life_days)).astype(np.float32)
    return faded


def recent_popularity(
    buyers: npt.NDArray[np.integer],
    products: npt.NDArray[np.integer],
    event_times: Int64Array,
    *,
    until_ms: int,
    days: int,
    n_products: int,
) -> Float32Array:
    """ln(1 + number of different buyers in the last days before `until_ms`) of each product, (N,).

    A product that never had an event may be new rather than unpopular: it counts like the median of those that had.

    Args:
        buyers: Buyer codes of events.
        products: Their products' positions; an event with a negative one is left out.
        event_times: Milliseconds since 1970.
        until_ms: Exclusive end of the days.
        days: How many.
        n_products: N.
    """
    within = (event_times < until_ms) & (event_times >= until_ms - days * DAY_MS) & (products >= 0)
    pairs = np.unique(buyers[within].astype(np.int64) * n_products + products[within])
    lately_N: Float32Array = np.log1p(np.bincount(pairs % n_products, minlength=n_products)).astype(np.float32)
    known_N = np.zeros(n_products, dtype=np.bool_)
    known_N[products[(event_times < until_ms) & (products >= 0)]] = True
    if known_N.any():
        lately_N[~known_N] = np.median(lately_N[known_N])
    return lately_N
