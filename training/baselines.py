"""The rankers that every model has to beat, none of which learns a vector.

Legend: B buyers asked for, U buyers of the training events, N products of the catalogue, E events.
Scores are for ordering only: their scale differs between rankers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

DAY_MS = 86_400_000

Scores = npt.NDArray[np.float32]
Codes = npt.NDArray[np.int32]
Counts = npt.NDArray[np.int64]


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

    buyers: Codes
    products: Codes
    event_times: npt.NDArray[np.int64]
    n_buyers: int
    n_products: int

    def __post_init__(self) -> None:
        """Checks that the arrays have one length and every code is in range (ValueError)."""
        if not len(self.buyers) == len(self.products) == len(self.event_times):
            raise ValueError("buyers, products and event_times must have one length")
        if self.n_buyers < 1 or self.n_products < 1:
            raise ValueError(f"n_buyers {self.n_buyers} and n_products {self.n_products} must be at least 1")
        _check_codes("buyers", self.buyers, self.n_buyers)
        _check_codes("products", self.products, self.n_products)

    def since(self, time_ms: float) -> "TrainingEvents":
        """The events at or after `time_ms`."""
        kept = self.event_times >= time_ms
        times = self.event_times[kept]
        return TrainingEvents(self.buyers[kept], self.products[kept], times, self.n_buyers, self.n_products)

    def popularity(self) -> Counts:
        """(N,) number of different buyers of each product: one buyer's repeats do not make a product popular."""
        return np.bincount(self.counts().indices, minlength=self.n_products)

    def counts(self) -> sparse.csr_array:
        """(U, N) float32: events of each buyer with each product, column indices in order."""
        ones = np.ones(len(self.buyers), dtype=np.float32)
        shape = (self.n_buyers, self.n_products)
        return sparse.coo_array((ones, (self.buyers, self.products)), shape=shape).tocsr()


class Ranker(Protocol):
    """Anything that scores the whole catalogue for a buyer."""

    name: str

    def scores(self, buyers: Codes) -> Scores:
        """(B, N) scores of every product for B buyer codes, higher is better; -inf is never recommended.

        The array may be read-only. Raises ValueError for a buyer code out of range.
        """


class Popularity:
    """Most buyers first, the same list for everyone."""

    name = "popularity"

    def __init__(self, events: TrainingEvents) -> None:
        """Counts the buyers of each product."""
        self._n_buyers = events.n_buyers
        self._scores_N = events.popularity().astype(np.float32)

    def scores(self, buyers: Codes) -> Scores:
        """See Ranker.scores."""
        return _same_for_all(self._scores_N, buyers, self._n_buyers)


class RecentPopularity:
    """Most buyers in the last days before the cut-off first; ties and the rest by all buyers so far."""

    name = "recent_popularity"

    def __init__(self, events: TrainingEvents, cutoff_ms: int, days: float = 14) -> None:
        """Counts the buyers from cutoff_ms - days (inclusive) to cutoff_ms (exclusive).

        Raises:
            ValueError: an event lies at or after cutoff_ms, so the scores would know the future; days is not positive.
        """
        self._n_buyers = events.n_buyers
        self._scores_N = _recent_rank(events, cutoff_ms, days).astype(np.float32)

    def scores(self, buyers: Codes) -> Scores:
        """See Ranker.scores."""
        return _same_for_all(self._scores_N, buyers, self._n_buyers)


class PersonalFrequency:
    """What the buyer took most often first, ties by recent popularity; then everything else by recent popularity.

    Source: the personalised top-frequency baseline of Hu et al. 2020, Modeling personalized item frequency information
    for next-basket recommendation (TIFU-kNN). Most counts are 1, so the tie-break matters: recent popularity instead of
    all-time popularity lifts Recall@20 on Online Retail from .255 to .265.
    """

    name = "personal_frequency"

    def __init__(self, events: TrainingEvents, cutoff_ms: int, days: float = 14) -> None:
        """Counts the events of each buyer with each product; cutoff_ms and days as for RecentPopularity."""
        recent_N = _recent_rank(events, cutoff_ms, days)
        counts_UN = events.counts()
        # Ranks, not count + fraction: float32 cannot hold a large count and a small fraction side by side.
        counts_UN.data = 1 + _dense_rank(counts_UN.data, recent_N[counts_UN.indices]).astype(np.float32)
        self._ranks_UN = counts_UN
        self._fill_N = _below_zero(recent_N)

    def scores(self, buyers: Codes) -> Scores:
        """See Ranker.scores."""
        _check_codes("buyers", buyers, self._ranks_UN.shape[0])
        return _filled(self._ranks_UN[buyers], self._fill_N)


