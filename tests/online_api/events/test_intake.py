"""Events on their way into the log and the online store: repetitions, crashes, a full disk, a store that is away."""

import json
import logging
import os
import resource
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.errors import StoreUnavailableError
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import shop_paths
from feature_repo.online.claims import EventsInProgressError
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.events import EVENT_TYPE_CODES
from feature_repo.transforms.keys import product_key
from feature_repo.transforms.values.times import TimeReader
from online_api.events.event_files import EventFiles
from online_api.events.event_log import EventLog, EventLogUnavailableError, LoggedEvent
from online_api.events.intake import EventIntake
from online_api.events.pending import PendingEvent, PendingEvents
from online_api.observability.metrics import Metrics
from online_api.protection.circuit_breaker import CircuitBreaker
from online_api.protection.limits import RequestTooLongError
from tests.online_api.api_shop import EVENTS, PRODUCTS, publish_random_release
from tests.processes import Background
from tests.valkey_server import ValkeyServer
from training.artifacts.product_table import ProductTable
from training.artifacts.release import ALIASES_ARROW, PRODUCTS_ARROW, current_release

pytestmark = pytest.mark.store

NOON = 1_764_000_000_000  # some moment in the past, in milliseconds
NOON_ISO = "2025-11-24T16:00:00.000+00:00"
NOW = NOON + 3_600_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "products.csv").write_text(PRODUCTS, encoding="utf-8")
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    tables = {f"{table}_path": str(folder / f"{table}.csv") for table in ("events", "products")}
    data = {"source": "csv", "test_days": 1, **tables}
    return Config.model_validate({"data_dir": folder / "var", "data": data, "feature_store": {"online": "redis"}})


@pytest.fixture(scope="module")
def store(config: Config, server: ValkeyServer) -> Iterator[FeatureStore]:
    ingest(config)
    build_features(config)
    with feature_store(config, {"TAWSIYA_REDIS": server.connection}) as store:
        store.materialize(full=True)
        publish_random_release(config, store.schema_hash)
        yield store


@dataclass
class Worker:
    """What one worker process has of an intake."""

    intake: EventIntake
    breaker: CircuitBreaker
    metrics: Metrics

    def outcomes(self) -> dict[str, float]:
        """Events counted, by outcome, without zeros."""
        counts = {name: self.metrics.events(name)._value.get() for name in OUTCOMES}
        return {name: count for name, count in counts.items() if count}


OUTCOMES = ("accepted", "duplicate", "rejected", "pending", "replayed")


def worker(
    config: Config,
    store: FeatureStore,
    folder: Path,
    *,
    log: type[EventLog] = EventLog,
    online: Any = None,
    now: int = NOW,
) -> Worker:
    """A worker whose event log lies in `folder`; `log` and `online` may be such as fail."""
    release = current_release(shop_paths(config).releases)
    assert release is not None
    products = ProductTable(release / PRODUCTS_ARROW, release / ALIASES_ARROW)
    online = online or store.online_with_timeout(0.5)
    metrics = Metrics()
    breaker = CircuitBreaker(online.ping, metrics)
    intake = EventIntake(
        online,
        breaker,
        EventFiles.in_folder(folder, config.api)._replace(log=log(folder)),
        lambda: products,
        config.api,
        metrics,
        lambda: now,
        TimeReader(),
        ForgottenBuyers(folder.with_name("forgotten.json")),
    )
    return Worker(intake, breaker, metrics)


@pytest.fixture
def one(config: Config, store: FeatureStore, tmp_path: Path) -> Iterator[Worker]:
    one = worker(config, store, tmp_path)
    yield one
    one.breaker.close()


@contextmanager
def away(server: ValkeyServer) -> Iterator[None]:
    """The online store is gone for the block."""
    server.kill()
    try:
        yield
    finally:
        server.start()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def event(buyer_id: str, product_id: str = "p1", event_type: str = "view", **more: Any) -> dict[str, Any]:
    return {"buyer_id": buyer_id, "product_id": product_id, "event_type": event_type, **more}


def record(one: Worker, *events: Any) -> tuple[int, int, int]:
    """Accepted, duplicates, pending."""
    answer = one.intake.record(events)
    assert answer.rejected == []
    return answer.accepted, answer.duplicates, answer.pending


