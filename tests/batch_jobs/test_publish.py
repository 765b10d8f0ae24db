"""Publish: a candidate is written, judged and promoted, or refused; and what people can do about a refused one."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import Result

from batch_jobs import train_model
from batch_jobs.build_index import index_job, search_index_job
from batch_jobs.embed_products import embed_job
from batch_jobs.evaluate_model import evaluate_job
from batch_jobs.publish import publish
from batch_jobs.refresh import refresh
from batch_jobs.reports.build import build_reports
from batch_jobs.shop_lists.build_lists import lists_job
from batch_jobs.train_model import train_job
from feature_repo import columns as c
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import FeatureStore, feature_store
from tests.command import invoke
from tests.tiny_shop import write_shop
from training.artifacts.gate_verdict import GATE_PASSED, GATE_REFUSED
from training.artifacts.inspection.product_map import PRODUCT_MAP, ProductMap
from training.artifacts.release import current_release, list_releases, promote, read_manifest
from training.data.dataset import TrainingData, read_training_data

pytestmark = pytest.mark.e2e

FAULT = "the labels were joined wrongly"


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Path:
    return write_shop(tmp_path_factory.mktemp("publish"), tiny_encoder)


@pytest.fixture(scope="module")
def config(config_file: Path) -> Config:
    return load_config(config_file)


@pytest.fixture(scope="module")
def first(config: Config) -> dict[str, Any]:
    """The result of the first refresh."""
    return refresh(config)


@pytest.fixture(scope="module")
def store(config: Config, first: dict[str, Any]) -> Iterator[FeatureStore]:
    with feature_store(config) as opened:
        yield opened


@pytest.fixture(scope="module")
def paths(config: Config) -> ShopPaths:
    return shop_paths(config)


@pytest.fixture(scope="module")
def second(config: Config, store: FeatureStore) -> dict[str, Any]:
    """The same artifacts again, as a second release."""
    return publish(config, store)


@pytest.fixture(scope="module")
def refused(config: Config, store: FeatureStore, second: dict[str, Any]) -> dict[str, Any]:
    """What publish says of a model that was trained on labels of other products."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_model, "read_training_data", shuffled_labels)
        train_job(config, store, show_progress=False)
    embed_job(config, show_progress=False)
    index_job(config, store)
    search_index_job(config, show_progress=False)
    lists_job(config)
    evaluate_job(config, store, (1, 20), show_progress=False)
    with pytest.raises(GateRefusedError) as refusal:
        publish(config, store)
    assert refusal.value.result is not None
    return refusal.value.result | {"message": str(refusal.value)}


def shuffled_labels(config: Config, store: FeatureStore, *, show_progress: bool) -> tuple[TrainingData, str]:
    data, encoder = read_training_data(config, store, show_progress=show_progress)
    other = np.random.default_rng(3).permutation(len(data.catalogue)).astype(np.int32)
    targets = dataclasses.replace(data.contexts.targets, products=other[data.contexts.targets.products])
    contexts = dataclasses.replace(data.contexts, targets=targets)
    return dataclasses.replace(data, contexts=contexts, version=f"{data.version} shuffled"), encoder


def live(paths: ShopPaths) -> str:
    folder = current_release(paths.releases)
    assert folder is not None
    return folder.name


def row(gate: dict[str, Any], figure: str) -> dict[str, Any]:
    return next(row for row in gate["rows"] if row["figure"] == figure)


def test_the_first_release_is_judged_alone(first: dict[str, Any], paths: ShopPaths) -> None:
    gate = first["gate"]
    assert (gate["verdict"], gate["against"], first["shadow"]) == (GATE_PASSED, None, None)
    assert gate["notes"] == ["no release is live: absolute limits alone decide"]
    assert read_manifest(paths.releases / first["release"])["gate"] == gate


def test_a_release_has_a_map_of_its_products(first: dict[str, Any], second: dict[str, Any], paths: ShopPaths) -> None:
    folders = [paths.releases / result["release"] for result in (first, second)]
    product_map = ProductMap.load(folders[0])
    assert product_map is not None
    assert len(product_map) == read_manifest(folders[0])["n_products"]  # a small shop is on it whole
    maps = [(folder / PRODUCT_MAP).read_bytes() for folder in folders]
    assert maps[0] == maps[1]  # of the same vectors
    assert PRODUCT_MAP in read_manifest(folders[0])["sha256"]


