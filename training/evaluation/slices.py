"""Accuracy on slices: the same ranked lists, measured on named parts of the held-out targets.

A slice is a subset of the targets. A slice by product keeps some targets of each buyer, a slice by buyer keeps all
targets of some buyers; buyers without a remaining target are not in the slice. The lists stay the same, the best of the
whole catalogue, so targets outside a slice count as misses.

Legend: B buyers, K products in each ranked list, N products of the catalogue, T targets of all buyers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import BoolArray, Int32Array, Int64Array
from training.evaluation.metrics import Targets, accuracy_metrics

HEAD_SHARE = 0.5
# Minimum and maximum number of events in the history.
HISTORY_SLICES = {
    "new_buyers": (0, 0),
    "short_history": (1, 4),
    "medium_history": (5, 19),
    "long_history": (20, np.inf),
}


def slice_targets(
    targets: Targets, history_lengths_B: Int64Array, counts_N: Int64Array, languages_N: npt.NDArray[np.str_]
) -> dict[str, BoolArray]:
    """(T,) whether each target belongs to a slice, for all slices; a slice may be empty.

    By product: `cold_products` have no training events, `head` are the most popular products that make up half of the
    training events (equal counts by position), `tail` are all others, `language_<language>` have such a title.
    By buyer: `new_buyers` (no history), `short_history` (1 to 4 events), `medium_history` (5 to 19), `long_history`.

    Args:
        targets: Targets of the B buyers.
        history_lengths_B: (B,) number of events in the history of each buyer's context.
        counts_N: (N,) number of training events of each product.
        languages_N: (N,) language of each product's title.

    Raises:
        ValueError: The arrays do not fit together.
    """
    if len(history_lengths_B) != len(targets):
        raise ValueError(f"history_lengths_B has {len(history_lengths_B)} buyers, the targets are of {len(targets)}")
    if not len(counts_N) == len(languages_N) > targets.positions.max():
        raise ValueError(
            f"counts_N ({len(counts_N)}) and languages_N ({len(languages_N)}) must have one entry per product, "
            f"and the targets go up to position {targets.positions.max()}"
        )
    head_N = _head(counts_N)
    by_product = {"cold_products": counts_N == 0, "head": head_N, "tail": ~head_N}
    by_product |= {f"language_{language}": languages_N == language for language in np.unique(languages_N)}
    by_buyer = {
        name: (fewest <= history_lengths_B) & (history_lengths_B <= most)
        for name, (fewest, most) in HISTORY_SLICES.items()
    }
    return {name: chosen_N[targets.positions] for name, chosen_N in by_product.items()} | {
        name: chosen_B[targets.buyers] for name, chosen_B in by_buyer.items()
    }


def slice_metrics(
    ranked_BK: Int32Array, targets: Targets, slices: Mapping[str, BoolArray], k_values: Sequence[int]
) -> dict[str, dict[str, float]]:
    """{slice: {"n": buyers, "recall@20": ..., ...}}: accuracy on each slice that has a target.

    Args:
        ranked_BK: (B, K) product positions, best first.
        targets: Targets of the same B buyers.
        slices: (T,) targets of each slice, as slice_targets returns them.
        k_values: Cut-offs between 1 and K.
    """
    metrics: dict[str, dict[str, float]] = {}
    for name, chosen_T in slices.items():
        if chosen_T.any():
            rows, chosen = _only(targets, chosen_T)
            metrics[name] = {"n": len(rows), **accuracy_metrics(ranked_BK[rows], chosen, k_values)}
    return metrics


def _head(counts_N: Int64Array) -> BoolArray:
    """(N,) whether a product belongs to the fewest ones that make up HEAD_SHARE of the events."""
    # Stable, so that equal counts keep the order of positions.
    order = np.argsort(-counts_N, kind="stable")
    events_before = np.cumsum(counts_N[order]) - counts_N[order]
    head_N = np.zeros(len(counts_N), dtype=bool)
    # Events before the product, not up to it: the product that crosses the half is still in the head.
    head_N[order[events_before < HEAD_SHARE * counts_N.sum()]] = True
    return head_N


def _only(targets: Targets, chosen_T: BoolArray) -> tuple[Int64Array, Targets]:
    """The rows of the buyers with a target in the slice, and these targets."""
    counts_B = np.bincount(targets.buyers[chosen_T], minlength=len(targets))
    rows = np.flatnonzero(counts_B)
    return rows, Targets(np.concatenate([[0], np.cumsum(counts_B[rows])]), targets.positions[chosen_T])