def logged(folder: Path) -> list[str]:
    """Event ids in the log."""
    lines = [line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return [json.loads(line)[c.EVENT_ID] for line in lines]


def stored(store: FeatureStore, buyer_id: str) -> list[tuple[int, int, int]]:
    """A buyer's events online: time, product key, type."""
    found = store.online.read_sequence(buyer_id)
    return list(zip(found.event_times.tolist(), found.product_keys.tolist(), found.event_types.tolist(), strict=True))


def as_stored(time_ms: int, product_id: str = "p1", event_type: str = "view") -> tuple[int, int, int]:
    return time_ms, product_key(product_id), EVENT_TYPE_CODES[event_type]


def claim_runs_out(store: FeatureStore, event_id: str) -> None:
    """At once, instead of in half a minute."""
    (claim,) = store.online.redis.keys(f"*:event:id:{event_id}")
    store.online.redis.pexpire(claim, 1)
    time.sleep(0.01)


# --- repetitions ------------------------------------------------------------------------------------------------------


def test_an_event_is_in_the_log_and_in_the_store(one: Worker, store: FeatureStore, tmp_path: Path) -> None:
    answer = one.intake.record([event("plain", event_id="e1", timestamp=NOON), event("plain", "a\nb")])
    assert (answer.accepted, answer.duplicates, answer.pending) == (1, 0, 0)
    assert [rejected.index for rejected in answer.rejected] == [1]
    assert logged(tmp_path) == ["e1"]
    assert stored(store, "plain") == [as_stored(NOON)]
    assert one.intake.pending_count == 0
    assert one.outcomes() == {"accepted": 1, "rejected": 1}


def test_too_many_are_refused_and_none_is_nothing(one: Worker, config: Config, tmp_path: Path) -> None:
    with pytest.raises(RequestTooLongError, match="1000"):
        one.intake.record([event("many")] * (config.api.max_events_per_request + 1))
    assert record(one) == (0, 0, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_id_counts_once_whatever_comes_with_it(one: Worker, store: FeatureStore, tmp_path: Path) -> None:
    first, second = event("ids", event_id="i1", timestamp=NOON), event("ids", event_id="i2", timestamp=NOON + 1)
    assert record(one, first, first | {"timestamp": NOON + 7}) == (1, 1, 0)
    assert record(one, first | {"product_id": "p2"}, second) == (1, 1, 0)
    assert stored(store, "ids") == [as_stored(NOON), as_stored(NOON + 1)]
    assert logged(tmp_path) == ["i1", "i2"]
    assert one.outcomes() == {"accepted": 2, "duplicate": 2}


def test_an_id_cannot_pass_for_content(one: Worker, store: FeatureStore) -> None:
    assert record(one, event("disguised", timestamp=NOON)) == (1, 0, 0)
    (key,) = store.online.redis.keys("*:event:content:*")
    name = key.decode().partition(":event:")[2]
    assert record(one, event("disguised", "p2", event_id=name)) == (1, 0, 0)
    store.online.redis.delete(key)


def test_a_double_click_counts_once_within_the_window(one: Worker, store: FeatureStore, config: Config) -> None:
    click = event("double", event_type="add_to_cart")
    assert record(one, click, click) == (1, 1, 0)
    assert record(one, click) == (0, 1, 0)
    assert record(one, event("double"), event("double", "p2"), click | {"timestamp": NOON}) == (3, 0, 0)
    claims = store.online.redis.keys("*:event:content:*")
    assert {0 < store.online.redis.ttl(claim) <= config.api.duplicate_window_seconds for claim in claims} == {True}
    store.online.redis.delete(*claims)  # the window is over
    assert record(one, click) == (1, 0, 0)


@settings(max_examples=20)
@given(
    requests=st.lists(
        st.lists(
            st.fixed_dictionaries(
                {"product_id": st.sampled_from(["p1", "p2"]), "event_type": st.sampled_from(["view", "purchase"])},
                optional={"event_id": st.sampled_from(["a", "b", "c"]), "timestamp": st.integers(NOON, NOON + 2)},
            ),
            max_size=6,
        ),
        max_size=4,
    )
)
def test_every_event_counts_once(
    requests: list[list[dict[str, Any]]],
    config: Config,
    store: FeatureStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    one = worker(config, store, tmp_path_factory.mktemp("log"))
    buyer_id, seen, expected = uuid.uuid4().hex, set(), set()
    for request in requests:
        new = 0
        for each in request:
            name = each.get("event_id") or (each["product_id"], each["event_type"], each.get("timestamp"))
            if name not in seen:
                new += 1
                expected.add(as_stored(each.get("timestamp", NOW), each["product_id"], each["event_type"]))
            seen.add(name)
        # Ids are the whole shop's, so each example has its own.
        owned = [each | {"event_id": buyer_id + each["event_id"]} if "event_id" in each else each for each in request]
        answer = record(one, *({"buyer_id": buyer_id, **each} for each in owned))
        assert answer == (new, len(request) - new, 0)
    assert stored(store, buyer_id) == sorted(expected)


def test_of_the_same_event_in_many_requests_at_once_one_is_taken(
    one: Worker, store: FeatureStore, tmp_path: Path
) -> None:
    for body in (event("crowd", event_id="c1"), event("crowd", "p2")):
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _, body=body: record(one, body), range(16)))
        assert sorted(answers) == [(0, 1, 0)] * 15 + [(1, 0, 0)]
    assert stored(store, "crowd") == sorted([as_stored(NOW), as_stored(NOW, "p2")])
    assert len(logged(tmp_path)) == 2


def test_requests_at_once_lose_nothing_and_mix_nothing(one: Worker, store: FeatureStore, tmp_path: Path) -> None:
    def send(number: int) -> tuple[int, int, int]:
        return record(one, *(event(f"mixed-{buyer}", timestamp=NOON + number) for buyer in range(3)))

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(send, range(32))) == [(3, 0, 0)] * 32
    for buyer in range(3):
        assert stored(store, f"mixed-{buyer}") == [as_stored(NOON + number) for number in range(32)]
    assert len(logged(tmp_path)) == 96


