"""What the doctor says of data, releases and disk, from literal state."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch_jobs.doctor.data import age_checks, event_log_check, last_event, quarantine_check
from batch_jobs.doctor.diagnosis import Diagnosis
from batch_jobs.doctor.disk import disk_checks, needed_bytes
from batch_jobs.doctor.releases import age_check, last_run_check, refused_check, schema_check
from batch_jobs.upkeep.retention import DiskUse
from feature_repo.common.config import Config
from feature_repo.common.paths import ShopPaths, shop_paths
from feature_repo.schema import schema_hash

NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)


def found(item: Diagnosis) -> tuple[str, str, str | None]:
    return item.state, item.text, item.remedy


def test_the_last_event_is_read_from_the_file(tmp_path: Path) -> None:
    times = pa.array([dt.datetime(2026, 3, day) for day in (1, 9, 2)], pa.timestamp("us"))
    pq.write_table(pa.table({"buyer_id": ["a", "b", "c"], "event_time": times}), tmp_path / "events.parquet")
    assert last_event(tmp_path / "events.parquet") == dt.datetime(2026, 3, 9, tzinfo=dt.UTC)
    pq.write_table(pa.table({"event_time": pa.array([], pa.timestamp("us"))}), tmp_path / "none.parquet")
    assert last_event(tmp_path / "none.parquet") is None


@pytest.mark.parametrize(
    ("last", "state", "text"),
    [
        (NOW - dt.timedelta(days=2), "ok", "2026-03-08, 2.0 days ago"),
        (NOW - dt.timedelta(days=8), "warning", "2026-03-02, 8.0 days ago"),
        (NOW + dt.timedelta(hours=3), "ok", "2026-03-10, 0.0 days ago"),
        (NOW + dt.timedelta(days=30), "warning", "the last event is of 2026-04-09 12:00 UTC, 30.0 days from now"),
    ],
)
def test_old_events_and_those_of_the_future_are_warnings(last: dt.datetime, state: str, text: str) -> None:
    (item,) = age_checks(last, NOW)
    assert (item.state, item.text) == (state, text)
    assert (item.remedy is None) == (state == "ok")


def test_many_faulty_rows_are_a_warning(tmp_path: Path) -> None:
    report = tmp_path / "report.json"

    def of(bad: int) -> tuple[str, str, str | None]:
        tables = {"events": {"read": 90, "bad": bad}, "products": {"read": 10, "bad": 0}}
        report.write_text(json.dumps(tables))
        return found(quarantine_check(report))

    assert of(5) == ("ok", "5 of 100 rows of the last ingest were faulty", None)
    assert of(6) == ("warning", "6 of 100 rows of the last ingest were faulty", "tawsiya validate --explain")
    report.write_text("{")
    assert found(quarantine_check(report)) == ("warning", f"{report} cannot be read", "tawsiya ingest")


def test_accepted_events_that_no_ingest_took_for_long_are_a_warning(tmp_path: Path) -> None:
    paths = ShopPaths(tmp_path)
    assert found(event_log_check(paths, NOW)) == ("ok", "no accepted event waits for an ingest", None)
    paths.event_log.mkdir()
    (paths.event_log / "2026-03-09.jsonl").write_bytes(b"x" * 2_000_000)
    assert found(event_log_check(paths, NOW)) == ("ok", "1 day since 2026-03-09 wait for an ingest, 2.0 MB", None)
    other = paths.root / "hosts/pod-1/event_log"  # what another host has accepted
    other.mkdir(parents=True)
    (other / "2026-03-02.jsonl").write_bytes(b"x" * 1_000_000)
    assert found(event_log_check(paths, NOW)) == (
        "warning", "2 days since 2026-03-02 wait for an ingest, 3.0 MB", "tawsiya refresh",
    )  # fmt: skip


def test_an_old_release_and_one_of_another_schema_want_a_refresh() -> None:
    assert found(age_check({"created": "2026-03-09T12:00:00+00:00"}, NOW)) == ("ok", "1.0 days", None)
    assert found(age_check({"created": "2026-02-01T12:00:00+00:00"}, NOW)) == (
        "warning",
        "37.0 days",
        "tawsiya refresh",
    )
    own = schema_hash(100)
    config = Config.model_validate({"model": {"buyer_tower": {"max_interaction_history": 100}}})
    assert found(schema_check({"schema_hash": own}, config)) == ("ok", f"{own}, as the code", None)
    other = schema_check({"schema_hash": "0" * 16}, config)
    assert found(other) == ("problem", f"the release has {'0' * 16}, the code {own}", "tawsiya refresh")


def test_a_newer_release_that_the_gate_refused_is_named_with_its_reasons() -> None:
    live: dict[str, Any] = {"name": "20260301T000000.000Z-a", "live": True, "gate": {"verdict": "passed"}}
    refused = {
        "name": "20260302T000000.000Z-b",
        "live": False,
        "gate": {"verdict": "refused", "reasons": ["products fell"]},
    }
    (item,) = refused_check([live, refused])
    assert item.text == "the gate refused 20260302T000000.000Z-b: products fell"
    assert item.remedy == "tawsiya release compare 20260301T000000.000Z-a 20260302T000000.000Z-b"
    assert list(refused_check([live])) == []


def test_a_refresh_that_failed_is_named() -> None:
    assert list(last_run_check([])) == []
    (item,) = last_run_check([{"id": "r1", "state": "done"}, {"id": "r2", "state": "killed"}])
    assert found(item) == ("warning", "r2: killed", "tawsiya runs show last")
    (item,) = last_run_check([{"id": "r1", "state": "done"}])
    assert found(item) == ("ok", "r1: done", None)


def test_the_free_disk_is_compared_with_what_a_refresh_writes(tmp_path: Path) -> None:
    gb = 10**9
    uses = [
        DiskUse("features", 3 * gb, "x"), DiskUse("event_log", 50 * gb, "x"), DiskUse("releases", 20 * gb, "x"),
        DiskUse("../text_vectors", 9 * gb, "x"), DiskUse("hosts", 7 * gb, "x"),
    ]  # fmt: skip
    assert needed_bytes(uses, kept_releases=5) == (3 + 4) * gb
    config = Config.model_validate({"data_dir": tmp_path, "disk": {"budget_gb": 77}})
    paths = shop_paths(config)
    free, budget = disk_checks(config, paths, uses, free=6 * gb)
    assert found(free)[:2] == ("warning", "6.0 GB; the next refresh may take 7.0")
    assert free.remedy == "tawsiya doctor --clean, then lower release.keep"
    assert found(budget)[:2] == ("warning", "80.0 GB of disk.budget_gb=77")
    assert next(iter(disk_checks(config, paths, uses, free=8 * gb))).state == "ok"
