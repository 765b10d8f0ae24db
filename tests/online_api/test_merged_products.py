"""Products that ingest merged: the API takes their old ids, and both stores hold the same events."""

from collections.abc import Iterator

import pandas as pd
import pytest
from api_shop import EVENTS, PRODUCTS, publish_random_release

from batch_jobs.build_features import build_features
from batch_jobs.ingest import ingest
from feature_repo import columns as c
from feature_repo.config import Config
from feature_repo.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from feature_repo.transforms.keys import product_key
from online_api.event_log import EventLog
from online_api.schemas import RetrieveRequest
from online_api.service import RecommendationService
from training.artifacts.recommender import open_current

NOON = 1_764_000_000_000  # some moment in the past, in milliseconds
TWIN, KEPT = "p6", "p4"


@pytest.fixture(scope="module")
def twin_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("twins")
    (folder / "products.csv").write_text(PRODUCTS + f"{TWIN},running  SHOES,,,shoes,99\n", encoding="utf-8")
    (folder / "events.csv").write_text(EVENTS, encoding="utf-8")
    paths = {f"{table}_path": str(folder / f"{table}.csv") for table in ("events", "products")}
    return Config.model_validate({"data_dir": folder / "var", "data": {"source": "csv", "test_days": 1, **paths}})


@pytest.fixture(scope="module")
def twin_store(twin_config: Config) -> Iterator[FeatureStore]:
    assert ingest(twin_config)["products"]["reasons"] == {"duplicate_content": 1}
    build_features(twin_config)
    with feature_store(twin_config) as store:
        store.materialize(full=True)
        yield store


@pytest.fixture(scope="module")
def twin_service(twin_config: Config, twin_store: FeatureStore) -> RecommendationService:
    publish_random_release(twin_config, twin_store.schema_hash)
    paths = shop_paths(twin_config)
    recommender = open_current(paths.releases, schema_hash=twin_store.schema_hash)
    return RecommendationService(twin_config, twin_store, recommender, EventLog(paths.event_log))


def test_interactions_with_a_merged_product_speak_of_the_one_that_stands_for_it(
    twin_service: RecommendationService,
) -> None:
    def retrieve(product_id: str) -> list[str]:
        interaction = {c.PRODUCT_ID: product_id, c.EVENT_TYPE: "view"}
        answer = twin_service.retrieve(RetrieveRequest.model_validate({"interactions": [interaction], "k": 5}))
        assert answer.source == "session"
        return [item.product_id for item in answer.items]

    assert retrieve(TWIN) == retrieve(KEPT)


def test_events_of_a_merged_product_are_the_same_in_both_stores(
    twin_config: Config, twin_store: FeatureStore, twin_service: RecommendationService
) -> None:
    event = {c.BUYER_ID: "u9", c.EVENT_TYPE: "view"}
    answer = twin_service.record_events(
        [
            event | {c.PRODUCT_ID: TWIN, "timestamp": NOON},
            event | {c.PRODUCT_ID: KEPT, "timestamp": NOON},
            event | {c.PRODUCT_ID: TWIN, "timestamp": NOON + 1},
            event | {c.PRODUCT_ID: "p7", "timestamp": NOON + 2},
        ]
    )
    assert (answer.accepted, [rejected.index for rejected in answer.rejected]) == (3, [3])
    pushed = twin_store.online.read_sequence("u9")
    assert pushed.product_keys.tolist() == [product_key(KEPT)] * 2

    ingest(twin_config)
    build_features(twin_config)
    now = pd.DataFrame({c.BUYER_ID: ["u9"], c.EVENT_TIMESTAMP: [pd.Timestamp.now(tz="UTC")]})
    (offline,) = twin_store.historical_sequences(now).to_pylist()
    assert offline[c.PRODUCT_KEYS] == pushed.product_keys.tolist()
    assert offline[c.EVENT_TIMES] == pushed.event_times.tolist() == [NOON, NOON + 1]
    twin_store.materialize(full=False)
    assert twin_store.online.read_sequence("u9").product_keys.tolist() == pushed.product_keys.tolist()
