"""Releases that change while requests are answered."""

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.lock import shop_lock
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from online_api.app import create_app
from online_api.lists.list_request import ListRequest
from online_api.lists.live_release import LiveRelease
from online_api.lists.request_texts import RequestTextEncoder
from online_api.runtime import Runtime
from online_api.schemas.responses import ReleaseChange, Releases
from online_api.service import RecommendationService
from tests.online_api.api_shop import body_of, interaction, problem_of, wait_for
from tests.online_api.shop_variants import copied, metric, running
from tests.online_api.shoppers import Shoppers, get
from tests.serving import serving
from training.artifacts.product_table import read_product_columns
from training.artifacts.recommender import Recommender
from training.artifacts.release import ReleaseParts, current_release, promote, write_release

pytestmark = pytest.mark.store

HISTORY = "/v1/buyers/u1/recommendations"
RELOAD, ROLLBACK = "/v1/admin/releases/reload", "/v1/admin/releases/rollback"
MARK = " (new)"  # ends each title of the second release


class Shop(NamedTuple):
    """A copy of the shop with two releases, of which the first is live, and a client of its API."""

    runtime: Runtime
    releases: Path
    old: str
    new: str
    client: httpx.Client


@pytest.fixture
def shop(config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path) -> Iterator[Shop]:
    copy = copied(config, tmp_path / "var")
    releases = shop_paths(copy).releases
    new = write_second_release(copy, store.schema_hash)
    with running(copy, store) as runtime, serving(create_app(copy, runtime)) as client:
        yield Shop(runtime, releases, recommender.name, new, client)


def write_second_release(config: Config, schema_hash: str) -> str:
    """The same model with other titles and the popular products the other way round; returns its name."""
    paths = shop_paths(config)
    products = read_product_columns(paths.product_features)
    titles = pa.array([f"{title}{MARK}" for title in products[c.TITLE].to_pylist()])
    return write_release(
        paths.releases,
        ReleaseParts(
            model=paths.model,
            embeddings=paths.embeddings,
            index=paths.index,
            search_index=paths.search_index,
            products=products.set_column(products.schema.get_field_index(c.TITLE), c.TITLE, titles),
            aliases=pq.read_table(paths.product_aliases),
            popular=pa.array([4, 0, 1, 2, 3], pa.int32()).to_numpy(),
            recent_popularity=np.zeros((2, 5), dtype=np.float32),
            as_of_ms=0,
        ),
        metrics={},
        about={"schema_hash": schema_hash},
    )


def serves(shop: Shop, name: str) -> bool:
    return bool(body_of(shop.client.get(HISTORY))["release"] == name)


def test_swaps_under_load_fail_no_request_and_mix_no_releases(shop: Shop) -> None:
    seen = Counter[str]()

    def fault(_: int, answer: httpx.Response) -> str | None:
        if answer.status_code != 200:
            return f"{answer.status_code}: {answer.text}"
        body = answer.json()
        release, items = body["release"], body["items"]
        seen[release] += 1
        if {item["title"].endswith(MARK) for item in items} != {release == shop.new} or len(items) != 5:
            return f"{release} gave {[item['title'] for item in items]}"
        best = {shop.old: "p4", shop.new: "p5"}[release]
        if body["source"] == "popular" and items[0]["product_id"] != best:
            return f"{release} gave {items[0]['product_id']} as the most popular product"
        return None

    session = {"interactions": [interaction("p1")], "k": 5}
    asks = [get(HISTORY), lambda client: client.post("/retrieve", json=session), get("/v1/trending")]
    with Shoppers([shop.client.base_url] * 4, asks, fault):
        for _ in range(5):
            for name in (shop.new, shop.old):
                promote(shop.releases, name)
                wait_for(lambda name=name: serves(shop, name))  # type: ignore[misc]
    assert seen.keys() == {shop.old, shop.new}
    assert metric(shop.client, 'tawsiya_release_loads_total{outcome="loaded"}') == 11
    assert metric(shop.client, f'tawsiya_release_info{{release="{shop.old}"}}') == 1
    assert metric(shop.client, f'tawsiya_release_info{{release="{shop.new}"}}') == 0


