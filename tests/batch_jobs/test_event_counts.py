"""Statistics of the events: what is popular, and what the same buyers chose."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from batch_jobs.event_counts import (
    co_occurrence_of,
    of_products,
    popular_products,
    read_events,
    recent_popularity_of,
)
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.time_split import read_time_split
from feature_repo.transforms.keys import product_keys
from online_api.events.event_log import EventLog, LoggedEvent
from tests.batch_jobs.csv_shop import HEADER, shop
from training.artifacts.scoring.rescorer import Rescorer

IDS = ["p1", "p2", "p3", "p4", "p5"]
PRODUCTS = "id,title\n" + "".join(f"{product_id},title of {product_id}\n" for product_id in IDS)
# The data end on 1 April at noon, so that the last 30 days begin on 2 March at noon.
EVENTS = HEADER + "".join(
    f"{buyer},{product},view,{time}\n"
    for buyer, product, time in [
        ("u1", "p1", "2024-01-01"),
        ("u2", "p1", "2024-01-01"),
        ("u3", "p1", "2024-03-02 11:59:59"),
        ("u1", "p2", "2024-03-02 12:00:00"),
        ("u1", "p3", "2024-01-01"),
        ("u1", "p3", "2024-04-01 12:00:00"),
    ]
)


def popular(config: Config) -> list[str]:
    ingest(config)
    build_features(config)
    return [IDS[position] for position in popular_of(config, IDS)]


def popular_of(config: Config, product_ids: list[str]) -> list[int]:
    paths = shop_paths(config)
    events = of_products(read_events(paths), product_keys(product_ids))
    data_end = read_time_split(paths.feature_report).data_end
    positions: list[int] = popular_products(events, data_end, len(product_ids)).tolist()
    return positions


def test_the_last_days_count_first_then_all_then_the_position(tmp_path: Path) -> None:
    assert popular(shop(tmp_path, events=EVENTS, products=PRODUCTS)) == ["p3", "p2", "p1", "p4", "p5"]


def test_one_event_of_today_does_not_make_all_others_old(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    EventLog(shop_paths(config).event_log).append([LoggedEvent("e1", "u9", "p5", "view", 1_764_000_000_000)])
    assert popular(config) == ["p3", "p2", "p5", "p1", "p4"]


def test_products_without_a_past_keep_their_order(tmp_path: Path) -> None:
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    ingest(config)
    build_features(config)
    assert popular_of(config, ["x", "y", "p1"]) == [2, 0, 1]


def with_an_event_of_today(tmp_path: Path, buyer: str) -> tuple[pd.DataFrame, dt.datetime]:
    """The shop's events and one that the API accepted after the end of the data, and that end."""
    config = shop(tmp_path, events=EVENTS, products=PRODUCTS)
    paths = shop_paths(config)
    EventLog(paths.event_log).append([LoggedEvent("e1", buyer, "p5", "view", 1_764_000_000_000)])
    ingest(config)
    build_features(config)
    return of_products(read_events(paths), product_keys(IDS)), read_time_split(paths.feature_report).data_end


def test_recent_buyers_count_up_to_the_end_of_the_data(tmp_path: Path) -> None:
    events, end = with_an_event_of_today(tmp_path, "u9")
    # 30 days and a millisecond before the end of 1 April at noon is 2 March at noon.
    rescorer = Rescorer(popularity_days=31, new_popularity_days=7)
    # The last two had no event until then, and count like the middle one of the others.
    recent = np.expm1(recent_popularity_of(events, end, 5, rescorer)).round()
    assert recent.tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 0, 0]]
    # First-time buyers are looked for in all of the events, and days of lists of any products stay as they are.
    first_time = replace(rescorer, new_popularity_days=31, new_popularity_first_time=True)
    recent = np.expm1(recent_popularity_of(events, end, 5, first_time)).round()
    assert recent.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1]]


def test_what_the_same_buyers_chose_counts_up_to_the_end_of_the_data(tmp_path: Path) -> None:
    events, end = with_an_event_of_today(tmp_path, "u3")
    table = co_occurrence_of(events, end, 5, Rescorer(new_co_occurrence_weight=0.5))
    assert table is not None
    # u1 chose p1, p2 and p3; u3 chose p1 and, after the end, p5.
    assert [sorted(row[row >= 0].tolist()) for row in table.positions_NM] == [[1, 2], [0, 2], [0, 1], [], []]
    assert co_occurrence_of(events, end, 5, Rescorer(popularity_weight=0.5)) is None
