"""Products that ingest merged: the API takes their old ids, and both stores hold the same events."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.transforms.keys import product_key
from online_api.lists.list_request import ListRequest
from online_api.runtime import Runtime
from online_api.schemas.requests import Interaction
from tests.online_api.api_shop import EVENTS, PRODUCTS, open_shop, publish_random_release

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
    assert (answer.accepted, answer.unknown_product, answer.rejected) == (4, 1, [])
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


def test_an_event_follows_its_product_into_a_later_merge(tmp_path: Path) -> None:
    """An event of a product of its own is pushed; the next release merges the product into another one."""
    twin = f"{TWIN},running  SHOES,,,shoes,99,\n"
    with open_shop(tmp_path, PRODUCTS + f"{TWIN},Something else,,,shoes,99,\n", EVENTS) as shop:
        event = {c.BUYER_ID: "u9", c.PRODUCT_ID: TWIN, c.EVENT_TYPE: "purchase"}
        shop.intake.record([event | {"timestamp": NOON}])
        (tmp_path / "products.csv").write_text(PRODUCTS + twin, encoding="utf-8")
        ingest(shop.config)
        build_features(shop.config)
        publish_random_release(shop.config, shop.store.schema_hash)
        assert shop.keeper.reload()

        def stored_keys() -> tuple[list[int], list[int]]:
            (buyer,) = shop.online.read_buyers(["u9"], shop.keeper.live.catalogue.products.current_keys)
            return buyer.events.product_keys.tolist(), buyer.purchases.product_keys.tolist()

        assert stored_keys() == ([product_key(KEPT)], [product_key(KEPT)])
        # The materialized history has the event under the key of the kept product: one event all the same.
        shop.store.materialize(full=False)
        assert stored_keys() == ([product_key(KEPT)], [product_key(KEPT)])
        (result,) = shop.service.answer([ListRequest(k=5, buyer_id="u9", new_only=True)])
        assert result.source == "personalised"
        assert KEPT not in [item["product_id"] for item in result.payload["items"]]
