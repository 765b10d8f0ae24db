"""What every baseline is fitted on, what it is asked, and how scores become a ranked list.

A baseline learns from the events before a cut-off and then scores *asked histories*, which need not be those of buyers
it learned from: within a session, say, the asked history grows after the cut-off.

Legend: A asked histories, B rows of one call, U buyers of the training events, N products of the catalogue, E events.
Float32Array are for ordering only: their scale differs between rankers.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import sparse

from feature_repo.common.arrays import Float32Array, Int32Array, Int64Array
from training.data.histories import Histories

DAY_MS = 86_400_000


@dataclass(frozen=True)
class TrainingEvents:
    """E purchases (or other events) before the cut-off, in any order.

    Attributes:
        buyers: (E,) int32 codes, 0 to n_buyers - 1.
        products: (E,) int32 positions in the catalogue, 0 to n_products - 1.
        event_times: (E,) int64 milliseconds since 1970.
        n_buyers: U, at least 1; a buyer may be without events.
        n_products: N, at least 1; a product may be without events.
    """

    buyers: Int32Array
    products: Int32Array
    event_times: Int64Array
    n_buyers: int
    n_products: int

    def __post_init__(self) -> None:
        """Checks that the arrays have one length and every code is in range (ValueError)."""
        if not len(self.buyers) == len(self.products) == len(self.event_times):
            raise ValueError("buyers, products and event_times must have one length")
        if self.n_buyers < 1 or self.n_products < 1:
            raise ValueError(f"n_buyers {self.n_buyers} and n_products {self.n_products} must be at least 1")
        check_codes("buyers", self.buyers, self.n_buyers)
        check_codes("products", self.products, self.n_products)

    def since(self, time_ms: float) -> "TrainingEvents":
        """The events at or after `time_ms`."""
        kept = self.event_times >= time_ms
        times = self.event_times[kept]
        return TrainingEvents(self.buyers[kept], self.products[kept], times, self.n_buyers, self.n_products)

    def popularity(self) -> Int64Array:
        """(N,) number of different buyers of each product: one buyer's repeats do not make a product popular."""
        return np.bincount(self.counts().indices, minlength=self.n_products)

    def counts(self) -> sparse.csr_array:
        """(U, N) float32: events of each buyer with each product, column indices in order."""
        ones = np.ones(len(self.buyers), dtype=np.float32)
        shape = (self.n_buyers, self.n_products)
        return sparse.coo_array((ones, (self.buyers, self.products)), shape=shape).tocsr()

    def histories(self) -> Histories:
        """The U buyers' events, each buyer's oldest first, equal times by product; event types are all 0."""
        order = np.lexsort((self.products, self.event_times, self.buyers))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(self.buyers, minlength=self.n_buyers))]).astype(np.int64)
        no_types = np.zeros(len(order), dtype=np.int32)
        return Histories(offsets, self.products[order], no_types, self.event_times[order])

    def require_before(self, cutoff_ms: int) -> None:
        """Refuses events at or after `cutoff_ms`: scores made from them would know the future (ValueError)."""
        if len(self.event_times) and self.event_times.max() >= cutoff_ms:
            raise ValueError(
                f"event time {self.event_times.max()} is not before cutoff_ms {cutoff_ms}; leave out later events"
            )


class Ranker(Protocol):
    """Anything that scores the whole catalogue for asked histories.

    The baselines are made from (events, asked, cutoff_ms, *, parameters): the events to learn from, all before
    cutoff_ms (else ValueError), and the A asked histories in full, oldest first. Products of an asked history that have
    left the catalogue (UNKNOWN_PRODUCT) count as if they had never been in it.
    """

    name: str

    def scores(self, rows: Int32Array, /) -> Float32Array:
        """(B, N) scores of every product for B asked histories, higher is better; -inf is never recommended.

        The array may be read-only. Raises ValueError for a row outside 0 to A - 1.
        """


def top_positions(scores_N: Float32Array, k: int) -> Int64Array:
    """The min(k, N) positions with the highest scores, best first; equal scores: the lower position first.

    Exact also where equal scores straddle the k-th place, which argpartition alone leaves undefined.
    """
    if k >= len(scores_N):
        return np.argsort(-scores_N, kind="stable")
    threshold = np.partition(scores_N, len(scores_N) - k)[len(scores_N) - k]
    above = np.flatnonzero(scores_N > threshold)
    equal = np.flatnonzero(scores_N == threshold)[: k - len(above)]
    return np.concatenate([above[np.argsort(-scores_N[above], kind="stable")], equal])


def check_codes(what: str, codes: Int32Array, count: int) -> None:
    """Refuses codes outside 0 to count - 1, naming `what` they are (ValueError)."""
    if len(codes) and (codes.min() < 0 or codes.max() >= count):
        raise ValueError(f"{what} must lie between 0 and {count - 1}, not {codes.min()} to {codes.max()}")
