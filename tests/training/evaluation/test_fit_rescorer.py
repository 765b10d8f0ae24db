"""The re-scorer: its terms by hand, and that the fit finds what was planted and leaves out what is not proven."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.random_release import unit_vectors
from training.artifacts.scoring.rescorer import CountedBuyers, Rescorer, decayed, recent_popularity
from training.data.histories import DAY_MS, Histories
from training.evaluation.fit_rescorer import (
    DEFAULT_WEIGHTS,
    FEWEST_TO_PROVE,
    _sampled,
    fit_rescorer,
)
from training.evaluation.ranker import TrainingEvents
from training.evaluation.rescored_ranker import Chosen, RescoredRanker, RescorerData
from training.model.encoding import Closeness

# Twice as many in each half of the targets as a proof needs at least.
N_BUYERS, N_PRODUCTS, AS_OF = 4 * FEWEST_TO_PROVE, 80, 400 * DAY_MS
EARLIER, LATER = AS_OF + DAY_MS, AS_OF + 2 * DAY_MS


class Fixed:
    """Scores as they are given."""

    name = "fixed"

    def __init__(self, scores_BN: npt.NDArray[np.float32]) -> None:
        self._scores_BN = scores_BN

    def scores(self, rows: npt.NDArray[np.int32], /) -> npt.NDArray[np.float32]:
        return self._scores_BN[rows]


def histories_of(rows: list[list[tuple[int, int, int]]]) -> Histories:
    """(product, type, milliseconds) of each event."""
    events = [event for row in rows for event in row]
    products, types, times = (np.array([event[part] for event in events], dtype=np.int64) for part in range(3))
    offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Histories(offsets, products.astype(np.int32), types.astype(np.int32), times)


def chosen_of(targets: list[list[int]], times: list[int] | None = None) -> Chosen:
    """The targets of the first contexts, which are chosen at one time or at the one of their context."""
    times = [EARLIER] * len(targets) if times is None else times
    rows = np.arange(len(targets), dtype=np.int32)
    return Chosen(
        rows, histories_of([[(one, 2, time) for one in row] for row, time in zip(targets, times, strict=True)])
    )


def data_of(
    histories: list[list[tuple[int, int, int]]], targets: list[list[int]], recent: dict[int, int] | None = None
) -> RescorerData:
    """Re-scorer data: `recent` is the number of buyers of each product yesterday; each had an event a year ago."""
    past = histories_of(histories)
    chosen = chosen_of(targets)
    buyers = [buyer for count in (recent or {}).values() for buyer in range(count)]
    products = [product for product, count in (recent or {}).items() for _ in range(count)]
    events = TrainingEvents(
        np.array([*buyers, *[0] * N_PRODUCTS], np.int32),
        np.array([*products, *range(N_PRODUCTS)], np.int32),
        AS_OF - np.array([*[1] * len(buyers), *[365] * N_PRODUCTS]) * DAY_MS,
        N_BUYERS,
        N_PRODUCTS,
    )
    nothing = past.where(np.zeros(len(past.products), dtype=bool))
    weights = np.array([0.1, 0.5, 1], np.float32)
    return RescorerData(past, nothing, chosen, chosen, events, AS_OF, weights, np.arange(len(past)))


def with_sales(data: RescorerData, products: range, buyers: int, days: int) -> RescorerData:
    """The data with so many more buyers of each of the products, so many days ago."""
    sold = np.repeat(np.array(products, dtype=np.int32), buyers)
    events = TrainingEvents(
        np.concatenate([data.events.buyers, np.arange(len(sold), dtype=np.int32) % buyers]),
        np.concatenate([data.events.products, sold]),
        np.concatenate([data.events.event_times, np.full(len(sold), AS_OF - days * DAY_MS)]),
        N_BUYERS,
        N_PRODUCTS,
    )
    return replace(data, events=events)


def noise(seed: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(N_BUYERS, N_PRODUCTS)).astype(np.float32)


# ---- terms -----------------------------------------------------------------------------------------------------------


def test_terms_by_hand() -> None:
    # Buyer 0 bought product 1 now and 90 days ago and viewed product 2 now; buyer 1 did nothing.
    past = [[(1, 2, AS_OF - 90 * DAY_MS), (1, 2, AS_OF), (2, 0, AS_OF + DAY_MS)], []]
    data = data_of(past, [[0], [0]], recent={3: 4})
    rescorer = Rescorer(7, 0.5, 7, 2.0, repeat_weight=3.0, repeat_half_life_days=90.0)
    base = np.arange(2 * N_PRODUCTS, dtype=np.float32).reshape(2, N_PRODUCTS)
    any_product = RescoredRanker(Fixed(base), rescorer, data, new_only=False, name="x")
    new_product = RescoredRanker(Fixed(base), rescorer, data, new_only=True, name="x")
    rows = np.array([1, 0], dtype=np.int32)
    gained = any_product.scores(rows) - base[rows]
    expected = np.zeros((2, N_PRODUCTS))
    expected[:, 3] = 0.5 * math.log(5)
    expected[1, 1], expected[1, 2] = 3 * math.log(1 + 1.5), 3 * math.log(1.1)
    np.testing.assert_allclose(gained, expected, atol=1e-4)
    expected = np.zeros((2, N_PRODUCTS))
    expected[:, 3] = 2 * math.log(5)
    np.testing.assert_allclose(new_product.scores(rows) - base[rows], expected, atol=1e-4)


@pytest.mark.parametrize("new_only", [False, True])
@pytest.mark.parametrize("first_time", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_plain_python(seed: int, first_time: bool, new_only: bool) -> None:
    rng = np.random.default_rng(seed)
    n_products, day = 6, [int(day) for day in rng.integers(0, 200, 40)]
    past = [
        [(int(rng.integers(n_products)), int(rng.integers(3)), AS_OF - day.pop() * DAY_MS) for _ in range(n_events)]
        for n_events in (0, 1, 5, 12)
    ]
    sold = [(int(rng.integers(5)), int(rng.integers(n_products)), int(rng.integers(1, 60))) for _ in range(40)]
    events = TrainingEvents(
        np.array([buyer for buyer, *_ in sold], np.int32),
        np.array([product for _, product, _ in sold], np.int32),
        AS_OF - np.array([days for *_, days in sold]) * DAY_MS,
        5,
        n_products,
    )
    items_ND = unit_vectors(n_products)
    data = replace(data_of(past, [[0]] * 4), events=events)
    data = replace(data, closeness=Closeness(torch.from_numpy(items_ND), data.histories))
    weights = rng.uniform(0.1, 2, 5).tolist()
    rescorer = Rescorer(30, weights[0], 10, weights[1], first_time, weights[2], 45.0, *weights[3:])
    base = rng.normal(size=(4, n_products)).astype(np.float32)

    def score(buyer: int, product: int) -> float:
        span = 10 if new_only else 30
        recent = {one for one, sold_product, days in sold if sold_product == product and days <= span}
        if new_only and first_time:
            recent -= {one for one, sold_product, days in sold if sold_product == product and days > span}
        weight = rescorer.new_popularity_weight if new_only else rescorer.popularity_weight
        value = float(base[buyer, product]) + weight * math.log(1 + len(recent))
        near = [0 if one == product else float(items_ND[one] @ items_ND[product]) for one, *_ in past[buyer]]
        value += (rescorer.new_closeness_weight if new_only else rescorer.closeness_weight) * max([0, *near])
        own = [(kind, time) for bought, kind, time in past[buyer] if bought == product]
        counts = [(0.1, 0.5, 1.0)[kind] * 0.5 ** ((AS_OF - time) / DAY_MS / 45) for kind, time in own]
        return value if new_only else value + rescorer.repeat_weight * math.log(1 + sum(counts))

    rows = np.array([3, 1, 0, 2, 3], dtype=np.int32)
    expected = [[score(buyer, product) for product in range(n_products)] for buyer in rows.tolist()]
    ranker = RescoredRanker(Fixed(base), rescorer, data, new_only=new_only, name="x")
    np.testing.assert_allclose(ranker.scores(rows), expected, atol=1e-5)


def test_an_event_fades_and_one_after_the_data_counts_in_full() -> None:
    times = AS_OF - np.array([0, 30, 60, -5]) * DAY_MS
    counts = decayed(times, np.array([1, 1, 0.5, 1], dtype=np.float32), AS_OF, 30)
    np.testing.assert_allclose(counts, [1, 0.5, 0.125, 1])


def test_popularity_counts_buyers_once_in_the_last_days() -> None:
    times = AS_OF - np.array([0, 1, 1, 6, 7, 8, 2]) * DAY_MS
    lately_N = recent_popularity(
        np.array([1, 1, 1, 2, 3, 4, 5]),
        np.array([0, 0, 0, 0, 0, 1, -1]),
        times,
        until_ms=AS_OF,
        counted=CountedBuyers(7, first_time=False),
        n_products=2,
    )
    # The event at AS_OF itself and the one eight days ago lie outside; buyer 1's two count once.
    np.testing.assert_allclose(lately_N, [math.log(1 + 3), 0])


def test_a_product_without_any_event_counts_like_the_middle_one() -> None:
    """Products 0 to 3 had 0, 1, 2 and 7 recent buyers, 4 and 5 none ever."""
    buyers = [*range(3), *range(8)]
    products = [0, 1, 2, 2, *[3] * 7]
    days = [30, *[1] * 10]
    lately_N = recent_popularity(
        np.array(buyers),
        np.array(products),
        AS_OF - np.array(days) * DAY_MS,
        until_ms=AS_OF,
        counted=CountedBuyers(7, first_time=False),
        n_products=6,
    )
    middle = (math.log(2) + math.log(3)) / 2
    np.testing.assert_allclose(lately_N, [0, math.log(2), math.log(3), math.log(8), middle, middle])
    # What happens later is not known yet.
    assert recent_popularity(
        np.zeros(1, int),
        np.zeros(1, int),
        np.array([AS_OF]),
        until_ms=AS_OF,
        counted=CountedBuyers(7, first_time=False),
        n_products=2,
    ).tolist() == [0, 0]


def test_first_time_buyers_had_no_event_with_the_product_before() -> None:
    # Of product 0: buyer 1 came back, buyer 2 is new (twice), buyer 3 is new to it although not to product 1.
    # Of product 1: buyer 1 bought for the first time, and buyer 4 only before. Product 2 has no event.
    events = [(1, 0, 8), (1, 0, 1), (2, 0, 2), (2, 0, 1), (3, 1, 9), (3, 0, 3), (1, 1, 6), (4, 1, 30)]
    buyers, products, days = (np.array(column) for column in zip(*events, strict=True))
    counts = {
        first_time: np.expm1(
            recent_popularity(
                buyers,
                products,
                AS_OF - days * DAY_MS,
                until_ms=AS_OF,
                counted=CountedBuyers(7, first_time=first_time),
                n_products=2,
            )
        ).round()
        for first_time in (False, True)
    }
    assert counts[False].tolist() == [3, 1]
    assert counts[True].tolist() == [2, 1]
    # The first event with a product counts, whatever the buyer did with others.
    before = days > 7
    assert recent_popularity(
        buyers[before],
        products[before],
        AS_OF - days[before] * DAY_MS,
        until_ms=AS_OF,
        counted=CountedBuyers(7, first_time=True),
        n_products=2,
    ).tolist() == [0, 0]


def test_only_lists_of_new_products_can_count_first_time_buyers() -> None:
    rescorer = Rescorer(popularity_days=90, new_popularity_days=30, new_popularity_first_time=True)
    assert rescorer.counted_buyers(new_only=True) == (30, True)
    assert rescorer.counted_buyers(new_only=False) == (90, False)


def test_only_the_best_products_get_the_closeness_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buyer did something with product 0; 1 and 3 point where it does, 2 and 4 nowhere near it."""
    monkeypatch.setattr("training.evaluation.rescored_ranker.CLOSENESS_POOL", 3)
    items_ND = torch.tensor([[1.0, 0], [1, 0], [0, 1], [1, 0], [0, 1]])
    past = histories_of([[(0, 2, AS_OF)]])
    events = TrainingEvents(np.zeros(5, np.int32), np.arange(5, dtype=np.int32), np.full(5, AS_OF), 1, 5)
    weights = np.ones(3, np.float32)
    closeness = Closeness(items_ND, past)
    data = RescorerData(past, past, None, None, events, AS_OF, weights, np.arange(1), closeness=closeness)
    rescorer = Rescorer(closeness_weight=10, new_closeness_weight=20)
    base, rows = np.array([[5, 4, 3, 2, 1]], dtype=np.float32), np.zeros(1, np.int32)
    any_product, new_product = (
        RescoredRanker(Fixed(base), rescorer, data, new_only=new_only, name="x").scores(rows)
        for new_only in (False, True)
    )
    assert any_product.tolist() == [[5, 14, 3, 2, 1]]
    # What was bought has no place in such a list, so the three best are 1, 2 and 3.
    assert new_product.tolist() == [[5, 24, 3, 22, 1]]
    assert base.tolist() == [[5, 4, 3, 2, 1]]
    without = RescoredRanker(Fixed(base), rescorer, replace(data, closeness=None), new_only=False, name="x")
    assert without.scores(rows).tolist() == base.tolist()


