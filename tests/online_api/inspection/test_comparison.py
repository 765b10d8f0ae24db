"""Two releases side by side: the second one is loaded when asked for, kept alone, and never live."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore
from online_api.app import create_app
from online_api.inspection.comparison import compared
from online_api.inspection.second_release import SecondRelease, UnknownReleaseError
from online_api.runtime import Runtime
from online_api.schemas.inspection import ReleaseComparison
from tests.online_api.api_shop import Json, body_of, problem_of
from tests.online_api.shop_variants import copied, running
from tests.online_api.test_hot_swap import write_second_release
from tests.serving import serving
from training.artifacts.recommender import Recommender

pytestmark = pytest.mark.store


class Shop(NamedTuple):
    """A copy of the shop with a second release, and a client."""

    runtime: Runtime
    candidate: str
    client: httpx.Client


@pytest.fixture
def shop(config: Config, store: FeatureStore, recommender: Recommender, tmp_path: Path) -> Iterator[Shop]:
    assert recommender
    copy = copied(config, tmp_path / "var")
    candidate = write_second_release(copy, store.schema_hash)
    with running(copy, store) as runtime, serving(create_app(copy, runtime)) as client:
        yield Shop(runtime, candidate, client)


def compare(shop: Shop, url: str, k: int = 4) -> Json:
    return body_of(shop.client.get(url, params={"release": shop.candidate, "k": k}), ReleaseComparison)


def a_list(*product_ids: str) -> Json:
    """A list of products with falling scores."""
    items = [
        {"product_id": product_id, "title": product_id, "category": None, "score": float(-rank)}
        for rank, product_id in enumerate(product_ids)
    ]
    return {"release": "-".join(product_ids), "source": "popular", "degraded": [], "matching": 9, "items": items}


def test_products_are_matched_by_id() -> None:
    body = compared(a_list("a", "b", "c"), a_list("c", "a", "d"))
    rows = [(row["product_id"], row["live_rank"], row["other_rank"]) for row in body["rows"]]
    assert rows == [("a", 1, 2), ("b", 2, None), ("c", 3, 1), ("d", None, 3)]
    assert [(row["live_score"], row["other_score"]) for row in body["rows"][:2]] == [(0, -1), (-1, None)]
    assert (body["n_common"], body["overlap"]) == (2, pytest.approx(2 / 3))
    assert compared(a_list("a"), a_list("a"))["rank_biased_overlap"] == 1
    assert compared(a_list(), a_list("a"))["rows"][0]["other_rank"] == 1


def test_a_buyers_list_of_both_releases(shop: Shop) -> None:
    # Of an unknown buyer, so of popular products: the second release has them in another order.
    body = compare(shop, "/v1/inspect/buyers/nobody/compare", k=3)
    assert (body["live"]["release"], body["other"]["release"]) == (
        shop.runtime.keeper.live.recommender.name,
        shop.candidate,
    )
    ranks = {row["product_id"]: (row["live_rank"], row["other_rank"]) for row in body["rows"]}
    assert ranks == {"p4": (1, None), "p3": (2, None), "p2": (3, 3), "p5": (None, 1), "p1": (None, 2)}
    stored = compare(shop, "/v1/inspect/buyers/u1/compare")
    assert stored["live"]["source"] == stored["other"]["source"] == "personalised"
    assert stored["overlap"] == 1


def test_similar_products_of_both_releases(shop: Shop) -> None:
    body = compare(shop, "/v1/inspect/products/p1/compare")
    # The same vectors.
    assert [(row["live_rank"], row["other_rank"]) for row in body["rows"]] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert body["other"]["source"] == "similar"


def test_the_second_release_does_not_go_live(shop: Shop) -> None:
    live = shop.runtime.keeper.live.recommender.name
    compare(shop, "/v1/inspect/buyers/u1/compare")
    shop.runtime.keeper.poll()
    assert shop.client.get("/health").json()["release"] == live


@pytest.mark.parametrize("name", ["nowhere", "../releases", "current", "20200101T000000.000Z-00000000"])
def test_an_unknown_release_is_not_found(shop: Shop, name: str) -> None:
    answer = shop.client.get("/v1/inspect/buyers/u1/compare", params={"release": name})
    assert f"no release {name!r}" in problem_of(answer, 404)["detail"]


def test_a_damaged_release_is_refused_without_its_path(shop: Shop) -> None:
    releases = shop_paths(shop.runtime.config).releases
    (releases / shop.candidate / "popularity.npy").write_bytes(b"damaged")
    detail = problem_of(shop.client.get("/v1/inspect/buyers/u1/compare", params={"release": shop.candidate}), 409)[
        "detail"
    ]
    assert "popularity.npy does not match" in detail
    assert str(releases) not in detail


def test_one_release_is_kept(shop: Shop, store: FeatureStore) -> None:
    second = SecondRelease(shop.runtime.keeper)
    other = write_second_release(shop.runtime.config, store.schema_hash)
    first = second.get(shop.candidate)
    assert second.get(shop.candidate).recommender is first.recommender
    assert second.get(other).recommender.name == other
    assert second.get(shop.candidate).recommender is not first.recommender
    with pytest.raises(UnknownReleaseError):
        second.get("nowhere")


def test_the_live_release_is_not_loaded_again(shop: Shop) -> None:
    live = shop.runtime.keeper.live
    assert SecondRelease(shop.runtime.keeper).get(live.recommender.name).recommender is live.recommender
