"""Training and recommendations read the same events of a buyer in the same order, from two stores."""

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from feast.data_source import PushMode

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.definitions import RECENT_PUSH_SOURCE
from feature_repo.online.claims import Claim
from feature_repo.store import FeatureStore, feature_store
from tests.parity.parity_shop import (
    DAY,
    Event,
    Stored,
    build,
    log_events,
    offline,
    online,
    pushed,
    rebuild,
    shop,
    stored,
)

pytestmark = pytest.mark.store

REPOSITORY = Path(__file__).parents[2]
MAX_LENGTH = 4
CLAIM = Claim("token", 60)

# u1 has more events than fit into a sequence, with ties; half-seconds must not be rounded; عمر has one event.
EVENTS: dict[str, list[Event]] = {
    "u1": [
        (0, "p1", "view"),
        (600, "p2", "purchase"),
        (600, "p1", "purchase"),
        (600, "p1", "view"),
        (DAY, "p3", "add_to_cart"),
        (3 * DAY + 999, "p2", "purchase"),
    ],
    "u 2": [(DAY, "p2", "view"), (DAY, "p1", "view")],
    "عمر": [(2 * DAY + 500, "p3", "purchase")],
}
BUYERS = (*EVENTS, "nobody")


def last(events: dict[str, list[Event]]) -> dict[str, list[Stored]]:
    """The events that both stores must return, by buyer."""
    return {buyer: stored(events.get(buyer, []))[-MAX_LENGTH:] for buyer in BUYERS}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    config = shop(tmp_path, MAX_LENGTH)
    build(config, EVENTS)
    return config


@pytest.fixture
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as store:
        store.materialize(full=True)
        yield store


def test_both_stores_hold_the_last_events_of_every_buyer(store: FeatureStore) -> None:
    assert online(store, BUYERS) == offline(store, BUYERS) == last(EVENTS)


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_a_late_event_takes_its_place_in_both(config: Config, store: FeatureStore, full: bool) -> None:
    # One event before the newest of u1, one before all events of عمر, and one of a new buyer.
    late: dict[str, list[Event]] = {
        "u1": [*EVENTS["u1"], (2 * DAY, "p1", "view")],
        "u 2": EVENTS["u 2"],
        "عمر": [*EVENTS["عمر"], (1, "p1", "view")],
        "nobody": [(2, "p2", "view")],
    }
    build(config, late)
    assert online(store, BUYERS) == last(EVENTS)  # logged events are not online before they are materialized
    store.materialize(full=full)
    assert online(store, BUYERS) == offline(store, BUYERS) == last(late)
    assert stored([(2 * DAY, "p1", "view")])[0] == online(store, ["u1"])["u1"][-2]


def test_materializing_again_changes_nothing(store: FeatureStore) -> None:
    for full in (False, True, False):
        store.materialize(full=full)
        assert online(store, BUYERS) == last(EVENTS)


def test_a_push_is_read_at_once_and_takes_its_place(store: FeatureStore) -> None:
    for event in [(4 * DAY + 700, "p1", "view"), (2 * DAY + 1, "p3", "view"), (4 * DAY + 700, "p1", "view")]:
        store.online.push_events({"u1": pushed(event)})
        store.online.push_events({"nobody": pushed(event)})
    sequences = online(store, BUYERS)
    assert sequences["u1"] == stored([*EVENTS["u1"], (2 * DAY + 1, "p3", "view"), (4 * DAY + 700, "p1", "view")])[-4:]
    assert sequences["nobody"] == stored([(2 * DAY + 1, "p3", "view"), (4 * DAY + 700, "p1", "view")])
    assert {buyer: sequences[buyer] for buyer in ("u 2", "عمر")} == {
        buyer: last(EVENTS)[buyer] for buyer in ("u 2", "عمر")
    }


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_pushes_and_materialize_never_overwrite_each_other(config: Config, store: FeatureStore, full: bool) -> None:
    seen = {"u1": (4 * DAY, "p1", "view"), "nobody": (4 * DAY + 1, "p2", "view")}
    for buyer, event in seen.items():
        store.online.push_events({buyer: pushed(event)})
    late = {**EVENTS, "u 2": [*EVENTS["u 2"], (DAY + 1, "p3", "view")]}
    build(config, late)
    store.materialize(full=full)
    store.online.push_events({"u 2": pushed((5 * DAY, "p1", "purchase"))})
    store.materialize(full=full)
    together = {buyer: list(theirs) for buyer, theirs in late.items()}
    together["u1"].append(seen["u1"])
    together["nobody"] = [seen["nobody"]]
    together["u 2"].append((5 * DAY, "p1", "purchase"))
    assert online(store, BUYERS) == last(together)


def test_pushed_events_that_come_back_through_the_log_are_not_there_twice(config: Config, store: FeatureStore) -> None:
    events: list[Event] = [(4 * DAY + 555, "p1", "view"), (4 * DAY + 500, "p1", "view"), (4 * DAY + 500, "p3", "view")]
    for event in events:
        log_events(config, "عمر", event)
        store.online.push_events({"عمر": pushed(event)})
    log_events(config, "nobody", events[0])
    store.online.push_events({"nobody": pushed(events[0])})
    together = {**EVENTS, "عمر": [*EVENTS["عمر"], *events], "nobody": events[:1]}
    assert online(store, BUYERS) == last(together)
    rebuild(config)
    store.materialize(full=False)
    assert online(store, BUYERS) == offline(store, BUYERS) == last(together)