def test_saved_and_read_back(tmp_path: Path) -> None:
    rescorer = Rescorer(30, 0.1, 7, 0.2, True, 0.3, 365.0, 0.4, 0.5, 0.6, 0.7)
    rescorer.save(tmp_path)
    assert Rescorer.load(tmp_path) == rescorer
    with pytest.raises(ValueError, match=r"rescorer\.json is missing; run `tawsiya train` again"):
        Rescorer.load(tmp_path / "elsewhere")


# ---- fit -------------------------------------------------------------------------------------------------------------


def value_of(data: RescorerData, rescorer: Rescorer, scores: npt.NDArray[np.float32], *, new_only: bool) -> float:
    """Recall in ten."""
    ranker = RescoredRanker(Fixed(scores), rescorer, data, new_only=new_only, name="x")
    assert data.targets is not None
    rows, targets = data.targets
    top = np.argsort(-ranker.scores(rows), axis=1)[:, :10]
    edges = enumerate(itertools.pairwise(targets.offsets.tolist()))
    recalls = [np.isin(targets.products[start:stop], top[row]).mean() for row, (start, stop) in edges]
    return float(np.mean(recalls))


def test_finds_that_buyers_buy_again() -> None:
    rng = np.random.default_rng(1)
    own = [rng.choice(N_PRODUCTS, 3, replace=False) for _ in range(N_BUYERS)]
    data = data_of([[(int(one), 2, AS_OF - DAY_MS) for one in row] for row in own], [row.tolist() for row in own])
    rescorer = fit_rescorer(Fixed(noise(1)), data)
    assert rescorer.repeat_weight > 0
    assert value_of(data, rescorer, noise(2), new_only=False) > 0.95
    assert value_of(data, Rescorer(), noise(2), new_only=False) < 0.3


