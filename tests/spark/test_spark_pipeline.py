"""A shop from its files to a trained model and product vectors, on Spark and on DuckDB."""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from batch_jobs.encode_texts import encode_texts
from batch_jobs.feature_build.build_features import build_validated_features
from batch_jobs.ingestion.ingest import ingest
from batch_jobs.train_model import train_job
from expectations.gate import enforce_gate, validate_canonical
from feature_repo.common.arrays import Float32Array
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths, text_vectors_dir
from feature_repo.store import feature_store
from tests.spark.spark_shop import on_spark
from tests.tiny_shop import write_shop
from training.artifacts.model import load_model
from training.data.catalogue import read_catalogue
from training.model.encoding import encode_catalogue
from training.model.item_features import item_features
from training.text.catalogue_text import text_vectors

pytest.importorskip("pyspark", reason="needs the extra `spark`: run `make test-spark`")

# Two trainings, and starting a JVM and its Python workers takes a minute on a busy machine.
pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900), pytest.mark.usefixtures("one_thread")]


class Trained(NamedTuple):
    """What a run made."""

    config: Config
    n_contexts: int
    metrics: dict[str, float]


def trained(config: Config) -> Trained:
    """Runs the pipeline from raw files to a model."""
    ingest(config)
    enforce_gate(validate_canonical(shop_paths(config), config))
    build_validated_features(config)
    with feature_store(config) as store:
        result = train_job(config, store, show_progress=False)
    return Trained(config, result["n_contexts"], result["metrics"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Config:
    return load_config(write_shop(tmp_path_factory.mktemp("pipeline"), tiny_encoder))


@pytest.fixture(scope="module")
def on_duckdb(shop: Config) -> Trained:
    return trained(shop)


@pytest.fixture(scope="module")
def with_spark(shop: Config) -> Trained:
    return trained(on_spark(shop, data_dir=shop.data_dir.with_name("spark")))


def texts(run: Trained) -> Float32Array:
    vectors_NT, _ = text_vectors(
        run.config, read_catalogue(shop_paths(run.config).product_features), show_progress=False
    )
    return vectors_NT


def product_vectors(run: Trained, text_NT: Float32Array) -> Float32Array:
    paths = shop_paths(run.config)
    model, vocabularies, _ = load_model(paths.model)
    items = item_features(read_catalogue(paths.product_features), text_NT, vocabularies)
    vectors_ND: Float32Array = encode_catalogue(model, items).numpy()
    return vectors_ND


def test_training_on_the_features_of_spark_gives_the_same_model(on_duckdb: Trained, with_spark: Trained) -> None:
    assert with_spark.n_contexts == on_duckdb.n_contexts
    assert with_spark.metrics == on_duckdb.metrics


def test_text_vectors_of_spark_are_those_of_one_process(on_duckdb: Trained, with_spark: Trained) -> None:
    # Encoded by train_job, on Spark for one of the two.
    assert np.array_equal(texts(with_spark), texts(on_duckdb))
    assert np.array_equal(product_vectors(with_spark, texts(with_spark)), product_vectors(on_duckdb, texts(on_duckdb)))


def test_texts_are_encoded_on_spark_and_only_once(with_spark: Trained) -> None:
    shutil.rmtree(text_vectors_dir(with_spark.config))
    n_texts = len(set(read_catalogue(shop_paths(with_spark.config).product_features).texts))
    assert encode_texts(with_spark.config) == n_texts
    assert encode_texts(with_spark.config) == 0
