"""Held-out data and training contexts of a shop small enough to check by hand, read through Feast."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batch_jobs.feature_build.build_contexts import build_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore, feature_store
from feature_repo.time_split import read_time_split
from training.artifacts.embeddings import ProductEmbeddings, save_embeddings
from training.data.catalogue import Catalogue, read_catalogue
from training.data.contexts import Contexts, read_contexts
from training.data.histories import Histories
from training.evaluate import evaluate
from training.evaluation.held_out import ALL, COLD_ITEMS, NEW_ITEMS, NEXT, HeldOut, read_held_out

pytestmark = pytest.mark.store

PRODUCTS = """id,title
p1,tea
p2,coffee
p3,shoes
p4,lamp
"""
# The last day is 20 June, so with test_days=9 the test begins on 11 June at midnight.
EVENTS = """buyer_id,product_id,event_type,timestamp
ann,p1,view,2024-06-01 10:00:00
ann,p2,view,2024-06-02 10:00:00
ann,p2,purchase,2024-06-02 10:00:00
ann,p1,purchase,2024-06-02 10:00:00
ann,p3,view,2024-06-11 00:00:00
ann,p3,purchase,2024-06-12 00:00:00
ann,p1,view,2024-06-20 10:00:00
ann,p4,view,2024-06-20 11:00:00
ben,p3,view,2024-06-10 23:59:59.999
cat,p1,view,2024-06-15 10:00:00
dan,p2,view,2024-06-05 10:00:00
dan,p4,view,2024-06-15 10:00:00
eve,p1,view,2024-06-03 10:00:00
eve,p2,add_to_cart,2024-06-16 10:00:00
"""


def day(day_of_june: int, time: str = "10:00:00") -> int:
    """Milliseconds since 1970 of a moment of June 2024, UTC."""
    return int(pd.Timestamp(f"2024-06-{day_of_june:02d} {time}", tz="UTC").timestamp() * 1000)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("evaluated shop")
    (folder / "products.csv").write_text(PRODUCTS)
    (folder / "events.csv").write_text(EVENTS)
    tables = "events: {path: events.csv}, products: {path: products.csv}"
    (folder / "shop.yaml").write_text(f"{{description: d, licence: l, folder: '{folder}', {tables}}}")
    config = Config.model_validate(
        {"data_dir": folder / "var", "data": {"source": str(folder / "shop.yaml"), "test_days": 9}}
    )
    ingest(config)
    build_features(config)
    build_contexts(config)
    return config


@pytest.fixture(scope="module")
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as store:
        yield store


@pytest.fixture(scope="module")
def paths(config: Config) -> ShopPaths:
    return shop_paths(config)


@pytest.fixture(scope="module")
def catalogue(paths: ShopPaths) -> Catalogue:
    return read_catalogue(paths.product_features)


@pytest.fixture(scope="module")
def held_out(store: FeatureStore, config: Config, catalogue: Catalogue) -> HeldOut:
    return read_held_out(store, config, catalogue, c.TEST)


def named(histories: Histories, catalogue: Catalogue) -> list[list[str]]:
    """Product ids instead of positions."""
    return [
        [catalogue.product_ids[product] for product in histories.take(np.array([row])).products]
        for row in range(len(histories))
    ]


def targets_of(held_out: HeldOut, kind: str, catalogue: Catalogue) -> dict[str, list[str]]:
    """The products that each buyer chose."""
    rows, targets = held_out.targets(kind)
    chosen = [sorted(row) for row in named(targets, catalogue)]
    return dict(zip(held_out.contexts.buyer_ids[rows].tolist(), chosen, strict=True))


def test_only_buyers_with_a_past_are_asked_about(held_out: HeldOut) -> None:
    # ben does nothing in the test, cat did nothing before it.
    assert held_out.contexts.buyer_ids.tolist() == ["ann", "dan", "eve"]


def test_a_sample_has_the_same_buyers_whoever_else_there_is(held_out: HeldOut, catalogue: Catalogue) -> None:
    sampled = held_out.sampled(2)
    assert len(sampled.contexts) == len(sampled.histories) == 2
    one = held_out.sampled(1).contexts.buyer_ids.tolist()
    assert set(one) < set(sampled.contexts.buyer_ids.tolist()) < {"ann", "dan", "eve"}
    # Whoever leaves, the others of the sample stay.
    others = np.flatnonzero(held_out.contexts.buyer_ids != one[0])
    left = replace(held_out, contexts=held_out.contexts.take(others), histories=held_out.histories.take(others))
    assert {*sampled.contexts.buyer_ids.tolist()} - {*one} == {*left.sampled(1).contexts.buyer_ids.tolist()}
    for row, buyer in enumerate(sampled.contexts.buyer_ids.tolist()):
        of_all = held_out.contexts.buyer_ids.tolist().index(buyer)
        assert named(sampled.histories, catalogue)[row] == named(held_out.histories, catalogue)[of_all]
        assert targets_of(sampled, NEXT, catalogue)[buyer] == targets_of(held_out, NEXT, catalogue)[buyer]
    assert sampled.sampled(2).contexts.buyer_ids.tolist() == sampled.contexts.buyer_ids.tolist()


def test_the_test_begins_at_midnight_and_ends_with_the_last_event(held_out: HeldOut) -> None:
    assert held_out.start.isoformat() == "2024-06-11T00:00:00+00:00"
    assert held_out.end.isoformat() == "2024-06-20T11:00:00+00:00"
    assert held_out.contexts.times_us.tolist() == [day(11, "00:00:00") * 1000 - 1] * 3


def test_targets_by_kind(held_out: HeldOut, catalogue: Catalogue) -> None:
    # ann meets p3 on the first tick of the test and again, and p1, which she bought, once more; nobody knew p4.
    assert targets_of(held_out, ALL, catalogue) == {"ann": ["p1", "p3"], "eve": ["p2"]}
    assert targets_of(held_out, NEW_ITEMS, catalogue) == {"ann": ["p3"], "eve": ["p2"]}
    assert targets_of(held_out, COLD_ITEMS, catalogue) == {"ann": ["p4"], "dan": ["p4"]}
    assert targets_of(held_out, NEXT, catalogue) == {"ann": ["p3", "p4"], "dan": ["p4"], "eve": ["p2"]}


def test_what_was_bought_is_not_new(held_out: HeldOut, catalogue: Catalogue) -> None:
    assert [sorted(row) for row in named(held_out.purchases, catalogue)] == [["p1", "p2"], [], []]


def test_histories_end_before_the_test_and_are_whole(held_out: HeldOut, catalogue: Catalogue) -> None:
    for histories in (held_out.contexts.histories, held_out.histories):
        ann, dan, eve = named(histories, catalogue)
        assert (ann[0], sorted(ann[1:]), dan, eve) == ("p1", ["p1", "p2", "p2"], ["p2"], ["p1"])
        assert histories.event_times.tolist() == [day(1), day(2), day(2), day(2), day(5), day(3)]
        assert histories.event_types[0] == 0
        assert sorted(histories.event_types[1:4]) == [0, 2, 2]


def test_rankers_train_on_all_events_before_the_test(held_out: HeldOut, catalogue: Catalogue) -> None:
    events = held_out.events
    rows = sorted(
        (int(buyer), catalogue.product_ids[product], int(time))
        for buyer, product, time in zip(events.buyers, events.products, events.event_times, strict=True)
    )
    ann, ben, dan, eve = 0, 1, 3, 4  # by name; cat is the third
    assert rows == [
        (ann, "p1", day(1)),
        (ann, "p1", day(2)),
        (ann, "p2", day(2)),
        (ann, "p2", day(2)),
        (ben, "p3", day(10, "23:59:59.999")),
        (dan, "p2", day(5)),
        (eve, "p1", day(3)),
    ]
    assert (events.n_buyers, events.n_products) == (5, 4)


def test_the_validation_asks_the_days_before_the_test(
    store: FeatureStore, config: Config, catalogue: Catalogue
) -> None:
    # Nine days would reach back beyond the first event: the validation has the latter half of what is before the test.
    times = read_time_split(shop_paths(config).feature_report)
    assert times.validation_from.isoformat() == "2024-06-06T05:00:00+00:00"
    with pytest.raises(ValueError, match="no validation buyer has a history and a product to predict"):
        read_held_out(store, config, catalogue, c.VALIDATION)


def test_embeddings_of_other_products_are_refused(config: Config, store: FeatureStore, catalogue: Catalogue) -> None:
    ids = np.array([*catalogue.product_ids[:-1], "gone"])
    embeddings = ProductEmbeddings(np.eye(len(ids), 8, dtype=np.float32), ids)
    save_embeddings(shop_paths(config).embeddings, embeddings)
    with pytest.raises(ValueError, match="not those of the current products; run `tawsiya embed`"):
        evaluate(config, store, [5])


# ---- training contexts -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def training(store: FeatureStore, paths: ShopPaths, catalogue: Catalogue) -> Contexts:
    return read_contexts(store, paths.contexts, catalogue, c.TRAIN, 100)


def test_training_asks_at_each_moment_what_is_chosen_then(training: Contexts, catalogue: Catalogue) -> None:
    assert training.buyer_ids.tolist() == ["ann", "ann", "ben", "dan", "eve"]
    moments = [day(1), day(2), day(10, "23:59:59.999"), day(5), day(3)]
    assert training.times_us.tolist() == [moment * 1000 - 1 for moment in moments]
    # The view and the purchase of p2 at one moment are one choice.
    assert [sorted(row) for row in named(training.targets, catalogue)] == [["p1"], ["p1", "p2"], ["p3"], ["p2"], ["p1"]]


def test_a_history_holds_what_came_strictly_before(training: Contexts, catalogue: Catalogue) -> None:
    assert named(training.histories, catalogue) == [[], ["p1"], [], [], []]
    assert training.histories.event_times.tolist() == [day(1)]


def test_products_that_left_the_catalogue_are_in_no_targets_and_no_histories(
    store: FeatureStore, paths: ShopPaths, catalogue: Catalogue
) -> None:
    kept = [row for row, product_id in enumerate(catalogue.product_ids) if product_id != "p1"]
    smaller = Catalogue(
        [catalogue.product_ids[row] for row in kept],
        catalogue.product_keys[kept],
        [catalogue.texts[row] for row in kept],
        [catalogue.brands[row] for row in kept],
        [catalogue.categories[row] for row in kept],
        catalogue.prices[kept],
    )
    contexts = read_contexts(store, paths.contexts, smaller, c.TRAIN, 100)
    assert named(contexts.targets, smaller) == [[], ["p2"], ["p3"], ["p2"], []]
    assert contexts.histories.lengths.tolist() == [0, 0, 0, 0, 0]


def test_only_the_events_asked_for_are_targets(store: FeatureStore, paths: ShopPaths, catalogue: Catalogue) -> None:
    contexts = read_contexts(store, paths.contexts, catalogue, c.TRAIN, 100, ["purchase"])
    assert [sorted(row) for row in named(contexts.targets, catalogue)] == [[], ["p1", "p2"], [], [], []]
    assert contexts.targets.event_types.tolist() == [2, 2]


def test_missing_contexts_name_their_command_and_an_empty_split_its_setting(
    store: FeatureStore, catalogue: Catalogue, paths: ShopPaths, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="run `tawsiya train` first"):
        read_contexts(store, tmp_path / "contexts.parquet", catalogue, c.TRAIN, 100)
    table = pq.read_table(paths.contexts)
    pq.write_table(table.filter(pc.field(c.SPLIT) == c.TRAIN), tmp_path / "contexts.parquet")
    with pytest.raises(ValueError, match=r"has no test contexts; check data\.test_days"):
        read_contexts(store, tmp_path / "contexts.parquet", catalogue, c.TEST, 100)
