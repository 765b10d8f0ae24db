"""The re-scorer: its terms by hand, and that the fit finds what was planted and leaves out what is noise."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from training.artifacts.rescorer import Rescorer, decayed, recent_popularity
from training.data.histories import DAY_MS, Histories
from training.evaluation.fit_rescorer import RescoredRanker, RescorerData, _sampled, fit_rescorer
from training.evaluation.metrics import Targets
from training.evaluation.ranker import TrainingEvents

N_BUYERS, N_PRODUCTS, AS_OF = 60, 80, 400 * DAY_MS


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


def data_of(
    histories: list[list[tuple[int, int, int]]], targets: list[list[int]], recent: dict[int, int] | None = None
) -> RescorerData:
    """Re-scorer data: `recent` is the number of buyers of each product yesterday; each had an event a year ago."""
    past = histories_of(histories)
    rows = np.arange(len(targets), dtype=np.int32)
    chosen = Targets(
        np.cumsum([0, *map(len, targets)]).astype(np.int64), np.array([one for row in targets for one in row])
    )
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
    return RescorerData(
        past, nothing, (rows, chosen), (rows, chosen), events, AS_OF, np.array([0.1, 0.5, 1], np.float32)
    )


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
    rescorer = Rescorer(7, 0.5, 7, 2.0, 3.0, 90.0)
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
@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_plain_python(seed: int, new_only: bool) -> None:
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
    data = replace(data_of(past, [[0]] * 4), events=events)
    weights = rng.uniform(0.1, 2, 3).tolist()
    rescorer = Rescorer(30, weights[0], 10, weights[1], weights[2], 45.0)
    base = rng.normal(size=(4, n_products)).astype(np.float32)

    def score(buyer: int, product: int) -> float:
        recent = {
            one for one, sold_product, days in sold if sold_product == product and days <= (10 if new_only else 30)
        }
        weight = rescorer.new_popularity_weight if new_only else rescorer.popularity_weight
        value = float(base[buyer, product]) + weight * math.log(1 + len(recent))
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
        days=7,
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
        days=7,
        n_products=6,
    )
    middle = (math.log(2) + math.log(3)) / 2
    np.testing.assert_allclose(lately_N, [0, math.log(2), math.log(3), math.log(8), middle, middle])
    # What happens later is not known yet.
    assert recent_popularity(
        np.zeros(1, int), np.zeros(1, int), np.array([AS_OF]), until_ms=AS_OF, days=7, n_products=2
    ).tolist() == [0, 0]


def test_saved_and_read_back(tmp_path: Path) -> None:
    rescorer = Rescorer(30, 0.1, 7, 0.2, 0.3, 365.0)
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
    recalls = [np.isin(targets.positions[start:stop], top[row]).mean() for row, (start, stop) in edges]
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
    assert data.targets is not None
    new_targets = (data.targets[0], Targets(np.arange(N_BUYERS + 1), np.array(news)))
    data = replace(with_sales(data, before, buyers=25, days=25), new_targets=new_targets)
    rescorer = fit_rescorer(Fixed(noise(12)), data)
    assert rescorer.new_popularity_days <= 14
    assert rescorer.popularity_days >= 30
    assert rescorer.popularity_weight > 0


def test_the_popularity_term_can_be_fitted_alone() -> None:
    own = [[buyer % N_PRODUCTS, (buyer + 1) % N_PRODUCTS] for buyer in range(N_BUYERS)]
    data = data_of([[(one, 2, AS_OF - DAY_MS) for one in row] for row in own], own, dict.fromkeys(range(8), 30))
    assert fit_rescorer(Fixed(noise(13)), data).repeat_weight > 0
    assert fit_rescorer(Fixed(noise(13)), data, repeats=False).repeat_weight == 0


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
    row_targets = np.array([4, 5, 6, 7, 8], np.int32), Targets(np.array([0, 1, 3, 4, 5, 6]), np.arange(10, 16))
    rows, targets = _sampled(row_targets, n_products=2)
    assert (rows.tolist(), targets.positions.tolist()) == ([4, 6, 8], [10, 13, 15])
