"""How far a mean over buyers could have come out differently: percentile bootstrap intervals.

The B buyers of the test are a sample of the shop's buyers. Drawing B of them with replacement, many times over, shows
how much a mean moves with who happened to be in it: Efron & Tibshirani 1993, An Introduction to the Bootstrap,
chapter 13. Where buyers are few the intervals are somewhat narrow: of skewed values, those stated as 95% held the true
mean 90% of the time with 10 buyers, 93% with 50 and 95% with 300.

Legend: B buyers, M metrics, R resamples, C resamples drawn at once.
"""

from collections.abc import Mapping

import numpy as np

from feature_repo.common.arrays import Float64Array

RESAMPLES = 1000
LEVEL = 0.95
_CHUNK_CELLS = 2_000_000  # B * C at most: 16 MB for each of the few arrays of a chunk


def mean_interval(
    values_B: Float64Array, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """The interval of the mean of one value per buyer; the order of buyers does not matter.

    Args:
        values_B: (B,) finite values, one of each buyer.
        resamples: how often B buyers are drawn; 1000 is enough for the ends of a 95% interval.
        level: share of such intervals that hold the true mean, between 0 and 1.
        seed: equal seeds give equal intervals.

    Raises:
        ValueError: there is no value or one that is not finite, or `resamples` or `level` is out of range.
    """
    return mean_intervals({"values": values_B}, resamples=resamples, level=level, seed=seed)["values"]


def paired_interval(
    a_B: Float64Array, b_B: Float64Array, *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> tuple[float, float]:
    """The interval of mean(a) - mean(b) for two models judged on the same buyers; without 0 in it, they differ.

    It resamples each buyer's difference, so that what makes a buyer easy for both models cancels; two intervals that
    overlap may still belong to models that differ. Sources: Sakai 2006, Evaluating evaluation metrics based on the
    bootstrap; Smucker, Allan & Carterette 2007, A comparison of statistical significance tests for information
    retrieval evaluation.

    Args:
        a_B: (B,) values of one model.
        b_B: (B,) values of the other, buyers in the same order.
        resamples: see `mean_interval`, as for `level`, `seed` and the errors.
        level: share of such intervals that hold the true difference.
        seed: equal seeds give equal intervals.
    """
    if len(a_B) != len(b_B):
        raise ValueError(f"a has {len(a_B)} buyers and b {len(b_B)}: only the same buyers can be paired")
    return mean_interval(a_B - b_B, resamples=resamples, level=level, seed=seed)


def mean_intervals(
    values: Mapping[str, Float64Array], *, resamples: int = RESAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """`mean_interval` of each of several metrics of the same buyers, much quicker than one by one."""
    if resamples < 1:
        raise ValueError(f"resamples {resamples} must be at least 1")
    if not 0 < level < 1:
        raise ValueError(f"level {level} must lie between 0 and 1, for example 0.95")
    # Draws go by place. Sorted, equal values in any order of buyers meet equal draws.
    sorted_BM = np.sort(np.stack(list(values.values()), axis=1), axis=0)
    if len(sorted_BM) == 0 or not np.isfinite(sorted_BM).all():
        raise ValueError("an interval needs at least one buyer and finite values only")
    ends_2M = np.quantile(_resampled_means(sorted_BM, resamples, seed), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return {metric: (float(low), float(high)) for metric, (low, high) in zip(values, ends_2M.T, strict=True)}


def _resampled_means(values_BM: Float64Array, resamples: int, seed: int) -> Float64Array:
    """(R, M) means of B buyers drawn with replacement, as the products of draw counts and values."""
    n_buyers = len(values_BM)
    rng = np.random.default_rng(seed)
    means_RM = np.empty((resamples, values_BM.shape[1]))
    chunk = max(1, _CHUNK_CELLS // n_buyers)
    for start in range(0, resamples, chunk):
        rows_C = np.arange(min(chunk, resamples - start))
        cells_CB = rng.integers(0, n_buyers, (len(rows_C), n_buyers)) + n_buyers * rows_C[:, None]
        counts_CB = np.bincount(cells_CB.ravel(), minlength=cells_CB.size).reshape(cells_CB.shape)
        means_RM[start : start + len(rows_C)] = counts_CB @ values_BM / n_buyers
    return means_RM
