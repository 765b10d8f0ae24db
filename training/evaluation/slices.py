"""Where a model is good and where it is not: the same ranked lists, judged on named parts of the test.

A slice is a choice of targets. One made by product keeps some targets of each buyer, one made by buyer all targets of
some buyers; buyers without a target left are not in the slice. Lists are never ranked again: they remain the best of
the whole catalogue, and the targets outside a slice count as misses.

Legend: B buyers, K products in each ranked list, N products of the catalogue, T targets of all buyers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from feature_repo.common.arrays import BoolArray, Int64Array
from training.evaluation.metrics import Integers, Targets, accuracy_metrics

HEAD_SHARE = 0.5
# Fewest and most events in the history.
HISTORY_SLICES = {
    "new_buyers": (0, 0),
    "short_history": (1, 4),
    "medium_history": (5, 19),
    "long_history": (20, np.inf),
}


def slice_targets(
    targets: Targets, history_lengths_B: Integers, counts_N: Integers, languages_N: npt.NDArray[np.str_]
) -> dict[str, BoolArray]:
    """Which targets belong to each slice, (T,) each; a slice may be empty.

    By product: `cold_products` were never taken in training, `head` are the most taken products that make up half of
    its events (equal counts by position), `tail` are all others, `language_<language>` go by the language of the title.
    By buyer: `new_buyers` (no history), `short_history` (1 to 4 events), `medium_history` (5 to 19), `long_history`.

    Args:
        targets: what the B buyers took.
        history_lengths_B: (B,) events in each buyer's history at the moment asked about.
        counts_N: (N,) events of each product in training.
        languages_N: (N,) the language of each product's title.

    Raises:
        ValueError: the arrays do not fit together.
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
    ranked_BK: Integers, targets: Targets, slices: Mapping[str, BoolArray], k_values: Sequence[int]
) -> dict[str, dict[str, float]]:
    """{slice: {"n": buyers, "recall@20": ..., ...}}: accuracy on each slice that holds a target.

    Args:
        ranked_BK: (B, K) product positions, best first, the lists of all buyers.
        targets: what the same B buyers took.
        slices: (T,) targets of each slice, as `slice_targets` returns them.
        k_values: cut-offs between 1 and K.
    """
    judged = {}
    for name, chosen_T in slices.items():
        if chosen_T.any():
            rows, chosen = _only(targets, chosen_T)
            judged[name] = {"n": len(rows), **accuracy_metrics(ranked_BK[rows], chosen, k_values)}
    return judged


def _head(counts_N: Integers) -> BoolArray:
    """(N,) the fewest products that make up HEAD_SHARE of the events."""
    order = np.argsort(-counts_N, kind="stable")
    events_before = np.cumsum(counts_N[order]) - counts_N[order]
    head_N = np.zeros(len(counts_N), dtype=bool)
    head_N[order[events_before < HEAD_SHARE * counts_N.sum()]] = True
    return head_N


def _only(targets: Targets, chosen_T: BoolArray) -> tuple[Int64Array, Targets]:
    """The rows of buyers with a chosen target, and these targets."""
    counts_B = np.bincount(targets.buyers[chosen_T], minlength=len(targets))
    rows = np.flatnonzero(counts_B)
    return rows, Targets(np.concatenate([[0], np.cumsum(counts_B[rows])]), targets.positions[chosen_T])