def test_the_stores_agree_again_after_the_online_store_was_lost(config: Config, store: FeatureStore) -> None:
    store.online.redis.flushall()
    assert online(store, ["u1"]) == {"u1": []}
    store.materialize(full=True)
    assert online(store, BUYERS) == last(EVENTS)


def test_a_store_that_was_never_filled_knows_nobody(tmp_path: Path) -> None:
    config = shop(tmp_path)
    build(config, EVENTS)
    with feature_store(config) as store:
        (buyer,) = store.online.read_buyers(["u1"])
        assert (len(buyer.events.event_times), len(buyer.purchases.event_times), buyer.as_of_ms) == (0, 0, 0)
        assert store.online.materialized_at() == 0


def test_a_push_lands_although_another_worker_has_a_clock_ahead(store: FeatureStore) -> None:
    first, second = pushed((4 * DAY, "p1", "view")), pushed((5 * DAY, "p2", "view"))
    ahead = dt.datetime.now(dt.UTC).replace(microsecond=999_000) + dt.timedelta(seconds=60)
    row = {name: [array] for name, array in zip((c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES), first, strict=True)}
    frame = pd.DataFrame(
        {
            c.BUYER_ID: ["nobody"],
            c.EVENT_TIMESTAMP: [pd.Timestamp(ahead)],
            **row,
            c.PURCHASED_KEYS: [[]],
            c.PURCHASED_TIMES: [[]],
        }
    )
    store._feast.push(RECENT_PUSH_SOURCE, frame, to=PushMode.ONLINE)
    store.online.push_events({"nobody": second})
    store.online.push_events({"nobody": pushed((6 * DAY, "p3", "view"))})
    whole = stored([(4 * DAY, "p1", "view"), (5 * DAY, "p2", "view"), (6 * DAY, "p3", "view")])
    assert online(store, ["nobody"]) == {"nobody": whole}


def test_a_second_shop_in_the_process_keeps_to_itself(tmp_path: Path, store: FeatureStore) -> None:
    other_events: dict[str, list[Event]] = {"u1": [(7, "p3", "view"), (3 * DAY, "p3", "purchase")]}
    other_config = shop(tmp_path / "other", MAX_LENGTH)
    build(other_config, other_events)
    with feature_store(other_config) as other:
        other.materialize(full=True)
        other.online.push_events({"u 2": pushed((9, "p1", "view"))})
        store.online.push_events({"عمر": pushed((4 * DAY, "p2", "view"))})
        of_other = last({**other_events, "u 2": [(9, "p1", "view")]})
        assert online(other, BUYERS) == of_other
        assert offline(other, BUYERS) == last(other_events)
        assert online(store, BUYERS) == last({**EVENTS, "عمر": [*EVENTS["عمر"], (4 * DAY, "p2", "view")]})
        assert offline(store, BUYERS) == last(EVENTS)
        with other.online.claim_events({"e1": CLAIM}) as theirs, store.online.claim_events({"e1": CLAIM}) as ours:
            assert theirs.fresh == ours.fresh == {"e1"}  # a claim in one shop does not affect the other


# --- concurrent writers -----------------------------------------------------------------------------------------------

# After a line on stdin, pushes events of one buyer one by one; argv: configuration as JSON, first and last millisecond.
WRITER = """
import sys
from feature_repo.common.config import Config
from feature_repo.store import feature_store
from feature_repo.transforms.keys import product_key
from feature_repo.transforms.sequences import sequence

with feature_store(Config.model_validate_json(sys.argv[1])) as store:
    store.online.read_sequence("u1")
    print("ready", flush=True)
    sys.stdin.readline()
    for time in range(int(sys.argv[2]), int(sys.argv[3])):
        store.online.push_events({"u1": sequence([product_key("p1")], [0], [time])})
"""


def test_concurrent_pushes_of_threads_and_processes_lose_nothing(tmp_path: Path) -> None:
    config = shop(tmp_path)
    build(config, EVENTS)
    of_child: list[Event] = [(4 * DAY + i, "p1", "view") for i in range(20)]
    of_threads: list[Event] = [(4 * DAY + i, "p1", "view") for i in range(20, 50)]
    first = stored(of_child)[0][0]
    command = [sys.executable, "-c", WRITER, config.model_dump_json(), str(first), str(first + len(of_child))]
    with feature_store(config) as store:
        store.materialize(full=True)
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
        ) as child:
            assert child.stdin is not None
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            child.stdin.write("go\n")
            child.stdin.flush()
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda event: store.online.push_events({"u1": pushed(event)}), of_threads))
        assert child.returncode == 0
        assert online(store, ["u1"]) == {"u1": stored([*EVENTS["u1"], *of_child, *of_threads])}