def test_an_event_at_work_elsewhere_is_refused_and_free_afterwards(
    one: Worker, config: Config, store: FeatureStore, tmp_path: Path
) -> None:
    working, finish = threading.Event(), threading.Event()

    class Slow(EventLog):
        def append(self, events: Any) -> None:
            assert events
            working.set()
            finish.wait()
            raise EventLogUnavailableError

    other, body = worker(config, store, tmp_path, log=Slow), event("busy", event_id="b1", timestamp=NOON)
    with ThreadPoolExecutor(1) as pool:
        failing = pool.submit(record, other, body)
        working.wait()
        with pytest.raises(EventsInProgressError):
            record(one, event("busy", "p2", event_id="b2"), body)
        finish.set()
        assert isinstance(failing.exception(), EventLogUnavailableError)
    assert logged(tmp_path) == []
    assert record(one, event("busy", "p2", event_id="b2"), body) == (2, 0, 0)


# --- a store that is away ---------------------------------------------------------------------------------------------


def test_what_is_accepted_while_the_store_is_away_arrives_when_it_is_back(
    one: Worker, store: FeatureStore, server: ValkeyServer, tmp_path: Path
) -> None:
    assert record(one, event("patient", event_id="p-0")) == (1, 0, 0)
    with away(server):
        assert record(one, event("patient", "p2", event_id="p-1", timestamp=NOON)) == (1, 0, 1)
        assert record(one, event("patient", "p3", timestamp=NOON + 1)) == (1, 0, 1)
        until(lambda: one.breaker.is_open)
        # Duplicates, which cannot be detected while the store of the claims is down.
        assert record(one, event("patient", event_id="p-0", timestamp=NOON + 2)) == (1, 0, 1)
        assert record(one, event("patient", "p2", event_id="p-1", timestamp=NOON + 3)) == (1, 0, 1)
        assert len(logged(tmp_path)) == 5
        assert one.intake.pending_count == 4
        assert one.intake.replay() == 0
        assert one.intake.pending_count == 4
    until(lambda: not one.breaker.is_open)
    assert one.intake.replay() == 2
    expected = [as_stored(NOON, "p2"), as_stored(NOON + 1, "p3"), as_stored(NOW)]
    assert stored(store, "patient") == expected
    assert (one.intake.pending_count, one.intake.replay()) == (0, 0)
    assert record(one, event("patient", "p4", event_id="p-1")) == (0, 1, 0)
    assert one.outcomes() == {"accepted": 5, "pending": 4, "replayed": 2, "duplicate": 1}