def test_finds_how_long_a_purchase_is_remembered() -> None:
    rng = np.random.default_rng(6)
    own = [[int(one) for one in rng.choice(N_PRODUCTS, 33, replace=False)] for _ in range(N_BUYERS)]
    # Thirty products that were bought three times long ago are done with, three bought yesterday come again.
    past = [
        [(one, 2, AS_OF - 200 * DAY_MS) for one in row[3:] for _ in range(3)]
        + [(one, 2, AS_OF - DAY_MS) for one in row[:3]]
        for row in own
    ]
    data = data_of(past, [row[:3] for row in own])
    rescorer = fit_rescorer(Fixed(noise(6)), data)
    assert rescorer.repeat_half_life_days <= 90
    assert value_of(data, rescorer, noise(7), new_only=False) > 0.95


def test_finds_over_how_many_days_popularity_counts() -> None:
    rng = np.random.default_rng(7)
    data = data_of([[]] * N_BUYERS, [[int(rng.integers(8))] for _ in range(N_BUYERS)], dict.fromkeys(range(8), 20))
    data = with_sales(data, range(20, 50), buyers=40, days=25)  # last month's fashion had more buyers
    rescorer = fit_rescorer(Fixed(noise(8)), data)
    assert rescorer.popularity_days <= 14
    assert rescorer.new_popularity_days <= 14
    assert value_of(data, rescorer, noise(9), new_only=True) > 0.95


