"""Parts before a fill: against sorting everything, with any products allowed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.common.arrays import Float32Array, Int64Array
from online_api.lists.kinds.listed_products import PART_STEP, ListedScorer, ListPart
from online_api.lists.live_catalogue import Selection
from online_api.lists.ranking import ScoreTerms
from training.artifacts.lists.ranked_products import RankedProducts
from training.artifacts.search.filtered_search import Ranked, top_k

pytestmark = pytest.mark.fast

N = 10
FILL = np.array([0.3, 2.5, -0.5, 0.9, 0.1, 1.7, 0.2, -1, 0.8, 0.6], dtype=np.float32)


class FixedScorer:
    """Scores each product as FILL says: half for similarity, half for the buyer's own events."""

    def top(self, k: int, selection: Selection) -> Ranked:
        positions = selection.among(np.arange(N))
        return top_k(positions, FILL[positions], k)

    def scores(self, positions: Int64Array) -> Float32Array:
        return FILL[positions]

    def terms(self, positions: Int64Array) -> ScoreTerms:
        half, none = FILL[positions] * np.float32(0.5), np.zeros(len(positions), dtype=np.float32)
        return ScoreTerms(half, none, half, none, none, none)


@given(
    st.lists(st.integers(0, 2), min_size=N, max_size=N),
    st.lists(st.booleans(), min_size=N, max_size=N),
    st.integers(1, N + 2),
)
def test_a_list_is_its_parts_in_order_and_then_the_fill(part_of: list[int], allowed: list[bool], k: int) -> None:
    """`part_of` says of each product whether it is in the first part (0), the second, or in none."""
    own = np.linspace(0.1, 1, N, dtype=np.float32)
    places = [np.flatnonzero(np.array(part_of) == part) for part in (0, 1)]
    parts = [ListPart("bought_together", RankedProducts(positions, own[positions])) for positions in places]
    scorer = ListedScorer(parts, FixedScorer(), N)
    expected = np.array(
        [FILL[p] if part_of[p] == 2 else own[p] + PART_STEP * (2 - part_of[p]) for p in range(N)], dtype=np.float32
    )
    allowed_N = np.array(allowed)
    ranked = scorer.top(k, Selection(allowed_N, int(allowed_N.sum()), {}))
    order = [position for position in np.argsort(-expected, kind="stable").tolist() if allowed[position]]
    assert ranked.positions.tolist() == order[:k]
    assert ranked.scores.tolist() == pytest.approx(expected[order[:k]].tolist())
    everything = np.arange(N)
    assert scorer.scores(everything).tolist() == pytest.approx(expected.tolist())
    terms = scorer.terms(everything)
    assert np.sum(terms, axis=0).tolist() == pytest.approx(expected.tolist())
    # A product of a part has no term of the fill.
    assert terms.repeat[np.array(part_of) < 2].tolist() == [0] * sum(part < 2 for part in part_of)


def test_a_list_without_parts_is_its_fill() -> None:
    scorer = ListedScorer([], FixedScorer(), N)
    assert scorer.top(3, Selection(None, N, {})).positions.tolist() == [1, 5, 3]
    assert scorer.top(3, Selection(np.zeros(N, dtype=np.bool_), 0, {})).positions.tolist() == []