class SwappedAway:
    """A keeper whose release is swapped, and deleted, as soon as a request has taken it."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    @property
    def live(self) -> LiveRelease:
        keeper = self._shop.runtime.keeper
        taken = keeper.live
        promote(self._shop.releases, self._shop.new)
        keeper.reload()
        shutil.rmtree(self._shop.releases / self._shop.old)
        return taken


def test_a_request_ends_with_the_release_that_it_began_with(shop: Shop) -> None:
    """Its mapped files stay readable although they are deleted."""
    runtime, request = shop.runtime, ListRequest(buyer_id="u1")
    expected = runtime.service.answer([request])[0].payload
    service = RecommendationService(
        SwappedAway(shop),  # type: ignore[arg-type]
        runtime.online,
        runtime.breaker,
        RequestTextEncoder(lambda _: pytest.fail("no text was sent")),
        runtime.synonyms,
        max_history=100,
        max_interactions=100,
    )
    assert service.answer([request])[0].payload == expected
    assert not (shop.releases / shop.old).exists()
    assert runtime.service.answer([request])[0].payload["release"] == shop.new


# ---- the admin routes ------------------------------------------------------------------------------------------------


def test_releases_are_listed(shop: Shop) -> None:
    listed = body_of(shop.client.get("/v1/admin/releases"), Releases)["releases"]
    assert [(row["name"], row["live"], row["serving"]) for row in listed] == [
        (shop.old, True, True),
        (shop.new, False, False),
    ]


def test_reload_takes_over_at_once(shop: Shop) -> None:
    assert body_of(shop.client.post(RELOAD), ReleaseChange) == {"release": shop.old, "changed": False}
    promote(shop.releases, shop.new)
    assert body_of(shop.client.post(RELOAD), ReleaseChange)["release"] == shop.new
    assert serves(shop, shop.new)
    listed = body_of(shop.client.get("/v1/admin/releases"), Releases)["releases"]
    assert [row["serving"] for row in listed] == [False, True]


def test_rollback_goes_back_by_one(shop: Shop) -> None:
    promote(shop.releases, shop.new)
    shop.client.post(RELOAD)
    assert body_of(shop.client.post(ROLLBACK), ReleaseChange) == {"release": shop.old, "changed": True}
    assert serves(shop, shop.old)
    live = current_release(shop.releases)
    assert live is not None
    assert live.name == shop.old
    assert "no earlier release" in problem_of(shop.client.post(ROLLBACK), 409)["detail"]
    assert serves(shop, shop.old)


def test_rollback_waits_for_no_batch_job(shop: Shop) -> None:
    promote(shop.releases, shop.new)
    shop.client.post(RELOAD)
    with shop_lock(shop.runtime.config):
        problem = problem_of(shop.client.post(ROLLBACK), 409)
    assert "another job" in problem["detail"]
    assert str(shop.releases.parent) not in problem["detail"]
    assert serves(shop, shop.new)


def test_a_rollback_to_what_cannot_be_served_changes_nothing(
    config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path
) -> None:
    assert recommender
    copy = copied(config, tmp_path / "var")
    releases = shop_paths(copy).releases
    write_second_release(copy, "0123456789abcdef")  # of other features, and older than the next one
    served = write_second_release(copy, store.schema_hash)
    promote(releases, served)
    with running(copy, store) as runtime, serving(create_app(copy, runtime)) as client:
        assert "feature schema 0123456789abcdef" in problem_of(client.post(ROLLBACK), 409)["detail"]
        assert body_of(client.get(HISTORY))["release"] == served
    live = current_release(releases)
    assert live is not None
    assert live.name == served