class Failing:
    """The online store of `store`, whose pushes do something else."""

    def __init__(self, store: FeatureStore, push: Callable[[], None]) -> None:
        self._online, self._push = store.online_with_timeout(0.5), push

    def push_events(self, _: object) -> None:
        self._push()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._online, name)


def no_store() -> None:
    raise StoreUnavailableError("away")


def test_what_could_not_be_pushed_stays_claimed_until_it_is_replayed(
    one: Worker, config: Config, store: FeatureStore, tmp_path: Path
) -> None:
    other = worker(config, store, tmp_path, online=Failing(store, no_store))
    named, plain = event("half", event_id="h1"), event("half", "p2")
    assert record(other, named, plain) == (2, 0, 2)
    with pytest.raises(EventsInProgressError):
        record(one, named)
    assert record(one, plain) == (0, 1, 0)
    assert stored(store, "half") == []
    assert other.intake.replay() == 0
    assert one.intake.replay() == 2
    assert record(one, named) == (0, 1, 0)
    assert stored(store, "half") == sorted([as_stored(NOW), as_stored(NOW, "p2")])


def test_pending_refunds_are_replayed_and_not_pushed(
    one: Worker, config: Config, store: FeatureStore, tmp_path: Path
) -> None:
    other = worker(config, store, tmp_path, online=Failing(store, no_store))
    refund = event("returner", event_type="refund", event_id="r1", quantity=2)
    assert record(other, event("returner", "p2", timestamp=NOON), refund) == (2, 0, 2)
    assert one.intake.replay() == 2
    assert record(one, refund) == (0, 1, 0)
    assert stored(store, "returner") == [as_stored(NOON, "p2")]


@pytest.mark.parametrize(
    ("timestamp", "reasons"),
    [
        ("1999-12-31T23:59:59.999Z", ["timestamp: lies before 2000, got '1999-12-31T23:59:59.999Z'"]),
        (0, ["timestamp: lies before 2000, got 0"]),
        ("2000-01-01T00:00:00Z", []),
        (NOW + 5_000, []),  # a caller's clock may be ahead
        (NOW + 5_001, [f"timestamp: lies in the future, got {NOW + 5_001}"]),
    ],
)
def test_implausible_times_are_rejected(one: Worker, timestamp: object, reasons: list[str]) -> None:
    answer = one.intake.record([event("clock", timestamp=timestamp)])
    assert [rejected.reason for rejected in answer.rejected] == reasons


def test_a_line_of_an_older_version_is_read() -> None:
    line = {"event_id": "e", "buyer_id": "u", "product_id": "p", "event_type": "view", "timestamp": NOON_ISO}
    assert LoggedEvent.from_json(line) == LoggedEvent("e", "u", "p", "view", NOON)
    assert LoggedEvent("e", "u", "p", "view", NOON).as_json() == line
    refund = LoggedEvent("e", "u", "p", "refund", NOON, 2)
    assert refund.as_json() == line | {"event_type": "refund", "quantity": 2}
    assert LoggedEvent.from_json(refund.as_json()) == refund


def test_a_repetition_that_came_first_wins(one: Worker, config: Config, store: FeatureStore, tmp_path: Path) -> None:
    other = worker(config, store, tmp_path, online=Failing(store, no_store))
    assert record(other, event("late", event_id="l1", timestamp=NOON)) == (1, 0, 1)
    claim_runs_out(store, "l1")  # the store was away for that long
    assert record(one, event("late", event_id="l1", timestamp=NOON)) == (1, 0, 0)
    assert one.intake.replay() == 0
    assert one.intake.pending_count == 0
    assert stored(store, "late") == [as_stored(NOON)]


def test_the_replay_waits_for_a_repetition_at_work(
    one: Worker, config: Config, store: FeatureStore, tmp_path: Path
) -> None:
    other = worker(config, store, tmp_path, online=Failing(store, no_store))
    assert record(other, event("waits", event_id="w1")) == (1, 0, 1)
    (claim,) = store.online.redis.keys("*:event:id:w1")
    store.online.redis.set(claim, "another's", px=700)
    assert one.intake.replay() == 0
    assert one.intake.pending_count == 1
    until(lambda: one.intake.replay() == 1)
    assert stored(store, "waits") == [as_stored(NOW)]


