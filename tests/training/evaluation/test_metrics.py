"""Metrics against values computed by hand, and against their definitions as plain loops."""

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.metrics import (
    CatalogueFacts,
    Targets,
    accuracy_metrics,
    accuracy_per_buyer,
    beyond_accuracy,
    buyer_overlap,
    category_relevance,
    coverage,
    diversity,
    novelty,
)

# Two buyers: the first took products 1, 4 and 7, the second product 2.
TARGETS = Targets(np.array([0, 3, 4]), np.array([7, 1, 4, 2], dtype=np.int32))
RANKED = np.array([[4, 0, 1, 9], [5, 6, 8, -1]], dtype=np.int32)


def test_accuracy_by_hand() -> None:
    metrics = accuracy_metrics(RANKED, TARGETS, [1, 3])

    # Buyer 0 hits at ranks 1 and 3, buyer 1 never.
    ideal_3 = 1 + 1 / math.log2(3) + 1 / 2
    assert metrics == pytest.approx(
        {
            "recall@1": (1 / 3 + 0) / 2,
            "precision@1": (1 + 0) / 2,
            "hit_rate@1": (1 + 0) / 2,
            "ndcg@1": (1 + 0) / 2,
            "mrr@1": (1 + 0) / 2,
            "recall@3": (2 / 3 + 0) / 2,
            "precision@3": (2 / 3 + 0) / 2,
            "hit_rate@3": (1 + 0) / 2,
            "ndcg@3": (1 + 1 / 2) / ideal_3 / 2,
            "mrr@3": (1 + 0) / 2,
        }
    )


def test_accuracy_per_buyer_by_hand() -> None:
    per_buyer = accuracy_per_buyer(RANKED, TARGETS, [2, 3])

    # Buyer 0 hits at ranks 1 and 3, buyer 1 never.
    assert {metric: values.tolist() for metric, values in per_buyer.items() if metric.endswith("@2")} == {
        "recall@2": [1 / 3, 0],
        "precision@2": [1 / 2, 0],
        "hit_rate@2": [1, 0],
        "ndcg@2": [pytest.approx(1 / (1 + 1 / math.log2(3))), 0],
        "mrr@2": [1, 0],
    }
    assert per_buyer["recall@3"].tolist() == [2 / 3, 0]
    assert {values.dtype for values in per_buyer.values()} == {np.dtype(np.float64)}
    assert list(per_buyer) == list(accuracy_metrics(RANKED, TARGETS, [2, 3]))


def test_ideal_dcg_stops_at_the_number_of_targets() -> None:
    metrics = accuracy_metrics(np.array([[3, 2, 1]]), Targets(np.array([0, 1]), np.array([2])), [3])

    assert metrics["ndcg@3"] == pytest.approx(1 / math.log2(3))
    assert metrics["mrr@3"] == pytest.approx(1 / 2)
    assert metrics["precision@3"] == pytest.approx(1 / 3)


def test_coverage_by_hand() -> None:
    assert coverage(RANKED, 10, [1, 4]) == pytest.approx({"coverage@1": 2 / 10, "coverage@4": 7 / 10})


def test_buyer_overlap_by_hand() -> None:
    ranked = np.array([[0, 1, 2], [1, 0, 3], [4, -1, -1]])

    # Of three pairs, one has both products of the first two places in common, and two of the first three.
    expected = {"buyer_overlap@1": 0, "buyer_overlap@2": (2 / 2) / 3, "buyer_overlap@3": (2 / 3) / 3}
    assert buyer_overlap(ranked, [1, 2, 3]) == pytest.approx(expected)
    assert buyer_overlap(np.array([[5, 6], [6, 5]]), [2]) == {"buyer_overlap@2": 1}
    assert buyer_overlap(np.array([[5, 6]]), [2]) == {"buyer_overlap@2": 0}


