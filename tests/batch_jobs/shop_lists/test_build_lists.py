"""The tables of the lists of a literal shop, as of the end of its data."""

import numpy as np
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.shop_lists.build_lists import list_tables, lists_job
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import shop_paths
from online_api.events.event_log import EventLog, LoggedEvent
from tests.batch_jobs.csv_shop import HEADER, shop
from training.artifacts.lists.list_tables import ListTables

pytestmark = pytest.mark.store

# The data end on 31 January at noon. p4 and p5 have no event, of which the catalogue dates p5, and p0.
PRODUCTS = """id,title,date_added
p0,title of 0,2023-12-24
p1,title of 1,
p2,title of 2,soon
p3,title of 3,2999-01-01
p4,title of 4,
p5,title of 5,2024-01-30
"""
EVENTS = HEADER + "".join(
    f"{buyer},{product},{kind},{time}\n"
    for buyer, product, kind, time in [
        ("u1", "p0", "purchase", "2024-01-01 12:00:00"),
        ("u1", "p1", "purchase", "2024-01-01 12:00:00"),
        ("u1", "p0", "purchase", "2024-01-11 12:00:00"),
        ("u1", "p0", "purchase", "2024-01-11 18:00:00"),  # on the same day: one repeat
        ("u2", "p0", "purchase", "2024-01-21 12:00:00"),
        ("u2", "p1", "purchase", "2024-01-21 12:00:00"),
        ("u3", "p2", "view", "2024-01-24 12:00:00"),
        ("u3", "p3", "purchase", "2024-01-02 12:00:00"),
        ("u1", "p2", "view", "2024-01-31 12:00:00"),
        ("u1", "p2", "view", "2024-01-10 12:00:00"),
    ]
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    config = shop(tmp_path_factory.mktemp("shop"), events=EVENTS, products=PRODUCTS)
    # An event after the data end, of which a release must not know.
    EventLog(shop_paths(config).event_log).append([LoggedEvent("e1", "u9", "p4", "purchase", 1_764_000_000_000)])
    ingest(config)
    build_features(config)
    return config


@pytest.fixture(scope="module")
def tables(config: Config) -> ListTables:
    return list_tables(config)


def test_repeats_are_counted_by_day_and_days_from_each_buyers_first_purchase(tables: ListTables) -> None:
    assert tables.repurchases.repeats_N.tolist() == [1, 0, 0, 0, 0, 0]
    assert tables.repurchases.buyer_days_N.tolist() == [30 + 10, 30 + 10, 0, 29, 0, 0]


def test_a_buyer_is_trending_by_its_newest_event(tables: ListTables) -> None:
    # Half per week: p2 by u1 today and by u3 a week ago, p0 by u2 10 days ago and by u1 on the 11th at 18 o'clock.
    expected = [2 ** (-10 / 7) + 2 ** (-19.75 / 7), 2 ** (-10 / 7), 1 + 0.5, 2 ** (-29 / 7), 0, 0]
    assert tables.trending_N.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_product_appears_when_it_is_listed_else_at_its_first_event(tables: ListTables) -> None:
    # What is no past date says nothing.
    first = [np.datetime64(int(ms), "ms").astype(str)[:10] if ms else None for ms in tables.first_seen_N]
    assert first == ["2023-12-24", "2024-01-01", "2024-01-10", "2024-01-02", None, "2024-01-30"]


def test_baskets_are_of_one_time_and_days_of_one_week(tables: ListTables) -> None:
    assert tables.basket.positions_NM[:2, 0].tolist() == [1, 0]
    assert set(tables.basket.positions_NM[2:].ravel().tolist()) == {-1}
    assert (tables.days.scores_NM[0, 0] > 0) == (tables.days.positions_NM[0, 0] == 1)


def test_the_job_needs_data_that_passed_the_gate(config: Config) -> None:
    with pytest.raises(GateRefusedError):
        lists_job(config)
    assert not shop_paths(config).shop_lists.exists()
