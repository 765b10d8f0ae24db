"""The content baseline on text vectors of two dimensions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.baselines.content_only import ContentOnly
from tests.baseline_cases import BY_POPULARITY, CUTOFF, all_rows, as_histories, ranked, ten_purchases

# Less their mean (5, 5): right, right, up, left, down, and product 5 nowhere in particular.
TEXT = np.array([[6, 5], [8, 5], [5, 6], [1, 5], [5, 4], [5, 5]], dtype=np.float32)


def test_scores_are_cosines_with_the_decayed_mean_of_what_sets_texts_apart() -> None:
    histories = as_histories([[0], [2, 3], [3, 2, 2]])
    scores = ContentOnly(ten_purchases(), histories, CUTOFF, text_NT=TEXT, decay=0.5).scores(all_rows(histories))

    directions = np.array([[1, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])
    means = np.array([[1, 0], [-1 / 1.5, 0.5 / 1.5], [-0.25 / 1.25, 1 / 1.25]])
    expected = means @ directions.T
    known = expected != 0
    assert_allclose(scores[:, :5][known], expected[known], rtol=1e-6)
    assert (np.abs(scores[:, :5][~known]) < 1e-6).all()


def test_ties_and_empty_histories_go_by_popularity() -> None:
    histories = as_histories([[0], []])
    ranker = ContentOnly(ten_purchases(), histories, CUTOFF, text_NT=TEXT)

    # Right first (0 before 1: equal), then up, down and nowhere by their buyers, left last.
    assert ranked(ranker, row=0) == [0, 1, 2, 4, 5, 3]
    assert ranked(ranker, row=1) == BY_POPULARITY


def test_vectors_of_another_catalogue_are_refused() -> None:
    with pytest.raises(ValueError, match="text_NT has 5 rows for 6 products"):
        ContentOnly(ten_purchases(), as_histories([[0]]), CUTOFF, text_NT=TEXT[:5])