def test_replays_at_once_store_everything_once(config: Config, store: FeatureStore, tmp_path: Path) -> None:
    other = worker(config, store, tmp_path, online=Failing(store, no_store))
    other.intake.record([event("replayed", timestamp=NOON + number) for number in range(50)])
    workers = [worker(config, store, tmp_path) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(lambda one: one.intake.replay(), workers)) == 50
    assert stored(store, "replayed") == [as_stored(NOON + number) for number in range(50)]


def test_nothing_is_lost_between_a_replay_and_those_who_add(tmp_path: Path) -> None:
    pending = PendingEvents(tmp_path)
    replayed: list[str] = []

    def add(thread: int) -> None:
        for number in range(100):
            pending.add([PendingEvent(LoggedEvent(f"{thread}-{number}", "u1", "p1", "view", NOON), None)])

    def take(batch: Any) -> int:
        replayed.extend(one.event.event_id for one in batch)
        return len(batch)

    with ThreadPoolExecutor(4) as pool:
        adding = [pool.submit(add, thread) for thread in range(4)]
        while not all(one.done() for one in adding):
            pending.replay(take)
    for one in adding:
        one.result()
    pending.replay(take)
    assert sorted(replayed) == sorted(f"{thread}-{number}" for thread in range(4) for number in range(100))
    assert pending.count() == 0


def test_a_torn_pending_event_is_left_out_with_a_warning(
    one: Worker, config: Config, store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = worker(config, store, tmp_path, online=Failing(store, no_store))
    record(other, event("torn", timestamp=NOON))
    with (tmp_path / "pending/events.jsonl").open("a") as file:
        file.write('{"event_id": "to')
    record(other, event("torn", timestamp=NOON + 1))
    with caplog.at_level(logging.WARNING):
        assert one.intake.replay() == 2
    assert "torn" in caplog.text
    assert stored(store, "torn") == [as_stored(NOON), as_stored(NOON + 1)]


# --- crashes ----------------------------------------------------------------------------------------------------------


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DeadlyLog(EventLog):
    """Writes, and kills the process."""

    def append(self, events: Any) -> None:
        super().append(events)
        die()


def in_a_process(
    what: str, config: Config, server: ValkeyServer, folder: Path, *events: dict[str, Any]
) -> signal.Signals | int:
    """Does something in a worker process of its own; returns how that ended."""
    started = Background(_work, what, config, server.connection, folder, events)
    started.process.join(120)
    code = started.process.exitcode
    assert code is not None, "waited too long"
    return signal.Signals(-code) if code < 0 else code


def _work(what: str, config: Config, connection: str, folder: Path, events: list[dict[str, Any]]) -> None:
    with feature_store(config, {"TAWSIYA_REDIS": connection}) as store:
        if what == "killed before the push":
            worker(config, store, folder, log=DeadlyLog).intake.record(events)
        elif what == "killed after the push":
            online = store.online_with_timeout(0.5)
            worker(config, store, folder, online=_DeadlyAfter(online)).intake.record(events)
        elif what == "killed in a replay":
            worker(config, store, folder, online=Failing(store, die)).intake.replay()
        elif what == "replay":
            assert worker(config, store, folder).intake.replay() == 2
        else:
            _fill_the_disk(worker(config, store, folder), folder, events)


class _DeadlyAfter:
    def __init__(self, online: Any) -> None:
        self._online = online

    def push_events(self, events: Any) -> None:
        self._online.push_events(events)
        die()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._online, name)


@pytest.mark.parametrize("moment", ["killed before the push", "killed after the push"])
def test_a_killed_request_loses_no_event(
    one: Worker, config: Config, store: FeatureStore, server: ValkeyServer, tmp_path: Path, moment: str
) -> None:
    buyer_id = moment.replace(" ", "-")
    body = event(buyer_id, event_id=buyer_id, timestamp=NOON)
    assert in_a_process(moment, config, server, tmp_path, body) == signal.SIGKILL
    assert logged(tmp_path) == [buyer_id]
    # It may still be at work, for all that others know: the caller shall come again, with the whole request.
    with pytest.raises(EventsInProgressError):
        record(one, body, event(buyer_id, "p2", event_id=f"{buyer_id}-2", timestamp=NOON))
    claim_runs_out(store, buyer_id)
    assert record(one, body, event(buyer_id, "p2", event_id=f"{buyer_id}-2", timestamp=NOON)) == (2, 0, 0)
    assert stored(store, buyer_id) == sorted([as_stored(NOON), as_stored(NOON, "p2")])
    assert logged(tmp_path) == [buyer_id, buyer_id, f"{buyer_id}-2"]  # ingest takes the first of an id


