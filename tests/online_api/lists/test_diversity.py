"""Diversity against the definitions written as plain loops, and on literal products."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.common.arrays import Float32Array, Int32Array
from online_api.lists.diversity import CodeLimit, diversify


class Shelf(NamedTuple):
    """Candidates with the codes that limits go by."""

    scores_C: Float32Array
    vectors_CD: Float32Array
    brand_codes_C: Int32Array
    category_codes_C: Int32Array

    def choose(
        self,
        k: int,
        lambda_: float = 1.0,
        max_per_brand: int | None = None,
        max_per_category: int | None = None,
        *,
        listed: int = 0,
    ) -> list[int]:
        """The places of what is chosen; the first `listed` candidates are listed already, and no candidates."""
        limits = [
            CodeLimit(codes_C[listed:], cap, Counter(codes_C[:listed].tolist()))
            for codes_C, cap in ((self.brand_codes_C, max_per_brand), (self.category_codes_C, max_per_category))
            if cap is not None
        ]
        vectors_CD = None if lambda_ == 1 else self.vectors_CD[listed:]
        chosen = diversify(self.scores_C[listed:], k, lambda_, vectors_CD, limits, self.vectors_CD[:listed])
        return [int(place) + listed for place in chosen]


# Two shoes that are nearly the same, and a lamp.
SHOES_AND_LAMP = Shelf(
    scores_C=np.array([0.9, 0.8, 0.5], dtype=np.float32),
    vectors_CD=np.array([[1, 0], [0.96, 0.28], [0, 1]], dtype=np.float32),
    brand_codes_C=np.array([0, 1, 0], dtype=np.int32),
    category_codes_C=np.array([0, 0, -1], dtype=np.int32),
)


def test_the_lamp_comes_before_the_second_shoe() -> None:
    # Second choice: 0.5 * 0.8 - 0.5 * 0.96 = -0.08 for the shoe, 0.5 * 0.5 - 0 = 0.25 for the lamp.
    assert SHOES_AND_LAMP.choose(k=3, lambda_=0.5) == [0, 2, 1]


def test_lambda_one_ranks_by_score_and_reads_no_vectors() -> None:
    assert diversify(SHOES_AND_LAMP.scores_C, k=2).tolist() == [0, 1]


def test_lambda_zero_takes_the_first_and_then_what_is_least_like_it() -> None:
    assert SHOES_AND_LAMP.choose(k=2, lambda_=0) == [0, 2]


def test_opposite_vectors_count_as_less_alike_than_orthogonal_ones() -> None:
    candidates = Shelf(
        scores_C=np.array([1, 0, 0], dtype=np.float32),
        vectors_CD=np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32),
        brand_codes_C=np.full(3, -1, dtype=np.int32),
        category_codes_C=np.full(3, -1, dtype=np.int32),
    )

    assert candidates.choose(k=2, lambda_=0.5) == [0, 2]


def test_caps_leave_fewer_where_nothing_else_may_be_taken() -> None:
    assert SHOES_AND_LAMP.choose(k=3, max_per_brand=1) == [0, 1]
    assert SHOES_AND_LAMP.choose(k=3, max_per_category=1) == [0, 2]
    assert SHOES_AND_LAMP.choose(k=3, max_per_brand=1, max_per_category=1) == [0]


def test_products_without_a_category_are_not_capped() -> None:
    without = SHOES_AND_LAMP._replace(category_codes_C=np.full(3, -1, dtype=np.int32))

    assert without.choose(k=3, max_per_category=1) == [0, 1, 2]


def test_the_candidates_stay_as_they_were() -> None:
    before = SHOES_AND_LAMP.scores_C.copy()

    SHOES_AND_LAMP.choose(k=3, max_per_brand=1)

    np.testing.assert_array_equal(SHOES_AND_LAMP.scores_C, before)


@st.composite
def candidates_of_any_kind(draw: st.DrawFn) -> Shelf:
    """Unit vectors and scores whose every sum and product is exact in float32, with many ties."""
    count = draw(st.integers(0, 12))

    def many(values: st.SearchStrategy[float]) -> list[float]:
        return draw(st.lists(values, min_size=count, max_size=count))

    scores = many(st.integers(-8, 8).map(lambda eighths: eighths / 8))
    halves = [many(st.sampled_from([-0.5, 0.5])) for _ in range(4)]
    return Shelf(
        np.array(scores, dtype=np.float32),
        np.array(halves, dtype=np.float32).T,
        np.array(many(st.integers(-1, 2)), dtype=np.int32),
        np.array(many(st.integers(-1, 2)), dtype=np.int32),
    )


def by_definition(
    candidates: Shelf, k: int, lambda_: float, max_per_brand: int | None, max_per_category: int | None, listed: int
) -> list[int]:
    vectors = candidates.vectors_CD.tolist()

    def full(codes_C: npt.NDArray[np.int32], cap: int | None, place: int) -> bool:
        return cap is not None and codes_C[place] >= 0 and Counter(codes_C[chosen].tolist())[codes_C[place]] >= cap

    def value(place: int) -> float:
        cosines = [sum(a * b for a, b in zip(vectors[place], vectors[other], strict=True)) for other in chosen]
        return lambda_ * float(candidates.scores_C[place]) - (1 - lambda_) * max(cosines, default=0)

    chosen = list(range(min(listed, len(vectors))))
    while len(chosen) < listed + k:
        open_ = [
            place
            for place in range(len(vectors))
            if place not in chosen
            and not full(candidates.brand_codes_C, max_per_brand, place)
            and not full(candidates.category_codes_C, max_per_category, place)
        ]
        if not open_:
            break
        chosen.append(max(open_, key=value))  # the first of equals
    return chosen[listed:]


CAPS = st.none() | st.integers(1, 3)


@given(
    candidates_of_any_kind(),
    st.integers(1, 14),
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    CAPS,
    CAPS,
    st.integers(0, 4),
)
def test_choices_are_those_of_the_definition(
    candidates: Shelf, k: int, lambda_: float, max_per_brand: int | None, max_per_category: int | None, listed: int
) -> None:
    chosen = candidates.choose(k, lambda_, max_per_brand, max_per_category, listed=listed)

    assert chosen == by_definition(candidates, k, lambda_, max_per_brand, max_per_category, listed)


@given(candidates_of_any_kind(), st.integers(1, 14))
def test_lambda_one_without_caps_is_the_plain_ranking(candidates: Shelf, k: int) -> None:
    ranking = np.argsort(-candidates.scores_C, kind="stable")

    assert candidates.choose(k) == ranking[:k].tolist()
