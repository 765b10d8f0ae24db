"""What the model jobs hand on: the model that the re-scorer is fitted on, the contexts of training, the embeddings."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from batch_jobs import embed_products, train_model
from batch_jobs.build_index import index_job, search_index_job
from batch_jobs.embed_products import embed_job
from batch_jobs.evaluate_model import evaluate_job
from batch_jobs.feature_build.build_contexts import ensure_contexts
from batch_jobs.feature_build.build_features import build_validated_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.publish import publish
from batch_jobs.shop_lists.build_lists import lists_job
from batch_jobs.train_model import train_job
from expectations.gate import validate_canonical, validate_features
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import shop_paths
from feature_repo.settings.release import IndexConfig
from feature_repo.store import FeatureStore, feature_store
from online_api.lists.request_texts import RequestTextEncoder
from tests.tiny_encoder import write_tiny_encoder
from tests.tiny_shop import write_shop
from training.artifacts.embeddings import load_embeddings
from training.artifacts.model import CHOSEN, load_model
from training.artifacts.recommender import Recommender
from training.artifacts.scoring.rescorer import Rescorer
from training.artifacts.search.index_recall import buyer_like_queries
from training.data import dataset
from training.data.catalogue import read_catalogue
from training.data.contexts import Contexts, split_contexts
from training.evaluation import index_queries as index_queries_module
from training.model.encoding import encode_buyers, encode_catalogue
from training.model.item_features import ItemFeatures, item_features
from training.model.towers import UNKNOWN
from training.text.catalogue_text import text_encoder_of, text_vectors

pytestmark = pytest.mark.e2e

PURCHASES_ONLY = "data.target_events=[purchase]"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    path = write_shop(tmp_path_factory.mktemp("jobs"), tiny_encoder)
    config = load_config(path)
    ingest(config)
    validate_canonical(shop_paths(config), config)
    build_validated_features(config)
    validate_features(shop_paths(config), config)
    ensure_contexts(config)
    return path


@pytest.fixture(scope="module")
def config(config_file: Path) -> Config:
    return load_config(config_file)


@pytest.fixture(scope="module")
def store(config: Config) -> Iterator[FeatureStore]:
    with feature_store(config) as opened:
        yield opened


@pytest.fixture
def other_encoder(tmp_path: Path) -> Path:
    return write_tiny_encoder(tmp_path / "other", seed=3)


def test_the_re_scorer_is_fitted_on_the_model_that_has_not_seen_the_validation(
    config: Config, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders: list[Path] = []

    def noted(folder: Path) -> Any:
        folders.append(folder)
        return load_model(folder)

    monkeypatch.setattr(train_model, "load_model", noted)
    train_job(config, store, show_progress=False)
    assert folders == [shop_paths(config).model / CHOSEN]


def test_the_re_scorer_has_the_terms_that_the_settings_name(config_file: Path, store: FeatureStore) -> None:
    config = load_config(config_file, ["training.rescorer_terms=[popularity]", "training.num_epochs=1"])
    train_job(config, store, show_progress=False)
    rescorer = Rescorer.load(shop_paths(config).model)
    assert rescorer.new_popularity_weight > 0
    assert (rescorer.repeat_weight, rescorer.new_closeness_weight, rescorer.counts_co_occurrence) == (0, 0, False)


@pytest.mark.parametrize("block", [embed_products.PRODUCTS_AT_ONCE, 16, 3])
def test_products_without_a_vector_of_their_own_borrow_in_the_embeddings(
    config: Config, store: FeatureStore, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    unknown_keys = read_catalogue(shop_paths(config).product_features).product_keys[:10]

    def with_unknown(*arguments: Any) -> ItemFeatures:
        catalogue, *_ = arguments
        items = item_features(*arguments)
        hidden = torch.from_numpy(np.isin(catalogue.product_keys, unknown_keys))
        return replace(items, id_N=items.id_N.masked_fill(hidden, UNKNOWN))

    train_job(config, store, show_progress=False)
    monkeypatch.setattr(embed_products, "item_features", with_unknown)
    monkeypatch.setattr(embed_products, "PRODUCTS_AT_ONCE", block)
    embed_job(config, show_progress=False)
    paths = shop_paths(config)
    model, vocabularies, _ = load_model(paths.model)
    catalogue = read_catalogue(paths.product_features)
    items = with_unknown(catalogue, text_vectors(config, catalogue, show_progress=False)[0], vocabularies)
    vectors_ND = torch.from_numpy(np.array(load_embeddings(paths.embeddings).vectors_ND))
    torch.testing.assert_close(vectors_ND, encode_catalogue(model, items), atol=1e-6, rtol=1e-5)
    with torch.inference_mode():
        alone_ND = items.encode(model.item_tower, slice(None))
    assert (vectors_ND - alone_ND).norm(dim=1)[:10].min() > 1e-3
    torch.testing.assert_close(vectors_ND[10:], alone_ND[10:], atol=1e-6, rtol=1e-5)


def test_other_features_or_targets_make_the_training_set_anew(
    config: Config, config_file: Path, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions: list[str] = []

    def noted(folder: Path, version: str, make: Callable[[], Contexts]) -> Contexts:
        versions.append(version)
        return make()

    monkeypatch.setattr(dataset, "cached_contexts", noted)
    purchases = load_config(config_file, [PURCHASES_ONLY])
    sizes = []
    for changed in (config, purchases):
        data, _ = dataset.read_training_data(changed, store, show_progress=False)
        assert data.version == versions[-1]
        sizes.append(len(data.contexts.with_targets(data.contexts.targets)))
    report = json.loads(shop_paths(config).context_report.read_text())
    assert sizes[1] < sizes[0]
    assert versions[0] != versions[1]
    for version in versions:
        assert version.split()[:2] == [report["data_version"], store.schema_hash]


def test_a_model_with_an_encoder_of_its_own_is_embedded_released_and_served_with_it(
    config_file: Path, tiny_encoder: Path, store: FeatureStore
) -> None:
    config = load_config(config_file, ["training.freeze_text_encoder=false", "training.num_epochs=1"])
    paths = shop_paths(config)
    train_job(config, store, show_progress=False)
    embed_job(config, show_progress=False)
    index_job(config, store)
    search_index_job(config, show_progress=False)
    lists_job(config)
    model, vocabularies, card = load_model(paths.model)
    catalogue = read_catalogue(paths.product_features)
    own_NT, own_id = text_vectors(config, catalogue, paths.model, show_progress=False)
    base_NT, base_id = text_vectors(config, catalogue, show_progress=False)
    assert card.text_encoder == own_id != base_id
    assert not np.allclose(own_NT, base_NT, atol=1e-4)
    expected_ND = encode_catalogue(model, item_features(catalogue, own_NT, vocabularies))
    np.testing.assert_allclose(load_embeddings(paths.embeddings).vectors_ND, expected_ND, atol=1e-6)

    evaluate_job(config, store, (1, 5), show_progress=False)
    passed = paths.events.read_bytes()
    pq.write_table(pq.read_table(paths.events).slice(1), paths.events)
    with pytest.raises(GateRefusedError, match=r"canonical/events\.parquet in .* changed since"):
        publish(config, store)
    assert not paths.releases.exists()
    paths.events.write_bytes(passed)
    published = publish(config, store)
    recommender = Recommender(paths.releases / published["release"], schema_hash=store.schema_hash)
    texts = RequestTextEncoder(lambda release: text_encoder_of(config, release.model_folder))
    texts.load(recommender)
    query_T = texts.query_vector(recommender, "Tea")
    assert query_T is not None
    assert text_encoder_of(config, paths.model).encode_queries(["tea"])[0] == pytest.approx(query_T, abs=1e-6)

    train_job(load_config(config_file), store, show_progress=False)  # what follows goes on frozen


def test_an_index_is_measured_with_the_buyers_of_the_validation_days(
    config: Config, store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_job(config, store, show_progress=False)
    embed_job(config, show_progress=False)
    paths = shop_paths(config)
    vectors_ND = load_embeddings(paths.embeddings).vectors_ND
    queries_QD, what = index_queries_module.index_queries(config, store, vectors_ND)
    assert what.startswith("weighted means of five products: the validation days have 60 buyers, fewer than 200")
    assert_array_equal(queries_QD, buyer_like_queries(vectors_ND))

    monkeypatch.setattr(index_queries_module, "FEWEST_BUYERS", 60)
    monkeypatch.setattr(index_queries_module, "MOST_BUYERS", 50)
    queries_QD, what = index_queries_module.index_queries(config, store, vectors_ND)
    assert (queries_QD.shape, what) == ((50, 16), "buyers of the validation days")
    contexts = split_contexts(store, config, read_catalogue(paths.product_features), c.VALIDATION)
    model, _, _ = load_model(paths.model)
    every_BD = encode_buyers(model, torch.from_numpy(np.array(vectors_ND)), contexts).numpy()
    last = {buyer: row for row, buyer in enumerate(contexts.buyer_ids)}
    nearest = (queries_QD @ every_BD[list(last.values())].T).argmax(axis=1)
    assert len(set(nearest.tolist())) == 50  # each buyer once
    assert_allclose(every_BD[list(last.values())][nearest], queries_QD, atol=1e-5)

    answer = index_job(config.model_copy(update={"index": IndexConfig(type="ivf")}), store)
    assert (answer["type"], answer["queries"], answer["index_recall@10"]) == ("ivf", what, 1)


def _make_dearer(features: Path) -> None:
    table = pq.read_table(features)
    prices = pc.add(table[c.PRICE], 1)
    pq.write_table(table.set_column(table.column_names.index(c.PRICE), c.PRICE, prices), features)


@pytest.mark.parametrize("job", [embed_job, search_index_job])
def test_features_edited_after_the_gate_are_refused(
    config: Config, store: FeatureStore, job: Callable[..., Any]
) -> None:
    features = shop_paths(config).product_features
    passed = features.read_bytes()
    _make_dearer(features)
    with pytest.raises(GateRefusedError, match=r"features/products\.parquet in .* changed since .* `tawsiya validate`"):
        job(config, show_progress=False)
    features.write_bytes(passed)


@pytest.mark.parametrize("job", [embed_job, search_index_job])
def test_text_vectors_of_another_encoder_than_the_models_are_refused(
    config_file: Path, store: FeatureStore, other_encoder: Path, job: Callable[..., Any]
) -> None:
    train_job(load_config(config_file), store, show_progress=False)
    other = load_config(config_file, [f"model.item_tower.text_encoder={other_encoder}"])
    with pytest.raises(ValueError, match="was trained on text vectors of tiny-"):
        job(other, show_progress=False)