class ItemKNN:
    """Products bought by the same buyers as those in the buyer's history; products without a score by popularity.

    With n_i the number of buyers of product i and c_ij of those who took both, the similarity of two different products
    is c_ij / (sqrt(n_i n_j) + shrinkage). Each product of the history votes for its most similar products with that
    weight; none votes for itself. Source: Deshpande & Karypis 2004, Item-based top-N recommendation algorithms;
    shrinkage as in Ferrari Dacrema et al. 2019, Are we really making much progress?
    """

    name = "item_knn"

    def __init__(
        self, events: TrainingEvents, neighbours: int = 200, shrinkage: float = 10.0, chunk_cells: int = 8_000_000
    ) -> None:
        """Finds the nearest `neighbours` of each product, ties to the lower position.

        At most chunk_cells co-occurrences (or those of one product) are held at once, about 30 bytes each; what stays
        is 8 bytes for each of the N * neighbours similarities.

        Raises:
            ValueError: neighbours is below 1, or shrinkage negative.
        """
        if neighbours < 1 or shrinkage < 0:
            raise ValueError(f"neighbours {neighbours} must be at least 1 and shrinkage {shrinkage} not negative")
        self._bought_UN = events.counts()
        self._bought_UN.data[:] = 1
        self._similar_NN = _nearest(self._bought_UN, neighbours, shrinkage, chunk_cells)
        self._fill_N = _below_zero(events.popularity())

    def scores(self, buyers: Codes) -> Scores:
        """See Ranker.scores."""
        _check_codes("buyers", buyers, self._bought_UN.shape[0])
        return _filled(self._bought_UN[buyers] @ self._similar_NN, self._fill_N)


def top_positions(scores_N: Scores, k: int) -> npt.NDArray[np.int64]:
    """The min(k, N) positions with the highest scores, best first; equal scores: the lower position first.

    Exact also where equal scores straddle the k-th place, which argpartition alone leaves undefined.
    """
    if k >= len(scores_N):
        return np.argsort(-scores_N, kind="stable")
    threshold = np.partition(scores_N, len(scores_N) - k)[len(scores_N) - k]
    above = np.flatnonzero(scores_N > threshold)
    equal = np.flatnonzero(scores_N == threshold)[: k - len(above)]
    return np.concatenate([above[np.argsort(-scores_N[above], kind="stable")], equal])


def _nearest(bought_UN: sparse.csr_array, neighbours: int, shrinkage: float, chunk_cells: int) -> sparse.csr_array:
    """(N, N) similarity of each product (row) to its nearest ones, without itself."""
    buyers_NU = bought_UN.T.tocsr()
    norms_N = np.sqrt(np.diff(buyers_NU.indptr)).astype(np.float32)
    columns, values, lengths = [], [], [0]
    for start, stop in _chunks(bought_UN, buyers_NU, chunk_cells):
        both = buyers_NU[start:stop] @ bought_UN
        both.sort_indices()  # ties go to the lower position
        rows = np.repeat(np.arange(start, stop), np.diff(both.indptr))
        similarity = both.data / (norms_N[rows] * norms_N[both.indices] + np.float32(shrinkage))
        similarity[rows == both.indices] = 0
        for begin, end in zip(both.indptr[:-1], both.indptr[1:], strict=True):
            top = begin + top_positions(similarity[begin:end], neighbours)
            top = top[similarity[top] > 0]
            columns.append(both.indices[top])
            values.append(similarity[top])
            lengths.append(len(top))
    parts = np.concatenate(values), np.concatenate(columns), np.cumsum(lengths)
    return sparse.csr_array(parts, shape=(len(norms_N), len(norms_N)))


def _chunks(bought_UN: sparse.csr_array, buyers_NU: sparse.csr_array, chunk_cells: int) -> Iterator[tuple[int, int]]:
    """Ranges of products whose co-occurrences number at most chunk_cells (or that are one product)."""
    n_products = buyers_NU.shape[0]
    cells_N = np.minimum(buyers_NU @ np.diff(bought_UN.indptr).astype(np.float64), n_products)
    ends_N = np.cumsum(cells_N)
    start = 0
    while start < n_products:
        done = ends_N[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(ends_N, done + chunk_cells, side="right")))
        yield start, stop
        start = stop


def _recent_rank(events: TrainingEvents, cutoff_ms: int, days: float) -> Counts:
    """(N,) rank from 0 of each product, the most popular of the last days highest, ties by all-time popularity."""
    if len(events.event_times) and events.event_times.max() >= cutoff_ms:
        raise ValueError(f"event time {events.event_times.max()} is not before cutoff_ms {cutoff_ms}")
    if days <= 0:
        raise ValueError(f"days {days} must be positive")
    return _dense_rank(events.since(cutoff_ms - days * DAY_MS).popularity(), events.popularity())


def _dense_rank(*keys: npt.NDArray[np.generic]) -> Counts:
    """The rank from 0 of each tuple (keys[0][i], keys[1][i], ...), smallest first; equal tuples share a rank."""
    order = np.lexsort(keys[::-1])
    rises = np.zeros(len(order), dtype=np.int64)
    for key in keys:
        rises[1:] |= key[order][1:] != key[order][:-1]
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.cumsum(rises)
    return ranks


def _below_zero(popularity_N: Counts) -> Scores:
    """(N,) scores in [-1, 0) in the order of popularity, so that they rank below every positive score."""
    return (_dense_rank(popularity_N) / len(popularity_N) - 1).astype(np.float32)


def _same_for_all(scores_N: Scores, buyers: Codes, n_buyers: int) -> Scores:
    _check_codes("buyers", buyers, n_buyers)
    return np.broadcast_to(scores_N, (len(buyers), len(scores_N)))


def _filled(scores_BN: sparse.csr_array, fill_N: Scores) -> Scores:
    dense_BN: Scores = scores_BN.toarray()
    np.copyto(dense_BN, fill_N, where=dense_BN == 0)
    return dense_BN


def _check_codes(what: str, codes: Codes, count: int) -> None:
    if len(codes) and (codes.min() < 0 or codes.max() >= count):
        raise ValueError(f"{what} must lie between 0 and {count - 1}, not {codes.min()} to {codes.max()}")
