"""The interface of rankers, the training events that baselines learn from, and the order of equal scores.

A baseline learns from the events before a cut-off and then scores histories. These need not belong to buyers it has
learned from: within a session, for example, the history grows after the cut-off.

Legend: A histories to score, B rows of one call, U buyers of the training events, N products of the catalogue,
E events. Scores are for ordering only; their scale differs between rankers.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from training.data.histories import Histories


@dataclass(frozen=True)
class TrainingEvents:
    """E purchases (or other events) before the cut-off, in any order.

    Attributes:
        buyers: (E,) int32 codes, 0 to n_buyers - 1.
        products: (E,) int32 positions in the catalogue, 0 to n_products - 1.
        event_times: (E,) int64 milliseconds since 1970.
        n_buyers: U, at least 1; some buyers may have no events.
        n_products: N, at least 1; some products may have no events.
    """

    buyers: Int32Array
    products: Int32Array
    event_times: Int64Array
    n_buyers: int
    n_products: int

    def __post_init__(self) -> None:
        """Raises ValueError if the arrays differ in length or a code is out of range."""
        if not len(self.buyers) == len(self.products) == len(self.event_times):
            raise ValueError("buyers, products and event_times must have one length")
        if self.n_buyers < 1 or self.n_products < 1:
            raise ValueError(f"n_buyers {self.n_buyers} and n_products {self.n_products} must be at least 1")
        # A negative code would silently index from the end.
        check_codes("buyers", self.buyers, self.n_buyers)
        check_codes("products", self.products, self.n_products)

    def since(self, time_ms: float) -> "TrainingEvents":
        """The events at or after `time_ms`."""
        kept = self.event_times >= time_ms
        times = self.event_times[kept]
        return TrainingEvents(self.buyers[kept], self.products[kept], times, self.n_buyers, self.n_products)

    def popularity(self) -> Int64Array:
        """(N,) number of distinct buyers of each product, so that one buyer's repeats do not make a product popular."""
        # counts() has each pair of buyer and product once.
        return np.bincount(self.counts().indices, minlength=self.n_products)

    def counts(self) -> sparse.csr_array:
        """(U, N) float32 number of events of each buyer with each product, column indices sorted."""
        ones = np.ones(len(self.buyers), dtype=np.float32)
        shape = (self.n_buyers, self.n_products)
        # tocsr adds up the ones of repeated pairs.
        return sparse.coo_array((ones, (self.buyers, self.products)), shape=shape).tocsr()

    def histories(self) -> Histories:
        """The events of the U buyers, oldest first, equal times by product; all event types are 0."""
        # lexsort sorts by its last key first: by buyer.
        order = np.lexsort((self.products, self.event_times, self.buyers))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(self.buyers, minlength=self.n_buyers))]).astype(np.int64)
        no_types = np.zeros(len(order), dtype=np.int32)
        return Histories(offsets, self.products[order], no_types, self.event_times[order])

    def require_before(self, cutoff_ms: int) -> None:
        """Raises ValueError if an event lies at or after `cutoff_ms`: scores must not know the future."""
        if len(self.event_times) and self.event_times.max() >= cutoff_ms:
            raise ValueError(
                f"event time {self.event_times.max()} is not before cutoff_ms {cutoff_ms}; leave out later events"
            )


class Ranker(Protocol):
    """Anything that scores all products for a buyer.

    A baseline's constructor takes (events, histories, cutoff_ms, *, parameters): the events to learn from, all before
    cutoff_ms (else ValueError), and the A full histories to score, oldest first. Products of a history that have left
    the catalogue (UNKNOWN_PRODUCT) are ignored.
    """

    name: str

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """(B, N) scores of all products for the histories of `rows`; higher is better, -inf is never recommended.

        The array may be read-only. Raises ValueError for a row outside 0 to A - 1.
        """


def top_positions(scores_N: Float32Array, k: int) -> Int64Array:
    """The min(k, N) positions with the highest scores, best first, equal scores by lower position.

    np.argpartition alone leaves the order undefined when equal scores straddle the k-th place.
    """
    if k >= len(scores_N):
        return np.argsort(-scores_N, kind="stable")
    threshold = np.partition(scores_N, len(scores_N) - k)[len(scores_N) - k]
    above = np.flatnonzero(scores_N > threshold)
    equal = np.flatnonzero(scores_N == threshold)[: k - len(above)]
    return np.concatenate([above[np.argsort(-scores_N[above], kind="stable")], equal])


def check_codes(what: str, codes: Int32Array, count: int) -> None:
    """Raises ValueError if a code lies outside 0 to count - 1; the message begins with `what`."""
    if len(codes) and (codes.min() < 0 or codes.max() >= count):
        raise ValueError(f"{what} must lie between 0 and {count - 1}, not {codes.min()} to {codes.max()}")
