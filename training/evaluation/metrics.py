"""Metrics of ranked lists: accuracy against held-out targets, and coverage, overlap, novelty, diversity and so on.

Legend: B buyers, K products in each ranked list, k one cut-off (k <= K), N products of the catalogue, T targets of all
buyers, D vector dimension. NO_PRODUCT marks an empty place of a list; it is neither a hit nor a recommendation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.common.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from training.data.histories import ranges
from training.evaluation.list_agreement import mean_overlap

NO_PRODUCT = -1  # an empty place in a ranked list

_Integers = Int32Array | Int64Array


@dataclass(frozen=True)
class Targets:
    """The targets of B buyers: at least one product each, none twice.

    Attributes:
        offsets: (B + 1,) int64; the targets of buyer b are positions[offsets[b]:offsets[b + 1]].
        positions: (T,) int positions in the catalogue.
    """

    offsets: Int64Array
    positions: _Integers

    def __post_init__(self) -> None:
        """Validates the arrays.

        Raises:
            ValueError: Offsets and positions do not fit, or a buyer has no target or the same target twice.
        """
        if len(self.offsets) < 2 or self.offsets[0] != 0 or self.offsets[-1] != len(self.positions):
            raise ValueError(
                f"offsets must run from 0 to the number of targets ({len(self.positions)}), one buyer or more"
            )
        if np.any(np.diff(self.offsets) <= 0):
            raise ValueError("every buyer needs a target (recall divides by their number): leave the others out")
        if np.any(self.positions < 0):
            raise ValueError("positions must not be negative: leave out targets that are not in the catalogue")
        # A target that is listed twice would count as one hit of two targets.
        order = np.lexsort((self.positions, self.buyers))
        owners, positions = self.buyers[order], self.positions[order]
        if np.any((owners[1:] == owners[:-1]) & (positions[1:] == positions[:-1])):
            raise ValueError("the targets of one buyer must be unique")

    def __len__(self) -> int:
        """The number of buyers, B."""
        return len(self.offsets) - 1

    def take(self, rows: Int64Array) -> "Targets":
        """The targets of the buyers in `rows`, in that order."""
        places, offsets = ranges(self.offsets[rows], self.offsets[rows + 1])
        return Targets(offsets, self.positions[places])

    @property
    def buyers(self) -> Int64Array:
        """(T,) the row, 0 to B - 1, that each target belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


@dataclass(frozen=True)
class CatalogueFacts:
    """Facts about the N products for the metrics beyond accuracy.

    Attributes:
        popularity: (N,) number of training events of each product.
        categories: (N,) category codes, negative for a product without one; None omits category_relevance.
        vectors: (N, D) product vectors of any length; None omits diversity.
    """

    popularity: Int64Array
    categories: Int64Array | None = None
    vectors: Float32Array | None = None


# ---- accuracy: one value per buyer -----------------------------------------------------------------------------------


def recall(hits_Bk: BoolArray, n_targets_B: Int64Array) -> Float64Array:
    """(B,) hits / number of targets (Manning, Raghavan, Schuetze 2008, Introduction to Information Retrieval, 8.3)."""
    shares_B: Float64Array = hits_Bk.sum(axis=1) / n_targets_B
    return shares_B


def precision(hits_Bk: BoolArray) -> Float64Array:
    """(B,) hits / k, also for a list with empty places (Manning, Raghavan, Schuetze 2008, 8.4)."""
    shares_B: Float64Array = hits_Bk.mean(axis=1)
    return shares_B


def hit_rate(hits_Bk: BoolArray) -> Float64Array:
    """(B,) 1 if any hit, else 0 (Deshpande & Karypis 2004, Item-based top-N recommendation algorithms, 5.2)."""
    shares_B: Float64Array = hits_Bk.max(axis=1).astype(np.float64)
    return shares_B


def ndcg(hits_Bk: BoolArray, n_targets_B: Int64Array) -> Float64Array:
    """(B,) DCG / ideal DCG, where DCG = sum over hits of 1 / log2(1 + rank), the first rank being 1.

    Relevance is binary, so the ideal list has its hits at ranks 1 to min(k, number of targets). Method: Jarvelin &
    Kekalainen 2002, Cumulated gain-based evaluation of IR techniques; discount of Burges et al. 2005.
    """
    discounts_k = 1 / np.log2(np.arange(2, hits_Bk.shape[1] + 2))
    ideal_B = np.cumsum(discounts_k)[np.minimum(hits_Bk.shape[1], n_targets_B) - 1]
    gains_B: Float64Array = hits_Bk @ discounts_k / ideal_B
    return gains_B


def mrr(hits_Bk: BoolArray) -> Float64Array:
    """(B,) 1 / rank of the first hit, 0 if none within k (Voorhees 1999, The TREC-8 question answering track)."""
    # argmax of booleans is the first hit.
    return np.where(hits_Bk.any(axis=1), 1 / (1 + hits_Bk.argmax(axis=1)), 0.0)


