"""`tawsiya doctor`: what it finds, what it deletes, and its exit code."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.doctor.examine import doctor
from batch_jobs.upkeep.retention import clean, disk_use
from feature_repo.common.config import Config
from feature_repo.common.files import write_json
from feature_repo.common.paths import shop_paths
from feature_repo.feature_report import LAYOUT
from tests.command import invoke

Json = dict[str, Any]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A shop with leftovers, and nothing that could serve."""
    settings: Json = {"data_dir": tmp_path / "var", "data": {"source": "csv"}, "feature_store": {"online": "redis"}}
    config = Config.model_validate(settings)
    root = shop_paths(config).root
    for name, size in (("tmp/copy.csv", 700), ("canonical/.events.parquet.tmp", 50), ("canonical/report.json", 5)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    vectors = config.data_dir / "text_vectors" / "encoder"
    vectors.mkdir(parents=True)
    for name, size in (("keys_8.bin", 160), ("vectors_8.f32", 320)):
        (vectors / name).write_bytes(b"x" * size)
    return config


def sizes(config: Config) -> dict[str, tuple[int, int]]:
    return {use.place: (use.bytes, use.deletable) for use in disk_use(config)}


def test_leftovers_are_shown_and_deleted(config: Config) -> None:
    assert sizes(config) == {"canonical": (55, 50), "tmp": (700, 700), "../text_vectors": (480, 0)}
    assert clean(config) == 750
    assert sizes(config) == {"canonical": (5, 0), "../text_vectors": (480, 0)}


def test_a_copy_of_a_release_that_broke_off_is_a_leftover(config: Config) -> None:
    partial = shop_paths(config).releases / ".pull-20261123T171200.123Z-1a2b3c4d" / "model"
    partial.mkdir(parents=True)
    (partial / "model.safetensors.part").write_bytes(b"x" * 30)
    assert sizes(config)["releases"] == (30, 30)
    assert clean(config) == 780
    assert sizes(config)["releases"] == (0, 0)


def test_what_the_serving_api_is_writing_is_no_leftover(config: Config) -> None:
    writing = shop_paths(config).pending_events / ".unknown_products.jsonl.tmp"
    writing.parent.mkdir(parents=True)
    writing.write_text("{}")
    assert clean(config) == 750
    assert writing.is_file()


def test_spilled_data_and_an_unfinished_erasure_are_shown(config: Config, tmp_path: Path) -> None:
    (tmp_path / "spill" / "tawsiya-1").mkdir(parents=True)
    for name, size in (("tawsiya-1/part", 90), ("of_others", 7)):
        (tmp_path / "spill" / name).write_bytes(b"x" * size)
    spilling = Config.model_validate(config.model_dump() | {"resources": {"spill_folder": tmp_path / "spill"}})
    assert sizes(spilling)[f"{tmp_path}/spill/tawsiya-*"] == (90, 0)
    shop_paths(config).unfinished_erasure.write_text("{}")
    texts = {item["name"]: item["text"] for item in doctor(spilling)["checks"]}
    assert "repeat it with the same ids" in texts["erasure"]


def test_parts_of_a_killed_build_are_leftovers(config: Config) -> None:
    paths = shop_paths(config)
    parts = [paths.purchase_features / f"20240301T000000000000-00{number}.parquet" for number in range(2)]
    parts[0].parent.mkdir(parents=True)
    for part in parts:
        part.write_bytes(b"x" * 30)
    listed = {"buyer_sequences": {}, "buyer_purchases": {parts[0].name: ""}}
    write_json(paths.feature_report, {"layout": LAYOUT, "parts": listed})
    assert clean(config) == 750 + 30
    assert [part.is_file() for part in parts] == [True, False]


def test_a_cache_over_its_limit_is_deleted(config: Config) -> None:
    disk = config.disk.model_copy(update={"max_text_vectors_gb": 400 / 1e9})
    small = config.model_copy(update={"disk": disk})
    assert sizes(small)["../text_vectors"] == (480, 480)
    assert clean(small) == 750 + 480
    assert sizes(small)["../text_vectors"] == (0, 0)


def test_a_cache_that_the_products_alone_need_is_kept(config: Config) -> None:
    paths, vectors = shop_paths(config), config.data_dir / "text_vectors"
    (vectors / "encoder").rename(vectors / "used-1-int8")
    (vectors / "old-1-int8").mkdir()
    (vectors / "old-1-int8" / "keys_8.bin").write_bytes(b"x" * 90)
    write_json(paths.model / "model.json", {"text_encoder": "used-1"})
    paths.product_features.parent.mkdir(parents=True)
    pq.write_table(pa.table({"product_id": ["p"] * 9}), paths.product_features)
    disk = config.disk.model_copy(update={"max_text_vectors_gb": 400 / 1e9})
    small = config.model_copy(update={"disk": disk})
    # 9 texts of 16 + 4 * 8 bytes.
    assert sizes(small)["../text_vectors"] == (570, 90)
    assert clean(small) == 750 + 90
    (warning,) = [item for item in doctor(small)["checks"] if item["name"] == "text vectors"]
    assert "more than disk.max_text_vectors_gb=4e-07" in warning["text"]
    pq.write_table(pa.table({"product_id": ["p"] * 8}), paths.product_features)
    assert clean(small) == 480


def test_what_keeps_a_shop_from_serving_is_a_problem(config: Config) -> None:
    sections = {"disk": {"budget_gb": 1e-7}, "feature_store": {"online": "redis", "buyer_ttl_days": 90}}
    budget = Config.model_validate(config.model_dump() | sections)
    result = doctor(budget)
    assert not result["healthy"]
    states = {item["name"]: item["state"] for item in result["checks"]}
    problems = dict.fromkeys(("online store", "live release"), "problem")
    warnings = dict.fromkeys(("gate, canonical data", "gate, features", "disk budget", "leftovers"), "warning")
    assert states.items() >= (problems | warnings | {"forgotten buyers": "ok"}).items()
    texts = {item["name"]: item["text"] for item in result["checks"]}
    assert texts["retention"] == (
        "accepted events are kept for good (data.event_log_days), buyers in the online store for 90 days after their "
        "last event (feature_store.buyer_ttl_days)"
    )
    assert "erasure" not in texts
    assert result["bytes"] == 755


def test_the_exit_code_says_so(config: Config) -> None:
    options = (
        "--set",
        f"data_dir={config.data_dir}",
        "--set",
        "data.source=csv",
        "--set",
        "feature_store.online=redis",
    )
    result = invoke("doctor", "--clean", "--json", *options)
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["deleted_bytes"] == 750
    assert "leftovers" not in {item["name"] for item in answer["checks"]}
    text = invoke("doctor", *options).stdout
    assert "problem  live release: no release is live" in text
    assert "-> tawsiya refresh" in text
