"""Held-out data of a shop small enough to check by hand, read through Feast."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch

from batch_jobs.feature_build.build_contexts import build_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore, feature_store
from training.artifacts.scoring.rescorer import Rescorer
from training.data.catalogue import Catalogue, read_catalogue
from training.data.histories import Histories
from training.evaluation.fit_rescorer import fit_rescorer
from training.evaluation.held_out import ALL, COLD_ITEMS, NEW_ITEMS, NEXT, HeldOut, _full_histories, read_held_out

pytestmark = pytest.mark.store

PRODUCTS = "id,title\np1,tea\np2,coffee\np3,shoes\np4,lamp\np5,rug\n"
# Two test days before the 10th, so the test begins on 8 June at midnight and the validation on the 6th.
EVENTS = """buyer_id,product_id,event_type,timestamp
ann,p1,purchase,2024-06-01 10:00:00
ann,p2,view,2024-06-02 10:00:00
ann,p3,purchase,2024-06-03 10:00:00
ann,p1,purchase,2024-06-06 10:00:00
ann,p4,view,2024-06-06 10:00:00
ann,p2,purchase,2024-06-07 10:00:00
ann,p3,view,2024-06-08 10:00:00
ann,p4,purchase,2024-06-08 10:00:00
ann,p5,view,2024-06-10 10:00:00
ben,p2,purchase,2024-06-02 10:00:00
ben,p2,purchase,2024-06-07 10:00:00
cat,p1,view,2024-06-09 10:00:00
"""
MAX_LENGTH = 2


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("held-out shop")
    (folder / "products.csv").write_text(PRODUCTS)
    (folder / "events.csv").write_text(EVENTS)
    tables = "events: {path: events.csv}, products: {path: products.csv}"
    (folder / "shop.yaml").write_text(f"{{description: d, licence: l, folder: '{folder}', {tables}}}")
    config = Config.model_validate(
        {
            "data_dir": folder / "var",
            "data": {"source": str(folder / "shop.yaml"), "test_days": 2, "evaluation_unit": "per_moment"},
            "model": {"buyer_tower": {"max_interaction_history": MAX_LENGTH}},
        }
    )
    ingest(config)
    build_features(config)
    build_contexts(config)
    return config


@pytest.fixture(scope="module")
def catalogue(config: Config) -> Catalogue:
    return read_catalogue(shop_paths(config).product_features)


@pytest.fixture(scope="module")
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as store:
        yield store


@pytest.fixture(scope="module")
def validation(store: FeatureStore, config: Config, catalogue: Catalogue) -> HeldOut:
    return read_held_out(store, config, catalogue, c.VALIDATION)


@pytest.fixture(scope="module")
def test(store: FeatureStore, config: Config, catalogue: Catalogue) -> HeldOut:
    return read_held_out(store, config, catalogue, c.TEST)


def ms(day_of_june: int) -> int:
    """Ten o'clock of that day, milliseconds since 1970."""
    return int(pd.Timestamp(f"2024-06-{day_of_june:02d} 10:00", tz="UTC").timestamp() * 1000)


def named(histories: Histories, catalogue: Catalogue) -> list[str]:
    """The product ids of each history in one word, those of one moment in order of name."""
    ids = np.array(catalogue.product_ids)[histories.products]
    order = np.lexsort((ids, histories.event_times, histories.owners))
    return [" ".join(part) for part in np.split(ids[order], histories.offsets[1:-1])]


def targets_of(held_out: HeldOut, kind: str, catalogue: Catalogue) -> dict[str, str]:
    """The chosen products of the kind by buyer and day."""
    rows, targets = held_out.targets(kind)
    targets = replace(targets, event_times=np.zeros(len(targets.products), dtype=np.int64))
    buyers, times = held_out.contexts.buyer_ids[rows], held_out.contexts.times_us[rows]
    names = [f"{buyer} {pd.Timestamp(time, unit='us').day}" for buyer, time in zip(buyers, times, strict=True)]
    return dict(zip(names, named(targets, catalogue), strict=True))


