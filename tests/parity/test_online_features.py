"""Online features other than sequences (purchases, live products), and reads of many buyers at once."""

import math
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.common.config import Config
from feature_repo.online.locks import BuyerLocks
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.keys import product_key
from tests.parity.parity_shop import DAY, Event, Stored, as_stored, build, pushed, shop, stored

pytestmark = pytest.mark.store

LAST: Event = (9 * DAY, "p1", "view")


def bought(store: FeatureStore, buyer: str) -> list[Stored]:
    return as_stored(store.online.read_buyers([buyer])[0].purchases)


def short(folder: Path) -> Config:
    """A shop whose sequences have at most two events."""
    return shop(folder, max_length=2)


def test_what_was_bought_is_known_however_long_ago(tmp_path: Path) -> None:
    config = short(tmp_path)
    build(config, {"u1": [(0, "p1", "purchase"), *((time, "p2", "view") for time in range(1, 9)), LAST], "u2": [LAST]})
    with feature_store(config) as store:
        store.materialize(full=True)
        assert bought(store, "u1") == stored([(0, "p1", "purchase")])
        assert bought(store, "u2") == bought(store, "nobody") == []
        store.online.push_events({"u2": pushed((0, "p3", "purchase"))})
        for time_ms in range(1, 9):
            store.online.push_events({"u2": pushed((9 * DAY + time_ms, "p2", "view"))})
        assert bought(store, "u2") == stored([(0, "p3", "purchase")])
        assert product_key("p3") not in store.online.read_sequence("u2").product_keys


def test_pushed_and_materialized_purchases_are_one_list(tmp_path: Path) -> None:
    config = shop(tmp_path)
    # Bought twice, and one of it again at the moment of another purchase.
    first: list[Event] = [(0, "p1", "purchase"), (DAY, "p1", "purchase"), (DAY, "p2", "purchase")]
    purchase: Event = (10 * DAY, "p2", "purchase")
    build(config, {"u1": [*first, LAST]})
    with feature_store(config) as store:
        store.materialize(full=True)
        for _ in range(2):  # a push that is repeated counts once
            store.online.push_events({"u1": pushed(purchase)})
            assert bought(store, "u1") == stored([*first, purchase])
        build(config, {"u1": [*first, LAST, purchase]})
        store.materialize(full=False)
        assert bought(store, "u1") == stored([*first, purchase])
        store.online.push_events({"u1": pushed((11 * DAY, "p3", "view"))})
        assert bought(store, "u1") == stored([*first, purchase])
        # Stored once: the pushed view drops the purchases that materialize has written.
        (row,) = store.online._merged_rows({"u1": pushed()})
        assert list(row[1]["purchased_keys"].int64_list_val.val) == []
        assert list(row[1]["purchased_times"].int64_list_val.val) == []


def test_live_products_are_those_of_the_last_materialize(tmp_path: Path) -> None:
    config = shop(tmp_path)
    assert config.data.products_path is not None
    catalogue = Path(config.data.products_path)
    catalogue.write_text("id,title,price,stock,hidden\np1,a,1.5,3,no\np2,b,,,TRUE\np3,c,2,0,\n", encoding="utf-8")
    build(config, {"u1": [(0, "p1", "view"), LAST]})
    with feature_store(config) as store:
        store.materialize(full=True)
        first = store.online.materialized_at()
        live = store.online.read_products(["p2", "p1", "gone"])
        assert math.isnan(live.price_P[0])
        assert live.price_P[1] == 1.5
        assert live.stock_P.tolist() == [-1, 3, -1]
        assert live.hidden_P.tolist() == [True, False, False]
        assert live.known_P.tolist() == [True, True, False]
        catalogue.write_text("id,title,price,stock,hidden\np1,a,9,0,yes\n", encoding="utf-8")
        build(config, {"u1": [(0, "p1", "view"), LAST]})
        time.sleep(0.002)
        store.materialize(full=False)
        assert store.online.materialized_at() > first
        live = store.online.read_products(["p1"])
        assert (live.price_P[0], live.stock_P[0], live.hidden_P[0]) == (9, 0, True)


@settings(max_examples=20)
@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["p1", "p2"]), st.sampled_from(["view", "purchase"]))),
    )
)
def test_many_buyers_in_one_push_are_as_many_pushes(batch_store: FeatureStore, batch: dict[str, list[Event]]) -> None:
    batch_store.online.redis.flushall()
    batch_store.online.push_events({buyer: pushed(*events) for buyer, events in batch.items()})
    buyers = ["c", "a", "b"]
    for buyer, features in zip(buyers, batch_store.online.read_buyers(buyers), strict=True):
        events = batch.get(buyer, [])
        assert as_stored(features.events) == stored(events)
        assert as_stored(features.purchases) == stored(event for event in events if event[2] == "purchase")


def test_a_busy_buyer_does_not_hold_up_the_others(batch_store: FeatureStore) -> None:
    online = batch_store.online
    locks = BuyerLocks(online.redis, batch_store.project)
    online.redis.flushall()
    with locks.acquire_available(["a"]) as held:
        assert held.buyers == ["a"]
        with locks.acquire_available(["a", "b"]) as rest:
            assert rest.buyers == ["b"]
    with locks.acquire_available(["a", "b"]) as both:
        assert both.buyers == ["a", "b"]


def test_reading_many_keeps_their_order(batch_store: FeatureStore) -> None:
    names = [f"b{number}" for number in range(50)]
    batch_store.online.push_events({name: pushed((place, "p1", "view")) for place, name in enumerate(names)})
    times = [buyer.events.event_times for buyer in batch_store.online.read_buyers(names[::-1])]
    offsets = np.concatenate(times) - times[-1][0]
    assert offsets.tolist() == list(range(49, -1, -1))