@pytest.mark.parametrize("moment", ["killed before the push", "killed after the push"])
def test_the_replay_finishes_a_killed_request(
    one: Worker, config: Config, store: FeatureStore, server: ValkeyServer, tmp_path: Path, moment: str
) -> None:
    buyer_id = moment.replace(" ", "-") + "-left"
    known, unknown = event(buyer_id, event_id=buyer_id), event(buyer_id, "new", event_id=f"{buyer_id}-new")
    assert in_a_process(moment, config, server, tmp_path, known, unknown) == signal.SIGKILL
    one.intake.replay()
    assert stored(store, buyer_id) == [as_stored(NOW)]
    assert (one.intake.pending_count, one.intake.unknown_product_count) == (0, 2 if "after" in moment else 1)
    # The caller did not get an answer, and comes again after hours.
    later = worker(config, store, tmp_path, now=NOW + 7_200_000)
    assert record(later, known, unknown) == (0, 2, 0)
    later.breaker.close()
    assert stored(store, buyer_id) == [as_stored(NOW)]
    assert logged(tmp_path) == [buyer_id, f"{buyer_id}-new"]


def test_another_process_replays_what_the_killed_one_has_left(
    config: Config, store: FeatureStore, server: ValkeyServer, tmp_path: Path
) -> None:
    other = worker(config, store, tmp_path, online=Failing(store, no_store))
    assert record(other, event("heir", event_id="heir-1"), event("heir", "p2")) == (2, 0, 2)
    assert in_a_process("killed in a replay", config, server, tmp_path) == signal.SIGKILL
    assert other.intake.pending_count == 2
    assert in_a_process("replay", config, server, tmp_path) == 0
    assert other.intake.pending_count == 0
    assert stored(store, "heir") == sorted([as_stored(NOW), as_stored(NOW, "p2")])


# --- a disk that takes nothing ----------------------------------------------------------------------------------------


def test_without_a_log_nothing_is_accepted_and_the_id_stays_free(
    config: Config, store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "log"
    folder.touch()  # a file where the log wants its folder
    one, body = worker(config, store, folder), event("unlucky", event_id="u1", timestamp=NOON)
    with pytest.raises(EventLogUnavailableError) as error:
        record(one, body)
    assert str(tmp_path) not in str(error.value)
    assert str(tmp_path) in caplog.text
    assert stored(store, "unlucky") == []
    assert one.outcomes() == {}
    folder.unlink()
    assert record(one, body) == (1, 0, 0)


def test_what_cannot_be_kept_as_pending_is_not_accepted(
    one: Worker, config: Config, store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "pending").touch()
    other, body = worker(config, store, tmp_path, online=Failing(store, no_store)), event("nowhere", event_id="n1")
    with pytest.raises(EventLogUnavailableError):
        record(other, body)
    assert record(one, body) == (1, 0, 0)


def _fill_the_disk(one: Worker, folder: Path, events: list[dict[str, Any]]) -> None:
    (path,) = folder.glob("*.jsonl")
    before = path.read_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 1_000, resource.RLIM_INFINITY))
    with pytest.raises(EventLogUnavailableError):
        one.intake.record(events)
    assert path.read_bytes() == before


def test_a_disk_that_fills_up_leaves_no_half_batch(
    one: Worker, config: Config, store: FeatureStore, server: ValkeyServer, tmp_path: Path
) -> None:
    assert record(one, event("full", timestamp=NOON)) == (1, 0, 0)
    batch = [event("full", event_id=f"full-{number}", timestamp=NOON + number) for number in range(1, 40)]
    assert in_a_process("fill the disk", config, server, tmp_path, *batch) == 0
    assert stored(store, "full") == [as_stored(NOON)]
    assert record(one, *batch) == (39, 0, 0)
    assert len(logged(tmp_path)) == 40


