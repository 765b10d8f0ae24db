"""Edit distances of many words at once: against the recurrence for two words."""

from functools import cache

from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from training.artifacts.queries.edit_distance import edit_distances

WORDS = st.text(st.sampled_from("abcش"), max_size=6)


def plain(one: str, other: str) -> int:
    """Optimal string alignment, letter by letter."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        best = min(
            distance(i - 1, j) + 1, distance(i, j - 1) + 1, distance(i - 1, j - 1) + (one[i - 1] != other[j - 1])
        )
        if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
            best = min(best, distance(i - 2, j - 2) + 1)
        return best

    return distance(len(one), len(other))


@given(WORDS, st.lists(WORDS, min_size=1, max_size=5))
def test_distances_are_those_of_the_plain_recurrence(word: str, others: list[str]) -> None:
    found = edit_distances(word, others, longest=6)
    assert_array_equal(found.whole_W, [plain(word, other) for other in others])
    beginnings = [[plain(word, other[:end]) for end in range(len(other) + 1)] for other in others]
    assert_array_equal(found.prefix_W, [min(of_one) for of_one in beginnings])


def test_letters_beyond_the_longest_do_not_count() -> None:
    assert edit_distances("abc", ["abcdef"], longest=3).whole_W.tolist() == [0]
