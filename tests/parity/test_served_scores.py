"""One model, one set of buyers: what serving recommends is what evaluation ranks first, with the same scores."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from feature_repo.online.features import BuyerFeatures
from feature_repo.transforms.events import PURCHASE
from feature_repo.transforms.keys import product_keys
from feature_repo.transforms.sequences import EMPTY_SEQUENCE, EventSequence, merge_sequences, select
from online_api.lists.list_request import ListRequest, ResolvedRequest
from online_api.lists.live_catalogue import Selection
from online_api.lists.ranking import BuyerScorer
from tests.random_release import AS_OF_MS, SCHEMA, unit_vectors, write_random_release
from training.artifacts.model import load_model
from training.artifacts.recommender import Recommender
from training.artifacts.release import MODEL_FOLDER
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.search.filtered_search import Ranked
from training.data.histories import DAY_MS, Histories
from training.evaluation.masked_ranker import MaskedRanker
from training.evaluation.ranker import TrainingEvents
from training.evaluation.rescored_ranker import RescoredRanker, RescorerData
from training.model.aggregators import AGGREGATORS
from training.model.encoding import Closeness, TwoTowerRanker
from training.model.prefixes import prefixes_of

pytestmark = pytest.mark.store

N_BUYERS, N_PRODUCTS, K, LAST = 40, 180, 20, 30  # so few products that serving looks at all of them
RESCORER = Rescorer(
    popularity_days=14,
    popularity_weight=0.3,
    new_popularity_days=30,
    new_popularity_weight=0.2,
    new_popularity_first_time=True,
    repeat_weight=0.5,
    repeat_half_life_days=30.0,
    closeness_weight=0.4,
    new_closeness_weight=0.7,
    co_occurrence_weight=0.4,
    new_co_occurrence_weight=0.7,
)
EVENT_WEIGHTS = (0.0, 5.0, 10.0)  # views say nothing
WEIGHTS = np.array(EVENT_WEIGHTS, dtype=np.float32)
ROWS = np.arange(N_BUYERS, dtype=np.int32)

Listed = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]


class Shop(NamedTuple):
    """A release, all that its buyers ever did, and the data that evaluation computes its scores from."""

    folder: Path
    whole: Histories
    rescorer_data: RescorerData


def histories() -> Histories:
    """1 to 60 events per buyer of the last 100 days, several of most products, up to two at one moment."""
    rng = np.random.default_rng(5)
    keys_N = product_keys([f"p{number}" for number in range(N_PRODUCTS)])
    events = []
    for buyer, length in enumerate(rng.integers(1, 61, N_BUYERS).tolist()):
        days = np.sort(rng.integers(0, 100, length)) - 100
        times = AS_OF_MS + days * DAY_MS + np.arange(length) // 2
        products = (N_PRODUCTS * rng.random(length) ** 3).astype(np.int64)
        types = rng.integers(0, len(WEIGHTS), length)
        # Each event once, in the order of the stored sequences.
        events += sorted(
            set(zip([buyer] * length, times.tolist(), keys_N[products].tolist(), types.tolist(), strict=True))
        )
    buyers, times, keys, types = np.array(events, dtype=np.int64).T
    places = np.argsort(keys_N)
    return Histories(
        np.searchsorted(buyers, np.arange(N_BUYERS + 1)).astype(np.int64),
        places[np.searchsorted(keys_N, keys, sorter=places)].astype(np.int32),
        types.astype(np.int32),
        times,
    )


@pytest.fixture(scope="module", params=sorted(AGGREGATORS))
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    whole = histories()
    last = whole.offsets[1:][whole.owners] - np.arange(len(whole.products)) <= LAST
    past = whole.where(last | (whole.event_types == PURCHASE))
    events = TrainingEvents(whole.owners.astype(np.int32), whole.products, whole.event_times, N_BUYERS, N_PRODUCTS)
    # The events that the buyer tower reads and that have a weight.
    seen = whole.where(last & (WEIGHTS[whole.event_types] > 0))
    rescorer_data = RescorerData(
        histories=past,
        purchases=past.where(past.event_types == PURCHASE),
        targets=None,
        new_targets=None,
        events=events,
        as_of_ms=AS_OF_MS,
        event_weights=WEIGHTS / WEIGHTS.max(),
        buyers=np.arange(N_BUYERS),
        tower_events=seen,
        closeness=Closeness(torch.from_numpy(unit_vectors(N_PRODUCTS)), seen),
    )
    recent_2N = np.stack(
        [rescorer_data.popularity(RESCORER.counted_buyers(new_only=new_only)) for new_only in (False, True)]
    )
    assert (recent_2N > 0).any()
    assert (recent_2N == 0).any()
    folder = write_random_release(
        tmp_path_factory.mktemp(request.param),
        N_PRODUCTS,
        aggregation=request.param,
        rescorer=RESCORER,
        recent_popularity=recent_2N,
        co_occurrence=rescorer_data.co_occurrence,
        event_weights=EVENT_WEIGHTS,
    )
    return Shop(folder, whole, rescorer_data)


def offline(shop: Shop, rescorer: Rescorer, *, new_only: bool) -> list[Listed]:
    """The first K of every buyer as evaluation ranks them."""
    model, _, _ = load_model(shop.folder / MODEL_FOLDER)
    item_ND = torch.from_numpy(np.load(shop.folder / "product_embeddings.npy"))
    past, ends = shop.whole, shop.whole.offsets[1:]
    with torch.no_grad():
        buyer_BD = model.buyer_tower(item_ND, prefixes_of(past, np.maximum(ends - LAST, past.offsets[:-1]), ends))
    ranker = RescoredRanker(
        TwoTowerRanker(buyer_BD, item_ND), rescorer, shop.rescorer_data, new_only=new_only, name="x"
    )
    scores_BN = (MaskedRanker(ranker, shop.rescorer_data.purchases) if new_only else ranker).scores(ROWS)
    order_BK = np.argsort(-scores_BN, axis=1, kind="stable")[:, :K]
    return list(zip(order_BK, np.take_along_axis(scores_BN, order_BK, axis=1), strict=True))


def bought(events: EventSequence) -> npt.NDArray[np.bool_]:
    purchases: npt.NDArray[np.bool_] = events.event_types == PURCHASE
    return purchases


def online(shop: Shop, *, new_only: bool) -> list[Ranked]:
    """The first K of every buyer as the service ranks them."""
    recommender = Recommender(shop.folder, schema_hash=SCHEMA)
    keys_N = np.array([recommender.products.product_key(f"p{number}") for number in range(N_PRODUCTS)])
    past, ranked = shop.whole, []
    for start, end in zip(past.offsets[:-1], past.offsets[1:], strict=True):
        events = EventSequence(
            keys_N[past.products[start:end]], past.event_types[start:end], past.event_times[start:end]
        )
        stored = BuyerFeatures(merge_sequences(events, EMPTY_SEQUENCE, LAST), select(events, bought(events)), 0)
        history = recommender.known_events(stored.events)
        (buyer,) = recommender.encode_buyers([history])
        everything = Selection(None, N_PRODUCTS, {})
        positions = np.unique(past.products[start:end][bought(events)]).astype(np.int64)
        selection = everything.without(positions, "purchased", N_PRODUCTS) if new_only else everything
        resolved = ResolvedRequest(ListRequest(), "personalised", history, (), stored=stored)
        scorer = BuyerScorer(recommender, buyer, recommender.repeats(resolved.repeat_events), new_only=new_only)
        ranked.append(scorer.top(K, selection))
    return ranked


@pytest.mark.parametrize("new_only", [False, True], ids=["any product", "new products"])
def test_serving_recommends_what_evaluation_ranks_first(shop: Shop, new_only: bool) -> None:
    served, ranked = online(shop, new_only=new_only), offline(shop, RESCORER, new_only=new_only)
    assert len(served) == len(ranked) == N_BUYERS
    for (positions, scores), (expected, expected_scores) in zip(served, ranked, strict=True):
        assert_allclose(scores, expected_scores, atol=1e-5)
        assert_array_equal(positions, expected)


@pytest.mark.parametrize("new_only", [False, True], ids=["any product", "new products"])
@pytest.mark.parametrize(
    "without",
    [
        Rescorer(),
        replace(RESCORER, closeness_weight=0, new_closeness_weight=0),
        replace(RESCORER, co_occurrence_weight=0, new_co_occurrence_weight=0),
    ],
    ids=["towers", "closeness", "co-occurrence"],
)
def test_the_terms_decide_what_comes_first(shop: Shop, new_only: bool, without: Rescorer) -> None:
    """Or else the two could agree without them."""
    pairs = zip(*(offline(shop, one, new_only=new_only) for one in (RESCORER, without)), strict=True)
    changed = [set(positions.tolist()) != set(plain.tolist()) for (positions, _), (plain, _) in pairs]
    assert sum(changed) >= 0.8 * N_BUYERS
