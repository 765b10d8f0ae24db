"""One variant of a product per list, and lists that go on where another ended: brute force, and literal shelves."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.common.arrays import Float32Array, Int64Array
from online_api.lists.choice import NO_POSITIONS, Listed
from online_api.lists.live_catalogue import LiveCatalogue, Selection
from online_api.lists.ranking import PopularityScorer, RankedList, rank
from online_api.lists.rule_file import RuleSet
from online_api.lists.rules import ActiveRules, compile_rules
from online_api.schemas.requests import NO_DIVERSITY, NO_FILTERS, Diversity
from tests.online_api.lists.test_list_ranking import InOrder, shelf_of
from tests.random_release import SCHEMA, unit_vectors, write_random_release
from training.artifacts.recommender import Recommender
from training.artifacts.search.filtered_search import Ranked

# place    0    1    2    3    4    5     6     7
GROUPS = ["s", "s", "t", "s", "t", "u", None, None]  # "u" has one product alone
BRANDS = ["A", "A", "A", "A", "B", "B", None, None]


def listed(
    catalogue: LiveCatalogue,
    k: int,
    diversity: Diversity = NO_DIVERSITY,
    shown: Sequence[int] = (),
    beside: Sequence[int] = (),
    rules: ActiveRules | None = None,
    scorer: InOrder | None = None,
) -> RankedList:
    """A list that goes on after the shown products."""
    before = np.array(shown, dtype=np.int64)
    no_candidates = np.unique(np.array([*shown, *beside], dtype=np.int64))
    return rank(
        scorer or InOrder(len(catalogue)),
        catalogue.select(NO_FILTERS).without(no_candidates, "excluded", len(catalogue)),
        k,
        diversity,
        rules,
        catalogue,
        unit_vectors(len(catalogue)).__getitem__,
        Listed(before, np.array(beside, dtype=np.int64)),
    )


@pytest.mark.parametrize(
    ("k", "diversity", "shown", "beside", "expected", "relaxed"),
    [
        (5, {}, [], [], [0, 2, 5, 6, 7], False),
        (6, {}, [], [], [0, 2, 5, 6, 7, 1], True),  # second variants after all firsts
        (8, {}, [], [], [0, 2, 5, 6, 7, 1, 4, 3], True),  # and the third one last
        (4, {"max_per_group": 2}, [], [], [0, 1, 2, 4], False),
        (8, {"max_per_group": 2}, [], [], [0, 1, 2, 4, 5, 6, 7, 3], True),
        (8, {"max_per_group": 3}, [], [], [0, 1, 2, 3, 4, 5, 6, 7], False),
        (4, {"max_per_brand": 2}, [], [], [0, 2, 5, 6], False),
        (7, {"max_per_brand": 2}, [], [], [0, 2, 5, 6, 7, 4], True),  # of A there are two already
        (3, {}, [0, 2], [], [5, 6, 7], False),
        (3, {}, [0, 2, 5, 6, 7], [], [1, 4, 3], True),
        (2, {}, [1], [], [2, 5], False),
        (3, {"max_per_brand": 2}, [0, 2], [], [5, 6, 7], False),
        (3, {}, [], [4], [0, 5, 6], False),  # 2 is another size of what the page is about
        (7, {}, [], [4], [0, 5, 6, 7, 1, 2, 3], True),
    ],
)
def test_a_literal_shelf(
    tmp_path: Path,
    k: int,
    diversity: dict[str, int],
    shown: list[int],
    beside: list[int],
    expected: list[int],
    relaxed: bool,
) -> None:
    catalogue = shelf_of(tmp_path, list(BRANDS), set(), list(GROUPS))
    ranked = listed(catalogue, k, Diversity.model_validate(diversity), shown, beside)
    assert ranked.positions.tolist() == expected
    assert ranked.relaxed == (("max_per_group",) if relaxed else ())


def pinned(catalogue: LiveCatalogue, *pins: tuple[int, str]) -> ActiveRules | None:
    rules = [
        {"name": f"r{place}", "action": "pin", "position": place, "match": {"product_ids": [product_id]}}
        for place, product_id in pins
    ]
    rule_set = RuleSet.model_validate({"rules": rules})
    return compile_rules(rule_set, catalogue.conditions, catalogue.products.position_of).active(0)


def test_the_pinned_variant_is_the_one_of_its_product(tmp_path: Path) -> None:
    catalogue = shelf_of(tmp_path, list(BRANDS), set(), list(GROUPS))
    ranked = listed(catalogue, 4, rules=pinned(catalogue, (2, "p3")))
    assert (ranked.positions.tolist(), ranked.relaxed) == ([2, 3, 5, 6], ())
    both = listed(catalogue, 4, rules=pinned(catalogue, (1, "p1"), (2, "p3")))
    assert (both.positions.tolist(), both.relaxed) == ([1, 3, 2, 5], ("max_per_group",))


def test_pins_have_their_places_on_later_pages(tmp_path: Path) -> None:
    catalogue = shelf_of(tmp_path, list(BRANDS), set(), [None] * 8)
    rules = pinned(catalogue, (1, "p7"), (4, "p5"))
    first = listed(catalogue, 2, rules=rules)
    assert first.positions.tolist() == [7, 0]
    assert listed(catalogue, 3, shown=[7, 0], rules=rules).positions.tolist() == [1, 5, 2]


def test_variants_among_the_best_cost_no_second_search(tmp_path: Path) -> None:
    groups: list[str | None] = [f"g{place // 2}" for place in range(1000)]
    catalogue, scorer = shelf_of(tmp_path, [None] * 1000, set(), groups), InOrder(1000)
    assert listed(catalogue, 8, scorer=scorer).positions.tolist() == list(range(0, 16, 2))
    assert scorer.searches == 1
    one_product: list[str | None] = [*["g"] * 500, *[None] * 500]
    catalogue, scorer = shelf_of(tmp_path, [None] * 1000, set(), one_product), InOrder(1000)
    assert listed(catalogue, 8, scorer=scorer).positions.tolist() == [0, *range(500, 507)]
    assert scorer.searches == 5


# ---- against brute force ---------------------------------------------------------------------------------------------


class AnyOrder(InOrder):
    """Scores products as given, each score once."""

    def __init__(self, order: Sequence[int]) -> None:
        self.scores_N: Float32Array = -np.argsort(np.array(order, dtype=np.int64)).astype(np.float32)
        self.searches = 0

    def top(self, k: int, selection: Selection) -> Ranked:
        self.searches += 1
        positions: Int64Array = selection.among(np.argsort(-self.scores_N))[:k]
        return Ranked(positions, self.scores(positions))


def by_definition(
    scores: list[float],
    allowed: list[int],
    groups: list[str | None],
    brands: list[str | None],
    diversity: Diversity,
    k: int,
    shown: list[int],
    beside: list[int],
) -> list[int]:
    """Takes the best product that the limits allow; if there is none, each group may have one more."""
    chosen: list[int] = []
    most = diversity.max_per_group
    while len(chosen) < k and most < 50:
        before = [*shown, *chosen]
        n_brand = Counter(brands[place] for place in before)
        n_group = Counter(groups[place] for place in {*before, *beside})
        fits = [
            place
            for place in allowed
            if place not in before
            and (groups[place] is None or n_group[groups[place]] < most)
            and (brands[place] is None or n_brand[brands[place]] < (diversity.max_per_brand or len(brands)))
        ]
        if fits:
            chosen.append(max(fits, key=scores.__getitem__))
        else:
            most += 1
    return chosen


@st.composite
def shelves(draw: st.DrawFn) -> tuple[list[str | None], list[str | None], list[int], set[int]]:
    """Groups, brands, the order by score, and hidden places."""
    size = draw(st.integers(1, 40))

    def many(values: st.SearchStrategy[str | None]) -> list[str | None]:
        return draw(st.lists(values, min_size=size, max_size=size))

    groups = many(st.sampled_from([None, "a", "b", "c", "d", "e"]))
    return (
        groups,
        many(st.sampled_from([None, "A", "B"])),
        draw(st.permutations(range(size))),
        draw(st.sets(st.integers(0, size - 1), max_size=5)),
    )


@settings(max_examples=150)
@given(
    shelves(),
    st.integers(1, 12),
    st.sampled_from([1, 1, 2, 3]),
    st.sampled_from([None, None, 2, 4]),
    st.lists(st.integers(0, 39), max_size=8, unique=True),
    st.lists(st.integers(0, 39), max_size=1),
)
def test_lists_are_those_of_the_definition(
    shelf: tuple[list[str | None], list[str | None], list[int], set[int]],
    k: int,
    per_group: int,
    per_brand: int | None,
    shown: list[int],
    beside: list[int],
) -> None:
    groups, brands, order, hidden = shelf
    shown, beside = [[place for place in places if place < len(groups)] for places in (shown, beside)]
    with TemporaryDirectory() as folder:
        catalogue = shelf_of(Path(folder), brands, hidden, groups)
    scorer = AnyOrder(order)
    diversity = Diversity(max_per_group=per_group, max_per_brand=per_brand)
    ranked = listed(catalogue, k, diversity, shown, beside, scorer=scorer)
    allowed = [place for place in range(len(groups)) if place not in hidden and place not in beside]
    codes = catalogue.products.group_codes_N.tolist()
    groups = [None if code < 0 else str(code) for code in codes]  # a group of one is none
    expected = by_definition(scorer.scores_N.tolist(), allowed, groups, brands, diversity, k, shown, beside)
    assert ranked.positions.tolist() == expected
    together = Counter(codes[place] for place in {*shown, *beside, *expected})
    assert bool(ranked.relaxed) == any(codes[place] >= 0 and together[codes[place]] > per_group for place in expected)


@pytest.fixture(scope="module")
def big_catalogue(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recommender, LiveCatalogue]:
    release = write_random_release(tmp_path_factory.mktemp("release"), 3_000)
    recommender = Recommender(release, schema_hash=SCHEMA)
    return recommender, LiveCatalogue(recommender.products, None)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([NO_DIVERSITY, Diversity(lambda_=0.5)]))
def test_pages_together_are_one_list(
    big_catalogue: tuple[Recommender, LiveCatalogue], sizes: list[int], diversity: Diversity
) -> None:
    recommender, catalogue = big_catalogue
    everything = catalogue.select(NO_FILTERS)

    def page(k: int, shown: Int64Array) -> Int64Array:
        selection = everything.without(shown, "excluded", len(catalogue))
        scorer, vectors = PopularityScorer(recommender), recommender.product_vectors
        return rank(scorer, selection, k, diversity, None, catalogue, vectors, Listed(shown)).positions

    shown = NO_POSITIONS
    for size in sizes:
        shown = np.append(shown, page(size, shown))
    assert len(set(shown.tolist())) == len(shown) == sum(sizes)
    if diversity is NO_DIVERSITY:  # else, a longer list looks at a larger pool
        assert shown.tolist() == page(sum(sizes), NO_POSITIONS).tolist()
