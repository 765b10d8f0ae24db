"""The sources `diginetica` and `retail_rocket`: what they ask of a recommender is what the literature asks."""

import gzip
from pathlib import Path

import pandas as pd
import pytest

from batch_jobs.feature_build.build_contexts import build_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from benchmarks.shops.data_sets import DATA_SETS, with_held_out_purchases
from benchmarks.tools.skip import SkippedError
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.keys import product_key
from tests.batch_jobs.csv_shop import REPOSITORY, kept_events, kept_products, rows

SOURCES = REPOSITORY / "config/sources"
# Two of the sessions begin alike, and one is the beginning of the other.
TEST_PAIRS = ["1 2 1\t3", "1 2\t1", "1\t2", "1 2\t1", "1\t2", "4 4\t1", "4\t4"]


def config_of(name: str, folder: Path, **paths: str) -> Config:
    settings = DATA_SETS[name].settings
    data = {
        "source": str(SOURCES / f"{name}.yaml"),
        "test_days": int(settings["test_days"]),
        "evaluation_unit": settings.get("evaluation_unit", "per_buyer"),
        "target_events": settings["target_events"].strip("[]").split(", "),
    }
    return Config.model_validate({"data_dir": folder / "var", "data": data | paths})


def sequences(config: Config) -> dict[str, list[str]]:
    bought: dict[str, list[str]] = {}
    for row in sorted(kept_events(config), key=lambda row: row["event_time"]):
        bought.setdefault(row["buyer_id"], []).append(row["product_id"])
    return bought


# ---- Diginetica ------------------------------------------------------------------------------------------------------


@pytest.fixture
def diginetica(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    folder = tmp_path / "shared/diginetica"
    folder.mkdir(parents=True)
    train = [f"{1 + n % 5} {1 + (n + 1) % 5}" for n in range(300)]
    for name, lines in (("train_sessions", train), ("test", TEST_PAIRS)):
        with gzip.open(folder / f"{name}.txt.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")
    monkeypatch.setenv("TAWSIYA_SHARED_DATA", str(tmp_path / "shared"))
    return config_of("diginetica", tmp_path)


def test_every_session_is_read_once(diginetica: Config) -> None:
    ingest(diginetica)
    found = sequences(diginetica)
    assert [found[name] for name in sorted(found) if name.startswith("t")] == [
        ["1", "2", "1", "3"],
        ["1", "2", "1"],
        ["4", "4", "1"],
    ]
    assert sum(name.startswith("s") for name in found) == 300
    assert kept_products(diginetica).keys() == {"1", "2", "3", "4", "5"}


def test_the_moments_of_the_test_are_the_pairs_of_the_file(diginetica: Config) -> None:
    ingest(diginetica)
    build_features(diginetica)
    report = build_contexts(diginetica)
    names = {product_key(name): name for name in "12345"}
    contexts = rows(shop_paths(diginetica).contexts)
    test = [row for row in contexts if row["split"] == "test" and row["events_before"] > 0]
    asked = sorted((row["events_before"], *(names[key] for key in row["product_keys"])) for row in test)
    pairs = [line.split("\t") for line in TEST_PAIRS]
    assert asked == sorted((len(clicks.split()), following) for clicks, following in pairs)
    # Two weeks of 150 days: the week before the test is the validation.
    validation = {row["buyer_id"] for row in contexts if row["split"] == "validation"}
    assert len(validation) == 300 * 7 // 150
    assert report["validation_from"] == "2016-05-23T00:00:00+00:00"


# ---- RetailRocket ----------------------------------------------------------------------------------------------------


def test_the_held_out_purchases_alone_are_the_test(tmp_path: Path) -> None:
    day = 86_400
    events = [
        (0, 7, "view", 0),
        (0, 8, "purchase", 40 * day),
        (1, 7, "add_to_cart", 50 * day),
        (1, 9, "view", 60 * day),
    ]
    frame = pd.DataFrame(events, columns=["user_id", "item_id", "event", "timestamp"])
    frame["timestamp"] += 1_430_000_000
    frame.to_parquet(tmp_path / "events.parquet")
    (tmp_path / "test.csv").write_text("user_id,item_id\n0,9\n1,4\n")
    path = str(with_held_out_purchases(tmp_path, tmp_path / "joined"))
    config = config_of("retail_rocket", tmp_path, events_path=path, products_path=path)
    ingest(config)
    build_features(config)
    build_contexts(config)
    assert sequences(config) == {"u0": ["7", "8", "9"], "u1": ["7", "9", "4"]}
    asked = {
        row["buyer_id"]: row["product_keys"] for row in rows(shop_paths(config).contexts) if row["split"] == "test"
    }
    assert asked == {"u0": [product_key("9")], "u1": [product_key("4")]}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SkippedError, match=r"events\.parquet does not exist; set TAWSIYA_SHARED_DATA"):
        with_held_out_purchases(tmp_path, tmp_path / "joined")
