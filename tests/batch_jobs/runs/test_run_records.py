"""Records of runs: their states, also of runs that were killed, how many there are, and whom they do not name."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from batch_jobs.ingestion.ingest import ingest
from batch_jobs.privacy.forget import forget
from batch_jobs.runs.run_records import (
    PRICES_RUN,
    REFRESH,
    delete_old_records,
    erase_from_records,
    last_done,
    list_runs,
    read_run,
    started_run,
)
from batch_jobs.upkeep.retention import clean, disk_use
from feature_repo.common.config import Config
from feature_repo.common.errors import GateRefusedError
from feature_repo.common.paths import ShopPaths, shop_paths
from tests.batch_jobs.csv_shop import HEADER, shop


@pytest.fixture
def paths(tmp_path: Path) -> ShopPaths:
    return ShopPaths(tmp_path / "shop")


def record_run(paths: ShopPaths, error: BaseException | None = None, kind: str = REFRESH, keep: int = 100) -> str:
    """Records a run of one stage, which ends with the error; returns its id."""
    with suppress(BaseException), started_run(paths, kind, keep) as run:
        run.add_stage(stage="train", state="running", why="new data")
        if error is not None:
            raise error
        run.update_stage(state="done")
    return run.id


@pytest.mark.parametrize(
    ("error", "state", "text"),
    [
        (None, "done", None),
        (ValueError("column 'id' is missing"), "failed", "column 'id' is missing"),
        (GateRefusedError("bad events"), "refused", "bad events"),
        (SystemExit(143), "killed", "143"),
        (KeyboardInterrupt(), "killed", "KeyboardInterrupt"),
    ],
)
def test_a_record_says_how_the_run_ended(
    paths: ShopPaths, error: BaseException | None, state: str, text: str | None
) -> None:
    run_id = record_run(paths, error)
    run = read_run(paths, run_id)
    assert (run["state"], run.get("error"), run["kind"], run["pid"]) == (state, text, "refresh", os.getpid())
    assert [(stage["stage"], stage["state"]) for stage in run["stages"]] == [("train", state)]
    assert run["seconds"] >= 0
    assert run["started"] <= run["ended"]
    assert read_run(paths, "last") == run


def test_a_run_at_work_is_running_and_a_killed_one_is_not(paths: ShopPaths) -> None:
    with started_run(paths, REFRESH, 10) as run:
        run.add_stage(stage="ingest", state="running", why="new data")
        assert [found["state"] for found in list_runs(paths)] == ["running"]

    process = os.fork()
    if process == 0:
        with started_run(paths, REFRESH, 10) as dying:
            dying.add_stage(stage="train", state="running", why="new data")
            os._exit(9)  # nothing of the block's end runs, as after SIGKILL
    os.waitpid(process, 0)

    killed = read_run(paths, "last")
    assert (killed["state"], killed["error"]) == ("killed", f"process {process} is gone")
    assert [stage["state"] for stage in killed["stages"]] == ["killed"]
    # While the next run is at work, the killed one is not taken for it; afterwards its record says so itself.
    with started_run(paths, REFRESH, 10):
        assert [found["state"] for found in list_runs(paths)][1:] == ["killed", "running"]
    assert json.loads((paths.refreshes / f"{killed['id']}.json").read_text())["state"] == "killed"


def test_an_unknown_run_is_named_with_what_lists_them(paths: ShopPaths) -> None:
    with pytest.raises(ValueError, match=r"has no run 'x'; `tawsiya runs list`"):
        read_run(paths, "x")
    with pytest.raises(ValueError, match="has no run 'last'"):
        read_run(paths, "last")


def test_the_newest_records_are_kept_and_the_last_refresh(paths: ShopPaths) -> None:
    record_run(paths)
    compared = record_run(paths)
    failed = record_run(paths, ValueError("no"))
    prices = [record_run(paths, kind=PRICES_RUN) for _ in range(3)]
    delete_old_records(paths, 2)
    assert [run["id"] for run in list_runs(paths)] == [compared, *prices[1:]]
    assert failed not in {run["id"] for run in list_runs(paths)}
    done = last_done(paths, REFRESH)
    assert done is not None
    assert done["id"] == compared


def test_doctor_shows_the_folder_and_clean_deletes_what_is_over_the_limit(tmp_path: Path) -> None:
    config = Config.model_validate({"data_dir": tmp_path})
    paths = shop_paths(config)
    for _ in range(3):
        record_run(paths)
    (use,) = [use for use in disk_use(config) if use.place == "refreshes"]
    assert (use.limit, use.deletable) == ("refresh.keep_records=200", 0)

    few = Config.model_validate({"data_dir": tmp_path, "refresh": {"keep_records": 1}})
    (use,) = [use for use in disk_use(few) if use.place == "refreshes"]
    assert use.deletable > 0
    assert clean(few) == use.deletable
    assert len(list_runs(paths)) == 1


def test_a_damaged_record_is_passed_over(paths: ShopPaths) -> None:
    kept = record_run(paths)
    (paths.refreshes / "20240101T000000.000Z.json").write_text("{")
    assert [run["id"] for run in list_runs(paths)] == [kept]


def test_errors_that_quote_a_buyer_are_erased_and_nothing_else(paths: ShopPaths) -> None:
    quoting = record_run(paths, ValueError("row 12: 'amal@example.com' is no time; 120 rows were read"))
    other = record_run(paths, ValueError("row 120 is empty"))
    assert erase_from_records(paths, ["amal@example.com", "777"]) == 1
    assert read_run(paths, quoting)["error"] == "row 12: '[erased]' is no time; 120 rows were read"
    assert read_run(paths, other)["error"] == "row 120 is empty"


def test_an_erasure_reaches_the_records(tmp_path: Path) -> None:
    events = HEADER + "amal,p1,view,2024-03-01T10:00:00Z\nu2,p1,view,2024-03-01T12:00:00Z\n"
    config = shop(tmp_path, events=events, products="id,title,price\np1,tea,10\n")
    ingest(config)
    run_id = record_run(shop_paths(config), ValueError("'amal' has no history"))
    assert forget(config, ["amal"])["removed"]["refreshes"] == 1
    assert read_run(shop_paths(config), run_id)["error"] == "'[erased]' has no history"
