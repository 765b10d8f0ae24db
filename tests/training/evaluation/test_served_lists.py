"""Lists of many buyers at once are those of one buyer after the other, as the service searches for them."""

from typing import Any

import numpy as np
import pytest

from feature_repo.common.arrays import BoolArray
from feature_repo.transforms.sequences import sequence
from tests.random_release import SCHEMA, random_products, write_random_release
from training.artifacts.recommender import Recommender
from training.evaluation.served_buyers import ServedBuyer
from training.evaluation.served_lists import served_lists

N, K, B = 6_000, 20, 12


@pytest.fixture(scope="module", params=["flat", "pq_fastscan"])
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder = tmp_path_factory.mktemp("release")
    return Recommender(write_random_release(folder, N, request.param), schema_hash=SCHEMA)


def hidden(share: float) -> BoolArray | None:
    return np.random.default_rng(1).random(N) < share if share else None


def buyer(number: int) -> ServedBuyer:
    """A buyer who has viewed some products and bought others."""
    rng = np.random.default_rng(number)
    keys = random_products(N)["product_key"].to_numpy()

    def events(n: int, event_type: int) -> Any:
        return sequence(np.sort(rng.choice(keys, n)), np.full(n, event_type), np.arange(n, dtype=np.int64))

    return ServedBuyer(number, events(number, 0), events(3 * number, 2), keys[:1])


@pytest.mark.parametrize("hidden_share", [0.0, 0.1, 0.5])  # with half of them hidden, all are compared exactly
@pytest.mark.parametrize("new_only", [False, True])
def test_lists_of_many_buyers_are_those_of_each(release: Recommender, new_only: bool, hidden_share: float) -> None:
    buyers, hidden_N = [buyer(number) for number in range(B)], hidden(hidden_share)  # the first one has no history
    together = served_lists(release, buyers, K, hidden_N, new_only=new_only)
    for row, of_buyer in enumerate(buyers):
        alone = served_lists(release, [of_buyer], K, hidden_N, new_only=new_only)
        assert together.positions_BK[row].tolist() == alone.positions_BK[0].tolist()
        assert together.nearest_BK[row].tolist() == alone.nearest_BK[0].tolist()
