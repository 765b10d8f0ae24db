"""Two shops on one Redis and in one data_dir: nothing that a caller of one sends reaches the other."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.access.api_keys import api_keys_path, create_key
from feature_repo.access.limits import Limit
from feature_repo.access.scope import Scope
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from tests.online_api.api_shop import EVENTS, PATIENT, PRODUCTS, body_of, publish_random_release, wait_for
from tests.online_api.shop_variants import NOW, api_of, make_key
from tests.online_api.test_degradation import event
from tests.valkey_server import ValkeyServer

pytestmark = pytest.mark.store

LIMIT = Limit(rate_per_second=0.001, burst=100)
MAPPING = Path(__file__).parents[2] / "config/sources/csv.yaml"


class Shop(NamedTuple):
    """One of the shops, with a client of its API and the header of its key."""

    config: Config
    store: FeatureStore
    client: httpx.Client
    key: dict[str, str]

    def state(self) -> dict[str, bytes]:
        """All that Redis and the shop's folder hold of it."""
        redis, root = self.store.online.redis, shop_paths(self.config).root
        # Feast's keys begin so; a claim of the other shop may end with any text.
        rows = {repr(key): redis.dump(key) for key in redis.scan_iter(f"\x01*{self.store.project}")}
        own = {repr(key): redis.dump(key) for key in redis.scan_iter(f"{self.store.shop}:*")}
        return rows | own | {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Shop, Shop]]:
    """The shops `ours` and `theirs`, which have the same buyers and products."""
    folder = tmp_path_factory.mktemp("shops")
    (folder / "products.csv").write_text(PRODUCTS, encoding="utf-8")
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    server = ValkeyServer(tmp_path_factory.mktemp("redis"))
    with ExitStack() as stack:
        stack.callback(server.kill)
        ours, theirs = (stack.enter_context(open_shop(folder, name, server)) for name in ("ours", "theirs"))
        yield ours, theirs


@contextmanager
def open_shop(folder: Path, name: str, server: ValkeyServer) -> Iterator[Shop]:
    (folder / f"{name}.yaml").write_text(MAPPING.read_text("utf-8"), encoding="utf-8")
    tables = {f"{table}_path": str(folder / f"{table}.csv") for table in ("events", "products")}
    data = {"source": str(folder / f"{name}.yaml"), "test_days": 1, **tables}
    config = Config.model_validate({"data_dir": folder / "var", "data": data, "api": PATIENT})
    ingest(config)
    build_features(config)
    store = FeatureStore(config, shop_paths(config), server.connection, "redis")
    store.materialize(full=True)
    publish_random_release(config, store.schema_hash)
    key = make_key(config, name, [Scope.READ, Scope.WRITE, Scope.ADMIN], LIMIT)
    with api_of(config, store) as client:
        yield Shop(config, store, client, key)


def strange_ids(ours: Shop, theirs: Shop) -> list[str]:
    """Ids that hold names of the other shop's keys."""
    project, shop = theirs.store.project, theirs.store.shop
    return [
        f"u1{project}",
        project,
        f"{shop}:lock:u1",
        f"{shop}:event:id:e1",
        f"{project}:lock:u1{project}",
        f"{shop}:schemas",
        f"{{{shop}}}:u1",
        f"*{project}",
        f"../{shop_paths(theirs.config).root.name}/u1",
        f"u1{ours.store.project}{project}",
    ]


def test_strange_ids_reach_nothing_of_the_other_shop(shops: tuple[Shop, Shop]) -> None:
    ours, theirs = shops
    before = theirs.state()
    names = strange_ids(ours, theirs)
    events = [event(name) | {"event_id": f"e{place}"} for place, name in enumerate(names)]
    events += [event("u1") | {"event_id": name[:128]} for name in names]
    answer = ours.client.post("/v1/events", json={"events": events}, headers=ours.key)
    assert answer.json()["accepted"] == len(events), answer.text
    for name in names:
        url = httpx.URL("/v1/buyers/x/recommendations").copy_with(path=f"/v1/buyers/{name}/recommendations")
        ours.client.get(url, headers=ours.key)
        body = {"buyer_id": name, "k": 3}
        assert body_of(ours.client.post("/v1/recommendations", json=body, headers=ours.key))["source"] == "personalised"
    assert theirs.state() == before
    ours.store.materialize(full=True)
    ours.store.online.schemas.delete_old()
    assert theirs.state() == before


@pytest.mark.parametrize("end", ["\x00", "\n", "\r", "\x1b", "\x7f", "\u2028"])
def test_control_characters_are_refused(shops: tuple[Shop, Shop], end: str) -> None:
    ours, theirs = shops
    before = theirs.state()
    sent = [event(f"u1{end}{theirs.store.project}"), event("u1") | {"event_id": f"e{end}{theirs.store.project}"}]
    answer = ours.client.post("/v1/events", json={"events": sent}, headers=ours.key).json()
    assert answer["accepted"] + len(answer["rejected"]) == 2
    assert theirs.state() == before


def test_an_event_of_one_is_no_duplicate_in_the_other(shops: tuple[Shop, Shop]) -> None:
    sent = {"events": [event("both") | {"event_id": "the same"}]}
    for shop in shops:
        answer = shop.client.post("/v1/events", json=sent, headers=shop.key).json()
        assert (answer["accepted"], answer["duplicates"]) == (1, 0)


def test_a_key_opens_only_its_own_shop(shops: tuple[Shop, Shop]) -> None:
    ours, theirs = shops
    paths = ["/v1/trending", "/v1/buyers/u1/recommendations", "/v1/admin/releases"]
    assert [ours.client.get(path, headers=ours.key).status_code for path in paths] == [200] * 3
    assert [theirs.client.get(path, headers=ours.key).status_code for path in paths] == [401] * 3
    assert theirs.client.post("/v1/events", json={"events": [event("u1")]}, headers=ours.key).status_code == 401
    token, _ = create_key(api_keys_path(ours.config), "first_version", [Scope.READ], None, NOW)
    old = {"X-API-Key": token}
    wait_for(lambda: [shop.client.get("/v1/trending", headers=old).status_code for shop in shops] == [200, 200])


def test_limits_of_one_leave_the_other_alone(shops: tuple[Shop, Shop]) -> None:
    ours, theirs = shops
    buckets = [
        {key.decode() for key in shop.store.online.redis.scan_iter(f"{shop.store.shop}:rate:*")} for shop in shops
    ]
    assert buckets[0]
    assert not buckets[0] & buckets[1]
    codes = [ours.client.get("/v1/trending", headers=ours.key).status_code for _ in range(120)]
    assert codes[-1] == 429
    assert theirs.client.get("/v1/trending", headers=theirs.key).status_code == 200
