"""The lists that the gate judges are those that the service gives for the same buyers."""

from collections.abc import Iterator

import numpy as np
import pytest

from feature_repo import columns as c
from online_api.lists.list_request import ListRequest
from online_api.runtime import Runtime
from tests.online_api.api_shop import BAZAAR_PRODUCTS, open_shop
from training.artifacts.scoring.rescorer import Rescorer
from training.evaluation.served_lists import served_lists

pytestmark = pytest.mark.store

BUYERS = [*(f"b{number}" for number in range(12)), "nobody"]
RESCORER = Rescorer(
    popularity_weight=0.05,
    new_popularity_weight=0.3,
    repeat_weight=0.4,
    popularity_days=14,
    new_popularity_days=7,
    closeness_weight=0.6,
    new_closeness_weight=0.4,
    co_occurrence_weight=3.0,
    new_co_occurrence_weight=5.0,
)
K = 4


def events() -> str:
    """Three events of each buyer, among them of a product that is hidden by now and of one that was merged."""
    rng = np.random.default_rng(2)
    ids = ["t1", "t2", "t3", "t4", "m1", "m/2", "فنجان", "m4", "g1", "m9"]
    lines = [
        f"b{number},{rng.choice(ids)},{rng.choice(['view', 'add_to_cart', 'purchase'])},2024-03-{day:02} 10:00:00"
        for number in range(12)
        for day in rng.choice(np.arange(1, 29), 3, replace=False)
    ]
    return "\n".join(["buyer_id,product_id,event_type,timestamp", *lines]) + "\n"


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with open_shop(tmp_path_factory.mktemp("bazaar"), BAZAAR_PRODUCTS, events(), rescorer=RESCORER) as opened:
        yield opened


@pytest.mark.parametrize("new_only", [False, True])
def test_lists_of_a_release_are_those_of_the_service(runtime: Runtime, new_only: bool) -> None:
    recommender = runtime.keeper.live.recommender
    stored = runtime.online.read_buyers(BUYERS, recommender.products.current_keys)
    lists = served_lists(recommender, stored, K, recommender.products.hidden_N, new_only=new_only)
    requests = [ListRequest(k=K, buyer_id=buyer_id, new_only=new_only) for buyer_id in BUYERS]
    served = [result.payload for result in runtime.service.answer(requests)]
    rows = [[recommender.products.row(p)[c.PRODUCT_ID] for p in row if p >= 0] for row in lists.positions_BK.tolist()]
    assert rows == [[item[c.PRODUCT_ID] for item in answer["items"]] for answer in served]
    assert served[-1]["source"] == "popular"
    assert len({tuple(row) for row in rows}) > 4
    assert not {"t4", "m4"} & {product_id for row in rows for product_id in row}
    assert len(lists.vectors_BD) == sum(answer["source"] == "personalised" for answer in served)