def test_weights_are_in_units_of_the_scores() -> None:
    rng = np.random.default_rng(8)
    own = [[int(one) for one in rng.choice(N_PRODUCTS, 3, replace=False)] for _ in range(N_BUYERS)]
    data = data_of(
        [[(one, 2, AS_OF - DAY_MS) for one in row] for row in own],
        [[*row[:1], int(rng.integers(8))] if row[0] >= 8 else row for row in own],
        dict.fromkeys(range(8), 30),
    )
    plain, large = (fit_rescorer(Fixed(noise(10) * factor), data) for factor in (1, 64))
    assert plain.repeat_weight > 0
    assert plain.popularity_weight > 0
    for name in ("popularity_weight", "new_popularity_weight", "repeat_weight"):
        assert getattr(large, name) == pytest.approx(64 * getattr(plain, name))


def test_finds_what_sells_now() -> None:
    rng = np.random.default_rng(2)
    data = data_of(
        [[] for _ in range(N_BUYERS)], [[int(rng.integers(8))] for _ in range(N_BUYERS)], dict.fromkeys(range(8), 30)
    )
    rescorer = fit_rescorer(Fixed(noise(3)), data)
    assert rescorer.new_popularity_weight > 0
    assert rescorer.popularity_weight > 0
    assert value_of(data, rescorer, noise(4), new_only=True) > 0.95


def test_lists_of_any_products_count_days_of_their_own() -> None:
    rng = np.random.default_rng(11)
    # What is new to its buyer was sold yesterday; of all that is chosen, most had most buyers over the month.
    recent, before = range(8), range(20, 50)
    news = [int(rng.integers(8)) for _ in range(N_BUYERS)]
    data = data_of(
        [[]] * N_BUYERS,
        [[new, *rng.choice(before, 3, replace=False).tolist()] for new in news],
        dict.fromkeys(recent, 30),
    )
    new_targets = chosen_of([[new] for new in news])
    data = replace(with_sales(data, before, buyers=25, days=25), new_targets=new_targets)
    rescorer = fit_rescorer(Fixed(noise(12)), data)
    assert rescorer.new_popularity_days <= 14
    assert rescorer.popularity_days >= 30
    assert rescorer.popularity_weight > 0


