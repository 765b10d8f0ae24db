"""Buyers of a window: what the store held of them before it, and what they chose in it."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from training.evaluation.served_buyers import ServedBuyer, Window, read_served_buyers

VIEW, CART, PURCHASE = "view", "add_to_cart", "purchase"
Event = tuple[str, int, str, int]  # buyer, product key, type, day of March


def day(number: int, hour: int = 12) -> dt.datetime:
    return dt.datetime(2024, 3, number, hour, tzinfo=dt.UTC)


WINDOW = Window(day(10, 0), day(20))


def read(folder: Path, events: list[Event], max_buyers: int = 100, **data: Any) -> list[ServedBuyer]:
    config = Config.model_validate(
        {"data_dir": folder, "data": data, "model": {"buyer_tower": {"max_interaction_history": 3}}}
    )
    path = shop_paths(config).events
    path.parent.mkdir(parents=True, exist_ok=True)
    buyers, keys, types, days = zip(*events, strict=True)
    times = pa.array([day(number) for number in days], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({c.BUYER_ID: buyers, c.PRODUCT_KEY: keys, c.EVENT_TYPE: types, c.EVENT_TIME: times}), path)
    return read_served_buyers(config, WINDOW, max_buyers=max_buyers)


def keys_of(buyers: list[ServedBuyer]) -> list[tuple[list[int], list[int], list[int]]]:
    """Stored events, purchases and targets of each buyer."""
    return [
        (buyer.events.product_keys.tolist(), buyer.purchases.product_keys.tolist(), buyer.target_keys.tolist())
        for buyer in buyers
    ]


def test_what_was_before_the_window_is_stored_and_what_is_in_it_is_to_be_found(tmp_path: Path) -> None:
    [buyer] = read(
        tmp_path,
        [("u1", 5, PURCHASE, 1), ("u1", 6, VIEW, 2), ("u1", 7, PURCHASE, 11), ("u1", 6, VIEW, 12), ("u1", 8, VIEW, 21)],
    )
    assert keys_of([buyer]) == [([5, 6], [5], [6, 7])]
    assert buyer.events.event_types.tolist() == [2, 0]
    assert buyer.events.event_times.tolist() == [int(day(1).timestamp() * 1000), int(day(2).timestamp() * 1000)]
    assert buyer.new_targets.tolist() == [True, True]


def test_the_newest_events_and_all_purchases_are_stored(tmp_path: Path) -> None:
    events = [("u1", 1, PURCHASE, 1), *(("u1", number, VIEW, number) for number in (2, 3, 4, 5)), ("u1", 1, VIEW, 11)]
    [buyer] = read(tmp_path, events)
    assert keys_of([buyer]) == [([3, 4, 5], [1], [1])]
    assert buyer.new_targets.tolist() == [False]


def test_buyers_without_a_past_or_without_a_target_are_left_out(tmp_path: Path) -> None:
    events = [("new", 1, VIEW, 11), ("gone", 1, VIEW, 2), ("u1", 1, VIEW, 2), ("u1", 2, PURCHASE, 11)]
    events += [("viewer", 1, VIEW, 2), ("viewer", 2, VIEW, 11)]
    assert keys_of(read(tmp_path, events, target_events=[PURCHASE])) == [([1], [], [2])]


def test_per_moment_every_moment_counts_with_what_was_before_it(tmp_path: Path) -> None:
    events = [("u1", 1, VIEW, 11), ("u1", 2, VIEW, 12), ("u1", 3, VIEW, 12), ("u1", 4, VIEW, 13), ("u2", 1, VIEW, 15)]
    buyers = read(tmp_path, events, evaluation_unit="per_moment")
    assert keys_of(buyers) == [([1], [], [2, 3]), ([1, 2, 3], [], [4])]
    assert len({buyer.number for buyer in buyers}) == 1


def test_of_many_buyers_a_sample_is_read_and_always_the_same(tmp_path: Path) -> None:
    events = [(f"u{number}", number, VIEW, moment) for number in range(20) for moment in (2, 11)]
    sample = keys_of(read(tmp_path, events, max_buyers=5))
    assert len(sample) == 5
    assert sample == keys_of(read(tmp_path, events[::-1], max_buyers=5))
    assert len(read(tmp_path, events)) == 20


def test_of_many_moments_a_sample_covers_all_buyers(tmp_path: Path) -> None:
    events = [(f"u{number}", number, VIEW, moment) for number in range(3) for moment in (2, *range(10, 20))]
    buyers = read(tmp_path, events, max_buyers=6, evaluation_unit="per_moment")
    assert len(buyers) == 6
    assert {buyer.number for buyer in buyers} == {0, 1, 2}