def test_a_torn_line_harms_no_other(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    one, two = (LoggedEvent(event_id, "u1", "p1", "view", NOON) for event_id in ("one", "two"))
    log.append([one])
    (path,) = tmp_path.iterdir()
    with path.open("a") as file:
        file.write('{"event_id": "to')
    log.append([two])
    assert path.read_text() == one.line() + '{"event_id": "to\n' + two.line()


# --- both stores ------------------------------------------------------------------------------------------------------


def test_after_a_replay_both_stores_hold_the_same(config: Config, store: FeatureStore, server: ValkeyServer) -> None:
    folder = shop_paths(config).event_log
    one = worker(config, store, folder)
    buyers = ["both-1", "عميل"]
    for buyer in buyers:
        record(one, event(buyer, event_id=f"{buyer}-1", timestamp=NOON + 5), event(buyer, "p2", timestamp=NOON))
    with away(server):
        for buyer in buyers:
            # The first is a repetition; the third comes twice.
            record(one, event(buyer, event_id=f"{buyer}-1", timestamp=NOON + 5), event(buyer, "p3", timestamp=NOON + 2))
            record(one, event(buyer, "p4", "purchase", event_id=f"{buyer}-4", timestamp=NOON + 1))
            record(one, event(buyer, "p4", "purchase", event_id=f"{buyer}-4", timestamp=NOON + 1))
            record(one, event(buyer, "p5"))
        until(lambda: one.breaker.is_open)
    until(lambda: not one.breaker.is_open)
    assert in_a_process("killed in a replay", config, server, folder) == signal.SIGKILL
    assert one.intake.replay() == 6
    assert ingest(config)["events"]["event_log"]["bad"] == 0
    build_features(config)
    entities = pd.DataFrame({c.BUYER_ID: buyers, c.EVENT_TIMESTAMP: pd.Timestamp.now(tz="UTC")})
    arrays = (c.EVENT_TIMES, c.PRODUCT_KEYS, c.EVENT_TYPES)
    for row in store.historical_sequences(entities).to_pylist():
        offline = list(zip(*(row[name] for name in arrays), strict=True))
        expected = [as_stored(NOON, "p2"), as_stored(NOON + 1, "p4", "purchase"), as_stored(NOON + 2, "p3")]
        assert offline == [*expected, as_stored(NOON + 5), as_stored(NOW, "p5")]
        assert stored(store, row[c.BUYER_ID]) == offline


def test_late_events_take_their_place_in_both_stores(config: Config, store: FeatureStore) -> None:
    """Backfills and clients that were offline: an event's time counts, not when it arrives."""
    one = worker(config, store, shop_paths(config).event_log)
    march = 1_709_251_200_000  # 1 March 2024; the export has a purchase on the 2nd at 10:00 and a view on the 5th
    two_am, ten_am = march + 93_600_000, march + 122_400_000
    arriving = [
        event("u2", "p1", timestamp=NOON),
        event("u2", "p5", timestamp=ten_am + 1),
        event("u2", "p2", "purchase", timestamp=two_am),
        event("u2", "p1", timestamp=NOON - 1),
    ]
    for each in arriving:
        assert record(one, each) == (1, 0, 0)
    expected = [
        as_stored(two_am, "p2", "purchase"),
        as_stored(ten_am, "p3", "purchase"),
        as_stored(ten_am + 1, "p5"),
        as_stored(march + 381_600_000, "p4"),
        as_stored(NOON - 1),
        as_stored(NOON),
    ]
    assert stored(store, "u2") == expected
    (purchases,) = (buyer.purchases for buyer in store.online.read_buyers(["u2"]))
    assert purchases.event_times.tolist() == [two_am, ten_am]
    ingest(config)
    build_features(config)
    entities = pd.DataFrame({c.BUYER_ID: ["u2"], c.EVENT_TIMESTAMP: pd.Timestamp.now(tz="UTC")})
    (row,) = store.historical_sequences(entities).to_pylist()
    arrays = (c.EVENT_TIMES, c.PRODUCT_KEYS, c.EVENT_TYPES)
    assert list(zip(*(row[name] for name in arrays), strict=True)) == expected
    store.materialize(full=False)
    assert stored(store, "u2") == expected
    one.breaker.close()