def test_the_popularity_term_can_be_fitted_alone() -> None:
    own = [[buyer % N_PRODUCTS, (buyer + 1) % N_PRODUCTS] for buyer in range(N_BUYERS)]
    data = data_of([[(one, 2, AS_OF - DAY_MS) for one in row] for row in own], own, dict.fromkeys(range(8), 30))
    assert fit_rescorer(Fixed(noise(13)), data).repeat_weight > 0
    assert fit_rescorer(Fixed(noise(13)), data, ["popularity"]).repeat_weight == 0
    assert fit_rescorer(Fixed(noise(13)), data, []) == Rescorer()


def test_leaves_out_terms_that_only_disturb() -> None:
    scores = noise(5)
    best = np.argsort(-scores, axis=1)[:, :2]
    wrong = [[(int(one), 2, AS_OF - DAY_MS) for one in row] for row in np.argsort(scores, axis=1)[:, :40]]
    # What was bought and what sells now is never chosen again; the scores alone are right.
    unpopular = dict.fromkeys(sorted(set(range(N_PRODUCTS)) - set(best.ravel().tolist()))[:20], 30)
    data = data_of(wrong, best.tolist(), unpopular)
    rescorer = fit_rescorer(Fixed(scores), data)
    assert value_of(data, rescorer, scores, new_only=False) == 1
    assert (rescorer.repeat_weight, rescorer.popularity_weight, rescorer.new_popularity_weight) == (0, 0, 0)


def test_what_was_bought_does_not_stand_in_the_way_of_new_products() -> None:
    """Thirty bought products have far the best scores; only where they are left out a small term is enough."""
    own = [[(product, 2, AS_OF - 99 * DAY_MS) for product in range(30)]] * N_BUYERS
    scores = np.zeros_like(noise(1))
    scores[:, :30], scores[:, 40:] = 9, noise(1)[:, 40:] * 0.01
    data = data_of(own, [[30 + buyer % 10] for buyer in range(N_BUYERS)], dict.fromkeys(range(30, 40), 30))
    fitted = fit_rescorer(Fixed(scores), replace(data, purchases=data.histories))
    assert 0 < fitted.new_popularity_weight < fit_rescorer(Fixed(scores), data).new_popularity_weight / 4


def test_products_without_any_event_do_not_compete() -> None:
    """Twenty of them have the best scores and the popularity of the middle: a term would only serve to bury them."""
    scores = noise(15)
    best = np.argmax(scores[:, :60], axis=1)
    scores[:, 60:] += 9
    data = data_of([[]] * N_BUYERS, [[int(one)] for one in best], dict.fromkeys(range(29), 30))
    events, kept = data.events, data.events.products < 60
    events = TrainingEvents(events.buyers[kept], events.products[kept], events.event_times[kept], N_BUYERS, N_PRODUCTS)
    fitted = fit_rescorer(Fixed(scores), replace(data, events=events))
    assert (fitted.popularity_weight, fitted.new_popularity_weight) == (0, 0)
    assert fit_rescorer(Fixed(scores), data).new_popularity_weight > 0


def test_a_sample_keeps_rows_and_targets_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.evaluation.fit_rescorer.MAX_SCORES", 6)
    monkeypatch.setattr("training.evaluation.fit_rescorer.FEWEST_SAMPLED", 2)
    chosen = chosen_of([[10], [11, 12], [13], [14], [15]])._replace(rows=np.array([4, 5, 6, 7, 8], np.int32))
    rows, targets = _sampled(chosen, n_products=2)
    assert (rows.tolist(), targets.products.tolist()) == ([4, 6, 8], [10, 13, 15])


# ---- proof -----------------------------------------------------------------------------------------------------------


def test_halves_by_time() -> None:
    chosen = Chosen(
        np.array([3, 5, 8], np.int32),
        histories_of([[(1, 2, 10), (2, 2, 20)], [(3, 2, 30), (4, 2, 40)], [(5, 2, 11), (6, 2, 41)]]),
    )
    earlier, later = chosen.halves()
    assert (earlier.rows.tolist(), later.rows.tolist()) == ([3, 8], [5, 8])
    assert (earlier.targets.products.tolist(), later.targets.products.tolist()) == ([1, 2, 5], [3, 4, 6])
    assert (earlier.targets.lengths.tolist(), later.targets.lengths.tolist()) == ([2, 1], [2, 1])


@pytest.mark.parametrize("times", [[7, 7, 7, 7, 7], [7, 7, 7, 7, 8], [6, 7, 7, 7, 7]])
def test_halves_by_context_where_nearly_all_have_one_time(times: list[int]) -> None:
    chosen = chosen_of([[1, 2], [3], [4], [5, 6, 7], [8]], times)._replace(rows=np.arange(10, 15, dtype=np.int32))
    earlier, later = chosen.halves()
    assert (earlier.rows.tolist(), later.rows.tolist()) == ([10, 12, 14], [11, 13])
    assert (earlier.targets.products.tolist(), later.targets.products.tolist()) == ([1, 2, 4, 8], [3, 5, 6, 7])


