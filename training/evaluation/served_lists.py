"""The lists that a release would serve to buyers, ranked as the service ranks them: encoder, index, re-scorer.

Legend: B buyers, K results, N products of the release, P some of them, D dimensions.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import faiss
import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from feature_repo.transforms.sequences import EventSequence, merge_sequences
from training.artifacts.buyer_scores import BuyerScores
from training.artifacts.recommender import KnownEvents, Recommender, rescorer_pool
from training.artifacts.search.filtered_search import first_fetch, top_k
from training.evaluation.metrics import NO_PRODUCT

NOTHING: Int64Array = np.empty(0, dtype=np.int64)


class StoredEvents(Protocol):
    """What the online store has of a buyer: online.features.BuyerFeatures, or served_buyers.ServedBuyer."""

    @property
    def events(self) -> EventSequence:
        """The newest events."""

    @property
    def purchases(self) -> EventSequence:
        """All purchases."""


@dataclass(frozen=True)
class AllowedProducts:
    """The products that one buyer may get.

    Attributes:
        n_products: N.
        visible_N: (N,) which products are shown to anybody; None if all are.
        n_visible: Their number.
        bought: Positions of products that the buyer does not get again, each once.
    """

    n_products: int
    visible_N: BoolArray | None
    n_visible: int
    bought: Int64Array

    def mask(self) -> BoolArray | None:
        """(N,) which products are allowed; None if all are. Of thousands of buyers, they would not fit in memory."""
        if not len(self.bought):
            return self.visible_N
        allowed_N = np.ones(self.n_products, dtype=np.bool_) if self.visible_N is None else self.visible_N.copy()
        allowed_N[self.bought] = False
        return allowed_N

    def among(self, positions: Int64Array) -> BoolArray:
        """(P,) which of some products are allowed."""
        allowed_P: BoolArray = np.isin(positions, self.bought, invert=True)
        return allowed_P if self.visible_N is None else allowed_P & self.visible_N[positions]

    def count(self) -> int:
        """The number of allowed products."""
        return self.n_visible - int(len(self.bought) if self.visible_N is None else self.visible_N[self.bought].sum())

    def first_fetch(self, k: int) -> int:
        """How many products the index returns at first; 0 if an exact comparison is cheaper."""
        if self.count() == self.n_products:
            return k
        return first_fetch(min(k, self.count()), self.n_products, self.count())


class ServedLists(NamedTuple):
    """The lists of a release.

    Attributes:
        positions_BK: (B, K) int32 positions in the release, best first, NO_PRODUCT where a list is shorter.
        nearest_BK: (B, K) the same lists without the re-scorer, by similarity alone.
        vectors_BD: (R, D) buyer vectors of the R buyers with a history that the release knows.
    """

    positions_BK: Int32Array
    nearest_BK: Int32Array
    vectors_BD: Float32Array


def served_lists(
    recommender: Recommender,
    buyers: Sequence[StoredEvents],
    k: int,
    hidden_N: BoolArray | None = None,
    *,
    new_only: bool = False,
) -> ServedLists:
    """Lists without filters and rules, as GET /v1/buyers/{id}/recommendations gives them.

    A buyer of whose events the release knows no product gets its popular products.

    Args:
        recommender: The release.
        buyers: B buyers.
        k: K.
        hidden_N: (N,) products that are never shown; None hides none.
        new_only: Whether products that the buyer has bought are left out, as by the request's `new_only`.
    """
    allowed = _allowed(recommender, buyers, hidden_N, new_only=new_only)
    histories = [recommender.known_events(buyer.events) for buyer in buyers]
    rows = [row for row, history in enumerate(histories) if not history.is_empty]
    vectors_BD = _vectors(recommender, [histories[row] for row in rows])
    nearest = _nearest(recommender, vectors_BD, rescorer_pool(k), [allowed[row] for row in rows])
    best = [
        recommender.most_popular(k, allowed[row].mask()).positions if history.is_empty else NOTHING
        for row, history in enumerate(histories)
    ]
    by_similarity = list(best)
    for row, vector_D, nearest_to_buyer in zip(rows, vectors_BD, nearest, strict=True):
        # As ResolvedRequest.repeat_events of the service.
        events = merge_sequences(histories[row].events, buyers[row].purchases)
        scores = BuyerScores(recommender, vector_D, recommender.repeats(events), new_only=new_only)
        positions = scores.candidates(nearest_to_buyer, k, allowed[row].mask())
        best[row] = top_k(positions, scores.scores(positions), k).positions
        by_similarity[row] = nearest_to_buyer[:k]
    return ServedLists(_filled_up(best, k), _filled_up(by_similarity, k), vectors_BD)


def _allowed(
    recommender: Recommender, buyers: Sequence[StoredEvents], hidden_N: BoolArray | None, *, new_only: bool
) -> list[AllowedProducts]:
    """What each buyer may get."""
    visible_N = None if hidden_N is None or not hidden_N.any() else ~hidden_N
    n_visible = len(recommender) if visible_N is None else int(visible_N.sum())
    allowed = []
    for buyer in buyers:
        bought = NOTHING
        if new_only:
            bought = np.unique(recommender.products.positions(buyer.purchases.product_keys)).astype(np.int64)
            bought = bought[bought >= 0]
        allowed.append(AllowedProducts(len(recommender), visible_N, n_visible, bought))
    return allowed


def _filled_up(lists: Sequence[Int64Array], k: int) -> Int32Array:
    lists_BK = np.full((len(lists), k), NO_PRODUCT, dtype=np.int32)
    for row, positions in enumerate(lists):
        lists_BK[row, : len(positions)] = positions
    return lists_BK


def _vectors(recommender: Recommender, histories: list[KnownEvents]) -> Float32Array:
    encoded = recommender.encode_buyers(histories)
    vectors = [buyer.vector_D for buyer in encoded]
    return np.stack(vectors) if vectors else np.empty((0, recommender.dim), dtype=np.float32)


def _nearest(
    recommender: Recommender, vectors_BD: Float32Array, k: int, allowed: Sequence[AllowedProducts]
) -> list[Int64Array]:
    """The K nearest allowed products of each buyer, as the service finds them (IndexedVectors.nearest_allowed).

    One search for all buyers of whom the index returns as many products at first.
    """
    nearest: dict[int, Int64Array] = {}
    by_fetch: defaultdict[int, list[int]] = defaultdict(list)
    for row, of_buyer in enumerate(allowed):
        by_fetch[of_buyer.first_fetch(k)].append(row)
    for n_fetched, rows in by_fetch.items():
        if n_fetched:
            for row, found in zip(rows, recommender.nearest(vectors_BD[rows], n_fetched), strict=True):
                positions = found.positions[allowed[row].among(found.positions)]
                if len(positions) >= min(k, allowed[row].count()):
                    nearest[row] = positions[:k]
    # One query at a time: several threads would spend their time on waiting for each other.
    with one_faiss_thread():
        for row, of_buyer in enumerate(allowed):
            if row not in nearest:
                allowed_N = of_buyer.mask()
                assert allowed_N is not None  # a search among all products has found enough
                nearest[row] = recommender.nearest_allowed(vectors_BD[row], k, allowed_N, of_buyer.count()).positions
    return [nearest[row] for row in range(len(allowed))]


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Searches of this thread use one core in the block, as in the API (ADR 0004)."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
