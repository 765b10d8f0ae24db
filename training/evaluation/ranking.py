"""Ranks products by score and measures the ranked lists.

Legend: B buyers, N products of the catalogue, K products in each ranked list, T targets of all buyers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.common.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from feature_repo.console.progress import progress_bar
from training.evaluation.bootstrap import mean_intervals
from training.evaluation.metrics import (
    NO_PRODUCT,
    CatalogueFacts,
    Targets,
    accuracy_metrics,
    accuracy_per_buyer,
    beyond_accuracy,
    means,
)
from training.evaluation.ranker import Ranker
from training.evaluation.slices import slice_metrics
from training.evaluation.top_lists import top_lists

BUYERS_AT_ONCE = 256  # their scores take 4 * BUYERS_AT_ONCE * N bytes, or a small multiple


@dataclass(frozen=True)
class RankerResult:
    """Metrics of the ranked lists of one ranker.

    Attributes:
        metrics: {"recall@20": mean over buyers, ...}.
        per_buyer: (B,) values of each accuracy metric, for bootstrap.paired_interval with another ranker's values and
            the codes of the buyers, if one may have several.
        intervals: {metric: (low, high)}, the confidence interval of each mean of `per_buyer`.
        slices: {slice: {"n": buyers, metric: mean}}, see training.evaluation.slices.
    """

    metrics: dict[str, float]
    per_buyer: dict[str, Float64Array]
    intervals: dict[str, tuple[float, float]]
    slices: dict[str, dict[str, float]]


def rank_all(
    ranker: Ranker, buyers: Int32Array, k: int, chunk: int = BUYERS_AT_ONCE, show_progress: bool = True
) -> Int32Array:
    """Ranks ALL products for each buyer, without sampling, and returns the top k.

    Sampled candidates would change the order of rankers (Krichene & Rendle 2020, On sampled metrics for item
    recommendation).

    Args:
        ranker: Scores the products; a product with a score of -inf is never recommended.
        buyers: (B,) buyer codes.
        k: K, the length of each list; a list with fewer recommendable products is filled up with NO_PRODUCT.
        chunk: Number of buyers scored at once.
        show_progress: Shows a progress bar on stderr.

    Returns:
        (B, K) int32 product positions, higher scores first, equal scores by lower position.

    Raises:
        ValueError: k or chunk is below 1, or a score is NaN.
    """
    [lists_BK] = rank_each([ranker], buyers, k, chunk, show_progress)
    return lists_BK


def rank_each(
    rankers: Sequence[Ranker], buyers: Int32Array, k: int, chunk: int = BUYERS_AT_ONCE, show_progress: bool = True
) -> list[Int32Array]:
    """As rank_all for several rankers, all of a chunk before the next, so that they can share work (SharedScores)."""
    if k < 1 or chunk < 1:
        raise ValueError(f"k {k} and chunk {chunk} must be at least 1")
    lists = [np.full((len(buyers), k), NO_PRODUCT, dtype=np.int32) for _ in rankers]
    names = ", ".join(dict.fromkeys(ranker.name for ranker in rankers))
    with progress_bar(total=len(buyers), title=names, unit="buyer", shown=show_progress) as progress:
        for start in range(0, len(buyers), chunk):
            rows = buyers[start : start + chunk]
            for ranker, lists_BK in zip(rankers, lists, strict=True):
                lists_BK[start : start + chunk] = top_lists(ranker.scores(rows), k, ranker.name)
            progress.update(len(rows))
    return lists


def compare(
    rankers: Sequence[Ranker], buyers: Int32Array, targets: Targets, k_values: Sequence[int], *, show_progress: bool
) -> dict[str, dict[str, float]]:
    """The accuracy of each ranker on the same buyers and targets: {name: {"recall@20": ...}}.

    Args:
        rankers: Rankers with distinct names.
        buyers: (B,) buyer codes.
        targets: Targets of these B buyers, in the same order.
        k_values: Cut-offs, at least 1.
        show_progress: Shows a progress bar on stderr.

    Raises:
        ValueError: Two rankers share a name, k_values is empty or below 1, or buyers and targets differ in number.
    """
    names = [ranker.name for ranker in rankers]
    # The result is keyed by name; one ranker would hide another.
    if len(set(names)) < len(names):
        raise ValueError(f"each ranker needs a name of its own, not {names}")
    if not k_values:
        raise ValueError("k_values must name at least one cut-off")
    return {
        ranker.name: accuracy_metrics(
            rank_all(ranker, buyers, max(k_values), show_progress=show_progress), targets, k_values
        )
        for ranker in rankers
    }


def measure(
    ranked_BK: Int32Array,
    targets: Targets,
    k_values: Sequence[int],
    catalogue: CatalogueFacts,
    slices: Mapping[str, BoolArray],
    buyers_B: Int64Array | None = None,
) -> RankerResult:
    """Everything that an evaluation reports about one ranker.

    Args:
        ranked_BK: Lists of all B buyers, as rank_all returns them.
        targets: Targets of these B buyers, in the same order.
        k_values: Cut-offs between 1 and K.
        catalogue: Facts for the metrics beyond accuracy.
        slices: (T,) targets of each slice, as slices.slice_targets returns them.
        buyers_B: Code of the buyer of each list, if one may have several; the intervals draw a buyer's lists together.

    Raises:
        ValueError: As metrics.accuracy_per_buyer.
    """
    per_buyer = accuracy_per_buyer(ranked_BK, targets, k_values)
    return RankerResult(
        metrics=means(per_buyer) | beyond_accuracy(ranked_BK, targets, k_values, catalogue),
        per_buyer=per_buyer,
        intervals=mean_intervals(per_buyer, buyers_B),
        slices=slice_metrics(ranked_BK, targets, slices, k_values),
    )
