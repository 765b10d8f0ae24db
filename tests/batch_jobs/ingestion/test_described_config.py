"""The configuration and the data of the two-tower system that Tawsiya replaces: both are read as they are."""

import datetime as dt
import shutil
from pathlib import Path

import pytest

from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.errors import ConfigError
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import REPOSITORY, rows
from tests.processes import Finished, tawsiya

CONFIG = """\
model:
  embedding_dim: 384
  item_tower:
    text_encoder: "paraphrase-multilingual-MiniLM-L12-v2"
    use_categorical_features: true
    categorical_embedding_dim: 64
    projection_hidden_dim: 256
  buyer_tower:
    aggregation_method: "attention"  # or "weighted_avg"
    attention_hidden_dim: 128
    max_interaction_history: 100

training:
  batch_size: 512
  learning_rate: 0.001
  num_epochs: 3
  temperature: 0.07  # InfoNCE temperature
  num_negatives: 4
  validation_split: 0.1
  checkpoint_dir: "checkpoints"
  save_every_n_epochs: 2
  freeze_text_encoder: true

event_weights:
  view: 1
  add_to_cart: 5
  purchase: 10

data:
  events_path: "data/events.csv"
  products_path: "data/products.csv"
  output_dir: "outputs"

inference:
  embeddings_dir: "outputs/embeddings"
  index_dir: "outputs/index"
  model_checkpoint: "checkpoints/best_model.pt"
  device: "cuda"  # or "cpu"

api:
  host: "0.0.0.0"
  port: 8000
  max_interactions_per_request: 100
"""

EVENTS = """\
buyer_id,product_id,event_type,timestamp
b1,p1,View,2024-03-01 10:00:00
b1,p1,AddToCart,2024-03-01 10:05:00
b1,p1,Purchase,2024-03-01 10:06:00
b2,p2,view,2024-03-02 09:00:00
"""
PRODUCTS = """\
id,title,description,metadata
p1,قهوة عربية,بن محمص مع الهيل,"{""brand"": ""نجد"", ""catalog_id"": ""مشروبات"", ""price"": 35.5}"
p2,شاي أخضر,أوراق شاي كاملة,"{""brand"": ""الريف"", ""catalog_id"": ""مشروبات""}"
p3,كوب زجاجي,سعة 250 مل,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project's folder with the described configuration and data; "products photos.csv" is missing."""
    shutil.copytree(REPOSITORY / "config", tmp_path / "config")
    (tmp_path / "configs").mkdir()
    (tmp_path / "data").mkdir()
    for name, content in (
        ("configs/config.yaml", CONFIG),
        ("data/events.csv", EVENTS),
        ("data/products.csv", PRODUCTS),
    ):
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


@pytest.fixture
def ingested(folder: Path) -> Finished:
    return tawsiya(folder, "ingest", "--config", "configs/config.yaml", "--json")


def test_ingest_reads_the_described_files(folder: Path, ingested: Finished) -> None:
    assert ingested.code == 0, ingested.stderr
    assert ingested.answer["dataset"] == "csv"
    assert (ingested.answer["events"]["kept"], ingested.answer["products"]["kept"]) == (4, 3)
    paths = shop_paths(Config.model_validate({"data_dir": folder / "outputs", "data": {"source": "csv"}}))
    columns = ("product_id", "title", "description", "brand", "category", "price", "photo")
    assert [tuple(row[name] for name in columns) for row in rows(paths.products)] == [
        ("p1", "قهوة عربية", "بن محمص مع الهيل", "نجد", "مشروبات", 35.5, None),
        ("p2", "شاي أخضر", "أوراق شاي كاملة", "الريف", "مشروبات", None, None),
        ("p3", "كوب زجاجي", "سعة 250 مل", None, None, None, None),
    ]
    assert {
        (row["buyer_id"], row["product_id"], row["event_type"], row["event_time"].astimezone(dt.UTC).isoformat())
        for row in rows(paths.events)
    } == {
        ("b1", "p1", "view", "2024-03-01T10:00:00+00:00"),
        ("b1", "p1", "add_to_cart", "2024-03-01T10:05:00+00:00"),
        ("b1", "p1", "purchase", "2024-03-01T10:06:00+00:00"),
        ("b2", "p2", "view", "2024-03-02T09:00:00+00:00"),
    }
    assert rows(paths.quarantine) == []


def test_settings_that_are_called_otherwise_here_give_a_warning_each(ingested: Finished) -> None:
    warnings = [line for line in ingested.stderr.splitlines() if "configs/config.yaml: " in line]
    assert [line.partition("configs/config.yaml: ")[2] for line in warnings] == [
        "data.output_dir is called data_dir here; use data_dir",
        "training.validation_split is ignored: validation takes as many days as data.test_days; remove it",
        "training.checkpoint_dir is ignored: checkpoints are stored under data_dir; remove it",
        "inference.embeddings_dir is ignored: embeddings are stored under data_dir; remove it",
        "inference.index_dir is ignored: the index is stored under data_dir; remove it",
        "inference.model_checkpoint is ignored: the model is stored under data_dir; remove it",
    ]
    assert "no photos: source file data/products photos.csv does not exist" in ingested.stderr


def test_each_warning_is_logged_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        load_config(folder / "configs/config.yaml", environ={})
    assert len(caplog.messages) == 6


def test_the_described_values_are_taken(folder: Path) -> None:
    config = load_config(folder / "configs/config.yaml", ["data.output_dir=elsewhere"], environ={})
    assert config.data_dir == Path("elsewhere")
    assert config.model.item_tower.text_encoder == "paraphrase-multilingual-MiniLM-L12-v2"
    assert config.model.buyer_tower.aggregation_method == "attention"
    assert (config.training.batch_size, config.training.num_negatives) == (512, 4)
    assert (config.inference.device, config.api.host) == ("cuda", "0.0.0.0")


def test_data_dir_wins_over_its_former_name(folder: Path) -> None:
    config = load_config(folder / "configs/config.yaml", ["data_dir=var"], environ={})
    assert config.data_dir == Path("var")


def test_a_misspelt_key_is_refused_beside_the_described_ones(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"training\.num_epoch: unknown key; did you mean training\.num_epochs\?"):
        load_config(folder / "configs/config.yaml", ["training.num_epoch=1"], environ={})