def test_each_moment_of_the_days_is_asked_of_buyers_with_a_history(validation: HeldOut, test: HeldOut) -> None:
    assert validation.contexts.buyer_ids.tolist() == ["ann", "ann", "ben"]
    assert validation.contexts.times_us.tolist() == [ms(day) * 1000 - 1 for day in (6, 7, 7)]
    assert test.contexts.buyer_ids.tolist() == ["ann", "ann"]  # cat had done nothing before
    assert test.contexts.times_us.tolist() == [ms(day) * 1000 - 1 for day in (8, 10)]


def test_targets_by_kind(validation: HeldOut, test: HeldOut, catalogue: Catalogue) -> None:
    # Nobody had met p4 before the 6th; ann had bought p1 and viewed p2, ben had bought p2.
    assert targets_of(validation, ALL, catalogue) == {"ann 6": "p1", "ann 7": "p2", "ben 7": "p2"}
    assert targets_of(validation, NEW_ITEMS, catalogue) == {"ann 7": "p2"}
    assert targets_of(validation, COLD_ITEMS, catalogue) == {"ann 6": "p4"}
    assert targets_of(validation, NEXT, catalogue) == {"ann 6": "p4", "ann 7": "p2"}
    assert targets_of(test, ALL, catalogue) == {"ann 8": "p3 p4"}
    assert targets_of(test, NEW_ITEMS, catalogue) == {"ann 8": "p4"}
    assert targets_of(test, COLD_ITEMS, catalogue) == {"ann 10": "p5"}
    assert targets_of(test, NEXT, catalogue) == {"ann 8": "p4", "ann 10": "p5"}


def test_histories_grow_from_moment_to_moment(validation: HeldOut, test: HeldOut, catalogue: Catalogue) -> None:
    assert named(validation.histories, catalogue) == ["p1 p2 p3", "p1 p2 p3 p1 p4", "p2"]
    assert named(validation.contexts.histories, catalogue) == ["p2 p3", "p1 p4", "p2"]
    assert named(test.histories, catalogue) == ["p1 p2 p3 p1 p4 p2", "p1 p2 p3 p1 p4 p2 p3 p4"]
    assert named(test.contexts.histories, catalogue)[1] == "p3 p4"
    assert named(test.purchases, catalogue) == ["p1 p3 p1 p2", "p1 p3 p1 p2 p4"]


def test_what_may_be_learned_ends_where_the_days_begin(validation: HeldOut, test: HeldOut) -> None:
    assert sorted(validation.events.event_times) == [ms(day) for day in (1, 2, 2, 3)]
    assert sorted(test.events.event_times) == [ms(day) for day in (1, 2, 2, 3, 6, 6, 7, 7)]
    assert (validation.start_ms, test.start_ms) == (ms(6) - 36_000_000, ms(8) - 36_000_000)
    assert test.end == pd.Timestamp(ms(10), unit="ms", tz="UTC")


def test_the_re_scorer_is_asked_the_same(validation: HeldOut, catalogue: Catalogue) -> None:
    data = validation.rescorer_data()
    # All purchases, and of the rest what is among the last two events: the view of p2 is forgotten on the 7th.
    assert named(data.histories, catalogue) == ["p1 p2 p3", "p1 p3 p1 p4", "p2"]
    assert named(data.purchases, catalogue) == ["p1 p3", "p1 p3 p1", "p2"]
    assert data.as_of_ms == validation.start_ms
    assert data.targets is not None
    assert data.targets[0].tolist() == [0, 1, 2]
    assert data.new_targets is not None
    assert data.new_targets[0].tolist() == [1]
    np.testing.assert_allclose(data.event_weights, [0.1, 0.5, 1])
    assert data.closeness is None
    assert data.tower_events is None


