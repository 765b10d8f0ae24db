"""Events of products that the live release does not know: accepted, kept within limits, pushed once a release knows."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.settings.api import ApiConfig
from feature_repo.transforms.keys import product_key
from feature_repo.transforms.sequences import EventSequence
from feature_repo.transforms.values.times import TimeReader
from online_api.events.event_files import EventFiles
from online_api.events.intake import EventIntake
from online_api.observability.metrics import Metrics
from online_api.schemas.responses import EventsResponse

pytestmark = pytest.mark.fast

NOW = 1_764_000_000_000
DAY_MS = 86_400_000
PATIENCE_S = 10.0


class Products:
    """The products of a release, as far as the intake asks."""

    def __init__(self, *product_ids: str, merged: dict[str, str] | None = None) -> None:
        self._ids, self._merged = product_ids, merged or {}

    def position_of(self, product_id: str) -> int:
        kept = self._merged.get(product_id, product_id)
        return self._ids.index(kept) if kept in self._ids else -1

    def product_key(self, product_id: str) -> int:
        return product_key(self._merged.get(product_id, product_id))


class Online:
    """An online store that remembers what is pushed and whose claims are all free."""

    def __init__(self) -> None:
        self.pushed: dict[str, list[int]] = {}

    def push_events(self, events: dict[str, EventSequence]) -> None:
        for buyer_id, one in events.items():
            self.pushed.setdefault(buyer_id, []).extend(one.product_keys.tolist())

    def claim_events(self, claims: Any) -> Any:
        return _Claims(claims)

    def claim_holders(self, names: Any) -> dict[str, None]:
        return dict.fromkeys(names)


class _Claims:
    def __init__(self, claims: Any) -> None:
        self.fresh = set(claims)

    def __enter__(self) -> "_Claims":
        return self

    def __exit__(self, *error: object) -> None: ...

    def mark_stored(self, names: Any) -> None: ...

    def keep_claimed(self, names: Any) -> None: ...


class Breaker:
    """A circuit breaker of a store that is up."""

    def write(self, function: Any) -> Any:
        return function()


class Shop:
    """Workers over one folder; `products` is the live release of all."""

    def __init__(self, folder: Path, max_per_key: int) -> None:
        self.folder, self.online, self.products, self.now = folder, Online(), Products("p1"), NOW
        self.config = ApiConfig(max_unknown_product_events_per_key=max_per_key, unknown_product_days=2)
        self.metrics = Metrics()

    def worker(self) -> EventIntake:
        return EventIntake(
            cast("Any", self.online),
            cast("Any", Breaker()),
            EventFiles.in_folder(self.folder, self.config),
            lambda: cast("Any", self.products),
            self.config,
            self.metrics,
            lambda: self.now,
            TimeReader(),
            ForgottenBuyers(self.folder / "forgotten.json"),
        )

    def lines(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in self.folder.glob("*.jsonl"))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path / "event_log", max_per_key=3)


def event(product_id: str, buyer_id: str = "u1", **more: Any) -> dict[str, Any]:
    return {"buyer_id": buyer_id, "product_id": product_id, "event_type": "view", **more}


def counts(answer: EventsResponse) -> tuple[int, int, list[int]]:
    """Accepted, those among them that wait, and the places of the rejected."""
    return answer.accepted, answer.unknown_product, [one.index for one in answer.rejected]


def test_they_are_logged_and_pushed_once_a_release_knows_the_product(shop: Shop) -> None:
    one, other = shop.worker(), shop.worker()
    assert counts(one.record([event("p1"), event("p2"), event("p3"), event("a\nb")])) == (3, 2, [3])
    assert (shop.lines(), shop.online.pushed) == (3, {"u1": [product_key("p1")]})
    assert other.replay() == 0
    assert (other.unknown_product_count, other.pending_count) == (2, 0)
    # A later release merges p2 into p1.
    shop.products = Products("p1", merged={"p2": "p1"})
    assert [other.replay(), one.replay()] == [1, 0]
    assert shop.online.pushed == {"u1": [product_key("p1"), product_key("p1")]}
    assert (one.unknown_product_count, one.pending_count) == (1, 0)
    shop.products = Products("p1", "p3")
    assert one.replay() == 1
    assert (other.unknown_product_count, one.record([event("p3")]).unknown_product) == (0, 0)


def test_those_of_an_erased_buyer_are_dropped_and_wait_while_the_list_is_damaged(shop: Shop) -> None:
    worker, forgotten = shop.worker(), shop.folder / "forgotten.json"
    assert worker.record([event("p2"), event("p2", "goes")]).unknown_product == 2
    shop.products = Products("p1", "p2")
    forgotten.write_text("{}")
    assert (worker.replay(), worker.pending_count) == (0, 2)
    forgotten.unlink()
    ForgottenBuyers(forgotten).add(["goes"])
    assert worker.replay() == 1
    assert (shop.online.pushed, worker.pending_count) == ({"u1": [product_key("p2")]}, 0)


def test_a_key_may_have_so_many_among_all_workers(shop: Shop) -> None:
    one, other = shop.worker(), shop.worker()
    assert counts(one.record([event("p2"), event("p3")], "app")) == (2, 2, [])
    answer = other.record([event("p4"), event("p1"), event("p5")], "app")
    assert counts(answer) == (2, 1, [2])
    assert answer.rejected[0].reason == (
        "product_id: the live release does not know product 'p5', and 3 events of unknown products wait already, the "
        "most of one API key"
    )
    assert shop.lines() == 4  # what is rejected is not in the log
    assert counts(one.record([event("p5")], "web")) == (1, 1, [])
    shop.products = Products("p1", "p2")
    one.replay()
    assert counts(other.record([event("p5"), event("p6")], "app")) == (1, 1, [1])


def test_requests_at_once_stay_within_the_limit(shop: Shop) -> None:
    workers = [shop.worker() for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda n: workers[n % 4].record([event(f"new-{n}")], "app").accepted, range(16))
    assert sum(answers) == 3 == shop.lines() == workers[0].unknown_product_count


def test_no_request_waits_for_the_push_of_another(shop: Shop) -> None:
    pool, during_push = ThreadPoolExecutor(1), []

    class SlowOnline(Online):
        def push_events(self, events: dict[str, EventSequence]) -> None:
            other = pool.submit(shop.worker().record, [event("p3")])
            during_push.append(other.result(PATIENCE_S).unknown_product)
            super().push_events(events)

    shop.online = SlowOnline()
    assert counts(shop.worker().record([event("p1"), event("p2")])) == (2, 1, [])
    assert during_push == [1]


def test_after_so_many_days_they_stop_waiting(shop: Shop) -> None:
    one = shop.worker()
    one.record([event("p2", timestamp=NOW - 900 * DAY_MS)])
    shop.now += DAY_MS
    one.record([event("p3")])
    shop.now += DAY_MS + 1
    one.replay()
    assert one.unknown_product_count == 1
    assert shop.metrics.events("expired")._value.get() == 1
    shop.products = Products("p1", "p2", "p3")
    assert one.replay() == 1
    assert shop.online.pushed == {"u1": [product_key("p3")]}


def test_without_places_they_are_rejected(tmp_path: Path) -> None:
    one = Shop(tmp_path, max_per_key=0).worker()
    assert counts(one.record([event("p1"), event("p2")])) == (1, 0, [1])
