"""The lists that a release would serve to buyers, ranked as the service ranks them: encoder, index, re-scorer.

Legend: B buyers, K results, N products of the release, D dimensions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol

import faiss
import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from feature_repo.transforms.sequences import EventSequence, merge_sequences
from training.artifacts.recommender import Recommender
from training.artifacts.scoring.best_products import BestQuery
from training.artifacts.scoring.sparse_term import NO_TERM
from training.evaluation.metrics import NO_PRODUCT

NOTHING: Int64Array = np.empty(0, dtype=np.int64)
LISTS_AT_ONCE = 256


class StoredEvents(Protocol):
    """What the online store has of a buyer: online.features.BuyerFeatures, or served_buyers.ServedBuyer."""

    @property
    def events(self) -> EventSequence:
        """The newest events."""

    @property
    def purchases(self) -> EventSequence:
        """All purchases."""


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
    visible_N = None if hidden_N is None or not hidden_N.any() else ~hidden_N
    lists, nearest, vectors = list[Int64Array](), list[Int64Array](), []
    # In blocks, because masks of all buyers would not fit in memory.
    for start in range(0, len(buyers), LISTS_AT_ONCE):
        some = buyers[start : start + LISTS_AT_ONCE]
        bought = [_bought(recommender, buyer) if new_only else NOTHING for buyer in some]
        allowed = [_without(visible_N, positions, len(recommender)) for positions in bought]
        some_lists, some_nearest, vectors_RD = _lists(recommender, some, k, allowed, new_only=new_only)
        lists += some_lists
        nearest += some_nearest
        vectors.append(vectors_RD)
    vectors_RD = np.concatenate([np.empty((0, recommender.dim), dtype=np.float32), *vectors])
    return ServedLists(_filled_up(lists, k), _filled_up(nearest, k), vectors_RD)


def _lists(
    recommender: Recommender,
    buyers: Sequence[StoredEvents],
    k: int,
    allowed: Sequence[BoolArray | None],
    *,
    new_only: bool,
) -> tuple[list[Int64Array], list[Int64Array], Float32Array]:
    """The lists of some buyers, the same by similarity alone, and the vectors of those with a known history."""
    histories = [recommender.known_events(buyer.events) for buyer in buyers]
    rows = [row for row, history in enumerate(histories) if not history.is_empty]
    encoded = recommender.encode_buyers([histories[row] for row in rows])
    popularity = recommender.popularity_term(new_only=new_only)
    queries = []
    for row, buyer in zip(rows, encoded, strict=True):
        # As ResolvedRequest.repeat_events of the service.
        events = merge_sequences(histories[row].events, buyers[row].purchases)
        repeats = NO_TERM if new_only else recommender.repeats(events)
        allowed_N = allowed[row]
        n_allowed = len(recommender) if allowed_N is None else int(allowed_N.sum())
        own = recommender.own_products(buyer, new_only=new_only)
        co_occurrence = recommender.co_occurrence_term(buyer, new_only=new_only)
        queries.append(BestQuery(buyer.vector_D, k, popularity, repeats, co_occurrence, own, allowed_N, n_allowed))
    by_similarity = [
        query._replace(popularity=None, repeats=NO_TERM, co_occurrence=NO_TERM, own=None) for query in queries
    ]
    lists = [
        recommender.most_popular(k, allowed_N).positions if history.is_empty else NOTHING
        for history, allowed_N in zip(histories, allowed, strict=True)
    ]
    nearest = list(lists)
    # In the API, a request has one core (ADR 0004).
    with one_faiss_thread():
        for target, found in ((lists, recommender.best(queries)), (nearest, recommender.best(by_similarity))):
            for row, products in zip(rows, found, strict=True):
                target[row] = products.positions
    vectors = [buyer.vector_D for buyer in encoded]
    return lists, nearest, np.stack(vectors) if vectors else np.empty((0, recommender.dim), dtype=np.float32)


def _filled_up(lists: Sequence[Int64Array], k: int) -> Int32Array:
    lists_BK = np.full((len(lists), k), NO_PRODUCT, dtype=np.int32)
    for row, positions in enumerate(lists):
        lists_BK[row, : len(positions)] = positions
    return lists_BK


def _bought(recommender: Recommender, buyer: StoredEvents) -> Int64Array:
    """Positions of the products that a buyer has bought."""
    positions = np.unique(recommender.products.positions(buyer.purchases.product_keys)).astype(np.int64)
    return positions[positions >= 0]


def _without(allowed_N: BoolArray | None, positions: Int64Array, n_products: int) -> BoolArray | None:
    """The allowed products less some."""
    if not len(positions):
        return allowed_N
    fewer_N = np.ones(n_products, dtype=np.bool_) if allowed_N is None else allowed_N.copy()
    fewer_N[positions] = False
    return fewer_N


@contextmanager
def one_faiss_thread() -> Iterator[None]:
    """Searches of this thread use one core in the block, as in the API (ADR 0004)."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