def test_the_gate_measures_what_evaluation_does(first: dict[str, Any]) -> None:
    """One ranks as the service does, from a release; the other scores all products with the trained model."""
    evaluated = first["evaluation"]["targets"]
    gate = first["gate"]
    assert gate["window"]["buyers"] == evaluated["all"]["n"]
    for figure in ("recall@20", "ndcg@20"):
        expected = evaluated["all"]["models"]["two_tower"][figure]
        assert row(gate, figure)["candidate"] == pytest.approx(expected, abs=1e-6)
    for figure, model in (("", "two_tower"), (", similarity alone", "two_tower_alone")):
        expected = evaluated["new_items"]["models"][model]["recall@20"]
        assert row(gate, f"recall@20, new items{figure}")["candidate"] == pytest.approx(expected, abs=1e-6)


def test_an_equal_release_passes_and_is_live(first: dict[str, Any], second: dict[str, Any], paths: ShopPaths) -> None:
    assert second["gate"]["verdict"] == GATE_PASSED
    assert second["gate"]["against"] == first["release"]
    assert {row["verdict"] for row in second["gate"]["rows"]} <= {"ok", "warning"}
    assert row(second["gate"], "recall@20")["interval"] == [0, 0]


def test_the_report_on_the_release_shows_lists_and_names_nobody(
    config: Config, second: dict[str, Any], paths: ShopPaths
) -> None:
    build_reports(config)
    page = Path(second["shadow"]).read_text(encoding="utf-8")
    assert "The lists of 60 buyers" in page
    assert page.count("<h4>candidate</h4>") == 10
    assert "100% of the first 20 products" in page
    buyers = set(pq.read_table(paths.events, columns=[c.BUYER_ID])[c.BUYER_ID].to_pylist())
    assert not [buyer for buyer in buyers if re.search(rf"\b{buyer}\b", page)]


def test_a_model_of_shuffled_labels_is_refused_by_its_recall(
    config: Config, second: dict[str, Any], refused: dict[str, Any], paths: ShopPaths
) -> None:
    gate = refused["gate"]
    assert gate["verdict"] == GATE_REFUSED
    # In lists of new products, the co-occurrence term makes up for it.
    assert "recall@20" in [reason.partition(" fell")[0] for reason in gate["reasons"]]
    assert gate["reasons"][0] in refused["message"]
    assert f"release {second['release']} stays live" in refused["message"]
    assert live(paths) == second["release"]
    assert read_manifest(paths.releases / refused["release"])["gate"] == gate
    build_reports(config)
    page = Path(refused["shadow"]).read_text(encoding="utf-8")
    assert f"release {refused['release']}" in page
    assert "<strong>Refused.</strong>" in page


def test_a_refused_release_is_listed_compared_and_promoted_by_force_alone(
    config_file: Path, second: dict[str, Any], refused: dict[str, Any], paths: ShopPaths
) -> None:
    name = refused["release"]

    def run(*words: str) -> Result:
        return invoke("release", *words, "--config", str(config_file))

    _, _, *listed = run("list").stdout.splitlines()  # below the header and its line
    assert [line.split()[-1] for line in listed] == ["passed", "passed", "refused"]
    assert listed[1].startswith("* ")
    compared = run("compare", second["release"], name)
    assert (compared.exit_code, live(paths)) == (0, second["release"])
    assert "refused: recall@20 fell from" in compared.stdout
    assert run("compare", second["release"], "nowhere").exit_code == 3
    assert run("promote", name).exit_code == 3
    assert run("promote", name, "--force").exit_code == 2
    assert run("promote", name, "--reason", FAULT).exit_code == 2
    assert live(paths) == second["release"]
    assert run("promote", name, "--force", "--reason", FAULT).exit_code == 0
    assert live(paths) == name
    forced = list_releases(paths.releases)[-1]["gate"]["forced"]
    assert (forced["reason"], bool(forced["by"])) == (FAULT, True)
    assert "refused, forced" in run("list").stdout
    promote(paths.releases, second["release"])


def test_a_forced_publish_goes_live_and_says_why(
    config: Config, store: FeatureStore, second: dict[str, Any], refused: dict[str, Any], paths: ShopPaths
) -> None:
    promote(paths.releases, second["release"])
    published = publish(config, store, forced_because=FAULT)
    assert live(paths) == published["release"]
    assert published["gate"]["verdict"] == GATE_REFUSED
    assert published["gate"]["forced"]["reason"] == FAULT
    json.dumps(published)
    # Against itself it passes, and no force is recorded that was not needed.
    again = publish(config, store, forced_because=FAULT)
    assert (again["gate"]["verdict"], "forced" in again["gate"]) == (GATE_PASSED, False)
