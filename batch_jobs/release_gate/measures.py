"""Measures releases as they serve, on the same buyers and the same targets.

Legend: B buyers, C of them, K results, N products of a release, U products of any of the releases.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from feature_repo.common.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from training.artifacts.recommender import Recommender
from training.artifacts.scoring.best_products import rescorer_pool
from training.evaluation.metrics import NO_PRODUCT, Targets, accuracy_per_buyer, coverage
from training.evaluation.served_buyers import ServedBuyer
from training.evaluation.served_lists import one_faiss_thread, served_lists

K = 20
RECALL, NDCG, COVERAGE = f"recall@{K}", f"ndcg@{K}", f"coverage@{K}"
NEW_RECALL, SIMILARITY_RECALL = f"recall@{K}, new items", f"recall@{K}, new items, similarity alone"
# The setting of section `release` that says how much of it a candidate may lose.
JUDGED = {
    RECALL: "max_recall_loss",
    NDCG: "max_ndcg_loss",
    NEW_RECALL: "max_recall_loss",
    SIMILARITY_RECALL: "max_similarity_loss",
}
INDEX_RECALL = f"index_recall@{rescorer_pool(K)}"  # of the products that the re-scorer ranks for K results, at least
# As many as choose the index's parameter (search.index_recall): each is compared with all products.
RECALL_QUERIES = 500
LATENCY_ROUNDS, LATENCY_BUYERS = 3, 40


@dataclass(frozen=True)
class Measured:
    """The figures of one release.

    Attributes:
        per_buyer: The figures of JUDGED: (B,) values of RECALL and NDCG, and of the others of the C buyers with a
            target that is new to them.
        popular_recall_B: (B,) RECALL of the same popular products for everybody.
        coverage: Share of the U products that are in some list.
        vectors_BD: The buyer vectors.
    """

    per_buyer: dict[str, Float64Array]
    popular_recall_B: Float64Array
    coverage: float
    vectors_BD: Float32Array


def union_keys(recommenders: Sequence[Recommender]) -> Int64Array:
    """(U,) the sorted keys of the products of all releases."""
    return np.unique(np.concatenate([recommender.products.keys_N for recommender in recommenders]))


def with_known_targets(buyers: Sequence[ServedBuyer], keys_U: Int64Array) -> list[ServedBuyer]:
    """The buyers with only those targets that some release has; buyers without one are left out."""
    if not buyers:
        return []
    # At once: a search in all products for each buyer took two thirds of the gate's time at 100,000 products.
    ends = np.cumsum([len(buyer.target_keys) for buyer in buyers])
    known_T = np.isin(np.concatenate([buyer.target_keys for buyer in buyers]), keys_U)
    of_buyers = np.split(known_T, ends[:-1])
    return _filled(buyer.with_targets(kept_T) for buyer, kept_T in zip(buyers, of_buyers, strict=True))


def measure(
    recommender: Recommender, buyers: Sequence[ServedBuyer], keys_U: Int64Array, hidden_N: BoolArray
) -> Measured:
    """The figures of a release.

    Args:
        recommender: The release.
        buyers: From with_known_targets, at least one; the moments of one buyer count as their mean.
        keys_U: From union_keys. A target that the release lacks is one that it misses.
        hidden_N: (N,) products that are never shown.
    """
    places_N = np.searchsorted(keys_U, recommender.products.keys_N)
    served = served_lists(recommender, buyers, K, hidden_N)
    lists_BK = _in_union(served.positions_BK, places_N)
    popular_BK = np.full((len(buyers), K), NO_PRODUCT, dtype=np.int32)
    popular = recommender.most_popular(K, ~hidden_N).positions
    popular_BK[:, : len(popular)] = popular
    accuracy = _accuracy(lists_BK, buyers, keys_U)
    new = _filled(buyer.with_targets(buyer.new_targets) for buyer in buyers)
    if new:
        # Where buyers buy the same or popular products, the re-scorer alone makes good lists of any vectors.
        of_new = served_lists(recommender, new, K, hidden_N, new_only=True)
        for name, lists_CK in ((NEW_RECALL, of_new.positions_BK), (SIMILARITY_RECALL, of_new.nearest_BK)):
            accuracy[name] = _accuracy(_in_union(lists_CK, places_N), new, keys_U)[RECALL]
    return Measured(
        {name: accuracy[name] for name in JUDGED if name in accuracy},
        _accuracy(_in_union(popular_BK, places_N), buyers, keys_U)[RECALL],
        coverage(lists_BK, len(keys_U), [K])[COVERAGE],
        served.vectors_BD,
    )


def _filled(buyers: Iterable[ServedBuyer]) -> list[ServedBuyer]:
    return [buyer for buyer in buyers if len(buyer.target_keys)]


def _accuracy(lists_BK: Int32Array, buyers: Sequence[ServedBuyer], keys_U: Int64Array) -> dict[str, Float64Array]:
    """Each metric of each buyer: intervals resample buyers, and the moments of one buyer are alike."""
    offsets = np.cumsum([0, *(len(buyer.target_keys) for buyer in buyers)]).astype(np.int64)
    targets = Targets(offsets, np.searchsorted(keys_U, np.concatenate([buyer.target_keys for buyer in buyers])))
    _, rows = np.unique([buyer.number for buyer in buyers], return_inverse=True)
    per_moment = accuracy_per_buyer(lists_BK, targets, [K])
    return {name: np.bincount(rows, values) / np.bincount(rows) for name, values in per_moment.items()}


def index_recall(recommender: Recommender, vectors_BD: Float32Array) -> float:
    """INDEX_RECALL over at most RECALL_QUERIES buyer vectors; over product vectors if there are none."""
    n_vectors = len(vectors_BD) or len(recommender)
    places = np.linspace(0, n_vectors - 1, min(RECALL_QUERIES, n_vectors)).astype(np.int64)
    queries_QD = vectors_BD[places] if len(vectors_BD) else recommender.product_vectors(places)
    return recommender.index_recall(queries_QD, rescorer_pool(K))


def latencies_ms(recommenders: Sequence[Recommender], buyers: Sequence[ServedBuyer]) -> list[float]:
    """The median time of one list of each release, in turns, so that whatever else the machine does slows all alike."""
    threads = torch.get_num_threads()
    times: list[list[float]] = [[] for _ in recommenders]
    try:
        torch.set_num_threads(1)  # as in a worker of the API
        with one_faiss_thread():
            for _ in range(LATENCY_ROUNDS):
                for recommender, noted in zip(recommenders, times, strict=True):
                    noted += [_seconds_of_list(recommender, buyer) for buyer in buyers[:LATENCY_BUYERS]]
    finally:
        torch.set_num_threads(threads)
    return [float(np.median(noted)) * 1000 for noted in times]


def _seconds_of_list(recommender: Recommender, buyer: ServedBuyer) -> float:
    started = time.perf_counter()
    served_lists(recommender, [buyer], K)
    return time.perf_counter() - started


def _in_union(positions_BK: Int32Array, places_N: Int64Array) -> Int32Array:
    """Positions in a release as positions among the products of all releases."""
    return np.where(positions_BK == NO_PRODUCT, NO_PRODUCT, places_N[positions_BK]).astype(np.int32)