def accuracy_per_buyer(ranked_BK: Int32Array, targets: Targets, k_values: Sequence[int]) -> dict[str, Float64Array]:
    """recall@k, precision@k, hit_rate@k, ndcg@k and mrr@k of every buyer, (B,) each.

    Args:
        ranked_BK: (B, K) product positions, best first, NO_PRODUCT where there is none.
        targets: Targets of the same B buyers, in the same order.
        k_values: Cut-offs between 1 and K.

    Raises:
        ValueError: A cut-off lies outside 1..K, a list holds a product twice, or the buyers differ in number.
    """
    _check_lists(ranked_BK, k_values)
    hits_BK = _among(ranked_BK, targets.buyers, targets.positions, len(targets))
    n_targets_B = np.diff(targets.offsets)
    per_buyer = {}
    for k in k_values:
        hits_Bk = hits_BK[:, :k]
        per_buyer[f"recall@{k}"] = recall(hits_Bk, n_targets_B)
        per_buyer[f"precision@{k}"] = precision(hits_Bk)
        per_buyer[f"hit_rate@{k}"] = hit_rate(hits_Bk)
        per_buyer[f"ndcg@{k}"] = ndcg(hits_Bk, n_targets_B)
        per_buyer[f"mrr@{k}"] = mrr(hits_Bk)
    return per_buyer


# ---- accuracy: means over buyers -------------------------------------------------------------------------------------


def means(per_buyer: Mapping[str, Float64Array]) -> dict[str, float]:
    """Each metric averaged over buyers."""
    return {metric: float(values_B.mean()) for metric, values_B in per_buyer.items()}


def accuracy_metrics(ranked_BK: Int32Array, targets: Targets, k_values: Sequence[int]) -> dict[str, float]:
    """The means of accuracy_per_buyer; arguments and errors are the same."""
    return means(accuracy_per_buyer(ranked_BK, targets, k_values))


# ---- beyond accuracy -------------------------------------------------------------------------------------------------


def coverage(ranked_BK: Int32Array, n_products: int, k_values: Sequence[int]) -> dict[str, float]:
    """coverage@k: share of the N products that appear in at least one list (Ge et al. 2010, Beyond accuracy)."""
    _check_lists(ranked_BK, k_values, n_products)
    tops = {k: np.unique(ranked_BK[:, :k]) for k in k_values}
    return {f"coverage@{k}": int((top >= 0).sum()) / n_products for k, top in tops.items()}


def buyer_overlap(ranked_BK: Int32Array, k_values: Sequence[int]) -> dict[str, float]:
    """buyer_overlap@k: share of products that the lists of two buyers have in common, mean over all pairs of buyers.

    1 if all buyers get the same list; 0 for one buyer. See list_agreement.mean_overlap.
    """
    _check_lists(ranked_BK, k_values)
    by_k = {}
    for k in k_values:
        listed, lists_with = np.unique(ranked_BK[:, :k], return_counts=True)
        by_k[f"buyer_overlap@{k}"] = mean_overlap(lists_with[listed >= 0].tolist(), len(ranked_BK), k)
    return by_k


def diversity(ranked_BK: Int32Array, vectors_ND: Float32Array, k_values: Sequence[int]) -> dict[str, float]:
    """diversity@k: mean of 1 - cosine over all pairs in a list, averaged over buyers.

    A list of fewer than two products has no pair and counts as 0, so diversity@1 is 0. Takes 8 * B * D bytes. Source:
    intra-list similarity of Ziegler et al. 2005, Improving recommendation lists through topic diversification.
    """
    _check_lists(ranked_BK, k_values, len(vectors_ND))
    # Only those of the lists: of many products, few are in one.
    listed_U, places_BK = np.unique(ranked_BK, return_inverse=True)
    norms_U = np.linalg.norm(vectors_ND[listed_U], axis=1, keepdims=True)
    # A vector of zeros stays zero, with a cosine of 0 to every product.
    unit_UD = vectors_ND[listed_U] / np.where(norms_U == 0, 1, norms_U)
    sums_BD = np.zeros((len(ranked_BK), vectors_ND.shape[1]))
    squares_B, counts_B = np.zeros(len(ranked_BK)), np.zeros(len(ranked_BK))
    by_k = {}
    for k in range(1, max(k_values) + 1):
        present_B = ranked_BK[:, k - 1] >= 0
        # NO_PRODUCT indexes the last product here; the factor makes it zeros.
        new_BD = unit_UD[places_BK[:, k - 1]] * present_B[:, None]
        sums_BD += new_BD
        squares_B += np.square(new_BD).sum(axis=1)
        counts_B += present_B
        # The cosines of all ordered pairs sum to |sum of the unit vectors|^2 minus each vector's product with itself.
        n_pairs_B = counts_B * (counts_B - 1)
        cosines_B = np.square(sums_BD).sum(axis=1) - squares_B
        by_k[k] = float(np.where(n_pairs_B > 0, 1 - cosines_B / np.maximum(n_pairs_B, 1), 0).mean())
    return {f"diversity@{k}": by_k[k] for k in k_values}


