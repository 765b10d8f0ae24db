"""What the same buyers chose: item-based collaborative filtering, as a table and as a term of the re-scorer.

Two products with n_i and n_j buyers, and c_ij buyers of both, have the similarity c_ij / (sqrt(n_i n_j) + shrinkage).
Source: Deshpande & Karypis 2004, Item-based top-N recommendation algorithms; shrinkage as in Ferrari Dacrema et al.
2019, Are we really making much progress?. Vectors learn such pairs, too, but need more events for it.

Legend: U buyers, N products, M neighbours of a product, E events, L events of one buyer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from training.artifacts.lists.co_purchases import NO_NEIGHBOUR
from training.artifacts.scoring.sparse_term import NO_TERM, SparseTerm
from training.artifacts.search.filtered_search import top_k

POSITIONS, SIMILARITIES = "co_occurrence_positions.npy", "co_occurrence_similarities.npy"
N_NEIGHBOURS = 32  # M
SHRINKAGE = 10.0
# The votes of what a buyer did a moment earlier count so much less. Events of one time, as the lines of an order, count
# alike.
DECAY = 0.8
# Of a buyer with more products only the newest ones make pairs: ten thousand products, as of a robot, are a hundred
# million pairs that say little.
MOST_PRODUCTS_OF_BUYER = 1_000
CELLS_AT_ONCE = 8_000_000  # co-occurrences in memory, about 30 bytes each


class CoOccurrence(NamedTuple):
    """The M products most similar to each product by what their buyers chose, best first.

    Attributes:
        positions_NM: (N, M) int32; NO_NEIGHBOUR after the last one.
        similarities_NM: (N, M) float32, above 0 and below 1; 0 after the last one.
    """

    positions_NM: Int32Array
    similarities_NM: Float32Array

    @classmethod
    def of_events(
        cls,
        buyers: npt.NDArray[np.integer],
        products: npt.NDArray[np.integer],
        event_times: Int64Array,
        n_products: int,
        most_products: int = MOST_PRODUCTS_OF_BUYER,
    ) -> "CoOccurrence":
        """Counts events of any type; the result does not depend on their order.

        Args:
            buyers: (E,) buyer code of each event, from 0.
            products: (E,) product position of each event, from 0.
            event_times: (E,) milliseconds since 1970.
            n_products: N.
            most_products: Of a buyer with more products, the newest so many count.
        """
        buyers, products = _newest_pairs(buyers, products, event_times, most_products)
        n_buyers = int(buyers.max()) + 1 if len(buyers) else 1
        ones = np.ones(len(buyers), dtype=np.float32)
        bought_UN = sparse.coo_array((ones, (buyers, products)), shape=(n_buyers, n_products)).tocsr()
        similar_NN = similar_products(bought_UN, N_NEIGHBOURS, SHRINKAGE)
        table = cls(
            np.full((n_products, N_NEIGHBOURS), NO_NEIGHBOUR, dtype=np.int32),
            np.zeros((n_products, N_NEIGHBOURS), dtype=np.float32),
        )
        rows = np.repeat(np.arange(n_products), np.diff(similar_NN.indptr))
        places = np.arange(similar_NN.nnz) - similar_NN.indptr[rows]
        table.positions_NM[rows, places] = similar_NN.indices
        table.similarities_NM[rows, places] = similar_NN.data
        return table

    def votes(self, positions_L: npt.NDArray[np.integer], event_times: Int64Array) -> SparseTerm:
        """The similarity of products to a history: each product of it votes for its neighbours.

        A vote is the similarity times DECAY ** (number of later moments with an event), of the newest event with the
        product. The sums are divided by the Euclidean norm of these weights, since a long history has more votes.

        Args:
            positions_L: Products of the events, oldest first.
            event_times: (L,) milliseconds since 1970.
        """
        if len(positions_L) == 0:
            return NO_TERM
        is_oldest_L = _differs_from_next(event_times[::-1])  # of a moment; newest first
        later_L: Int64Array = np.cumsum(is_oldest_L) - is_oldest_L
        own, newest = np.unique(positions_L[::-1], return_index=True)
        weights = np.power(DECAY, later_L[newest])
        weights /= np.sqrt(weights @ weights)
        neighbours = self.positions_NM[own]
        places = np.flatnonzero(neighbours != NO_NEIGHBOUR)
        if len(places) == 0:
            return NO_TERM
        # Sorted by product, then by place, in one number: a stable argsort takes four times as long.
        sorted_pairs = neighbours.ravel()[places].astype(np.int64) << 32 | places
        sorted_pairs.sort()
        found, places = sorted_pairs >> 32, sorted_pairs & 0xFFFFFFFF
        votes = (self.similarities_NM[own] * weights[:, None].astype(np.float32)).ravel()[places]
        starts = np.flatnonzero(np.concatenate([[True], found[1:] != found[:-1]]))
        return SparseTerm(found[starts], np.add.reduceat(votes, starts))

    def save(self, folder: Path) -> None:
        """Writes the table into a folder."""
        np.save(folder / POSITIONS, self.positions_NM, allow_pickle=False)
        np.save(folder / SIMILARITIES, self.similarities_NM, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "CoOccurrence":
        """Maps the table in a folder into memory."""
        # Plain arrays over the mapped files: indexing them is faster than indexing the memmap objects.
        positions_NM, similarities_NM = (
            np.asarray(np.load(folder / name, mmap_mode="r", allow_pickle=False)) for name in (POSITIONS, SIMILARITIES)
        )
        return cls(positions_NM, similarities_NM)


def _newest_pairs(
    buyers: npt.NDArray[np.integer], products: npt.NDArray[np.integer], event_times: Int64Array, most: int
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """The pairs of a buyer and a product, each once; of a buyer with more than `most`, the newest."""
    order = np.lexsort((event_times, products, buyers))
    buyers, products, event_times = buyers[order], products[order], event_times[order]
    last = _differs_from_next(buyers) | _differs_from_next(products)
    buyers, products, event_times = buyers[last], products[last], event_times[last]
    order = np.lexsort((-event_times, buyers))  # stable: of equal times, the lower positions are kept
    starts = np.flatnonzero(np.diff(buyers, prepend=-1))
    places = np.arange(len(buyers)) - np.repeat(starts, np.diff(starts, append=len(buyers)))
    kept = order[places < most]
    return buyers[kept], products[kept]


def _differs_from_next(values: npt.NDArray[np.integer]) -> BoolArray:
    differs = np.ones(len(values), dtype=np.bool_)
    differs[:-1] = values[1:] != values[:-1]
    return differs


def similar_products(
    bought_UN: sparse.csr_array, neighbours: int, shrinkage: float, cells_at_once: int = CELLS_AT_ONCE
) -> sparse.csr_array:
    """(N, N) similarities of each product (row) to its nearest other products, best first; ties go to lower positions.

    Args:
        bought_UN: (U, N) ones where a buyer chose a product.
        neighbours: At most so many of each product.
        shrinkage: Lowers the similarity of products with few buyers.
        cells_at_once: At most so many co-occurrences (or those of one product) are in memory at once.
    """
    buyers_NU = bought_UN.T.tocsr()
    norms_N = np.sqrt(np.diff(buyers_NU.indptr)).astype(np.float32)
    # Not empty, because np.concatenate needs an array.
    columns, values, lengths = [np.empty(0, dtype=np.int32)], [np.empty(0, dtype=np.float32)], [0]
    for start, stop in _chunks(bought_UN, buyers_NU, cells_at_once):
        both = buyers_NU[start:stop] @ bought_UN
        both.sort_indices()  # ties go to the lower position
        rows = np.repeat(np.arange(start, stop), np.diff(both.indptr))
        similarity = both.data / (norms_N[rows] * norms_N[both.indices] + np.float32(shrinkage))
        # No vote for itself. With one, products that the buyer has bought rank higher (ADR 0002 has the figures).
        similarity[rows == both.indices] = 0
        for begin, end in zip(both.indptr[:-1], both.indptr[1:], strict=True):
            top = top_k(np.arange(begin, end), similarity[begin:end], neighbours).positions
            top = top[similarity[top] > 0]
            columns.append(both.indices[top])
            values.append(similarity[top])
            lengths.append(len(top))
    arrays = np.concatenate(values), np.concatenate(columns), np.cumsum(lengths)
    return sparse.csr_array(arrays, shape=(len(norms_N), len(norms_N)))


def _chunks(bought_UN: sparse.csr_array, buyers_NU: sparse.csr_array, cells_at_once: int) -> Iterator[tuple[int, int]]:
    """Ranges of products with at most so many co-occurrences, or of one product."""
    n_products = buyers_NU.shape[0]
    # The product with the buyers' list lengths bounds the co-occurrences of each product without computing them.
    cells_N = np.minimum(buyers_NU @ np.diff(bought_UN.indptr).astype(np.float64), n_products)
    ends_N = np.cumsum(cells_N)
    start = 0
    while start < n_products:
        done = ends_N[start - 1] if start else 0.0
        stop = max(start + 1, int(np.searchsorted(ends_N, done + cells_at_once, side="right")))
        yield start, stop
        start = stop
