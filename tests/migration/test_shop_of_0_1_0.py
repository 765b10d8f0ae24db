"""What version 0.1.0 wrote is still read: its release serves the same answers, after a roll-back too, and its event
log loads.

Its features must be built again, because their files lie elsewhere now.
"""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store
from online_api.app import create_app
from online_api.observability.metrics import Metrics
from online_api.runtime import make_runtime
from tests.online_api.api_shop import wait_for
from tests.serving import serving
from tests.tiny_shop import write_shop
from training.artifacts.product_table import map_arrow
from training.artifacts.release import (
    ALIASES_ARROW,
    MODEL_FOLDER,
    POPULARITY,
    PRODUCTS_ARROW,
    RECENT_POPULARITY,
    SEARCH_FOLDER,
    ReleaseParts,
    current_release,
    delete_old,
    promote,
    read_manifest,
    rollback,
    verify_release,
    write_release,
)

pytestmark = pytest.mark.store

KEPT = Path(__file__).parents[1] / "data" / "shop_of_0_1_0"
ANSWERS: dict[str, Any] = json.loads((KEPT / "answers.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Config:
    """The shop's source files and configuration, with the folders that version 0.1.0 left."""
    config = load_config(write_shop(tmp_path_factory.mktemp("shop"), tiny_encoder))
    root = shop_paths(config).root
    with tarfile.open(KEPT / "shop.tar.gz") as archive:
        archive.extractall(root)  # our own, and Python 3.11.2 has no filters
    return config


@pytest.fixture(scope="module")
def client(config: Config) -> Iterator[httpx.Client]:
    with feature_store(config) as store:
        with pytest.raises(FileNotFoundError, match=r"of another version of Tawsiya; run `tawsiya build-features`"):
            store.materialize(full=True)
        ingest(config)
        build_features(config)
        store.materialize(full=False)
        runtime = make_runtime(config, store, Metrics())
        with serving(create_app(config, runtime)) as client:
            yield client
        runtime.breaker.close()


def rounded(answer: dict[str, Any]) -> Any:
    """The answer without the last bits of its scores, which depend on the CPU."""
    return json.loads(json.dumps(answer), parse_float=lambda text: round(float(text), 4))


def without_token(answer: dict[str, Any]) -> dict[str, Any]:
    """A list without the token of its next page, which is another one each time."""
    assert isinstance(answer["next"], str)
    return {name: value for name, value in answer.items() if name != "next"}


def with_later_fields(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer of version 0.1.0 with the fields that there are since; its release does not know products' values."""
    product = {"title_language": None, "group_id": None, "currency": None, "regular_price": None}
    if "items" not in answer:
        return answer | product
    page: dict[str, Any] = {"facets": None, "page": {"number": 1, "restarted": None}, "relaxed": [], "search": None}
    terms = {"co_occurrence": 0, "closeness": 0}
    items = [
        item | product | {"source": answer["source"], "score_parts": item["score_parts"] | terms}
        for item in answer["items"]
    ]
    return answer | page | {"items": items}


def test_its_release_is_whole_and_live(config: Config) -> None:
    releases = shop_paths(config).releases
    release = current_release(releases)
    assert release is not None
    assert release.name == ANSWERS["similar"]["release"]
    verify_release(release)


def assert_similar_as_it_did(client: httpx.Client) -> None:
    answer = client.get("/v1/products/p12/similar?k=5").json()
    assert rounded(without_token(answer)) == rounded(with_later_fields(ANSWERS["similar"]))


def test_its_release_lists_similar_products_as_it_did(client: httpx.Client) -> None:
    assert_similar_as_it_did(client)


def test_its_release_shows_a_product_as_it_did(client: httpx.Client) -> None:
    assert rounded(client.get("/v1/products/p12").json()) == rounded(with_later_fields(ANSWERS["product"]))


@pytest.mark.parametrize(
    ("path", "name"), [("trending", "trending"), ("new", "trending"), ("products/p12/bought-together", "similar")]
)
def test_lists_that_it_does_not_have_are_filled(client: httpx.Client, path: str, name: str) -> None:
    answer = client.get(f"/v1/{path}", params={"k": 5}).json()
    assert rounded(without_token(answer)) == rounded(with_later_fields(ANSWERS[name]) | {"degraded": ["release"]})


def test_its_model_recommends_as_it_did(client: httpx.Client) -> None:
    interactions = [
        {"product_id": "p12", "event_type": "view", "timestamp": "2024-03-01T10:00:00Z"},
        {"product_id": "p31", "event_type": "purchase", "timestamp": "2024-03-01T11:00:00Z"},
    ]
    answer = client.post("/v1/recommendations", json={"interactions": interactions, "k": 5}).json()
    assert rounded(without_token(answer)) == rounded(with_later_fields(ANSWERS["recommendations"]))


def test_its_model_reads_features_that_are_built_again(client: httpx.Client) -> None:
    answer = client.get("/v1/buyers/b01/recommendations?k=3").json()
    assert answer["source"] == "personalised"


def test_a_release_of_this_version_can_be_rolled_back_to_it(client: httpx.Client, config: Config) -> None:
    releases = shop_paths(config).releases
    old = current_release(releases)
    assert old is not None
    new = write_release(releases, parts_of(old), metrics={}, about={"schema_hash": read_manifest(old)["schema_hash"]})
    assert read_manifest(releases / new)["format_version"] == read_manifest(old)["format_version"]
    promote(releases, new)
    wait_for(lambda: client.get("/v1/trending").json()["release"] == new)
    assert delete_old(releases, keep=2) == []

    assert rollback(releases) == old.name
    wait_for(lambda: client.get("/v1/trending").json()["release"] == old.name)
    assert_similar_as_it_did(client)


def parts_of(release: Path) -> ReleaseParts:
    """The parts of a release, for another one."""
    return ReleaseParts(
        model=release / MODEL_FOLDER,
        embeddings=release,
        index=release,
        search_index=release / SEARCH_FOLDER,
        products=map_arrow(release / PRODUCTS_ARROW),
        aliases=map_arrow(release / ALIASES_ARROW),
        popular=np.load(release / POPULARITY),
        recent_popularity=np.load(release / RECENT_POPULARITY),
        as_of_ms=read_manifest(release)["as_of_ms"],
    )


def test_its_event_log_is_ingested(config: Config) -> None:
    report = ingest(config)
    assert report["events"]["event_log"]["kept"] == 6
    events = pq.read_table(shop_paths(config).events).to_pylist()
    logged = sorted(
        (event["buyer_id"], event["product_id"], event["event_type"], event["event_time"].isoformat())
        for event in events
        if event["event_time"].year == 2024 and event["event_time"].month == 3
    )
    assert logged == [
        ("b01", "p12", "add_to_cart", "2024-03-01T10:01:00.250000+00:00"),
        ("b01", "p12", "purchase", "2024-03-01T07:02:00+00:00"),
        ("b01", "p12", "view", "2024-03-01T10:00:00+00:00"),
        ("guest-1", "p31", "add_to_cart", "2024-03-01T11:05:00+00:00"),
        ("guest-1", "p31", "view", "2024-03-01T11:00:00+00:00"),
        ("زائر", "p05", "purchase", "2024-03-02T08:30:00+00:00"),
    ]