def novelty(ranked_BK: Int32Array, popularity_N: Int64Array, k_values: Sequence[int]) -> dict[str, float]:
    """novelty@k: mean of -log2(popularity share) in bits over a list, averaged over buyers; 0 for an empty list.

    A product without training events counts as if it had one, so that the mean stays finite. Source: self-information
    of Zhou et al. 2010, Solving the apparent diversity-accuracy dilemma of recommender systems.
    """
    _check_lists(ranked_BK, k_values, len(popularity_N))
    if popularity_N.sum() == 0:
        raise ValueError("popularity_N is zero throughout: a share of nothing is undefined")
    bits_N = -np.log2(np.maximum(popularity_N, 1) / popularity_N.sum())
    present_BK = ranked_BK >= 0
    # NO_PRODUCT indexes the last product here; the factor makes it 0.
    bits_BK = bits_N[ranked_BK] * present_BK
    return {f"novelty@{k}": _mean_of_lists(bits_BK[:, :k], present_BK[:, :k]) for k in k_values}


def category_relevance(
    ranked_BK: Int32Array, targets: Targets, category_N: Int64Array, k_values: Sequence[int]
) -> dict[str, float]:
    """category_relevance@k: share of a list whose category is one of the buyer's target categories, mean over buyers.

    A product without a category (negative code) is never relevant; an empty list counts as 0. The definition is
    ours: precision at the level of categories, over the recommended products.
    """
    _check_lists(ranked_BK, k_values, len(category_N))
    present_BK = ranked_BK >= 0
    categories_BK = np.where(present_BK, category_N[ranked_BK], NO_PRODUCT)
    relevant_BK = _among(categories_BK, targets.buyers, category_N[targets.positions], len(targets))
    return {f"category_relevance@{k}": _mean_of_lists(relevant_BK[:, :k], present_BK[:, :k]) for k in k_values}


def beyond_accuracy(
    ranked_BK: Int32Array, targets: Targets, k_values: Sequence[int], catalogue: CatalogueFacts
) -> dict[str, float]:
    """Coverage, overlap and novelty; also diversity and category_relevance if `catalogue` has the facts for them."""
    metrics = coverage(ranked_BK, len(catalogue.popularity), k_values)
    metrics |= buyer_overlap(ranked_BK, k_values)
    metrics |= novelty(ranked_BK, catalogue.popularity, k_values)
    if catalogue.vectors is not None:
        metrics |= diversity(ranked_BK, catalogue.vectors, k_values)
    if catalogue.categories is not None:
        metrics |= category_relevance(ranked_BK, targets, catalogue.categories, k_values)
    return metrics


# ---- helpers ---------------------------------------------------------------------------------------------------------


def _check_lists(ranked_BK: Int32Array, k_values: Sequence[int], n_products: int | None = None) -> None:
    width = ranked_BK.shape[1]
    if not k_values or min(k_values) < 1 or max(k_values) > width:
        raise ValueError(f"k_values {list(k_values)} must lie between 1 and the length of the ranked lists ({width})")
    if len(ranked_BK) == 0:
        raise ValueError("there is no ranked list to average over")
    if n_products is not None and ranked_BK.max() >= n_products:
        raise ValueError(f"ranked position {ranked_BK.max()} lies outside the catalogue of {n_products} products")
    sorted_BK = np.sort(ranked_BK, axis=1)
    if np.any((sorted_BK[:, 1:] == sorted_BK[:, :-1]) & (sorted_BK[:, 1:] >= 0)):
        raise ValueError("a ranked list holds a product twice: its hits would count twice")


def _among(values_BK: _Integers, owners_T: Int64Array, values_T: _Integers, n_owners: int) -> BoolArray:
    """(B, K) whether each value is one of the values_T of its row; negative values never are."""
    if len(values_BK) != n_owners:
        raise ValueError(f"{len(values_BK)} ranked lists but targets of {n_owners} buyers")
    # One number for each pair of row and value, so that a single isin compares all lists.
    stride = 1 + max(values_BK.max(initial=0), values_T.max(initial=0))
    keys_BK = np.arange(n_owners)[:, None] * stride + values_BK
    # A negative value would fall into the previous row's numbers.
    keys_T = (owners_T * stride + values_T)[values_T >= 0]
    return np.isin(keys_BK, keys_T) & (values_BK >= 0)


def _mean_of_lists(values_Bk: Float64Array | BoolArray, present_Bk: BoolArray) -> float:
    return float((values_Bk.sum(axis=1) / np.maximum(present_Bk.sum(axis=1), 1)).mean())
