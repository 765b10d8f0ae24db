"""Whether buyers get lists of their own: the newest lists, and the metric made of them."""

from online_api.observability.metrics import Metrics
from online_api.observability.recent_lists import RECENT_BUYERS, RecentLists

SAME = [f"p{place}" for place in range(10)]
HALF = [*SAME[:5], *(f"q{place}" for place in range(5))]


def test_the_mean_of_all_pairs_of_buyers() -> None:
    lists = RecentLists()
    assert lists.overlap() == (0, 0)
    lists.add("b1", SAME)
    assert lists.overlap() == (1, 0)
    lists.add("b2", reversed(SAME))
    assert lists.overlap() == (2, 1)
    lists.add("b3", HALF)
    assert lists.overlap() == (3, (1 + 0.5 + 0.5) / 3)


def test_a_buyers_newest_list_counts_and_a_short_one_does_not() -> None:
    lists = RecentLists()
    lists.add("b1", HALF)
    lists.add("b2", [*SAME, "beyond the first ten"])
    lists.add("b1", SAME)
    lists.add("b3", SAME[:9])
    assert lists.overlap() == (2, 1)


def test_old_buyers_leave() -> None:
    lists = RecentLists()
    for number in range(RECENT_BUYERS + 50):
        lists.add(f"b{number}", SAME if number >= 50 else [f"{number} {place}" for place in range(10)])
    assert lists.overlap() == (RECENT_BUYERS, 1)


def test_prometheus_reads_it() -> None:
    metrics = Metrics()
    metrics.recent_lists.add("b1", SAME)
    metrics.recent_lists.add("b2", HALF)
    text, _ = metrics.render()
    assert b"\ntawsiya_list_overlap 0.5\n" in text
    assert b"\ntawsiya_list_overlap_buyers 2.0\n" in text
