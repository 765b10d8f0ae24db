"""Products that ingest merged: the API takes their old ids, and both stores hold the same events."""

from collections.abc import Iterator

import pandas as pd
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.transforms.keys import product_key
from online_api.lists.list_request import ListRequest
from online_api.runtime import Runtime
from online_api.schemas.requests import Interaction
from tests.online_api.api_shop import EVENTS, PRODUCTS, open_shop

pytestmark = pytest.mark.store

NOON = 1_764_000_000_000  # some moment in the past, in milliseconds
TWIN, KEPT = "p6", "p4"


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("twins"), PRODUCTS + f"{TWIN},running  SHOES,,,shoes,99,\n", EVENTS) as shop:
        yield shop


def test_interactions_with_a_merged_product_speak_of_the_one_that_stands_for_it(twins: Runtime) -> None:
    def recommended(product_id: str) -> list[str]:
        interaction = Interaction.model_validate({c.PRODUCT_ID: product_id, c.EVENT_TYPE: "view"})
        (result,) = twins.service.answer([ListRequest(k=5, interactions=[interaction])])
        assert result.source == "session"
        named = {reason["product_id"] for item in result.payload["items"] for reason in item["because"]}
        assert named == {KEPT}
        return [item["product_id"] for item in result.payload["items"]]

    assert recommended(TWIN) == recommended(KEPT)


def test_events_of_a_merged_product_are_the_same_in_both_stores(twins: Runtime) -> None:
    event = {c.BUYER_ID: "u9", c.EVENT_TYPE: "view"}
    answer = twins.intake.record(
        [
            event | {c.PRODUCT_ID: TWIN, "timestamp": NOON},
            event | {c.PRODUCT_ID: KEPT, "timestamp": NOON},
            event | {c.PRODUCT_ID: TWIN, "timestamp": NOON + 1},
            event | {c.PRODUCT_ID: "p7", "timestamp": NOON + 2},
        ]
    )
    assert (answer.accepted, [rejected.index for rejected in answer.rejected]) == (3, [3])
    pushed = twins.store.online.read_sequence("u9")
    assert pushed.product_keys.tolist() == [product_key(KEPT)] * 2

    ingest(twins.config)
    build_features(twins.config)
    now = pd.DataFrame({c.BUYER_ID: ["u9"], c.EVENT_TIMESTAMP: [pd.Timestamp.now(tz="UTC")]})
    (offline,) = twins.store.historical_sequences(now).to_pylist()
    assert offline[c.PRODUCT_KEYS] == pushed.product_keys.tolist()
    assert offline[c.EVENT_TIMES] == pushed.event_times.tolist() == [NOON, NOON + 1]
    twins.store.materialize(full=False)
    assert twins.store.online.read_sequence("u9").product_keys.tolist() == pushed.product_keys.tolist()