def test_diversity_by_hand() -> None:
    vectors = np.array([[1, 0], [5, 0], [0, 2], [-1, 0]], dtype=np.float32)
    ranked = np.array([[0, 1, 2], [0, 3, -1]])

    # Buyer 0: pair 01 is parallel (0), 02 and 12 orthogonal (1 each). Buyer 1: the only pair is opposite (2).
    expected = {"diversity@1": 0, "diversity@2": (0 + 2) / 2, "diversity@3": (2 / 3 + 2) / 2}
    assert diversity(ranked, vectors, [1, 2, 3]) == pytest.approx(expected)


def test_novelty_by_hand() -> None:
    ranked = np.array([[0, 1], [2, -1]])

    # Shares 1/2, 1/4 and, for the product never taken, 1/8 as if taken once: 1, 2 and 3 bits.
    expected = {"novelty@1": (1 + 3) / 2, "novelty@2": ((1 + 2) / 2 + 3) / 2}
    assert novelty(ranked, np.array([4, 2, 0, 2]), [1, 2]) == pytest.approx(expected)


def test_category_relevance_by_hand() -> None:
    categories = np.array([0, 0, 1, -1, 2])
    targets = Targets(np.array([0, 2, 3]), np.array([1, 3, 2]))
    ranked = np.array([[0, 3, 4], [2, 0, -1]])

    # Buyer 0 wants category 0 (product 3 has none), buyer 1 category 1; the empty place is not counted.
    expected = {"category_relevance@1": (1 + 1) / 2, "category_relevance@3": (1 / 3 + 1 / 2) / 2}
    assert category_relevance(ranked, targets, categories, [1, 3]) == pytest.approx(expected)


def test_metrics_beyond_accuracy_depend_on_the_facts() -> None:
    popularity, categories = np.arange(10), np.zeros(10, dtype=np.int64)
    vectors = np.ones((10, 2), dtype=np.float32)
    always = {"coverage@2", "buyer_overlap@2", "novelty@2"}

    assert set(accuracy_metrics(RANKED, TARGETS, [2])) == {"recall@2", "precision@2", "hit_rate@2", "ndcg@2", "mrr@2"}
    assert set(beyond_accuracy(RANKED, TARGETS, [2], CatalogueFacts(popularity))) == always
    full = CatalogueFacts(popularity, categories, vectors)
    assert set(beyond_accuracy(RANKED, TARGETS, [2], full)) == always | {"diversity@2", "category_relevance@2"}


