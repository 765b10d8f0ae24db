"""The whole chain from CSV files to a live release: finished, repeated, refused, and killed at every stage."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from feature_repo.common.files import sha256
from feature_repo.common.paths import shop_paths
from tests.e2e.command_shop import BUYER, DONE, REFUSED, Shop, assert_serves, copied_shop, outcome
from tests.processes import Finished
from tests.tiny_shop import Row, events, products, write_csv, write_shop
from training.artifacts.model import WEIGHTS
from training.artifacts.release import current_release, list_releases, verify_release

pytestmark = pytest.mark.e2e

STAGES = [
    "ingest",
    "validate",
    "build_features",
    "validate_features",
    "materialize",
    "contexts",
    "train",
    "embed",
    "baselines",
    "evaluate",
    "index",
    "search_index",
    "lists",
    "release",
]
MODELS = {"two_tower", "two_tower_alone", "popularity", "recent_popularity", "personal_frequency", "item_knn"}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> tuple[Shop, dict[str, Any]]:
    """A shop after its first `demo`, run by the installed script, and the answer."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder, tiny_encoder)
    script = Path(sys.executable).with_name("tawsiya")
    done = subprocess.run(
        [script, "demo", "--no-serve", "--json", "--config", "config.yaml"],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == DONE, done.stderr
    return Shop(folder), Finished(done.returncode, done.stdout, done.stderr).answer


@pytest.fixture(scope="module")
def reference(first: tuple[Shop, dict[str, Any]]) -> dict[str, Any]:
    """The result of an undisturbed second refresh of that shop, which runs every stage again."""
    shop, _ = first
    shop.forget_stages()
    finished = shop.run("refresh")
    assert finished.code == DONE, finished.stderr
    return finished.answer


@pytest.fixture
def shop(first: tuple[Shop, dict[str, Any]], reference: dict[str, Any], tmp_path: Path) -> Shop:
    """A copy of that shop with two releases, which a test may damage."""
    return copied_shop(first[0], tmp_path / "shop")


# ---- done ------------------------------------------------------------------------------------------------------------


def test_demo_answers_with_what_it_did(first: tuple[Shop, dict[str, Any]]) -> None:
    _, answer = first
    assert set(answer) == {
        "run", "release", "dataset", "seconds", "stages", "counts", "changes", "quarantine", "metrics", "report",
        "record", "warnings", "sample", "address", "gate", "shadow",
    }  # fmt: skip
    assert answer["dataset"] == "shop"
    assert answer["counts"] == {"events": len(events()), "products": 40, "buyers": 60, "quarantined": 0, "merged": 0}
    assert Path(answer["quarantine"]).name == "quarantine.parquet"
    assert answer["address"] == "http://127.0.0.1:8000"
    assert list(answer["seconds"]) == [*STAGES, "total"]
    assert answer["seconds"]["total"] >= sum(answer["seconds"][stage] for stage in STAGES) - 0.1
    assert {(stage["state"], stage["why"]) for stage in answer["stages"]} == {
        ("done", "no finished run of it"), ("done", "it finds out what is left to do"), ("done", "there is no model"),
    }  # fmt: skip


def test_demo_compares_the_model_with_the_baselines(first: tuple[Shop, dict[str, Any]]) -> None:
    metrics = first[1]["metrics"]["all"]["models"]
    assert set(metrics) == MODELS
    assert set(first[1]["metrics"]) >= {"all", "new_items"}
    for values in metrics.values():
        for metric in ("recall", "precision", "hit_rate", "ndcg", "mrr"):
            for k in (1, 5, 10, 20):
                assert 0 <= values[f"{metric}@{k}"] <= 1
    # Each buyer's department has 10 of the 40 products; popularity cannot tell which department that is.
    assert metrics["two_tower"]["recall@20"] > 0.95
    assert metrics["popularity"]["recall@20"] < 0.8


def test_demo_shows_recommendations_for_one_buyer(first: tuple[Shop, dict[str, Any]]) -> None:
    sample = first[1]["sample"]
    assert set(sample) == {"buyer_id", "recommendations"}
    assert sample["buyer_id"] in {row["buyer_id"] for row in events()}
    titles = {row["id"]: row["title"] for row in products()}
    assert len(sample["recommendations"]) == 10
    assert len({item["product_id"] for item in sample["recommendations"]}) == 10
    for item in sample["recommendations"]:
        assert set(item) == {"product_id", "title", "score"}
        assert item["title"] == titles[item["product_id"]]
    scores = [item["score"] for item in sample["recommendations"]]
    assert scores == sorted(scores, reverse=True)


def test_a_refresh_of_the_same_data_skips_its_stages(shop: Shop, reference: dict[str, Any]) -> None:
    # The copy's files have other paths: ingest reads them again, and what follows finds that they are the same.
    shop.run("refresh")
    releases = list_releases(shop.releases)

    finished = shop.run("refresh")

    assert finished.code == DONE, finished.stderr
    skipped = dict.fromkeys(STAGES, ("skipped", "same data, settings and code"))
    model = sha256(shop_paths(shop.config).model / WEIGHTS)[:8]
    measured = f"model {model}, measured to {finished.answer['evaluation']['split']['test_to'][:10]}"
    assert {stage["stage"]: (stage["state"], stage["why"]) for stage in finished.answer["stages"]} == skipped | {
        "materialize": ("done", "it finds out what is left to do"),
        "baselines": ("skipped", f"the model is the same; baselines of {measured}"),
    }
    assert "train: skipped, same data, settings and code" in finished.stderr
    assert outcome(finished.answer) == outcome(reference)
    assert list_releases(shop.releases) == releases
    assert finished.answer["changes"] == {
        "since": finished.answer["changes"]["since"], "counts": {}, "metrics": {}, "release": None,
    }  # fmt: skip


def test_only_what_a_setting_is_read_by_runs_again(shop: Shop, reference: dict[str, Any]) -> None:
    shop.run("refresh")
    settings = ("api.port=8011", "release.keep=3", "expectations.max_drop=0.4")

    finished = shop.run("refresh", *(word for setting in settings for word in ("--set", setting)))

    ran = {stage["stage"]: stage["why"] for stage in finished.answer["stages"] if stage["state"] != "skipped"}
    assert ran == {
        "validate": "new settings: expectations.max_drop",
        "validate_features": "new settings: expectations.max_drop",
        "materialize": "it finds out what is left to do",
    }


def test_what_was_edited_or_lost_is_made_again(shop: Shop, reference: dict[str, Any]) -> None:
    shop.run("refresh")
    paths = shop_paths(shop.config)
    paths.evaluation.write_text("{}")
    shutil.rmtree(paths.search_index)

    finished = shop.run("refresh")

    assert finished.code == DONE, finished.stderr
    ran = {stage["stage"]: stage["why"] for stage in finished.answer["stages"] if stage["state"] != "skipped"}
    assert ran["evaluate"] == "results changed or gone: evaluation.json"
    assert ran["search_index"].startswith("results changed or gone: search_index/")
    assert set(ran) - {"evaluate", "search_index"} == {"materialize"}
    assert outcome(finished.answer) == outcome(reference)


def test_a_second_refresh_gives_the_same_in_a_new_release(
    first: tuple[Shop, dict[str, Any]], reference: dict[str, Any]
) -> None:
    shop, answer = first
    assert reference["release"] != answer["release"]
    assert reference["counts"] == answer["counts"]
    assert reference["evaluation"]["targets"] == answer["metrics"]
    assert [(row["name"], row["live"]) for row in list_releases(shop.releases)] == [
        (answer["release"], False),
        (reference["release"], True),
    ]


def test_the_shop_folder_holds_no_left_overs(first: tuple[Shop, dict[str, Any]], reference: dict[str, Any]) -> None:
    root = shop_paths(first[0].config).root
    # Great Expectations keeps files of its own under such names.
    hidden = [path.relative_to(root) for path in root.rglob(".*") if "validation" not in path.parts]
    assert hidden == []
    live = root / "releases" / reference["release"]
    assert sorted(path.name for path in (live / "model").iterdir()) == [
        "curves.json",
        "curves.png",
        "model.json",
        "model.safetensors",
        "product_keys.npy",
        "rescorer.json",
    ]


def test_new_events_and_products_arrive_with_the_next_refresh(shop: Shop, reference: dict[str, Any]) -> None:
    before = shop.sequence()
    last = max(row["timestamp"] for row in events())
    new_product = {"id": "p99", "title": "silver lamps", "brand": "brand s", "category": "lamps", "price": 5}
    new_event = {"buyer_id": BUYER, "product_id": "p99", "event_type": "purchase", "timestamp": last}
    write_csv(shop.folder / "products.csv", [*products(), new_product])
    write_csv(shop.folder / "events.csv", [*events(), new_event])
    finished = shop.run("refresh")
    assert finished.code == DONE, finished.stderr
    counts = reference["counts"]
    assert finished.answer["counts"] == counts | {"events": counts["events"] + 1, "products": 41}
    assert len(shop.sequence()[0]) == len(before[0]) + 1
    assert list_releases(shop.releases)[-1]["n_products"] == 41


def test_a_removed_product_leaves_the_release(shop: Shop, reference: dict[str, Any]) -> None:
    gone = "p07"
    write_csv(shop.folder / "products.csv", [row for row in products() if row["id"] != gone])
    write_csv(shop.folder / "events.csv", [row for row in events() if row["product_id"] != gone])
    finished = shop.run("refresh")
    assert finished.code == DONE, finished.stderr
    assert finished.answer["counts"]["products"] == 39
    answer = shop.run("recommend", "--buyer", "b00", "-k", "39").answer
    ids = {item["product_id"] for item in answer["items"]}
    assert (len(ids), gone in ids) == (39, False)


# ---- refused ---------------------------------------------------------------------------------------------------------


def without_ids(rows: list[Row]) -> list[Row]:
    return [row | {"id": "" if number % 4 else row["id"]} for number, row in enumerate(rows)]


def with_one_id(rows: list[Row]) -> list[Row]:
    return [row | {"id": "p00"} for row in rows]


def without_titles(rows: list[Row]) -> list[Row]:
    return [row | {"title": ""} for row in rows]


def with_negative_prices(rows: list[Row]) -> list[Row]:
    return [row | {"price": -1} for row in rows]


def with_garbage_times(rows: list[Row]) -> list[Row]:
    return [row | {"timestamp": "yesterday-ish"} for row in rows]


def with_some_garbage_times(rows: list[Row]) -> list[Row]:
    return [row | {"timestamp": "32.13.2024"} if number % 10 == 0 else row for number, row in enumerate(rows)]


def with_unknown_products(rows: list[Row]) -> list[Row]:
    return [row | {"product_id": f"x{row['product_id']}"} if number % 2 else row for number, row in enumerate(rows)]


def with_unknown_types(rows: list[Row]) -> list[Row]:
    return [row | {"event_type": "sneeze"} if number % 2 else row for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("table", "spoil", "expectation"),
    [
        ("products", without_ids, "ingest: bad_product_share"),
        ("products", with_one_id, "ingest: duplicate_product_id_share"),
        ("products", without_titles, "products: title_present"),
        ("products", with_negative_prices, "ingest: unreadable_share"),
        ("events", with_garbage_times, "events: events_not_empty"),
        ("events", with_some_garbage_times, "ingest: bad_event_share"),
        ("events", with_unknown_products, "ingest: unknown_product_share"),
        ("events", with_unknown_types, "ingest: bad_event_share"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_data_are_refused_and_nothing_that_is_live_changes(
    shop: Shop, reference: dict[str, Any], table: str, spoil: Any, expectation: str
) -> None:
    sequence, releases = shop.sequence(), list_releases(shop.releases)
    rows = products() if table == "products" else events()
    write_csv(shop.folder / f"{table}.csv", spoil(rows))

    finished = shop.run("refresh")

    assert (finished.code, finished.stdout) == (REFUSED, "")
    assert f"{expectation}: " in finished.stderr
    assert "data_docs/index.html" in finished.stderr
    assert shop.sequence() == sequence
    assert list_releases(shop.releases) == releases
    assert verify_release(shop.releases / "current")["name"] == reference["release"]


def test_after_a_refusal_nothing_is_published_by_hand_and_good_data_heal_it(
    shop: Shop, reference: dict[str, Any]
) -> None:
    write_csv(shop.folder / "events.csv", with_some_garbage_times(events()))
    assert shop.run("refresh").code == REFUSED
    for command in ("build-features", "materialize"):
        finished = shop.run(command)
        assert finished.code == REFUSED
        assert "bad_event_share" in finished.stderr
    assert shop.run("recommend", "--buyer", BUYER).answer["release"] == reference["release"]

    write_csv(shop.folder / "events.csv", events())
    finished = shop.run("refresh")
    assert finished.code == DONE, finished.stderr
    assert outcome(finished.answer) == outcome(reference)


# ---- killed ----------------------------------------------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.parametrize("moment", ["epoch 3:", " release ..."])
def test_a_killed_refresh_run_again_ends_in_the_same_state(shop: Shop, reference: dict[str, Any], moment: str) -> None:
    sequence = shop.sequence()
    shop.forget_stages()
    shop.start("refresh").kill_at(moment)
    assert_serves(shop)

    finished = shop.run("refresh")

    assert finished.code == DONE, finished.stderr
    assert outcome(finished.answer) == outcome(reference)
    assert shop.sequence() == sequence
    assert shop.run("release", "verify").answer == {"verified": finished.answer["release"]}


@pytest.mark.processes
def test_killed_at_one_stage_after_another_it_still_ends_in_the_same_state(
    shop: Shop, reference: dict[str, Any]
) -> None:
    shop.forget_stages()
    for stage in STAGES:
        shop.start("refresh").kill_at(f" {stage} ...")
        assert_serves(shop)
    finished = shop.run("refresh")
    assert finished.code == DONE, finished.stderr
    assert outcome(finished.answer) == outcome(reference)
    live = current_release(shop.releases)
    assert live is not None
    assert live.name == finished.answer["release"]
    root = shop_paths(shop.config).root
    assert list(root.rglob(".release-*")) == []


@pytest.mark.processes
def test_a_first_refresh_that_was_killed_is_no_obstacle(
    tmp_path: Path, tiny_encoder: Path, reference: dict[str, Any]
) -> None:
    folder = tmp_path / "shop"
    write_shop(folder, tiny_encoder)
    fresh = Shop(folder)
    fresh.start("refresh").kill_at(" train ...")
    assert current_release(fresh.releases) is None
    assert fresh.run("recommend", "--buyer", BUYER).code == 1
    finished = fresh.run("refresh")
    assert finished.code == DONE, finished.stderr
    assert outcome(finished.answer) == outcome(reference)
