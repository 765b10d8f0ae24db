"""Ranked lists against a full stable sort, and the table of models."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.evaluation.bootstrap import paired_interval
from training.evaluation.metrics import CatalogueFacts, Targets
from training.evaluation.ranking import compare, measure, rank_all


class Fixed:
    """A ranker whose scores are written in the test: row b for buyer b."""

    def __init__(self, name: str, scores: npt.ArrayLike) -> None:
        self.name = name
        self._scores = np.asarray(scores, dtype=np.float32)

    def scores(self, buyers: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
        return self._scores[buyers]


def rank(scores: npt.ArrayLike, k: int, chunk: int = 256) -> list[list[int]]:
    ranker = Fixed("fixed", scores)
    buyers = np.arange(len(np.asarray(scores)), dtype=np.int32)
    ranked = rank_all(ranker, buyers, k, chunk, show_progress=False)
    assert ranked.dtype == np.int32
    lists: list[list[int]] = ranked.tolist()
    return lists


def test_ties_go_to_the_lower_position_also_across_the_last_place() -> None:
    assert rank([[1, 5, 1, 1, 9, 1]], k=4) == [[4, 1, 0, 2]]
    assert rank([[0, 0, 0, 0]], k=2) == [[0, 1]]


def test_many_ties_across_the_last_place() -> None:
    scores = np.zeros((1, 50_000))
    scores[0, 49_999] = 1

    assert rank(scores, k=20) == [[49_999, *range(19)]]


def test_lists_longer_than_the_catalogue_end_empty() -> None:
    assert rank([[1, 2]], k=4) == [[1, 0, -1, -1]]


def test_minus_infinity_is_never_recommended() -> None:
    assert rank([[-np.inf, 3, -np.inf, 4]], k=3) == [[3, 1, -1]]
    assert rank([[-np.inf, 3, -np.inf, 4]], k=1) == [[3]]


def test_lists_follow_the_order_of_buyers() -> None:
    ranked = rank_all(Fixed("fixed", [[1, 2], [2, 1]]), np.array([1, 0, 1], dtype=np.int32), 1, show_progress=False)

    assert ranked.tolist() == [[0], [1], [0]]


def test_no_buyer_gives_no_list() -> None:
    assert rank_all(Fixed("fixed", [[1, 2]]), np.array([], dtype=np.int32), 3, show_progress=False).shape == (0, 3)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="fixed gave scores that are not numbers"):
        rank([[1, np.nan]], k=1)


@pytest.mark.parametrize(("k", "chunk"), [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(k: int, chunk: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rank([[1, 2]], k, chunk)


@settings(max_examples=200)
@given(
    scores=hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
        elements=st.sampled_from([-2, -0.0, 0.0, 0.5, 1, 3, np.inf]),
    ),
    k=st.integers(1, 15),
    chunk=st.integers(1, 5),
)
def test_ranking_is_the_head_of_a_full_stable_sort(scores: npt.NDArray[np.float32], k: int, chunk: int) -> None:
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    empty = np.full((len(scores), max(0, k - scores.shape[1])), -1)

    assert rank(scores, k, chunk) == np.hstack([expected, empty]).tolist()


GOOD = Fixed("good", [[0, 9, 8], [7, 0, 1]])
BAD = Fixed("bad", [[9, 1, 2], [0, 8, 1]])
BUYERS = np.array([0, 1], dtype=np.int32)
TARGETS = Targets(np.array([0, 2, 3]), np.array([1, 2, 0], dtype=np.int32))
FACTS = CatalogueFacts(np.array([1, 1, 2]))


def test_compare_by_hand() -> None:
    models = compare([BAD, GOOD], BUYERS, TARGETS, [1, 2], show_progress=False)

    assert list(models) == ["bad", "good"]
    assert models["good"]["recall@1"] == pytest.approx((1 / 2 + 1) / 2)
    assert models["good"]["recall@2"] == 1
    assert models["bad"]["recall@2"] == pytest.approx((1 / 2 + 0) / 2)


def test_compare_refuses() -> None:
    with pytest.raises(ValueError, match="name of its own"):
        compare([GOOD, GOOD], BUYERS, TARGETS, [1], show_progress=False)
    with pytest.raises(ValueError, match="at least one cut-off"):
        compare([GOOD], BUYERS, TARGETS, [], show_progress=False)
    with pytest.raises(ValueError, match="1 ranked lists but targets of 2"):
        compare([GOOD], BUYERS[:1], TARGETS, [1], show_progress=False)


def test_measure_by_hand() -> None:
    slices = {"all": np.ones(3, dtype=bool), "product 2": TARGETS.positions == 2, "none": np.zeros(3, dtype=bool)}

    result = measure(np.array([[1, 2], [0, 2]]), TARGETS, [1], FACTS, slices)

    assert result.metrics["recall@1"] == (1 / 2 + 1) / 2
    assert result.metrics["coverage@1"] == pytest.approx(2 / 3)
    assert result.per_buyer["recall@1"].tolist() == [1 / 2, 1]
    assert result.intervals["recall@1"] == (1 / 2, 1)  # either buyer alone is drawn a quarter of the time
    assert result.slices["all"]["recall@1"] == result.metrics["recall@1"]
    assert result.slices["product 2"]["recall@1"] == 0
    assert list(result.slices) == ["all", "product 2"]
    # Both lists are of one buyer: they are drawn together, always.
    of_one = measure(np.array([[1, 2], [0, 2]]), TARGETS, [1], FACTS, slices, np.array([5, 5]))
    assert of_one.intervals["recall@1"] == (result.metrics["recall@1"], result.metrics["recall@1"])


def test_measure_has_the_accuracy_of_compare() -> None:
    facts = CatalogueFacts(np.array([1, 1, 2]), np.array([0, 0, 1]), np.eye(3, dtype=np.float32))

    for ranker in (GOOD, BAD):
        ranked = rank_all(ranker, BUYERS, 2, show_progress=False)
        result = measure(ranked, TARGETS, [1, 2], facts, {})
        accuracy = compare([ranker], BUYERS, TARGETS, [1, 2], show_progress=False)[ranker.name]
        assert result.metrics.items() >= accuracy.items()
        assert result.metrics.keys() - accuracy.keys() == {
            f"{name}@{k}"
            for name in ("coverage", "buyer_overlap", "novelty", "diversity", "category_relevance")
            for k in (1, 2)
        }
        assert result.slices == {}


def test_results_of_the_same_buyers_can_be_paired() -> None:
    good, bad = (measure(rank_all(one, BUYERS, 1, show_progress=False), TARGETS, [1], FACTS, {}) for one in (GOOD, BAD))

    # Recall of the first product: 1/2 against 0 and 1 against 0.
    assert paired_interval(good.per_buyer["recall@1"], bad.per_buyer["recall@1"]) == (1 / 2, 1)