@pytest.mark.parametrize(
    ("offsets", "positions", "message"),
    [
        ([0, 2], [1], "offsets must run"),
        ([1, 2], [1, 2], "offsets must run"),
        ([0], [], "offsets must run"),
        ([0, 1, 1], [1], "every buyer needs a target"),
        ([0, 2], [3, 3], "unique"),
        ([0, 1], [-1], "not be negative"),
    ],
)
def test_targets_refuse(offsets: list[int], positions: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Targets(np.array(offsets), np.array(positions, dtype=np.int32))


def test_two_buyers_may_share_a_target() -> None:
    assert len(Targets(np.array([0, 1, 2]), np.array([3, 3]))) == 2


@pytest.mark.parametrize("k_values", [[], [0], [5]])
def test_cut_offs_outside_the_list_are_refused(k_values: list[int]) -> None:
    with pytest.raises(ValueError, match="k_values"):
        accuracy_metrics(RANKED, TARGETS, k_values)


def test_lists_that_would_mislead_are_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        accuracy_metrics(np.array([[1, 1], [2, 3]]), TARGETS, [2])
    with pytest.raises(ValueError, match="3 ranked lists but targets of 2 buyers"):
        accuracy_metrics(np.array([[1], [2], [3]]), TARGETS, [1])
    with pytest.raises(ValueError, match="no ranked list"):
        coverage(np.empty((0, 3), dtype=np.int32), 10, [1])
    with pytest.raises(ValueError, match="outside the catalogue"):
        coverage(RANKED, 9, [4])
    with pytest.raises(ValueError, match="zero throughout"):
        novelty(RANKED, np.zeros(10, dtype=np.int64), [4])


N_PRODUCTS = 8


@st.composite
def lists_and_targets(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    n_buyers, width = draw(st.integers(1, 4)), draw(st.integers(1, N_PRODUCTS))
    shuffled = st.permutations(range(N_PRODUCTS))
    empty_places = st.lists(st.booleans(), min_size=width, max_size=width)
    ranked = [
        [-1 if empty else product for product, empty in zip(draw(shuffled), draw(empty_places), strict=False)]
        for _ in range(n_buyers)
    ]
    wanted = [sorted(draw(st.sets(st.integers(0, N_PRODUCTS - 1), min_size=1))) for _ in range(n_buyers)]
    return ranked, wanted


def brute_force(
    ranked: list[int], wanted: list[int], k: int, popularity: list[int], categories: list[int], vectors: list[list[int]]
) -> dict[str, float]:
    places = ranked[:k]
    products = [product for product in places if product >= 0]
    ranks = [rank for rank, product in enumerate(places, start=1) if product in wanted]
    ideal = sum(1 / math.log2(1 + rank) for rank in range(1, min(k, len(wanted)) + 1))
    bits = [-math.log2(max(1, popularity[product]) / sum(popularity)) for product in products]
    wanted_categories = {categories[product] for product in wanted} - {-1}
    relevant = [categories[product] in wanted_categories for product in products]
    pairs = [(a, b) for i, a in enumerate(products) for b in products[:i]]
    distances = [1 - cosine(vectors[a], vectors[b]) for a, b in pairs]
    return {
        f"recall@{k}": len(ranks) / len(wanted),
        f"precision@{k}": len(ranks) / k,
        f"hit_rate@{k}": float(bool(ranks)),
        f"ndcg@{k}": sum(1 / math.log2(1 + rank) for rank in ranks) / ideal,
        f"mrr@{k}": 1 / ranks[0] if ranks else 0.0,
        f"novelty@{k}": mean(bits),
        f"category_relevance@{k}": mean(relevant),
        f"diversity@{k}": mean(distances),
    }


def mean(values: list[float] | list[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def cosine(a: list[int], b: list[int]) -> float:
    norms = math.hypot(*a) * math.hypot(*b)
    return sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


@settings(max_examples=200)
@given(
    case=lists_and_targets(),
    popularity=st.lists(st.integers(0, 9), min_size=N_PRODUCTS, max_size=N_PRODUCTS).filter(any),
    categories=st.lists(st.integers(-1, 2), min_size=N_PRODUCTS, max_size=N_PRODUCTS),
    vectors=st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=N_PRODUCTS, max_size=N_PRODUCTS),
)
def test_every_metric_follows_its_definition(
    case: tuple[list[list[int]], list[list[int]]],
    popularity: list[int],
    categories: list[int],
    vectors: list[list[int]],
) -> None:
    ranked, wanted = case
    k_values = list(range(1, len(ranked[0]) + 1))
    facts = CatalogueFacts(np.array(popularity), np.array(categories), np.array(vectors, dtype=np.float32))

    lists, targets = np.array(ranked, dtype=np.int32), as_targets(wanted)
    metrics = accuracy_metrics(lists, targets, k_values) | beyond_accuracy(lists, targets, k_values, facts)

    for k in k_values:
        per_buyer = [
            brute_force(row, taken, k, popularity, categories, vectors)
            for row, taken in zip(ranked, wanted, strict=True)
        ]
        expected = {name: mean([values[name] for values in per_buyer]) for name in per_buyer[0]}
        expected[f"coverage@{k}"] = len({p for row in ranked for p in row[:k] if p >= 0}) / N_PRODUCTS
        tops = [{product for product in row[:k] if product >= 0} for row in ranked]
        expected[f"buyer_overlap@{k}"] = mean([len(one & other) / k for one, other in combinations(tops, 2)])
        of_this_k = {name: value for name, value in metrics.items() if name.endswith(f"@{k}")}
        assert of_this_k == pytest.approx(expected, abs=1e-6)


def as_targets(wanted: list[list[int]]) -> Targets:
    offsets: npt.NDArray[np.int64] = np.cumsum([0, *map(len, wanted)])
    return Targets(offsets, np.array([product for row in wanted for product in row], dtype=np.int32))
