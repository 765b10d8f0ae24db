"""Finding products in a loaded release: against brute force, on an exact and on an approximate index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo.common.arrays import BoolArray, Float32Array
from feature_repo.transforms.sequences import sequence
from tests.random_release import AS_OF_MS, SCHEMA, draw_recent_popularity, unit_vectors, write_random_release
from training.artifacts.recommender import Recommender
from training.artifacts.scoring.best_products import RECENTLY_POPULAR_POOL, OwnProducts
from training.artifacts.scoring.co_occurrence import CoOccurrence
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.scoring.sparse_term import NO_TERM
from training.artifacts.search.filtered_search import EXACT_SEARCH_PRODUCTS, top_k
from training.data.histories import DAY_MS

# Beyond EXACT_SEARCH_PRODUCTS, so that a mask may go to the index or not.
N_PRODUCTS = 12_000
INDEXES = ["flat", "pq_fastscan"]

few_examples = settings(max_examples=40)
SEEDS = st.integers(0, 10**6)
# From 0.01% to 100%, with as many examples of each magnitude.
SELECTIVITIES = st.floats(-4, 0).map(lambda power: 10**power)
RESULTS = st.integers(1, 100)


@pytest.fixture(scope="module")
def recommenders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Recommender]:
    def load(index_type: str) -> Recommender:
        folder = tmp_path_factory.mktemp(index_type)
        rescorer = Rescorer(popularity_weight=1, new_popularity_weight=1)
        release = write_random_release(folder, N_PRODUCTS, index_type, rescorer=rescorer)  # type: ignore[arg-type]
        return Recommender(release, schema_hash=SCHEMA)

    return {index_type: load(index_type) for index_type in INDEXES}


def all_vectors(recommender: Recommender) -> Float32Array:
    return recommender.product_vectors(np.arange(N_PRODUCTS))


def query(seed: int) -> Float32Array:
    vector_D: Float32Array = unit_vectors(1, seed=seed)[0]
    return vector_D


def random_mask(seed: int, selectivity: float) -> BoolArray:
    allowed_N: BoolArray = np.random.default_rng(seed).random(N_PRODUCTS) < selectivity
    return allowed_N


def require_the_best(
    recommender: Recommender, vector_D: Float32Array, k: int, allowed_N: BoolArray, *, exact: bool
) -> None:
    """K distinct allowed products with their own scores, best first; the very best where that is promised."""
    n_allowed = int(allowed_N.sum())
    nearest = recommender.nearest_allowed(vector_D, k, allowed_N, n_allowed)
    scores_N = all_vectors(recommender) @ vector_D
    assert len(nearest.positions) == len(nearest.scores) == min(k, n_allowed)
    assert len(set(nearest.positions.tolist())) == len(nearest.positions)
    assert allowed_N[nearest.positions].all()
    assert_allclose(nearest.scores, scores_N[nearest.positions], atol=1e-6)
    assert (np.diff(nearest.scores) <= 0).all()
    if exact:
        assert_allclose(nearest.scores, -np.sort(-scores_N[allowed_N])[:k], atol=1e-6)


@few_examples
@given(seed=SEEDS, selectivity=SELECTIVITIES, k=RESULTS)
def test_a_flat_index_finds_the_very_best_of_any_mask(
    recommenders: dict[str, Recommender], seed: int, selectivity: float, k: int
) -> None:
    require_the_best(recommenders["flat"], query(seed), k, random_mask(seed, selectivity), exact=True)


@few_examples
@given(seed=SEEDS, selectivity=SELECTIVITIES, k=RESULTS)
def test_a_fast_scan_index_fills_k_and_is_exact_for_few(
    recommenders: dict[str, Recommender], seed: int, selectivity: float, k: int
) -> None:
    allowed_N = random_mask(seed, selectivity)
    few = bool(allowed_N.sum() <= EXACT_SEARCH_PRODUCTS)
    require_the_best(recommenders["pq_fastscan"], query(seed), k, allowed_N, exact=few)


@pytest.mark.parametrize("index_type", INDEXES)
@few_examples
@given(seed=SEEDS, n_allowed=st.integers(0, N_PRODUCTS), k=RESULTS)
def test_products_that_are_the_farthest_are_found_too(
    recommenders: dict[str, Recommender], index_type: str, seed: int, n_allowed: int, k: int
) -> None:
    recommender, vector_D = recommenders[index_type], query(seed)
    allowed_N = np.zeros(N_PRODUCTS, dtype=np.bool_)
    allowed_N[np.argsort(all_vectors(recommender) @ vector_D)[:n_allowed]] = True
    # Beyond half of the catalogue the index may reach the allowed ones, and answers approximately.
    exact = index_type == "flat" or n_allowed <= N_PRODUCTS // 2
    require_the_best(recommender, vector_D, k, allowed_N, exact=exact)


@pytest.mark.parametrize("index_type", INDEXES)
@pytest.mark.parametrize("n_allowed", [0, 1, 9, 10, 11, EXACT_SEARCH_PRODUCTS, EXACT_SEARCH_PRODUCTS + 1, N_PRODUCTS])
def test_numbers_of_allowed_products_at_the_borders(
    recommenders: dict[str, Recommender], index_type: str, n_allowed: int
) -> None:
    exact = index_type == "flat" or n_allowed <= EXACT_SEARCH_PRODUCTS
    require_the_best(recommenders[index_type], query(5), 10, np.arange(N_PRODUCTS) < n_allowed, exact=exact)


def test_a_fast_scan_index_misses_little_of_what_a_mask_allows(recommenders: dict[str, Recommender]) -> None:
    recommender, hits = recommenders["pq_fastscan"], 0
    for seed in range(50):
        vector_D, allowed_N = query(seed), random_mask(seed, 0.6)
        nearest = recommender.nearest_allowed(vector_D, 10, allowed_N, int(allowed_N.sum()))
        exact = top_k(np.flatnonzero(allowed_N), all_vectors(recommender)[allowed_N] @ vector_D, 10)
        hits += len(set(nearest.positions.tolist()) & set(exact.positions.tolist()))
    assert hits >= 0.95 * 500


@pytest.mark.parametrize("index_type", INDEXES)
def test_nearest_ranks_for_several_vectors_at_once(recommenders: dict[str, Recommender], index_type: str) -> None:
    recommender, vectors_BD = recommenders[index_type], unit_vectors(5, seed=8)
    together = recommender.nearest(vectors_BD, 10)
    assert len(together) == 5
    for vector_D, nearest in zip(vectors_BD, together, strict=True):
        [alone] = recommender.nearest(vector_D[None, :], 10)
        assert_array_equal(nearest.positions, alone.positions)
        assert_allclose(nearest.scores, recommender.similarity(vector_D, nearest.positions), atol=1e-6)
        assert_array_equal(nearest.first(3).positions, nearest.positions[:3])


@pytest.mark.parametrize("index_type", INDEXES)
def test_more_results_than_products_are_all_products(recommenders: dict[str, Recommender], index_type: str) -> None:
    [nearest] = recommenders[index_type].nearest(query(1)[None, :], N_PRODUCTS + 1)
    assert sorted(nearest.positions.tolist()) == list(range(N_PRODUCTS))


@few_examples
@given(seed=SEEDS, selectivity=SELECTIVITIES, k=RESULTS)
def test_the_most_popular_allowed_come_in_the_order_of_the_release(
    recommenders: dict[str, Recommender], seed: int, selectivity: float, k: int
) -> None:
    recommender, allowed_N = recommenders["flat"], random_mask(seed, selectivity)
    popular = recommender.most_popular(N_PRODUCTS).positions.tolist()
    assert sorted(popular) == list(range(N_PRODUCTS))
    ranks = {position: rank for rank, position in enumerate(popular, start=1)}
    expected = [position for position in popular if allowed_N[position]][:k]
    most_popular = recommender.most_popular(k, allowed_N)
    assert most_popular.positions.tolist() == expected
    assert_allclose(most_popular.scores, [1 / ranks[position] for position in expected])


def test_the_best_of_literal_scores() -> None:
    positions, scores = np.array([4, 7, 9, 2]), np.array([0.5, 0.9, 0.5, 0.5], dtype=np.float32)
    assert [top_k(positions, scores, k).positions.tolist() for k in range(6)] == [
        [], [7], [7, 4], [7, 4, 9], [7, 4, 9, 2], [7, 4, 9, 2],
    ]  # fmt: skip
    assert top_k(positions[:0], scores[:0], 3).positions.tolist() == []


@few_examples
@given(values=st.lists(st.integers(-3, 3), max_size=40), k=st.integers(0, 45))
def test_the_best_of_equal_scores_are_the_first(values: list[int], k: int) -> None:
    ranked = top_k(np.arange(len(values)) * 2, np.array(values, dtype=np.float32), k)
    expected = sorted(range(len(values)), key=lambda place: (-values[place], place))[:k]
    assert ranked.positions.tolist() == [2 * place for place in expected]
    assert ranked.scores.tolist() == [values[place] for place in expected]


def test_a_buyer_is_encoded_from_the_products_that_the_release_knows(recommenders: dict[str, Recommender]) -> None:
    recommender = recommenders["flat"]
    keys = [recommender.products.product_key(product_id) for product_id in ("p3", "gone", "p9")]
    [buyer] = recommender.encode_buyers([recommender.known_events(sequence(keys, [0, 2, 1], [1, 2, 3]))])
    assert_array_equal(buyer.history.items_LD, recommender.product_vectors(np.array([3, 9])))
    assert buyer.history.types_L.tolist() == [0, 1]
    assert_allclose(
        recommender.contributions(buyer, np.arange(4)).sum(axis=1),
        recommender.similarity(buyer.vector_D, np.arange(4)),
        atol=1e-5,
    )
    assert recommender.known_events(sequence(keys[1:2], [0], [1])).is_empty


# ---- the re-scorer's terms -------------------------------------------------------------------------------------------

# Products 0 to 5, of which 2 and 4 sold alike; 1 and 5 had no recent buyers. Lists of new products count more days.
RECENT_POPULARITY_2N = np.log1p(np.array([[1, 0, 3, 7, 3, 0], [9, 0, 3, 7, 3, 1]])).astype(np.float32)


@pytest.fixture(scope="module")
def rescored(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    rescorer = Rescorer(popularity_weight=0.5, new_popularity_weight=0.25, repeat_weight=2.0, repeat_half_life_days=90)
    folder = write_random_release(
        tmp_path_factory.mktemp("rescored"),
        RECENT_POPULARITY_2N.shape[1],
        rescorer=rescorer,
        recent_popularity=RECENT_POPULARITY_2N,
    )
    return Recommender(folder, schema_hash=SCHEMA)


def test_repeats_count_the_events_of_each_product(rescored: Recommender) -> None:
    # A purchase weighs 1, and half of it 90 days later; a view weighs 0.1; what comes after the release counts in full.
    events = [("p3", 2, -90), ("gone", 2, 0), ("p0", 0, 0), ("p3", 2, 7)]
    keys = [rescored.products.product_key(product_id) for product_id, *_ in events]
    times = [AS_OF_MS + days * DAY_MS for *_, days in events]
    repeats = rescored.repeats(sequence(keys, [kind for _, kind, _ in events], times))
    assert repeats.positions.tolist() == [0, 3]
    assert_allclose(repeats.terms, 2 * np.log([1.1, 2.5]), rtol=1e-6)


def test_products_that_the_release_does_not_have_repeat_nothing(rescored: Recommender) -> None:
    key = rescored.products.product_key("new")
    assert rescored.repeats(sequence([key], [2], [AS_OF_MS])).positions.tolist() == []
    assert rescored.repeats(sequence([], [], [])).positions.tolist() == []


def test_lists_of_new_products_have_a_popularity_weight_of_their_own(rescored: Recommender) -> None:
    positions = [3, 1, 0]
    terms = [rescored.popularity_term(new_only=new_only).term_N[positions] for new_only in (False, True)]
    assert_allclose(terms[0], 0.5 * np.log([8, 1, 2]), rtol=1e-6)
    assert_allclose(terms[1], 0.25 * np.log([8, 1, 10]), rtol=1e-6)


def test_the_most_popular_lately_come_first_and_those_without_buyers_not_at_all(rescored: Recommender) -> None:
    of_any, of_new = (rescored.popularity_term(new_only=new_only) for new_only in (False, True))
    assert of_any.largest(10).tolist() == [3, 2, 4, 0]
    assert of_any.largest(2).tolist() == [3, 2]
    assert of_new.largest(10).tolist() == [0, 3, 2, 4, 5]
    assert of_any.largest(10, np.array([True, True, False, False, True, True])).tolist() == [4, 0]


@pytest.fixture(scope="module")
def close(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """A release with a closeness term of lists of any products only, whose buyer tower does not count views."""
    folder = write_random_release(
        tmp_path_factory.mktemp("close"), 6, rescorer=Rescorer(closeness_weight=0.5), event_weights=(0.0, 5.0, 10.0)
    )
    return Recommender(folder, schema_hash=SCHEMA)


def own_of(
    recommender: Recommender, events: list[tuple[str, int]], new: dict[str, Float32Array] | None = None
) -> tuple[OwnProducts | None, OwnProducts | None]:
    """The own products of a buyer in lists of any and of new products; events are product ids and types."""
    keys = [recommender.products.product_key(product_id) for product_id, _ in events]
    vectors = {recommender.products.product_key(product_id): vector_D for product_id, vector_D in (new or {}).items()}
    known = recommender.known_events(sequence(keys, [kind for _, kind in events], range(len(events))), vectors)
    [buyer] = recommender.encode_buyers([known])
    return recommender.own_products(buyer, new_only=False), recommender.own_products(buyer, new_only=True)


def test_a_buyers_own_products_count_once(close: Recommender) -> None:
    own, none = own_of(close, [("p3", 2), ("p1", 1), ("gone", 2), ("p3", 1), ("p3", 2)])
    assert own is not None
    assert own.weight == 0.5
    assert sorted(own.positions_L.tolist()) == [1, 3]
    assert_array_equal(own.vectors_LD, close.product_vectors(own.positions_L))
    assert none is None  # such lists have no closeness term


def test_products_that_the_release_does_not_have_keep_a_vector_of_their_own(close: Recommender) -> None:
    new = {f"new{number}": vector_D for number, vector_D in enumerate(unit_vectors(2, seed=8))}
    own, _ = own_of(close, [("new1", 2), ("p2", 2), ("new0", 1)], new)
    assert own is not None
    assert sorted(own.positions_L.tolist()) == [-1, -1, 2]
    # Each product is nearest to itself, if it is there.
    expected_ND = np.stack([*new.values(), close.product_vectors(np.array([2]))[0]])
    assert_allclose((own.vectors_LD @ expected_ND.T).max(axis=0), [1, 1, 1], rtol=1e-6)


def test_an_event_without_weight_says_nothing_of_a_product(close: Recommender) -> None:
    own, _ = own_of(close, [("p4", 0), ("p5", 1)])
    assert own is not None
    assert own.positions_L.tolist() == [5]
    assert own_of(close, [("p4", 0), ("p5", 0)]) == (None, None)


@pytest.mark.parametrize("events", [[("p4", 2), ("p4", 0)], [("p4", 0), ("p4", 2)]], ids=["after", "before"])
def test_nor_does_it_take_a_product_from_another_event(close: Recommender, events: list[tuple[str, int]]) -> None:
    own, _ = own_of(close, events)
    assert own is not None
    assert own.positions_L.tolist() == [4]


def test_without_a_weight_there_are_no_own_products(rescored: Recommender) -> None:
    assert own_of(rescored, [("p3", 2), ("p1", 2)]) == (None, None)


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    """A release in which 8 buyers chose both p1 and p2, whose buyer tower does not count views."""
    buyers, products = np.array([(buyer, product) for buyer in range(8) for product in (1, 2)]).T
    folder = write_random_release(
        tmp_path_factory.mktemp("counting"),
        6,
        rescorer=Rescorer(new_co_occurrence_weight=0.5),
        co_occurrence=CoOccurrence.of_events(buyers, products, np.arange(16), 6),
        event_weights=(0.0, 5.0, 10.0),
    )
    return Recommender(folder, schema_hash=SCHEMA)


def co_occurrence_of(recommender: Recommender, events: list[tuple[str, int]]) -> dict[int, float]:
    """The term of a buyer in lists of new products; those of any products have none."""
    keys = [recommender.products.product_key(product_id) for product_id, _ in events]
    new = {recommender.products.product_key("new"): unit_vectors(1, seed=8)[0]}
    known = recommender.known_events(sequence(keys, [kind for _, kind in events], range(len(events))), new)
    [buyer] = recommender.encode_buyers([known])
    assert recommender.co_occurrence_term(buyer, new_only=False) is NO_TERM
    term = recommender.co_occurrence_term(buyer, new_only=True)
    return dict(zip(term.positions.tolist(), term.terms.tolist(), strict=True))


def test_events_of_weight_lead_to_what_the_same_buyers_chose(counting: Recommender) -> None:
    assert co_occurrence_of(counting, [("p1", 2)]) == pytest.approx({2: 0.5 * 8 / (8 + 10)})
    assert co_occurrence_of(counting, [("p1", 0), ("p5", 1)]) == {}
    # A product that the release does not have takes no part, not even as a later moment.
    assert co_occurrence_of(counting, [("p1", 2), ("new", 2)]) == pytest.approx({2: 0.5 * 8 / (8 + 10)})


@few_examples
@given(seed=SEEDS, selectivity=SELECTIVITIES, k=RESULTS, new_only=st.booleans())
def test_the_most_popular_lately_are_those_of_the_largest_term(
    recommenders: dict[str, Recommender], seed: int, selectivity: float, k: int, new_only: bool
) -> None:
    allowed_N, lately_N = random_mask(seed, selectivity), draw_recent_popularity(N_PRODUCTS)[int(new_only)].tolist()
    order = sorted(range(N_PRODUCTS), key=lambda position: -lately_N[position])[:RECENTLY_POPULAR_POOL]
    expected = [position for position in order if allowed_N[position]][:k]
    assert recommenders["flat"].popularity_term(new_only=new_only).largest(k, allowed_N).tolist() == expected
