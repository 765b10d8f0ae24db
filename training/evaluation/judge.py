"""From scores to ranked lists, and what these are worth.

Legend: B buyers, N products of the catalogue, k products in each ranked list, T targets of all buyers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from feature_repo.common.arrays import BoolArray, Float64Array, Int32Array
from training.evaluation.bootstrap import mean_intervals
from training.evaluation.metrics import (
    NO_PRODUCT,
    CatalogueFacts,
    Integers,
    Targets,
    accuracy_per_buyer,
    beyond_accuracy,
    list_metrics,
    means,
)
from training.evaluation.ranker import Ranker, top_positions
from training.evaluation.slices import slice_metrics


@dataclass(frozen=True)
class RankerResult:
    """What the ranked lists of one ranker are worth.

    Attributes:
        metrics: {"recall@20": mean over buyers, ...}.
        per_buyer: (B,) values of each accuracy metric, for `bootstrap.paired_interval` with another ranker's.
        intervals: {metric: (low, high)} of the means of `per_buyer`; see training.evaluation.bootstrap.
        slices: {slice: {"n": buyers, metric: mean}}; see training.evaluation.slices.
    """

    metrics: dict[str, float]
    per_buyer: dict[str, Float64Array]
    intervals: dict[str, tuple[float, float]]
    slices: dict[str, dict[str, float]]


def rank_all(ranker: Ranker, buyers: Int32Array, k: int, chunk: int = 256, show_progress: bool = True) -> Int32Array:
    """The best k of ALL products for each buyer: no sampled candidates, nothing left out.

    Args:
        ranker: scores the products; a score of -inf is never recommended.
        buyers: (B,) buyer codes.
        k: length of each list; beyond the recommendable products it is filled with NO_PRODUCT.
        chunk: buyers scored at once; takes 4 * chunk * N bytes or a small multiple.
        show_progress: a progress bar on stderr.

    Returns:
        (B, k) int32 product positions, higher score first, equal scores by lower position.

    Raises:
        ValueError: k or chunk is below 1, or a score is not a number.
    """
    if k < 1 or chunk < 1:
        raise ValueError(f"k {k} and chunk {chunk} must be at least 1")
    ranked_Bk = np.full((len(buyers), k), NO_PRODUCT, dtype=np.int32)
    with tqdm(total=len(buyers), desc=ranker.name, unit="buyer", disable=not show_progress) as progress:
        for start in range(0, len(buyers), chunk):
            scores_BN = ranker.scores(buyers[start : start + chunk])
            if np.isnan(scores_BN).any():
                raise ValueError(f"{ranker.name} gave scores that are not numbers: they have no rank")
            for row, scores_N in enumerate(scores_BN, start):
                top = top_positions(scores_N, k)
                top = top[scores_N[top] > -np.inf]
                ranked_Bk[row, : len(top)] = top
            progress.update(len(scores_BN))
    return ranked_Bk


def compare(
    rankers: Sequence[Ranker],
    buyers: Int32Array,
    targets: Targets,
    k_values: Sequence[int],
    catalogue: CatalogueFacts | None = None,
    chunk: int = 256,
    show_progress: bool = True,
) -> dict[str, dict[str, float]]:
    """The metrics of each ranker on the same buyers and targets: {name: {"recall@20": ...}}.

    Args:
        rankers: each with a name of its own.
        buyers: (B,) buyer codes.
        targets: what these B buyers took, in the same order.
        k_values: cut-offs, at least 1.
        catalogue: adds the metrics beyond accuracy that it has the facts for.
        chunk: buyers scored at once.
        show_progress: a progress bar on stderr.

    Raises:
        ValueError: two rankers share a name, k_values is empty or below 1, or buyers and targets differ in number.
    """
    names = [ranker.name for ranker in rankers]
    if len(set(names)) < len(names):
        raise ValueError(f"each ranker needs a name of its own, not {names}")
    if not k_values:
        raise ValueError("k_values must name at least one cut-off")
    return {
        ranker.name: list_metrics(
            rank_all(ranker, buyers, max(k_values), chunk, show_progress), targets, k_values, catalogue
        )
        for ranker in rankers
    }


def judge(
    ranked_Bk: Integers,
    targets: Targets,
    k_values: Sequence[int],
    catalogue: CatalogueFacts | None = None,
    slices: Mapping[str, BoolArray] | None = None,
) -> RankerResult:
    """Everything an evaluation reports of one ranker, from lists that were ranked once.

    Args:
        ranked_Bk: lists of all B buyers, as `rank_all` returns them.
        targets: what these B buyers took, in the same order.
        k_values: cut-offs between 1 and k.
        catalogue: adds the metrics beyond accuracy that it has the facts for.
        slices: (T,) targets of each slice, as `slices.slice_targets` returns them.

    Raises:
        ValueError: see `metrics.accuracy_per_buyer`.
    """
    per_buyer = accuracy_per_buyer(ranked_Bk, targets, k_values)
    beyond = {} if catalogue is None else beyond_accuracy(ranked_Bk, targets, k_values, catalogue)
    return RankerResult(
        metrics=means(per_buyer) | beyond,
        per_buyer=per_buyer,
        intervals=mean_intervals(per_buyer),
        slices=slice_metrics(ranked_Bk, targets, slices or {}, k_values),
    )
