"""`refresh` on a small shop: when it trains, what it skips, and what its records say."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch_jobs.console_text import refresh_text
from batch_jobs.evaluate_model import evaluate_job
from batch_jobs.ingestion.event_log.lines import LINE_COLUMNS
from batch_jobs.privacy.mentions import Mentions
from batch_jobs.refresh import refresh, refresh_prices
from batch_jobs.runs.run_records import list_runs, read_run
from batch_jobs.runs.stage_table import DEFAULT_K_VALUES
from feature_repo.common.config import Config
from feature_repo.common.config_loading import load_config
from feature_repo.common.files import sha256
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.store import feature_store
from online_api.app import create_app
from online_api.runtime import open_runtime
from tests.e2e.command_shop import Shop, copied_shop
from tests.online_api.api_shop import wait_for
from tests.serving import serving
from tests.tiny_shop import events, products, write_csv, write_shop
from training.artifacts.embeddings import load_embeddings
from training.artifacts.model import WEIGHTS
from training.artifacts.release import current_release, list_releases, promote, verify_release

pytestmark = pytest.mark.store

NEW_PRODUCT = {"id": "p99", "title": "silver lamps", "brand": "a new brand", "category": "lamps", "price": 5}
LAST = max(row["timestamp"] for row in events())
NEW_EVENT = {"buyer_id": "b01", "product_id": "p99", "event_type": "purchase", "timestamp": LAST}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Shop:
    """A shop after its first refresh."""
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder, tiny_encoder)
    result = refresh(config_of(folder), show_progress=False)
    assert stage_of(result, "train") == ("done", "there is no model")
    assert result["changes"] is None
    return Shop(folder)


@pytest.fixture
def folder(built: Shop, tmp_path: Path) -> Path:
    """A copy of that shop, with a new product and an event of it."""
    folder = copied_shop(built, tmp_path / "shop").folder
    write_csv(folder / "products.csv", [*products(), NEW_PRODUCT])
    write_csv(folder / "events.csv", [*events(), NEW_EVENT])
    return folder


def config_of(folder: Path, *settings: str) -> Config:
    return load_config(folder / "config.yaml", ["training.num_epochs=2", *settings], {})


def stage_of(result: dict[str, Any], name: str) -> tuple[str, str]:
    """What became of a stage, the last time, and why."""
    found = [stage for stage in result["stages"] if stage["stage"] == name][-1]
    return found["state"], found["why"]


def weights(folder: Path) -> str:
    return sha256(shop_paths(config_of(folder)).model / WEIGHTS)


def edit_training(folder: Path, **facts: Any) -> None:
    """Changes what is recorded of the training."""
    path = shop_paths(config_of(folder)).refreshes / "training.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def ago(days: float) -> str:
    return (dt.datetime.now(dt.UTC) - dt.timedelta(days=days)).isoformat()


# ---- when it trains --------------------------------------------------------------------------------------------------


def test_while_training_is_not_due_new_products_get_vectors_of_the_present_model(folder: Path) -> None:
    before = weights(folder)
    edit_training(folder, trained_at=ago(2))
    result = refresh(config_of(folder, "refresh.retrain=due"), show_progress=False)
    state, why = stage_of(result, "train")
    assert state == "skipped"
    assert why == "not due: the model is 2.0 days old of 7, no drift since its training"
    assert weights(folder) == before
    paths = shop_paths(config_of(folder))
    embeddings = load_embeddings(paths.embeddings)
    assert embeddings.product_ids.tolist() == [*(row["id"] for row in products()), "p99"]
    assert np.linalg.norm(embeddings.vectors_ND[-1]) == pytest.approx(1, abs=1e-4)
    live = current_release(paths.releases)
    assert live is not None
    assert verify_release(live)["n_products"] == 41
    assert result["changes"]["counts"] == {"events": [len(events()), len(events()) + 1], "products": [40, 41]}
    assert result["changes"]["release"][1] == live.name


def with_other_mix(folder: Path) -> None:
    write_csv(folder / "events.csv", [row | {"event_type": "view"} for row in events()])


TRAINING: dict[str, tuple[tuple[str, ...], Callable[[Path], None], str]] = {
    "by default": ((), lambda _: None, "new data: training data"),
    "by age": (
        ("refresh.retrain=due",),
        lambda folder: edit_training(folder, trained_at=ago(7.5)),
        "the model is 7.5 days old (refresh.retrain_days=7)",
    ),
    "by drift": (
        ("refresh.retrain=due",),
        with_other_mix,
        "the data have drifted since the training: event_mix_steady: purchase 0.0%, before",
    ),
    "by metric": (
        ("refresh.retrain=due",),
        lambda folder: edit_training(folder, metric=1.5),
        "ndcg@20 of the model fell from 1.5000 to ",
    ),
    "by settings": (
        ("refresh.retrain=due", "training.seed=8"),
        lambda _: None,
        "new data: training data; new settings: training.seed",
    ),
    "after an erasure": (
        ("refresh.retrain=due",),
        lambda folder: ForgottenBuyers(shop_paths(config_of(folder)).forgotten).add(["b59"]),
        "new data: forgotten buyers, training data",
    ),
    "of another shop's model": (
        ("refresh.retrain=due",),
        lambda folder: edit_training(folder, weights="another"),
        "it is not recorded when the model was trained",
    ),
    "without a model": (
        ("refresh.retrain=never",),
        lambda folder: (shop_paths(config_of(folder)).model / "model.json").unlink(),
        "there is no model",
    ),
}


@pytest.mark.parametrize("case", TRAINING)
def test_it_trains(folder: Path, case: str) -> None:
    settings, prepare, reason = TRAINING[case]
    prepare(folder)
    before = weights(folder)
    result = refresh(config_of(folder, *settings), show_progress=False)
    state, why = stage_of(result, "train")
    assert state == "done"
    assert why.startswith(reason)
    assert weights(folder) != before
    # What is known of the training is of the new model.
    kept = json.loads((shop_paths(config_of(folder)).refreshes / "training.json").read_text())
    assert kept["weights"] == weights(folder)
    assert kept["metric"] == result["evaluation"]["targets"]["all"]["models"]["two_tower"]["ndcg@20"]
    assert stage_of(refresh(config_of(folder, *settings), show_progress=False), "train")[0] == "skipped"


KEEPING: dict[str, tuple[str, ...]] = {
    "refresh.retrain is never, in spite of new data: training data; new settings: training.seed": (
        "refresh.retrain=never", "training.seed=8",
    ),
    "not due: no age and no drift is set": (
        "refresh.retrain=due", "refresh.retrain_days=0", "refresh.retrain_on_drift=false",
        "refresh.retrain_on_metric_drop=0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", KEEPING)
def test_it_keeps_the_model(folder: Path, reason: str) -> None:
    edit_training(folder, trained_at=ago(99), metric=1.5)
    before = weights(folder)
    result = refresh(config_of(folder, *KEEPING[reason]), show_progress=False)
    assert stage_of(result, "train") == ("skipped", reason)
    assert weights(folder) == before


def test_events_of_the_api_after_the_export_change_histories_and_train_nothing(built: Shop, tmp_path: Path) -> None:
    folder = copied_shop(built, tmp_path / "shop").folder
    paths = shop_paths(config_of(folder))
    later = (LAST + dt.timedelta(hours=1)).isoformat() + "Z"
    line = dict.fromkeys(LINE_COLUMNS) | {
        "buyer_id": "b01", "product_id": "p00", "event_type": "view", "timestamp": later, "received_at": later,
    }  # fmt: skip
    paths.event_log.mkdir()
    day = dt.datetime.now(dt.UTC).date().isoformat()
    (paths.event_log / f"{day}.jsonl").write_text(json.dumps(line) + "\n")
    result = refresh(config_of(folder), show_progress=False)
    assert result["changes"]["counts"] == {"events": [len(events()), len(events()) + 1]}
    assert stage_of(result, "train") == ("skipped", "same data, settings and code")
    assert stage_of(result, "release")[0] == "done"


# ---- what it skips ---------------------------------------------------------------------------------------------------


def test_sale_prices_with_dates_are_read_again_each_time(folder: Path) -> None:
    rows = [
        row | {"sale_price": 1, "sale_price_from": "2024-01-01", "sale_price_to": "2099-01-01"} for row in products()
    ]
    write_csv(folder / "products.csv", rows)
    config = config_of(folder, "refresh.retrain=never")
    refresh(config, show_progress=False)
    result = refresh(config, show_progress=False)
    assert stage_of(result, "ingest") == ("done", "new data: the time (sale prices with dates)")
    assert stage_of(result, "validate")[0] == "skipped"


def test_a_release_that_was_rolled_back_stays_so_until_there_are_new_data(folder: Path) -> None:
    config = config_of(folder, "refresh.retrain=never")
    first = list_releases(shop_paths(config).releases)[-1]["name"]
    second = refresh(config, show_progress=False)["release"]
    promote(shop_paths(config).releases, first)
    result = refresh(config, show_progress=False)
    assert (result["release"], stage_of(result, "release")[0]) == (first, "skipped")
    assert any(f"{second}, is not live: {first} is" in warning for warning in result["warnings"])
    write_csv(folder / "products.csv", products())
    third = refresh(config, show_progress=False)["release"]
    assert third not in (first, second)


# ---- the evaluation of a model that stays ----------------------------------------------------------------------------


def test_while_the_model_stays_it_is_measured_alone_and_its_baselines_are_named(folder: Path) -> None:
    config = config_of(folder, "refresh.retrain=never")
    paths = shop_paths(config)
    of_training = json.loads(paths.baselines.read_text())
    result = refresh(config, show_progress=False)
    model = weights(folder)[:8]
    named = f"baselines of model {model}, measured to 2024-02-29"
    assert stage_of(result, "baselines") == ("skipped", f"the model is the same; {named}")
    evaluation = result["evaluation"]
    assert set(evaluation["targets"]["all"]["models"]) == {"two_tower", "two_tower_alone"}
    assert "popularity" in of_training["targets"]["all"]["models"]
    assert named == f"baselines of {evaluation['baselines']}" == f"baselines of {of_training['baselines']}"
    assert f"in the report beside them: {named}" in refresh_text(result)
    page = paths.evaluation_report.read_text()
    assert named in page
    assert "popularity" in page
    # Fewer buyers than a sample: the figures are those of an evaluation of all.
    with feature_store(config) as store:
        evaluate_job(config, store, DEFAULT_K_VALUES, show_progress=False)
    full = json.loads(paths.evaluation.read_text())
    for kind, measured in evaluation["targets"].items():
        for part in ("models", "ci", "slices"):
            assert measured[part] == {name: full["targets"][kind][part][name] for name in measured[part]}


def test_an_evaluation_of_the_same_data_and_model_is_that_of_the_training(folder: Path) -> None:
    paths = shop_paths(config_of(folder))
    refresh(config_of(folder), show_progress=False)
    first = json.loads(paths.evaluation.read_text())
    assert "popularity" in first["targets"]["all"]["models"]
    assert "baselines" not in first
    paths.evaluation.unlink()  # as a run leaves it that is killed between both stages
    result = refresh(config_of(folder), show_progress=False)
    assert stage_of(result, "baselines")[0] == "skipped"
    assert result["evaluation"] == first


# ---- prices alone, while the API serves ------------------------------------------------------------------------------


def test_prices_reach_the_serving_api_and_the_next_refresh_agrees(folder: Path) -> None:
    config = config_of(folder, "refresh.retrain=never")
    paths = shop_paths(config)
    refresh(config, show_progress=False)
    release = current_release(paths.releases)
    with open_runtime(config) as runtime, serving(create_app(config, runtime)) as client:
        assert client.get("/v1/products/p00").json()["price"] == 1
        rows = [
            row | {"price": row["price"] + 100, "stock": 3, "hidden": int(row["id"] == "p01")} for row in products()
        ]
        write_csv(folder / "products.csv", [*rows, NEW_PRODUCT | {"stock": 3, "hidden": 0}])

        result = refresh_prices(config)

        assert result["counts"]["changed"] == 41
        assert [(stage["stage"], stage["state"]) for stage in result["stages"]] == [
            ("prices", "done"), ("validate", "done"), ("build_features", "done"), ("validate_features", "done"),
            ("materialize", "done"),
        ]  # fmt: skip
        # Ten seconds are promised; a busy machine may take longer.
        wait_for(lambda: client.get("/v1/products/p00").json()["price"] == 101, seconds=60)
        assert client.get("/v1/products/p00").json()["stock"] == 3
        listed = client.get("/v1/buyers/nobody/recommendations?k=50").json()
        assert (len(listed["items"]), "p01" in {item["product_id"] for item in listed["items"]}) == (40, False)
        assert current_release(paths.releases) == release
        # A whole refresh while it serves.
        second = refresh(config, show_progress=False)
        assert second["release"] != release
        assert stage_of(second, "validate_features")[0] == "skipped", "the prices are those of the ingest"
        assert client.get("/v1/products/p00").json()["price"] == 101
    assert [run["kind"] for run in list_runs(paths)][-2:] == ["prices", "refresh"]


# ---- records ---------------------------------------------------------------------------------------------------------


def texts(paths: ShopPaths) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in paths.refreshes.rglob("*.json"))


def test_records_name_no_buyer_and_have_what_the_command_prints(folder: Path) -> None:
    config = config_of(folder, "data.exclude_buyers=[b59, b58]")
    result = refresh(config, forced_because="new shop, few buyers", show_progress=False)
    paths = shop_paths(config)
    assert not Mentions({row["buyer_id"] for row in events()}).in_text(texts(paths))
    record = read_run(paths, result["run"])
    for name in ("release", "counts", "metrics", "changes", "quarantine", "report", "stages"):
        assert record[name] == result[name]
    assert record["forced_because"] == "new shop, few buyers"
    assert record["metrics"]["all"].keys() == {"recall@20", "ndcg@20", "hit_rate@20", "mrr@20"}
    assert all(stage["cpu_seconds"] >= 0 for stage in record["stages"] if stage["state"] == "done")


def test_a_failed_run_goes_on_where_it_failed(folder: Path) -> None:
    config = config_of(folder, "refresh.retrain=never")
    paths = shop_paths(config)
    paths.evaluation.unlink()
    paths.evaluation.mkdir()
    with pytest.raises(OSError, match=r"evaluation\.json"):
        refresh(config, show_progress=False)
    failed = list_runs(paths)[-1]
    assert (failed["state"], failed["stages"][-1]["stage"]) == ("failed", "evaluate")
    assert "evaluation.json" in failed["error"]
    assert "failed in evaluate" in paths.report_index.read_text()
    paths.evaluation.rmdir()
    result = refresh(config, show_progress=False)
    assert stage_of(result, "embed") == ("skipped", "same data, settings and code")
    assert stage_of(result, "evaluate") == ("done", "no finished run of it")
