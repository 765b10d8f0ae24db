"""Confidence intervals of means over buyers: the percentile bootstrap.

The B buyers of the test are a sample of the shop's buyers. Resampling B of them with replacement many times shows how
much a mean depends on the sample (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13). With few
buyers the intervals are slightly too narrow: for skewed values, the stated 95% intervals contained the true mean 90% of
the time with 10 buyers, 93% with 50 and 95% with 300.

Where a buyer has several values, as of several moments (`data.evaluation_unit` per_moment), they are drawn together:
the moments of a buyer are alike, and drawn one by one they would pass for as many buyers (the cluster bootstrap of
Davison & Hinkley 1997, Bootstrap methods and their application, section 3.8).

Legend: V values, B buyers, M metrics, R resamples, C resamples drawn at once.
"""

from collections.abc import Mapping

import numpy as np

from feature_repo.common.arrays import Float64Array, Int64Array

RESAMPLES = 1000
LEVEL = 0.95
_CHUNK_CELLS = 2_000_000  # B * C at most: 16 MB for each of the few arrays of a chunk


def mean_interval(
    values_V: Float64Array,
    buyers_V: Int64Array | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of the mean of the values, whatever the order of the buyers.

    Args:
        values_V: (V,) finite values.
        buyers_V: (V,) code of the buyer of each value; None if each is of another buyer.
        resamples: Number of resamples; 1000 are enough for the ends of a 95% interval.
        level: Share of such intervals that contain the true mean, between 0 and 1.
        seed: Equal seeds give equal intervals.

    Raises:
        ValueError: There is no value, a value is not finite, or `resamples` or `level` is out of range.
    """
    return mean_intervals({"values": values_V}, buyers_V, resamples=resamples, level=level, seed=seed)["values"]


def paired_interval(
    a_V: Float64Array,
    b_V: Float64Array,
    buyers_V: Int64Array | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of mean(a) - mean(b) for two models on the same buyers; the models differ if it excludes 0.

    It resamples each buyer's difference, so what makes a buyer easy for both models cancels out. Two models may differ
    although their separate intervals overlap. Sources: Sakai 2006, Evaluating evaluation metrics based on the
    bootstrap; Smucker, Allan & Carterette 2007, A comparison of statistical significance tests for information
    retrieval evaluation.

    Args:
        a_V: (V,) values of one model.
        b_V: (V,) values of the other model, in the same order.
        buyers_V: As for mean_interval.
        resamples: As for mean_interval; the errors are the same too.
        level: Share of such intervals that contain the true difference.
        seed: Equal seeds give equal intervals.
    """
    if len(a_V) != len(b_V):
        raise ValueError(f"a has {len(a_V)} values and b {len(b_V)}: only those of the same buyers can be paired")
    return mean_interval(a_V - b_V, buyers_V, resamples=resamples, level=level, seed=seed)


def mean_intervals(
    values: Mapping[str, Float64Array],
    buyers_V: Int64Array | None = None,
    *,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """mean_interval of several metrics of the same buyers, with the same resamples and much faster than one by one."""
    if resamples < 1:
        raise ValueError(f"resamples {resamples} must be at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level {level} must lie between 0 and 1, for example 0.95")
    values_VM = np.stack(list(values.values()), axis=1)
    if len(values_VM) == 0 or not np.isfinite(values_VM).all():
        raise ValueError("an interval needs at least one buyer and finite values only")
    sums_BM, sizes_B = _by_buyer(values_VM, buyers_V)
    means_RM = _resampled_means(sums_BM, sizes_B, resamples, seed)
    ends_2M = np.quantile(means_RM, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {metric: (float(low), float(high)) for metric, (low, high) in zip(values, ends_2M.T, strict=True)}


def standard_error(values_V: Float64Array, buyers_V: Int64Array | None = None) -> float:
    """The standard error of the mean of the values; buyers_V as for mean_interval."""
    sums_BM, sizes_B = _by_buyer(values_V[:, None], buyers_V)
    deviations_B = sums_BM[:, 0] - values_V.mean() * sizes_B
    return float(np.sqrt((deviations_B**2).sum()) / len(values_V))


def _by_buyer(values_VM: Float64Array, buyers_V: Int64Array | None) -> tuple[Float64Array, Float64Array]:
    """(B, M) sums of the values of each buyer, and (B,) their number."""
    if buyers_V is None:
        return values_VM, np.ones(len(values_VM))
    codes_V = np.unique(buyers_V, return_inverse=True)[1]
    sums = []
    for values_V in values_VM.T:
        # Ascending: in another order, the last digit of a sum may be another one.
        order_V = np.lexsort((values_V, codes_V))
        sums.append(np.bincount(codes_V[order_V], weights=values_V[order_V]))
    return np.stack(sums, axis=1), np.bincount(codes_V).astype(np.float64)


def _resampled_means(sums_BM: Float64Array, sizes_B: Float64Array, resamples: int, seed: int) -> Float64Array:
    """(R, M) means of the values of B buyers drawn with replacement, computed as draw counts times sums."""
    n_buyers, n_metrics = sums_BM.shape
    # Resamples select rows. Sorting, of each metric by itself, makes the interval independent of the buyers' order.
    order_BM = np.stack([np.lexsort((sizes_B, sums_B)) for sums_B in sums_BM.T], axis=1)
    sums_BM, sizes_BM = np.take_along_axis(sums_BM, order_BM, axis=0), sizes_B[order_BM]
    rng = np.random.default_rng(seed)
    means_RM = np.empty((resamples, n_metrics))
    chunk = max(1, _CHUNK_CELLS // n_buyers)
    for start in range(0, resamples, chunk):
        rows_C = np.arange(min(chunk, resamples - start))
        # Each resample has a range of numbers of its own, so that one bincount counts the draws of all.
        cells_CB = rng.integers(0, n_buyers, (len(rows_C), n_buyers)) + n_buyers * rows_C[:, None]
        counts_CB = np.bincount(cells_CB.ravel(), minlength=cells_CB.size).reshape(cells_CB.shape)
        # A matrix product with the counts serves all metrics at once and gathers no values.
        means_RM[start : start + len(rows_C)] = (counts_CB @ sums_BM) / (counts_CB @ sizes_BM)
    return means_RM
