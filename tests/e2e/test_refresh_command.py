"""`tawsiya refresh` as a scheduler runs it: killed at any moment, beside another one, with logs as JSON."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from batch_jobs.runs.run_records import list_runs
from feature_repo.common.lock import shop_lock
from feature_repo.common.paths import shop_paths
from tests.e2e.command_shop import BAD_USAGE, DONE, FAILED, REFUSED, Shop, assert_serves, copied_shop, outcome
from tests.processes import tawsiya
from tests.tiny_shop import events, products, write_csv, write_shop

pytestmark = pytest.mark.e2e

# TAWSIYA_KILLS=100 takes an hour.
KILLS = int(os.environ.get("TAWSIYA_KILLS", "3"))
RETRY_LATER = "another job is running on this shop"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Path) -> Shop:
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder, tiny_encoder)
    shop = Shop(folder)
    assert shop.run("refresh").code == DONE
    return shop


@pytest.fixture
def shop(built: Shop, tmp_path: Path) -> Shop:
    return copied_shop(built, tmp_path / "shop")


@pytest.mark.processes
@pytest.mark.timeout(120 * (KILLS + 2))
def test_killed_at_random_moments_the_live_release_is_whole_and_the_next_run_completes(shop: Shop) -> None:
    paths = shop_paths(shop.config)
    shop.forget_stages()
    started = time.monotonic()
    undisturbed = shop.run("refresh")
    seconds = time.monotonic() - started
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    for _ in range(KILLS):
        if rng.random() < 0.5:
            shop.forget_stages()
        command, delay = shop.start("refresh"), rng.uniform(0, seconds)
        started = time.monotonic()
        command.kill_when(lambda: time.monotonic() >= started + delay)  # noqa: B023 - called before the next round
        assert_serves(shop)
        assert "running" not in {run["state"] for run in list_runs(paths)}, seed
    finished = shop.run("refresh")
    assert finished.code == DONE, (seed, finished.stderr)
    assert outcome(finished.answer) == outcome(undisturbed.answer), seed
    assert shop.run("release", "verify").answer == {"verified": finished.answer["release"]}
    assert shop.run("runs", "show", "last").answer["state"] == "done"


def test_beside_another_job_it_says_so_and_leaves_no_record(shop: Shop) -> None:
    before = list_runs(shop_paths(shop.config))
    with shop_lock(shop.config):
        for arguments in (["refresh"], ["refresh", "--only", "prices"]):
            finished = shop.run(*arguments)
            assert (finished.code, finished.stdout) == (FAILED, "")
            assert RETRY_LATER in finished.stderr
    assert list_runs(shop_paths(shop.config)) == before


def test_logs_as_json_are_one_object_per_line(shop: Shop) -> None:
    shop.forget_stages()
    finished = shop.run("refresh", "--log-format", "json")
    assert finished.code == DONE, finished.stderr
    lines = [json.loads(line) for line in finished.stderr.splitlines()]
    assert all(list(line) == ["time", "level", "run", "stage", "message"] for line in lines)
    of_run = [line for line in lines if line["run"] is not None]
    assert {line["run"] for line in of_run} == {finished.answer["run"]}
    assert {stage["stage"] for stage in finished.answer["stages"]} <= {line["stage"] for line in of_run}
    training = [line["message"] for line in of_run if line["stage"] == "train"]
    assert any(message.startswith("epoch 1") for message in training)


def test_an_error_is_a_line_of_json_too(shop: Shop) -> None:
    write_csv(shop.folder / "events.csv", [row | {"event_type": "sneeze"} for row in events()])
    finished = shop.run("refresh", "--log-format", "json")
    assert finished.code == REFUSED
    error = json.loads(finished.stderr.splitlines()[-1])
    assert (error["level"], "bad_event_share" in error["message"]) == ("error", True)
    (last,) = list_runs(shop_paths(shop.config))[-1:]
    assert (last["state"], last["stages"][-1]["stage"]) == ("refused", "validate")
    assert "bad_event_share" in last["error"]


def test_prices_alone_from_a_feed(shop: Shop) -> None:
    feed = shop.folder / "feed.csv"
    write_csv(feed, [{"id": row["id"], "price": row["price"] * 2, "stock": 4} for row in products()])
    finished = shop.run("refresh", "--only", "prices", "--feed", str(feed))
    assert finished.code == DONE, finished.stderr
    assert finished.answer["counts"]["changed"] == 40
    assert set(finished.answer["seconds"]) == {
        "prices", "validate", "build_features", "validate_features", "materialize", "total",
    }  # fmt: skip
    write_csv(feed, [{"id": row["id"], "price": "ask us"} for row in products()])
    refused = shop.run("refresh", "--only", "prices", "--feed", str(feed))
    assert (refused.code, refused.stdout) == (REFUSED, "")
    assert "unreadable_price: 40 of 40 rows" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--force"], "--force and --reason TEXT go together"),
        (["--reason", "x"], "--force and --reason TEXT go together"),
        (["--force", "--reason", " "], "--force and --reason TEXT go together"),
        (["--only", "prices", "--force", "--reason", "x"], "makes no release"),
        (["--feed", "feed.csv"], "--feed is for --only prices"),
        (["--only", "stock"], "is not"),
        (["--log-format", "xml"], "is not"),
    ],
)
def test_options_that_do_not_fit_are_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    finished = tawsiya(tmp_path, "refresh", *arguments)
    assert (finished.code, finished.stdout) == (BAD_USAGE, "")
    assert message in " ".join(finished.stderr.split())
