"""How due a product is: literal purchases of one buyer, and what all buyers did."""

import numpy as np
import pytest

from feature_repo.common.arrays import Int64Array
from training.artifacts.lists.repurchases import OwnPurchases, Repurchases, due_scores, own_purchases

pytestmark = pytest.mark.fast

DAY = 86_400_000
# Product 0 is bought again every 10 days, product 1 every 100, product 2 by nobody. The shop: 22 in 4,020 days.
SHOP = Repurchases(np.array([20, 2, 0], dtype=np.int32), np.array([200, 200, 3620], dtype=np.float32))


def days(*numbers: float) -> Int64Array:
    return np.array([number * DAY for number in numbers], dtype=np.int64)


def one(product: int, *bought: float) -> OwnPurchases:
    return own_purchases(np.full(len(bought), product, dtype=np.int64), days(*bought))


def score(own: OwnPurchases, now: float) -> float:
    return float(due_scores(own, SHOP, int(now * DAY))[0])


def test_purchases_are_grouped_by_product_and_day() -> None:
    own = own_purchases(np.array([4, 2, 4, 4, 2]), days(3, 1, 1.25, 1.5, 8))
    assert own.positions.tolist() == [2, 4]
    assert own.repeats.tolist() == [1, 1]  # twice on day 1 is once
    assert (own.first_ms // DAY).tolist() == [1, 1]
    assert (own.last_ms // DAY).tolist() == [8, 3]


def test_rates_are_drawn_to_the_shops_where_little_is_known() -> None:
    shop = 22 / 4020
    expected = [(20 + 10) / (200 + 10 / shop), (2 + 10) / (200 + 10 / shop), 10 / (3620 + 10 / shop)]
    assert SHOP.rates(np.arange(3)).tolist() == pytest.approx(expected)
    assert SHOP.is_rebought(np.arange(3)).tolist() == [True, True, False]


def test_the_score_is_the_probability_of_a_purchase_within_a_week() -> None:
    # Bought on days 0, 10 and 20, today is day 40: two repeats in 40 days, and one of the product's own rate.
    rate = 3 / (40 + 1 / SHOP.rates(np.array([0]))[0])
    assert score(one(0, 0, 10, 20), 40) == pytest.approx(1 - np.exp(-7 * rate))


def test_a_product_that_was_just_bought_is_less_due_than_after_half_its_interval() -> None:
    just, rested = score(one(0, 0, 10, 20, 30), 30), score(one(0, 0, 10, 20, 29), 45)
    rate_now = 4 / (30 + 1 / SHOP.rates(np.array([0]))[0])
    assert just == pytest.approx(1 - np.exp(-7 * rate_now * 0.75))
    assert rested > just


def test_the_buyers_own_rhythm_wins_with_the_number_of_purchases() -> None:
    often, once = one(1, *range(0, 100, 10)), one(1, 0)
    # Bought ten times, it is as due as a product of such a rhythm; bought once, as the shop says of this product.
    assert score(often, 110) > 3 * score(once, 110)
    assert score(one(0, 0), 110) > score(one(1, 0), 110) > score(one(2, 0), 110)


def test_a_habit_that_was_given_up_fades() -> None:
    assert score(one(0, 0, 10, 20, 30), 50) > score(one(0, 0, 10, 20, 30), 300)


def test_a_clock_ahead_and_an_empty_shop_divide_by_nothing() -> None:
    nothing = Repurchases(np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.float32))
    assert 0 < float(due_scores(one(0, 5), nothing, 0)[0]) <= 1
    assert due_scores(own_purchases(np.empty(0, np.int64), np.empty(0, np.int64)), SHOP, 0).tolist() == []
