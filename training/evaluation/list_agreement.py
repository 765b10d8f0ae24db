"""How alike ranked lists are: two of them by the share of common products and rank-biased overlap; many on average.

Legend: K results.
"""

from collections.abc import Hashable, Sequence

# The first ten products get 86% of the weight (Webber et al., equation 21).
PERSISTENCE = 0.9


def overlap(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """The share of the longer list's products that are in both lists, wherever they stand; 1 for two empty lists."""
    longest = max(len(first), len(second))
    return len(set(first) & set(second)) / longest if longest else 1.0


def mean_overlap(lists_with: Sequence[int], n_lists: int, k: int) -> float:
    """The mean over all pairs of lists of the share of products that both have; 0 if there is no pair.

    Of products and not of pairs: a product that n lists have is common to n (n - 1) / 2 pairs, so the time grows with
    the number of products. It is 1 minus the inter-user diversity of Zhou et al. 2010, Solving the apparent
    diversity-accuracy dilemma of recommender systems.

    Args:
        lists_with: For each product that is in any list, the number of lists that have it.
        n_lists: Number of lists.
        k: Length of the lists.
    """
    n_pairs = n_lists * (n_lists - 1) // 2
    common = sum(count * (count - 1) // 2 for count in lists_with)
    return common / (n_pairs * k) if n_pairs else 0.0


def rank_biased_overlap(first: Sequence[Hashable], second: Sequence[Hashable], p: float = PERSISTENCE) -> float:
    """Extrapolated rank-biased overlap of two lists without repeats: 0 if nothing is common, 1 if they are equal.

    The mean over depths d of the overlap of the first d products, with weight p^d. A difference at the top counts for
    more than one at the end, and the lists need not hold the same products, as Kendall's tau would require. Source:
    Webber, Moffat & Zobel 2010, A similarity measure for indefinite rankings, ACM TOIS 28(4), equation 32.

    Args:
        first: A list, best first.
        second: Another one; it may be longer or shorter.
        p: Persistence, between 0 and 1: the nearer to 1, the deeper it looks.
    """
    short, long = sorted((list(first), list(second)), key=len)
    s, length = len(short), len(long)
    if s == 0:
        return 1.0 if length == 0 else 0.0
    common_at = [0] * (length + 1)
    for depth in range(1, length + 1):
        common_at[depth] = len(set(short[:depth]) & set(long[:depth]))
    common_s, common_l = common_at[s], common_at[length]
    agreed = sum(common_at[depth] / depth * p**depth for depth in range(1, length + 1))
    # Beyond the end of the shorter list, its agreement at that depth is assumed to go on.
    assumed = sum(common_s * (depth - s) / (s * depth) * p**depth for depth in range(s + 1, length + 1))
    last = ((common_l - common_s) / length + common_s / s) * p**length
    return (1 - p) / p * (agreed + assumed) + last