def in_two_periods(earlier: list[list[int]], later: list[list[int]], recent: dict[int, int]) -> RescorerData:
    """Half of the buyers chose earlier than the others; nobody has a history."""
    data = data_of([[]] * N_BUYERS, [*earlier, *later], recent)
    chosen = chosen_of([*earlier, *later], [EARLIER] * len(earlier) + [LATER] * len(later))
    return replace(data, targets=chosen, new_targets=chosen)


def test_a_term_must_help_in_both_halves() -> None:
    rng, half = np.random.default_rng(3), N_BUYERS // 2
    scores, fashion = noise(16), dict.fromkeys(range(8), 30)
    popular = [[int(rng.integers(8))] for _ in range(half)]
    # The best by the scores alone, of those that nobody bought lately.
    unpopular = [[8 + int(row[8:].argmax())] for row in scores[half:]]
    of_earlier_only = fit_rescorer(Fixed(scores), in_two_periods(popular, unpopular, fashion))
    assert (of_earlier_only.popularity_weight, of_earlier_only.new_popularity_weight) == (0, 0)
    of_later_only = fit_rescorer(Fixed(scores[::-1]), in_two_periods(unpopular[::-1], popular, fashion))
    assert (of_later_only.popularity_weight, of_later_only.new_popularity_weight) == (0, 0)
    of_both = fit_rescorer(Fixed(scores), in_two_periods(popular, popular[::-1], fashion))
    assert of_both.popularity_weight > 0
    assert of_both.new_popularity_weight > 0


def test_the_default_weights_get_a_proof_of_their_own() -> None:
    """In the earlier half everybody chose the most popular product: the fitted weight is too large for the later half.

    No product is chosen again, or is near to the history.
    """
    half, recent = N_BUYERS // 2, {product: 40 - product for product in range(40)}
    scores = noise(16)
    spread = scores.std(axis=1, ddof=1).mean()
    popularity = np.log1p([recent.get(product, 0) for product in range(N_PRODUCTS)])
    later = [[int(row.argmax())] for row in scores[half:] + spread * popularity]
    data = in_two_periods([[0]] * half, later, recent)
    rng = np.random.default_rng(24)
    past = histories_of([[(int(one), 0, AS_OF - DAY_MS) for one in rng.integers(60, 80, 2)] for _ in range(N_BUYERS)])
    closeness = Closeness(torch.from_numpy(unit_vectors(N_PRODUCTS)), past)
    rescorer = fit_rescorer(Fixed(scores), replace(data, histories=past, closeness=closeness))
    for field, weight in DEFAULT_WEIGHTS.items():
        expected = weight * spread if "popularity" in field else 0
        assert getattr(rescorer, field) == pytest.approx(expected, rel=1e-5), field


def test_what_is_not_proven_is_left_out_and_the_others_stay() -> None:
    """Popularity helped at first only, buying again throughout."""
    rng, half = np.random.default_rng(4), N_BUYERS // 2
    own = [[int(one) for one in rng.choice(range(8, N_PRODUCTS), 2, replace=False)] for _ in range(N_BUYERS)]
    targets = [[row[0], int(rng.integers(8))] if buyer < half else row[:1] for buyer, row in enumerate(own)]
    data = data_of(
        [[(one, 2, AS_OF - DAY_MS) for one in row] for row in own], targets, recent=dict.fromkeys(range(8), 30)
    )
    data = replace(data, targets=chosen_of(targets, [EARLIER] * half + [LATER] * half))
    scores = noise(17)
    scores[half:, :8] -= 1
    fitted = fit_rescorer(Fixed(scores), data)
    assert fitted.repeat_weight > 0
    assert fitted.popularity_weight == 0


# ---- few contexts ----------------------------------------------------------------------------------------------------


def small_shop(n_contexts: int) -> RescorerData:
    """Each buyer buys one of two products again."""
    rng = np.random.default_rng(5)
    own = [[int(one) for one in rng.choice(N_PRODUCTS, 2, replace=False)] for _ in range(n_contexts)]
    data = data_of(
        [[(one, 2, AS_OF - DAY_MS) for one in row] for row in own],
        [row[:1] for row in own],
        dict.fromkeys(range(8), 30),
    )
    closeness = Closeness(torch.from_numpy(unit_vectors(N_PRODUCTS)), data.histories)
    return replace(data, tower_events=data.histories, closeness=closeness)


