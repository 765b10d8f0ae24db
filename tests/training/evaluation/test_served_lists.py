"""Lists of many buyers at once are those of one buyer after the other, as the service searches for them."""

from typing import Any

import numpy as np
import pytest

from feature_repo.common.arrays import BoolArray
from feature_repo.transforms.sequences import sequence
from tests.random_release import SCHEMA, random_products, write_random_release
from training.artifacts.recommender import Recommender, rescorer_pool
from training.evaluation.served_buyers import ServedBuyer
from training.evaluation.served_lists import AllowedProducts, _nearest, served_lists

N, K, B = 6_000, 20, 12


@pytest.fixture(scope="module", params=["flat", "pq_fastscan"])
def release(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    folder = tmp_path_factory.mktemp("release")
    return Recommender(write_random_release(folder, N, request.param), schema_hash=SCHEMA)


def hidden(share: float) -> BoolArray | None:
    return np.random.default_rng(1).random(N) < share if share else None


@pytest.mark.parametrize("hidden_share", [0.0, 0.1, 0.5])  # with half of them hidden, all are compared exactly
def test_the_nearest_allowed_products_are_those_of_a_search_for_one_buyer(
    release: Recommender, hidden_share: float
) -> None:
    pool = rescorer_pool(K)
    vectors_BD = release.product_vectors(np.arange(B) * 7)
    hidden_N = hidden(hidden_share)
    visible_N = None if hidden_N is None else ~hidden_N
    n_visible = N if visible_N is None else int(visible_N.sum())
    # Nothing, a few, and so many of the nearest that the first search does not find enough.
    bought = [
        release.nearest(vectors_BD[[row]], 40 * row)[0].positions if row else np.empty(0, int) for row in range(B)
    ]
    allowed = [AllowedProducts(N, visible_N, n_visible, np.sort(positions)) for positions in bought]
    for row, found in enumerate(_nearest(release, vectors_BD, pool, allowed)):
        mask_N = allowed[row].mask()
        if mask_N is None:
            alone = release.nearest(vectors_BD[[row]], pool)[0]
        else:
            assert allowed[row].count() == mask_N.sum()
            alone = release.nearest_allowed(vectors_BD[row], pool, mask_N, allowed[row].count())
        assert found.tolist() == alone.positions.tolist()
        assert not np.isin(found, bought[row]).any()


def buyer(number: int) -> ServedBuyer:
    """A buyer who has viewed some products and bought others."""
    rng = np.random.default_rng(number)
    keys = random_products(N)["product_key"].to_numpy()

    def events(n: int, event_type: int) -> Any:
        return sequence(np.sort(rng.choice(keys, n)), np.full(n, event_type), np.arange(n, dtype=np.int64))

    return ServedBuyer(number, events(number, 0), events(3 * number, 2), keys[:1])


@pytest.mark.parametrize("new_only", [False, True])
def test_lists_of_many_buyers_are_those_of_each(release: Recommender, new_only: bool) -> None:
    buyers, hidden_N = [buyer(number) for number in range(B)], hidden(0.1)  # the first one has no history
    together = served_lists(release, buyers, K, hidden_N, new_only=new_only)
    for row, of_buyer in enumerate(buyers):
        alone = served_lists(release, [of_buyer], K, hidden_N, new_only=new_only)
        assert together.positions_BK[row].tolist() == alone.positions_BK[0].tolist()
        assert together.nearest_BK[row].tolist() == alone.nearest_BK[0].tolist()
