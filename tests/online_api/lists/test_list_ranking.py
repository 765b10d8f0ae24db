"""From scores to the list of an answer: brute force over a whole catalogue, and literal shelves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo import columns as c
from feature_repo.common.arrays import Float32Array, Int64Array
from feature_repo.transforms.events import PURCHASE
from online_api.lists.live_catalogue import LiveCatalogue, Selection
from online_api.lists.ranking import (
    BuyerScorer,
    PopularityScorer,
    RankedList,
    Scorer,
    ScoreTerms,
    SimilarityScorer,
    rank,
)
from online_api.lists.rule_file import RuleSet
from online_api.lists.rules import ActiveRules, compile_rules
from online_api.schemas.requests import NO_FILTERS, Diversity, Filters
from tests.random_release import (
    BRANDS,
    CATEGORIES,
    SCHEMA,
    draw_recent_popularity,
    random_products,
    unit_vectors,
    write_arrow,
    write_random_release,
)
from training.artifacts.buyer_encoder import EncodedBuyer, History
from training.artifacts.product_table import ProductTable
from training.artifacts.recommender import Recommender
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.scoring.sparse_term import SparseTerm
from training.artifacts.search.filtered_search import Ranked, top_k
from training.artifacts.search.vector_index import IndexType

NO_DIVERSITY = Diversity(max_per_group=100)  # variants of one product as well; K is 100 at most
N_PRODUCTS = 12_000  # beyond EXACT_SEARCH_PRODUCTS, also of the products that one rule moves
ROUNDING = 1e-6

# The popularity terms are small beside the similarities: the best of all are among the nearest and the buyer's own.
RESCORER = Rescorer(popularity_weight=0.01, new_popularity_weight=0.005)

Rules = list[dict[str, object]]
Whom = tuple[str, int]  # a kind of scorer and a seed


class Shop:
    """A release and its catalogue."""

    def __init__(self, folder: Path, index_type: IndexType) -> None:
        release = write_random_release(folder, N_PRODUCTS, index_type, rescorer=RESCORER)
        self.recommender = Recommender(release, schema_hash=SCHEMA)
        self.catalogue = LiveCatalogue(self.recommender.products, None)

    def scorer(self, whom: Whom) -> Scorer:
        """Whatever orders the products of an answer."""
        kind, seed = whom
        if kind == "anybody":
            return PopularityScorer(self.recommender)
        vector_D = unit_vectors(1, seed=seed)[0]
        if kind == "query":
            return SimilarityScorer(self.recommender, vector_D)
        new_only = kind == "buyer of new products"
        return BuyerScorer(self.recommender, buyer_of(vector_D), random_repeats(seed), new_only=new_only)

    def selection(self, filters: Filters, excluded: list[int]) -> Selection:
        positions = np.unique(np.array(excluded, dtype=np.int64))
        return self.catalogue.select(filters).without(positions, "excluded", N_PRODUCTS)

    def rank(
        self, scorer: Scorer, selection: Selection, k: int, diversity: Diversity, rules: ActiveRules | None
    ) -> RankedList:
        listed = rank(scorer, selection, k, diversity, rules, self.catalogue, self.recommender.product_vectors)
        require_a_list(listed, scorer, selection, k, rules)
        return listed


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """One whose index is exact."""
    return Shop(tmp_path_factory.mktemp("flat"), "flat")


@pytest.fixture(scope="module")
def fast_shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """One whose index is approximate."""
    return Shop(tmp_path_factory.mktemp("fast"), "pq_fastscan")


def require_a_list(listed: RankedList, scorer: Scorer, selection: Selection, k: int, rules: ActiveRules | None) -> None:
    """What holds of every answer: allowed products, each once and at most K, with the scores that are theirs."""
    positions = listed.positions.tolist()
    assert len(positions) == len(set(positions)) <= k
    assert len(selection.among(np.array(positions, dtype=np.int64))) == len(positions)
    assert_allclose(listed.scores, scorer.scores(listed.positions), atol=ROUNDING)
    assert_array_equal(listed.adjustments, adjustments(rules)[listed.positions])
    assert set(listed.pinned_by) <= set(positions)


def adjustments(rules: ActiveRules | None) -> Float32Array:
    return np.zeros(N_PRODUCTS, np.float32) if rules is None or rules.adjustment_N is None else rules.adjustment_N


def active(catalogue: LiveCatalogue, rules: Rules) -> ActiveRules | None:
    named = [{"name": f"r{place}", **rule} for place, rule in enumerate(rules)]
    rule_set = RuleSet.model_validate({"rules": named})
    return compile_rules(rule_set, catalogue.conditions, catalogue.products.position_of).active(0)


def moved(action: str, weight: float, **match: object) -> dict[str, object]:
    return {"action": action, "weight": weight, "match": match}


def pin(position: int, *product_ids: str) -> dict[str, object]:
    return {"action": "pin", "position": position, "match": {"product_ids": list(product_ids)}}


def buyer_of(vector_D: Float32Array, positions: Sequence[int] = (), seed: int = 1) -> EncodedBuyer:
    """A buyer with this vector, who bought some of the products of a random release."""
    n_events = len(positions)
    history = History(
        np.array(positions, dtype=np.int64),
        unit_vectors(N_PRODUCTS, seed=seed)[list(positions)],
        np.full(n_events, PURCHASE),
        np.arange(n_events),
        np.zeros(n_events, dtype=np.float32),
    )
    return EncodedBuyer(vector_D, history, np.zeros(n_events, dtype=np.float32))


def random_repeats(seed: int) -> SparseTerm:
    """Terms of up to twenty products of one buyer."""
    rng = np.random.default_rng(seed)
    positions = np.unique(rng.integers(N_PRODUCTS, size=20))
    return SparseTerm(positions, rng.random(len(positions), dtype=np.float32))


few_examples = settings(max_examples=40)
RESULTS = st.integers(1, 100)
WHOM = st.tuples(st.sampled_from(["anybody", "query", "buyer", "buyer of new products"]), st.integers(0, 10**6))
EXCLUDED = st.lists(st.integers(0, N_PRODUCTS - 1), max_size=20)
FILTERS = st.sampled_from(
    [
        NO_FILTERS,
        Filters(in_stock=True),
        Filters(min_price=0, max_price=10),
        Filters(brands=("نور",)),
        Filters(brands=("Nour", "Acme"), categories=("قهوة",), in_stock=True, min_price=10, max_price=10),
        Filters(categories=("hats",)),
    ]
)
# Of a few products, of some thousand (2,400 of a brand), and of most (10,000 have a price).
MATCHES = st.sampled_from(
    [
        {"product_ids": ["p0", "p1", "p2", "p77"]},
        {"brands": ["Acme"]},
        {"brands": ["نور", "Dallah"]},
        {"categories": ["coffee"], "min_price": 5},
        {"min_price": 0},
    ]
)
MOVES = st.lists(
    st.builds(
        lambda action, weight, match: moved(action, weight, **match),
        st.sampled_from(["boost", "bury"]),
        st.sampled_from([0.01, 0.05, 0.25, 3.0]),
        MATCHES,
    ),
    max_size=4,
)
PINS = st.lists(
    st.builds(
        lambda position, numbers: pin(position, *[f"p{number}" for number in numbers]),
        st.integers(1, 100),
        st.lists(st.integers(0, N_PRODUCTS + 5), min_size=1, max_size=3),
    ),
    max_size=3,
)
CAPS = st.none() | st.integers(1, 30)
DIVERSITIES = st.builds(
    lambda lambda_, brand, category: Diversity(
        lambda_=lambda_, max_per_brand=brand, max_per_category=category, max_per_group=100
    ),
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    CAPS,
    CAPS,
)


# ---- against brute force ---------------------------------------------------------------------------------------------


@few_examples
@given(WHOM, FILTERS, EXCLUDED, MOVES, RESULTS)
def test_boosts_and_buries_rank_the_whole_catalogue(
    shop: Shop, whom: Whom, filters: Filters, excluded: list[int], moves: Rules, k: int
) -> None:
    scorer, selection, rules = shop.scorer(whom), shop.selection(filters, excluded), active(shop.catalogue, moves)
    listed = shop.rank(scorer, selection, k, NO_DIVERSITY, rules)
    adjusted_N = scorer.scores(np.arange(N_PRODUCTS)) + adjustments(rules)
    expected = -np.sort(-adjusted_N[selection.among(np.arange(N_PRODUCTS))])[:k]
    assert_allclose(listed.scores + listed.adjustments, expected, atol=ROUNDING)


@few_examples
@given(WHOM, FILTERS, EXCLUDED, MOVES, PINS.filter(bool), RESULTS)
def test_pins_take_their_places_in_the_ranked_catalogue(
    shop: Shop, whom: Whom, filters: Filters, excluded: list[int], moves: Rules, pins: Rules, k: int
) -> None:
    scorer, selection = shop.scorer(whom), shop.selection(filters, excluded)
    rules = active(shop.catalogue, [*moves, *pins])
    listed = shop.rank(scorer, selection, k, NO_DIVERSITY, rules)
    assert len(listed.positions) == min(k, selection.n_allowed)
    # The others are the best of the rest, in order.
    is_pinned = np.isin(listed.positions, list(listed.pinned_by))
    rest = np.setdiff1d(selection.among(np.arange(N_PRODUCTS)), list(listed.pinned_by))
    expected = top_k(rest, scorer.scores(rest) + adjustments(rules)[rest], int((~is_pinned).sum()))
    assert_allclose((listed.scores + listed.adjustments)[~is_pinned], expected.scores, atol=ROUNDING)
    for place, position in enumerate(listed.positions.tolist()):
        if position in listed.pinned_by and len(listed.positions) == k:
            assert rules is not None
            assert any(entry.position == position and entry.place <= place for entry in rules.pins)


@few_examples
@given(WHOM, FILTERS, EXCLUDED, MOVES, CAPS, CAPS, RESULTS)
def test_caps_leave_out_only_what_is_full_or_worse(
    shop: Shop,
    whom: Whom,
    filters: Filters,
    excluded: list[int],
    moves: Rules,
    per_brand: int | None,
    per_category: int | None,
    k: int,
) -> None:
    scorer, selection, rules = shop.scorer(whom), shop.selection(filters, excluded), active(shop.catalogue, moves)
    diversity = Diversity(max_per_brand=per_brand, max_per_category=per_category, max_per_group=100)
    listed = shop.rank(scorer, selection, k, diversity, rules)
    totals = listed.scores + listed.adjustments
    assert (np.diff(totals) <= ROUNDING).all()
    left_out = np.setdiff1d(selection.among(np.arange(N_PRODUCTS)), listed.positions)
    totals_left_out = scorer.scores(left_out) + adjustments(rules)[left_out]
    explained = np.full(len(left_out), False)
    if len(listed.positions) == k:
        explained |= totals_left_out <= totals[-1] + ROUNDING
    for codes_N, cap in (
        (shop.catalogue.products.brand_codes_N, per_brand),
        (shop.catalogue.products.category_codes_N, per_category),
    ):
        for code in np.unique(codes_N[codes_N >= 0]) if cap else []:
            taken = np.flatnonzero(codes_N[listed.positions] == code)
            assert len(taken) <= (cap or k)
            if len(taken) == cap:
                explained |= (codes_N[left_out] == code) & (totals_left_out <= totals[taken[-1]] + ROUNDING)
    assert explained.all()


@few_examples
@given(WHOM, FILTERS, EXCLUDED, MOVES, PINS, RESULTS, st.sampled_from([0.0, 0.5, 0.99]))
def test_without_caps_k_are_filled_on_an_approximate_index(
    fast_shop: Shop,
    whom: Whom,
    filters: Filters,
    excluded: list[int],
    moves: Rules,
    pins: Rules,
    k: int,
    lambda_: float,
) -> None:
    selection = fast_shop.selection(filters, excluded)
    rules = active(fast_shop.catalogue, [*moves, *pins])
    for diversity in (NO_DIVERSITY, Diversity(lambda_=lambda_)):
        listed = fast_shop.rank(fast_shop.scorer(whom), selection, k, diversity, rules)
        assert len(listed.positions) == min(k, selection.n_allowed)


@few_examples
@given(WHOM, FILTERS, MOVES, DIVERSITIES, RESULTS)
def test_nothing_more_would_fit_into_a_short_list(
    fast_shop: Shop, whom: Whom, filters: Filters, moves: Rules, diversity: Diversity, k: int
) -> None:
    catalogue, selection = fast_shop.catalogue, fast_shop.selection(filters, [])
    listed = fast_shop.rank(fast_shop.scorer(whom), selection, k, diversity, active(catalogue, moves))
    left_out = np.setdiff1d(selection.among(np.arange(N_PRODUCTS)), listed.positions)
    fits = np.full(len(left_out), len(listed.positions) < k)
    for codes_N, cap in (
        (catalogue.products.brand_codes_N, diversity.max_per_brand),
        (catalogue.products.category_codes_N, diversity.max_per_category),
    ):
        taken = np.bincount(codes_N[listed.positions] + 1, minlength=len(BRANDS) + len(CATEGORIES))
        assert cap is None or (taken[1:] <= cap).all()
        if cap is not None:
            fits &= (codes_N[left_out] < 0) | (taken[codes_N[left_out] + 1] < cap)
    assert not fits.any()


@pytest.mark.parametrize("whom", [("query", 1), ("anybody", 0), ("buyer", 1)])
@pytest.mark.parametrize("diversity", [NO_DIVERSITY, Diversity(lambda_=0.5, max_per_brand=1)])
@pytest.mark.parametrize(
    "rules", [[], [pin(1, "p3"), moved("boost", 1, brands=["Acme"])], [moved("bury", 1, min_price=0)]]
)
def test_everything_filtered_out_is_an_empty_list(shop: Shop, whom: Whom, diversity: Diversity, rules: Rules) -> None:
    nothing = shop.selection(Filters(categories=("hats",)), [])
    listed = shop.rank(shop.scorer(whom), nothing, 10, diversity, active(shop.catalogue, rules))
    assert (len(listed.positions), len(listed.scores), len(listed.adjustments)) == (0, 0, 0)


def test_a_buyers_own_products_and_what_sells_lately_need_not_be_near(tmp_path: Path) -> None:
    recent_2N = np.zeros((2, N_PRODUCTS), dtype=np.float32)
    vector_D = unit_vectors(1, seed=4)[0]
    farthest = np.argsort(unit_vectors(N_PRODUCTS) @ vector_D)
    sold, own = int(farthest[0]), int(farthest[1])
    recent_2N[:, sold] = 4
    rescorer = Rescorer(popularity_weight=1, new_popularity_weight=0.125)
    release = write_random_release(tmp_path, N_PRODUCTS, rescorer=rescorer, recent_popularity=recent_2N)
    recommender, everything = Recommender(release, schema_hash=SCHEMA), Selection(None, N_PRODUCTS, {})
    repeats = SparseTerm(np.array([own]), np.array([3], dtype=np.float32))
    nearest = farthest[::-1].tolist()

    def top(*, new_only: bool, selection: Selection = everything) -> list[int]:
        ranked = BuyerScorer(recommender, buyer_of(vector_D), repeats, new_only=new_only).top(4, selection)
        return [int(position) for position in ranked.positions]

    assert top(new_only=False) == [sold, own, *nearest[:2]]
    assert top(new_only=True) == nearest[:4]  # 4 x 0.125 is not enough for the farthest, and no repeats count
    assert top(new_only=False, selection=everything.without(farthest[:1], "excluded", N_PRODUCTS))[0] == own
    assert top(new_only=False, selection=everything.without(farthest[:2], "excluded", N_PRODUCTS)) == nearest[:4]


def test_a_buyers_score_is_the_sum_of_its_parts(shop: Shop) -> None:
    vector_D, repeats = (
        unit_vectors(1, seed=4)[0],
        SparseTerm(np.array([3, 7]), np.array([0.5, 0.25], dtype=np.float32)),
    )
    positions = np.array([7, 0, 3, N_PRODUCTS - 1])
    for new_only, repeated in ((False, [0.25, 0, 0.5, 0]), (True, [0, 0, 0, 0])):
        scorer = BuyerScorer(shop.recommender, buyer_of(vector_D), repeats, new_only=new_only)
        similarity, popularity, repeat, *others = scorer.terms(positions)
        assert_allclose(similarity, shop.recommender.similarity(vector_D, positions), atol=ROUNDING)
        weight = RESCORER.new_popularity_weight if new_only else RESCORER.popularity_weight
        assert_allclose(
            popularity, weight * draw_recent_popularity(N_PRODUCTS)[int(new_only)][positions], atol=ROUNDING
        )
        assert repeat.tolist() == repeated
        assert not np.any(others)
        assert_allclose(scorer.scores(positions), similarity + popularity + repeat, atol=ROUNDING)


@pytest.mark.parametrize("new_only", [False, True])
def test_what_is_close_to_one_product_of_a_buyer_comes_up(tmp_path: Path, new_only: bool) -> None:
    rescorer = Rescorer(closeness_weight=1.5, new_closeness_weight=3)
    release = write_random_release(tmp_path, 150, rescorer=rescorer)
    recommender, everything = Recommender(release, schema_hash=SCHEMA), Selection(None, 150, {})
    items_ND, own, vector_D = recommender.product_vectors(np.arange(150)), [7, 30, 7], unit_vectors(1, seed=4)[0]
    repeats = SparseTerm(np.array([30]), np.array([0.5], dtype=np.float32))

    def score(product: int) -> float:
        closest = max([0, *(float(items_ND[one] @ items_ND[product]) for one in own if one != product)])
        repeat = 0.5 if product == 30 and not new_only else 0
        return float(items_ND[product] @ vector_D) + (3 if new_only else 1.5) * closest + repeat

    scorer = BuyerScorer(recommender, buyer_of(vector_D, own), repeats, new_only=new_only)
    expected = sorted(range(150), key=lambda product: -score(product))
    assert scorer.top(20, everything).positions.tolist() == expected[:20]
    positions = np.array(expected[10:60])
    assert_allclose(scorer.scores(positions), [score(product) for product in positions.tolist()], atol=1e-5)
    assert_allclose(scorer.terms(positions).scores, scorer.scores(positions), atol=ROUNDING)
    # Together with other requests, the same.
    [found] = recommender.best([scorer.query(20, everything)])
    fresh = BuyerScorer(recommender, buyer_of(vector_D, own), repeats, new_only=new_only)
    fresh.take(everything, found)
    assert fresh.top(20, everything).positions.tolist() == expected[:20]
    for term, expected_term in zip(fresh.terms(found.positions), scorer.terms(found.positions), strict=True):
        assert_allclose(term, expected_term, atol=ROUNDING)


def test_what_a_search_found_already_is_used_as_far_as_it_goes(shop: Shop) -> None:
    vector_D = unit_vectors(1, seed=4)[0]
    everything = Selection(None, N_PRODUCTS, {})
    [expected] = shop.recommender.nearest(vector_D[None, :], 60)
    for k in (10, 50, 60):
        scorer = SimilarityScorer(shop.recommender, vector_D)
        [found] = shop.recommender.best([scorer.query(50, everything)])
        scorer.take(everything, found)
        assert_array_equal(scorer.top(k, everything).positions, expected.positions[:k])
        assert_allclose(scorer.terms(expected.positions).similarity, expected.scores, atol=ROUNDING)
        odd = np.arange(N_PRODUCTS) % 2 == 1
        assert odd[scorer.top(10, Selection(odd, N_PRODUCTS // 2, {})).positions].all()


# ---- literal shelves -------------------------------------------------------------------------------------------------


class InOrder:
    """Scores products by their place, the first best: 0, -1/1024, -2/1024 and so on. Counts the searches."""

    def __init__(self, n_products: int) -> None:
        self.scores_N = (-np.arange(n_products) / 1024).astype(np.float32)
        self.searches = 0

    def top(self, k: int, selection: Selection) -> Ranked:
        self.searches += 1
        positions = selection.among(np.arange(len(self.scores_N)))[:k]
        return Ranked(positions, self.scores(positions))

    def scores(self, positions: Int64Array) -> Float32Array:
        scores: Float32Array = self.scores_N[positions]
        return scores

    def terms(self, positions: Int64Array) -> ScoreTerms:
        return ScoreTerms(self.scores(positions), *[np.zeros(len(positions), dtype=np.float32)] * 5)


def shelf_of(
    folder: Path, brands: list[str | None], hidden: set[int], groups: list[str | None] | None = None
) -> LiveCatalogue:
    products = random_products(len(brands))
    hidden_flags = [place in hidden for place in range(len(brands))]
    for name, values in ((c.BRAND, brands), (c.HIDDEN, hidden_flags), (c.GROUP_ID, groups or [None] * len(brands))):
        products = products.set_column(
            products.column_names.index(name), name, pa.array(values, products.schema.field(name).type)
        )
    return LiveCatalogue(ProductTable(write_arrow(folder / "products.arrow", products), folder / "none"), None)


# place    0  1  2  3  4  5  6  7; 2 is hidden
SHELF = ["A", "A", "A", "A", "B", "B", None, None]


@pytest.mark.parametrize(
    ("rules", "diversity", "expected", "pinned"),
    [
        ([], {}, [0, 1, 3, 4], {}),
        ([], {"max_per_brand": 1}, [0, 4, 6, 7], {}),
        ([moved("boost", 1, brands=["B"])], {}, [4, 5, 0, 1], {}),
        ([moved("bury", 1, brands=["A"])], {}, [4, 5, 6, 7], {}),
        ([moved("bury", 1, brands=["A"])], {"max_per_brand": 1}, [4, 6, 7, 0], {}),
        ([pin(1, "p7")], {}, [7, 0, 1, 3], {7: "r0"}),
        ([pin(2, "p5", "p7")], {}, [0, 5, 7, 1], {5: "r0", 7: "r0"}),
        ([pin(1, "p2")], {}, [0, 1, 3, 4], {}),  # it is hidden
        ([pin(4, "p0")], {}, [1, 3, 4, 0], {0: "r0"}),
        ([pin(5, "p0")], {}, [0, 1, 3, 4], {}),
        ([pin(1, "p5"), moved("bury", 1, brands=["B"])], {}, [5, 0, 1, 3], {5: "r0"}),
        ([pin(1, "p5")], {"max_per_brand": 2}, [5, 0, 1, 4], {5: "r0"}),
    ],
)
def test_a_literal_shelf(
    tmp_path: Path, rules: Rules, diversity: dict[str, int], expected: list[int], pinned: dict[int, str]
) -> None:
    catalogue = shelf_of(tmp_path, SHELF, hidden={2})
    listed = rank(
        InOrder(8),
        catalogue.select(NO_FILTERS),
        4,
        Diversity.model_validate(diversity),
        active(catalogue, rules),
        catalogue,
        unit_vectors(8).__getitem__,
    )
    assert listed.positions.tolist() == expected
    assert listed.scores.tolist() == [-position / 1024 for position in expected]
    assert listed.pinned_by == pinned


def test_a_pinned_product_shows_what_rules_add_to_it(tmp_path: Path) -> None:
    catalogue = shelf_of(tmp_path, SHELF, hidden=set())
    rules = active(catalogue, [pin(1, "p5"), moved("boost", 0.5, product_ids=["p5", "p6"])])
    listed = rank(
        InOrder(8), catalogue.select(NO_FILTERS), 3, NO_DIVERSITY, rules, catalogue, unit_vectors(8).__getitem__
    )
    assert listed.positions.tolist() == [5, 6, 0]
    assert listed.adjustments.tolist() == [0.5, 0.5, 0]


@pytest.mark.parametrize("lambda_", [1.0, 0.5])
def test_caps_widen_the_pool_in_few_searches(tmp_path: Path, lambda_: float) -> None:
    # The first five hundred are of one brand, and the pool for ten is of a hundred.
    brands: list[str | None] = [*["A"] * 500, *["B"] * 500, *(f"C{place}" for place in range(20))]
    catalogue, scorer = shelf_of(tmp_path, brands, hidden=set()), InOrder(1020)
    diversity = Diversity(lambda_=lambda_, max_per_brand=3)
    listed = rank(scorer, catalogue.select(NO_FILTERS), 10, diversity, None, catalogue, unit_vectors(1020).__getitem__)
    assert len(listed.positions) == 10
    assert scorer.searches == 3
    if lambda_ == 1:
        assert listed.positions.tolist() == [0, 1, 2, 500, 501, 502, 1000, 1001, 1002, 1003]


def test_what_is_chosen_already_does_not_come_again(tmp_path: Path) -> None:
    # The first three are of no brand, so that no cap closes them.
    catalogue = shelf_of(tmp_path, [None, None, None, *["A"] * 200, "B"], hidden=set())
    everything, diversity = catalogue.select(NO_FILTERS), Diversity(max_per_brand=1)
    listed = rank(InOrder(204), everything, 10, diversity, None, catalogue, unit_vectors(204).__getitem__)
    assert listed.positions.tolist() == [0, 1, 2, 3, 203]


def test_full_caps_are_no_reason_to_search_the_whole_catalogue(tmp_path: Path) -> None:
    catalogue, scorer = shelf_of(tmp_path, ["A", "B"] * 1000, hidden=set()), InOrder(2000)
    everything = catalogue.select(NO_FILTERS)
    listed = rank(scorer, everything, 10, Diversity(max_per_brand=2), None, catalogue, unit_vectors(2000).__getitem__)
    assert listed.positions.tolist() == [0, 1, 2, 3]
    assert scorer.searches == 2


def test_difference_counts_among_equals(tmp_path: Path) -> None:
    vectors_ND = np.repeat(np.eye(4, dtype=np.float32), 2, axis=0)  # pairs of the same
    catalogue: LiveCatalogue = shelf_of(tmp_path, SHELF, hidden=set())
    everything = catalogue.select(NO_FILTERS)
    listed = rank(InOrder(8), everything, 5, Diversity(lambda_=0.5), None, catalogue, vectors_ND.__getitem__)
    assert listed.positions.tolist() == [0, 2, 4, 6, 1]
    plain = rank(InOrder(8), everything, 5, NO_DIVERSITY, None, catalogue, vectors_ND.__getitem__)
    assert plain.positions.tolist() == [0, 1, 2, 3, 4]