def test_a_small_shop_keeps_its_repeats_by_default_weights() -> None:
    n_contexts = 2 * FEWEST_TO_PROVE - 1  # the later half lacks one
    scores, data = noise(18) * 3, small_shop(n_contexts)
    rescorer = fit_rescorer(Fixed(scores), data)
    spread = scores[:n_contexts].std(axis=1, ddof=1).mean()
    for field, weight in DEFAULT_WEIGHTS.items():
        unit = 1 if "closeness" in field or "co_occurrence" in field else spread
        assert getattr(rescorer, field) == pytest.approx(weight * unit, rel=1e-5), field
    options = Rescorer()
    assert rescorer.counted_buyers(new_only=True) == options.counted_buyers(new_only=True)
    assert rescorer.repeat_half_life_days == options.repeat_half_life_days
    assert value_of(data, rescorer, noise(19) * 3, new_only=False) > 0.8
    assert value_of(data, Rescorer(), noise(19) * 3, new_only=False) < 0.3
    # A ranker without product vectors or repeats has no default of these terms either.
    without = fit_rescorer(Fixed(scores), replace(data, tower_events=None, closeness=None), ["popularity"])
    assert (without.repeat_weight, without.new_co_occurrence_weight, without.new_closeness_weight) == (0, 0, 0)
    assert without.popularity_weight == rescorer.popularity_weight


