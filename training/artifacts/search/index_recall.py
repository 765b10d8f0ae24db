"""Recall of an index against an exact search, and the choice of its parameter by recall.

Legend: Q queries, M products mixed into a query, K results, N products, D dimensions.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.common.arrays import Float32Array, Float64Array
from feature_repo.common.files import write_json
from training.artifacts.search.candidate_index import CandidateIndex
from training.artifacts.search.exact_search import exact_search
from training.artifacts.search.index_files import INDEX_CURVE
from training.artifacts.search.vector_index import VectorIndex

QUERIES, QUERY_SEED = 500, 0  # fixed, so that the recall of the same index does not vary between runs
PRODUCTS_PER_BUYER = 5
RECALL_K = (10, 100)
# Inner products that are summed in different orders differ by less.
ROUNDING = 1e-6
# A value is chosen if its recall is above the limit by so many standard errors: on other queries it is then so, too.
STANDARD_ERRORS = 2


@dataclass(frozen=True)
class ChosenIndex:
    """An index with the value that was chosen.

    Attributes:
        index: The index.
        curve: For index_curve.json: type, parameter, value, recall on the queries that judge, and the figures of all
            values on the queries that choose. The same index and queries give the same curve.
        judged: The recall on the queries that judge, by `recall@K`.
        ms_per_query: Time of a query in a batch by value, on all threads; for information only.
    """

    index: CandidateIndex
    curve: dict[str, Any]
    judged: dict[str, float]
    ms_per_query: dict[int, float]

    def save(self, folder: Path) -> None:
        """Writes the index with its curve."""
        self.index.save(folder)
        write_json(folder / INDEX_CURVE, self.curve)

    def reaches(self, min_recall: float) -> bool:
        """Whether the recall on the queries that judge is high enough."""
        return min(self.judged.values()) >= min_recall


def choose_value(
    index: CandidateIndex, vectors_ND: Float32Array, queries_QD: Float32Array, min_recall: float, source: str
) -> ChosenIndex:
    """Chooses the cheapest value whose recall@10 and recall@100 reach `min_recall`, or else the dearest.

    One half of the queries chooses, and the recall on the other half is reported: the recall of the chosen value on the
    queries that chose it is too high by selection.

    Args:
        index: The index.
        vectors_ND: Its unit vectors.
        queries_QD: Queries like those of the shop, at least two.
        min_recall: The recall to reach.
        source: What the queries are, for the curve.
    """
    choosing_QD, judging_QD = queries_QD[::2], queries_QD[1::2]
    exact_QK, _ = exact_search(vectors_ND, choosing_QD, max(RECALL_K))
    points: list[dict[str, Any]] = []
    ms_per_query: dict[int, float] = {}
    chosen = None
    for value in index.values:
        index = index.with_value(value)
        start = time.perf_counter()
        scores_QK, _ = index.search(choosing_QD, max(RECALL_K))
        ms_per_query[value] = (time.perf_counter() - start) * 1000 / len(choosing_QD)
        found = {f"recall@{k}": recall_per_query(scores_QK, exact_QK, k) for k in RECALL_K}
        recall = {name: round(float(recall_Q.mean()), 5) for name, recall_Q in found.items()}
        points.append({"value": value, **recall, "comparisons": round(index.comparisons(choosing_QD), 1)})
        if chosen is None and all(_surely(recall_Q, min_recall) for recall_Q in found.values()):
            chosen = index
        if min(recall.values()) == 1:  # dearer values find no more
            break
    chosen = chosen or index
    judged = recall_against_exact(chosen, vectors_ND, judging_QD)
    curve = {
        **chosen.settings(),
        "min_recall": min_recall,
        "queries": {"what": source, "choosing": len(choosing_QD), "judging": len(judging_QD)},
        "judged": {name: round(value, 5) for name, value in judged.items()},
        "curve": points,
    }
    return ChosenIndex(chosen, curve, judged, ms_per_query)


def _surely(recall_Q: Float64Array, limit: float) -> bool:
    margin = STANDARD_ERRORS * recall_Q.std() / len(recall_Q) ** 0.5
    return float(recall_Q.mean() - margin) >= limit


def recall_against_exact(
    index: VectorIndex, vectors_ND: Float32Array, queries_QD: Float32Array, k_values: Sequence[int] = RECALL_K
) -> dict[str, float]:
    """The share of the K best products that the index finds, by `recall@K`.

    Args:
        index: An index over the vectors.
        vectors_ND: Unit vectors of the products, (N, D), at least one.
        queries_QD: The queries, at least one.
        k_values: Results per query; N if that is less.
    """
    exact_QK, _ = exact_search(vectors_ND, queries_QD, max(k_values))
    scores_QK, _ = index.search(queries_QD, max(k_values))
    return {f"recall@{k}": float(recall_per_query(scores_QK, exact_QK, k).mean()) for k in k_values}


def recall_per_query(scores_QK: Float32Array, exact_QK: Float32Array, k: int) -> Float64Array:
    """The share of each query's K best products that were found, (Q,).

    A product whose score equals that of the K-th best counts as found, because the choice among equals is arbitrary.

    Args:
        scores_QK: Scores of what an index found, best first; more than K columns are allowed.
        exact_QK: Scores of the best.
        k: K.
    """
    k = min(k, exact_QK.shape[1])
    found: Float64Array = (scores_QK[:, :k] >= exact_QK[:, k - 1 : k] - ROUNDING).mean(axis=1)
    return found


def buyer_like_queries(
    vectors_ND: Float32Array, n_queries: int = QUERIES, rng: np.random.Generator | None = None
) -> Float32Array:
    """Random unit vectors, (Q, D): each is a weighted mean of a few products, dominated by one or two of them."""
    rng = np.random.default_rng(QUERY_SEED) if rng is None else rng
    rows_QM = rng.integers(len(vectors_ND), size=(n_queries, PRODUCTS_PER_BUYER))
    # A concentration below 1 makes a few weights large and the others small.
    weights_QM = rng.dirichlet(np.full(PRODUCTS_PER_BUYER, 0.5), size=n_queries).astype(np.float32)
    mixed_QD = np.einsum("qm,qmd->qd", weights_QM, vectors_ND[rows_QM])
    queries_QD: Float32Array = mixed_QD / np.linalg.norm(mixed_QD, axis=1, keepdims=True)
    return queries_QD