def test_closeness_is_to_what_the_buyer_tower_reads(validation: HeldOut, catalogue: Catalogue) -> None:
    """Vectors at right angles: a product is close to itself alone, which does not count, or to its twin."""
    places = [catalogue.product_ids.index(one) for one in ("p1", "p2", "p3", "p4")]
    item_ND = torch.zeros((5, 4))
    item_ND[places] = torch.eye(4)
    twin = ({*range(5)} - {*places}).pop()

    def close_to(held_out: HeldOut, product_id: str) -> list[float]:
        """How close the twin of a product is to each context."""
        item_ND[twin] = item_ND[catalogue.product_ids.index(product_id)]
        closeness = held_out.rescorer_data(item_ND).closeness
        assert closeness is not None
        closeness_3N = closeness.scores(np.arange(3, dtype=np.int32))
        assert not np.delete(closeness_3N, twin, axis=1).any()
        return [float(value) for value in closeness_3N[:, twin]]

    # Of the windows "p2 p3", "p1 p4" and "p2"; p1 left the first one.
    assert [close_to(validation, one) for one in ("p1", "p2", "p3", "p4")] == [
        [0, 1, 0],
        [1, 0, 1],
        [1, 0, 0],
        [0, 1, 0],
    ]
    # The views, of p2 by ann and of p4, say nothing where they weigh nothing.
    purchases_only = replace(validation, event_weights=np.array([0, 0.5, 1], dtype=np.float32))
    assert [close_to(purchases_only, one) for one in ("p2", "p4")] == [[0, 0, 1], [0, 0, 0]]


def test_co_occurrence_is_with_what_the_buyer_tower_reads(validation: HeldOut, catalogue: Catalogue) -> None:
    def read_by(held_out: HeldOut) -> list[list[str]]:
        events = held_out.rescorer_data(torch.eye(5)).tower_events
        assert events is not None
        ids = [catalogue.product_ids[product] for product in events.products.tolist()]
        return [ids[start:stop] for start, stop in itertools.pairwise(events.offsets.tolist())]

    assert read_by(validation) == [["p2", "p3"], ["p4", "p1"], ["p2"]]
    # The views, of p2 by ann and of p4, say nothing where they weigh nothing.
    purchases_only = replace(validation, event_weights=np.array([0, 0.5, 1], dtype=np.float32))
    assert read_by(purchases_only) == [["p3"], ["p1"], ["p2"]]


class ByPosition:
    """A ranker that likes the products in the order of the catalogue."""

    name = "by position"

    def scores(self, rows: npt.NDArray[np.int32], /) -> npt.NDArray[np.float32]:
        return np.tile(-np.arange(5, dtype=np.float32), (len(rows), 1))


def of_rows(held_out: HeldOut, rows: list[int]) -> HeldOut:
    kept = np.array(rows, dtype=np.int64)
    return replace(held_out, contexts=held_out.contexts.take(kept), histories=held_out.histories.take(kept))


def test_where_nobody_chose_anything_new_the_lists_of_new_products_are_left_as_they_are(validation: HeldOut) -> None:
    data = of_rows(validation, [0, 2]).rescorer_data()  # p1 and p2 again
    assert data.new_targets is None
    assert fit_rescorer(ByPosition(), data).new_popularity_weight == 0


def test_where_nobody_chose_a_known_product_all_lists_are_left_as_they_are(test: HeldOut) -> None:
    data = of_rows(test, [1]).rescorer_data()  # p5, which nobody had met
    assert data.targets is None
    assert fit_rescorer(ByPosition(), data) == Rescorer()


def test_a_millisecond_before_is_history_and_the_moment_itself_is_not() -> None:
    timelines = Histories(
        np.array([0, 3]), np.array([1, 2, 3], np.int32), np.zeros(3, np.int32), np.array([3, 4, 5], np.int64)
    )
    assert _full_histories(timelines, np.array([0]), np.array([4999])).products.tolist() == [1, 2]


def test_a_buyer_has_one_code_at_all_moments(validation: HeldOut, test: HeldOut) -> None:
    for held_out in (validation, test):
        ids = held_out.contexts.buyer_ids.tolist()
        codes = held_out.buyers.tolist()
        assert len(set(zip(codes, ids, strict=True))) == len(set(codes)) == len(set(ids))
        assert held_out.rescorer_data().buyers.tolist() == codes
    assert len(set(validation.buyers.tolist())) < len(validation.contexts)