def test_many_contexts_of_few_buyers_prove_nothing() -> None:
    data = small_shop(2 * FEWEST_TO_PROVE)
    rescorer = fit_rescorer(Fixed(noise(18)), replace(data, buyers=data.buyers // 4))
    assert rescorer.new_closeness_weight == DEFAULT_WEIGHTS["new_closeness_weight"]


@pytest.mark.parametrize("seed", range(3))
def test_alike_contexts_of_one_buyer_prove_a_term_only_once(seed: int) -> None:
    """One of 20 buyers chooses what is popular: eight contexts of each would prove it if they were of eight buyers."""
    n_buyers, copies, rng = 120, 8, np.random.default_rng(seed)
    chosen = [int(rng.integers(8 if rng.random() < 0.05 else N_PRODUCTS)) for _ in range(n_buyers)]
    scores = np.repeat(rng.normal(size=(n_buyers, N_PRODUCTS)).astype(np.float32), copies, axis=0)
    targets = [[one] for one in chosen for _ in range(copies)]
    data = data_of([[]] * len(targets), targets, dict.fromkeys(range(8), 30))
    together = replace(data, buyers=np.repeat(np.arange(n_buyers), copies))
    assert fit_rescorer(Fixed(scores), data).popularity_weight > 0
    assert fit_rescorer(Fixed(scores), together).popularity_weight == 0


def test_with_enough_buyers_the_weights_are_fitted() -> None:
    rescorer = fit_rescorer(Fixed(noise(18)), small_shop(2 * FEWEST_TO_PROVE))
    assert rescorer.repeat_weight > 0
    assert (rescorer.popularity_weight, rescorer.closeness_weight) == (0, 0)


# ---- closeness and first-time buyers ---------------------------------------------------------------------------------


def with_two_interests(seed: int) -> tuple[RescorerData, npt.NDArray[np.float32]]:
    """Buyers of two shelves choose from either one; the scores are similarities to the mean, which lies between them.

    Half of the products stand between two shelves, where nobody chooses.
    """
    rng, n_shelves, dim = np.random.default_rng(seed), 8, 16
    shelves = np.eye(n_shelves, dim)
    pairs = list(itertools.combinations(range(n_shelves), 2))
    places = [pairs[int(place)] for place in rng.integers(len(pairs), size=N_PRODUCTS // 2)]
    centres = [
        *(shelves[number % n_shelves] for number in range(N_PRODUCTS // 2)),
        *(shelves[[*p]].sum(0) for p in places),
    ]
    vectors = np.array(centres) + rng.normal(size=(N_PRODUCTS, dim)) * 0.05
    items_ND = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    own, targets = [], []
    for _ in range(N_BUYERS):
        first, second = rng.choice(n_shelves, 2, replace=False)
        products = [int(shelf + n_shelves * number) for shelf in (first, second) for number in rng.permutation(5)[:2]]
        # One product of each shelf in the history, another one of the first shelf is chosen.
        own.append([products[0], products[2]])
        targets.append([products[1]])
    data = data_of([[(one, 2, AS_OF - 300 * DAY_MS) for one in row] for row in own], targets)
    data = replace(data, closeness=Closeness(torch.from_numpy(items_ND), data.histories))
    mean_BD = np.stack([items_ND[row].mean(axis=0) for row in own])
    scores: npt.NDArray[np.float32] = mean_BD @ items_ND.T
    return data, scores


def test_finds_that_buyers_want_what_is_close_to_one_product_of_theirs() -> None:
    data, scores = with_two_interests(1)
    rescorer = fit_rescorer(Fixed(scores), data)
    assert rescorer.closeness_weight > 0
    assert rescorer.new_closeness_weight > 0
    unseen, scores = with_two_interests(2)
    for new_only in (False, True):
        with_closeness, without = (
            value_of(unseen, one, scores, new_only=new_only)
            for one in (rescorer, replace(rescorer, closeness_weight=0, new_closeness_weight=0))
        )
        assert with_closeness > without + 0.1


def test_closeness_to_what_others_bought_is_left_out() -> None:
    data, scores = with_two_interests(1)
    items_ND = torch.from_numpy(unit_vectors(N_PRODUCTS))
    rescorer = fit_rescorer(Fixed(scores), replace(data, closeness=Closeness(items_ND, data.histories)))
    assert (rescorer.closeness_weight, rescorer.new_closeness_weight) == (0, 0)


# ---- co-occurrence ---------------------------------------------------------------------------------------------------


def test_what_the_buyers_of_the_history_chose_gains() -> None:
    """Ten buyers chose products 1 and 2, four of them 3 as well. One buyer chose 1 before, and another one nothing."""
    pairs = [(buyer, product) for buyer in range(10) for product in ((1, 2, 3) if buyer < 4 else (1, 2))]
    buyers, products = np.array(pairs, dtype=np.int32).T
    events = TrainingEvents(buyers, products, np.full(len(pairs), AS_OF - DAY_MS), 11, 5)
    past = histories_of([[], [(1, 0, AS_OF - DAY_MS)]])
    data = RescorerData(past, past, None, None, events, AS_OF, np.ones(3, np.float32), np.arange(2), tower_events=past)
    rescorer = Rescorer(co_occurrence_weight=2, new_co_occurrence_weight=4)
    base, rows = np.arange(10, dtype=np.float32).reshape(2, 5), np.array([1, 0], dtype=np.int32)
    gains = np.array([[0, 0, 10 / (10 + 10), 4 / (np.sqrt(40) + 10), 0], [0] * 5])
    for new_only, weight in ((False, 2), (True, 4)):
        ranker = RescoredRanker(Fixed(base), rescorer, data, new_only=new_only, name="x")
        np.testing.assert_allclose(ranker.scores(rows), base[rows] + weight * gains, rtol=1e-6)
    assert base.tolist() == np.arange(10).reshape(2, 5).tolist()
    without = RescoredRanker(Fixed(base), rescorer, replace(data, tower_events=None), new_only=False, name="x")
    assert without.scores(rows).tolist() == base[rows].tolist()


def with_companions(*, of_history: bool) -> RescorerData:
    """Products go in pairs that others chose together; each buyer chooses the companion of the history, or any."""
    rng = np.random.default_rng(22)
    own = [int(one) for one in rng.integers(N_PRODUCTS, size=N_BUYERS)]
    chosen = own if of_history else [int(one) for one in rng.integers(N_PRODUCTS, size=N_BUYERS)]
    data = data_of([[(one, 2, AS_OF - DAY_MS)] for one in own], [[one ^ 1] for one in chosen])
    companions = np.arange(N_BUYERS, dtype=np.int32) % (N_PRODUCTS // 2) * 2
    events = TrainingEvents(
        np.tile(np.arange(N_BUYERS, dtype=np.int32), 2),
        np.concatenate([companions, companions + 1]),
        np.full(2 * N_BUYERS, AS_OF - DAY_MS),
        N_BUYERS,
        N_PRODUCTS,
    )
    return replace(data, events=events, tower_events=data.histories)


def test_finds_that_buyers_choose_what_goes_with_their_products() -> None:
    data = with_companions(of_history=True)
    rescorer = fit_rescorer(Fixed(noise(23)), data)
    for new_only in (False, True):
        assert rescorer.co_occurrence(new_only=new_only) > 0
        assert value_of(data, rescorer, noise(24), new_only=new_only) > 0.95
    assert value_of(data, Rescorer(), noise(24), new_only=False) < 0.3


def test_leaves_out_co_occurrence_where_buyers_choose_anything() -> None:
    assert not fit_rescorer(Fixed(noise(23)), with_companions(of_history=False)).counts_co_occurrence


def test_finds_that_what_many_buy_again_is_not_what_new_buyers_take() -> None:
    rng = np.random.default_rng(9)
    again, news = range(30), range(30, 38)
    targets = [[int(rng.integers(news.start, news.stop))] for _ in range(N_BUYERS)]
    data = data_of([[]] * N_BUYERS, targets, dict.fromkeys(again, 40) | dict.fromkeys(news, 20))
    data = with_sales(data, again, buyers=40, days=300)  # the same forty bought these before
    rescorer = fit_rescorer(Fixed(noise(20)), data)
    assert rescorer.new_popularity_first_time
    assert rescorer.new_popularity_weight > 0
    assert value_of(data, rescorer, noise(21), new_only=True) > 0.95
    every_buyer = replace(rescorer, new_popularity_first_time=False)
    assert value_of(data, every_buyer, noise(21), new_only=True) < 0.5
