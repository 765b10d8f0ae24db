"""A tiny real shop, released and materialized, behind a real server on a loopback port."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from online_api.app import create_app
from online_api.observability.metrics import Metrics
from online_api.runtime import Runtime, make_runtime
from tests.online_api.api_shop import EVENTS, PATIENT, PRODUCTS, publish_random_release, without_encoder
from tests.serving import serving
from training.artifacts.recommender import Recommender
from training.artifacts.release import current_release


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "products.csv").write_text(PRODUCTS, encoding="utf-8")
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    data = {
        "source": "csv",
        "events_path": str(folder / "events.csv"),
        "products_path": str(folder / "products.csv"),
        "test_days": 1,
    }
    sections = {"data": data, "model": without_encoder(folder), "api": PATIENT}
    return Config.model_validate({"data_dir": folder / "var", **sections})


@pytest.fixture(scope="session")
def store(config: Config) -> Iterator[FeatureStore]:
    ingest(config)
    build_features(config)
    with feature_store(config) as store:
        store.materialize(full=True)
        yield store


@pytest.fixture(scope="session")
def recommender(config: Config, store: FeatureStore) -> Recommender:
    publish_random_release(config, store.schema_hash)
    live = current_release(shop_paths(config).releases)
    assert live is not None
    return Recommender(live, schema_hash=store.schema_hash)


@pytest.fixture(scope="session")
def runtime(config: Config, store: FeatureStore, recommender: Recommender) -> Iterator[Runtime]:
    runtime = make_runtime(config, store, Metrics())
    yield runtime
    runtime.breaker.close()


@pytest.fixture(scope="session")
def client(config: Config, runtime: Runtime) -> Iterator[httpx.Client]:
    with serving(create_app(config, runtime)) as client:
        yield client


@pytest.fixture
def log_folder(config: Config) -> Path:
    return shop_paths(config).event_log
