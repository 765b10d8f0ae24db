"""A refresh while the clock was ahead: right again, the next one writes what it has."""

import datetime as dt
import logging
import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch_jobs.feature_build import build_features as builder
from feature_repo import store as store_module
from feature_repo.common.config import Config
from feature_repo.store import FeatureStore, feature_store
from tests.parity.parity_shop import Event, build, shop

pytestmark = pytest.mark.store

YEAR = dt.timedelta(days=365)
DAY_MS = 24 * 3600 * 1000
FIRST: list[Event] = [(0, "p1", "view"), (5 * DAY_MS, "p2", "view")]
SECOND: list[Event] = [*FIRST, (6 * DAY_MS, "p3", "purchase")]


class Clock(dt.datetime):
    """`datetime` with a clock that can be set."""

    ahead = dt.timedelta()

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "Clock":
        moment = dt.datetime.now(tz) + cls.ahead
        return cls.fromtimestamp(moment.timestamp(), tz)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    for module in (builder, store_module):
        monkeypatch.setattr(module, "dt", _with_clock())
    monkeypatch.setattr(Clock, "ahead", dt.timedelta())
    return shop(tmp_path)


def _with_clock() -> object:
    """The module `datetime` with Clock as its class."""
    return type("datetime_module", (), {"datetime": Clock, "timedelta": dt.timedelta, "UTC": dt.UTC})


@pytest.fixture
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as store:
        yield store


def refresh(
    config: Config, store: FeatureStore, price: str, events: list[Event], *, ahead: dt.timedelta, full: bool = False
) -> None:
    """Exports, builds and materializes with a clock that is ahead."""
    Clock.ahead = ahead
    assert config.data.products_path is not None
    Path(config.data.products_path).write_text(
        f"id,title,price,stock\np1,One,{price},{price}\np2,Two,1,1\np3,Three,1,1\n"
    )
    build(config, {"u1": events})
    store.materialize(full=full)


def online(store: FeatureStore) -> tuple[float, int, int, int]:
    """Price and stock of p1, number of events and purchases of u1."""
    live, buyer = store.online.read_products(["p1"]), store.online.read_buyers(["u1"])[0]
    return (
        live.price_P[0],
        int(live.stock_P[0]),
        len(buyer.events.event_times),
        len(buyer.purchases.event_times),
    )


@pytest.mark.parametrize("full", [False, True])
def test_after_a_clock_that_was_ahead_everything_is_right_at_once(
    config: Config, store: FeatureStore, caplog: pytest.LogCaptureFixture, full: bool
) -> None:
    refresh(config, store, "5", FIRST, ahead=dt.timedelta())
    refresh(config, store, "8", FIRST, ahead=YEAR)
    assert online(store) == (8, 8, 2, 0)
    future = (dt.datetime.now(dt.UTC) + YEAR).date()
    with caplog.at_level(logging.WARNING):
        refresh(config, store, "9", SECOND, ahead=dt.timedelta(), full=full)
    assert online(store) == (9, 9, 3, 1)
    assert f"the online store holds rows stamped {future}, in the future" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        refresh(config, store, "10", SECOND, ahead=dt.timedelta())
    assert online(store) == (10, 10, 3, 1)
    assert "future" not in caplog.text


def test_a_first_refresh_with_a_clock_that_is_ahead(config: Config, store: FeatureStore) -> None:
    refresh(config, store, "8", FIRST, ahead=YEAR)
    refresh(config, store, "9", SECOND, ahead=dt.timedelta())
    assert online(store) == (9, 9, 3, 1)


def test_features_of_the_future_are_written_with_a_warning(
    config: Config, store: FeatureStore, caplog: pytest.LogCaptureFixture
) -> None:
    refresh(config, store, "5", FIRST, ahead=dt.timedelta())
    Clock.ahead = YEAR
    assert config.data.products_path is not None
    Path(config.data.products_path).write_text("id,title,price,stock\np1,One,6,6\np2,Two,1,1\n")
    build(config, {"u1": FIRST})
    Clock.ahead = dt.timedelta()
    store.materialize(full=False)
    assert online(store) == (6, 6, 2, 0)
    assert f"the features are stamped {(dt.datetime.now(dt.UTC) + YEAR).date()}, in the future" in caplog.text


def test_a_clock_set_back_by_a_moment_loses_nothing(config: Config, store: FeatureStore) -> None:
    refresh(config, store, "5", FIRST, ahead=dt.timedelta(minutes=1))
    refresh(config, store, "6", FIRST, ahead=dt.timedelta())
    build(config, {"u1": SECOND})
    Clock.ahead = dt.timedelta(minutes=2)
    store.materialize(full=False)
    assert online(store) == (6, 6, 3, 1)


def test_what_was_built_once_is_written_once(config: Config, store: FeatureStore) -> None:
    refresh(config, store, "5", FIRST, ahead=dt.timedelta())
    store.online.redis.delete(*store.online.redis.scan_iter(f"*{store.project}"))
    assert store.materialize(full=False) == {"buyers": 0, "products": 0}
    assert math.isnan(online(store)[0])
    assert store.materialize(full=True) == {"buyers": 1, "products": 3}
    assert online(store) == (5, 5, 2, 0)


def test_a_store_that_lost_its_data_gets_everything(config: Config, store: FeatureStore) -> None:
    refresh(config, store, "5", FIRST, ahead=dt.timedelta())
    store.online.redis.flushall()
    assert store.materialize(full=False) == {"buyers": 1, "products": 3}
    assert online(store) == (5, 5, 2, 0)
