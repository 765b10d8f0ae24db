"""The archive of the event log: every line once, whatever is killed when, and the same events as from the lines."""

import datetime as dt
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch_jobs.ingestion.event_log.archive import archive_event_log, archive_folder
from batch_jobs.ingestion.ingest import ingest
from feature_repo.common.paths import shop_paths
from tests.batch_jobs.csv_shop import HEADER, kept_events, quarantined, rows, shop
from tests.processes import Background

pytestmark = pytest.mark.fast

PRODUCTS = "id,title\np1,Title one\np2,Title two\n"
NOW = dt.datetime(2025, 6, 3, 12, tzinfo=dt.UTC)
DAY = "2025-06-01"


def line(event_id: str, **more: Any) -> bytes:
    event = {"event_id": event_id, "buyer_id": "u1", "product_id": "p1", "event_type": "view"}
    return json.dumps(event | {"timestamp": "2025-05-01T10:00:00.000+00:00"} | more).encode() + b"\n"


def archive(event_log: Path, *, keep_days: int = 0, now: dt.datetime = NOW) -> None:
    scratch = event_log.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    with duckdb.connect() as db:
        archive_event_log(db, event_log, scratch, keep_days=keep_days, now=now)


def log_of(tmp_path: Path, *lines: bytes, day: str = DAY) -> Path:
    event_log = tmp_path / "event_log"
    event_log.mkdir(exist_ok=True)
    with (event_log / f"{day}.jsonl").open("ab") as file:
        file.writelines(lines)
    return event_log


def archived(event_log: Path) -> list[tuple[str | None, str | None]]:
    """Event id and text of each row, in order."""
    found = [pq.read_table(path).to_pylist() for path in sorted(archive_folder(event_log).glob("*.parquet"))]
    return [(row["event_id"], row["line"]) for day in found for row in day]


def test_finished_days_are_moved_and_todays_lines_stay(tmp_path: Path) -> None:
    event_log = log_of(tmp_path, line("e1", quantity=2), b"\n", b"   \n", b'{"cut')
    for day in ("2025-06-02", "2025-06-03", "notes"):
        log_of(tmp_path, line(day), day=day)
    archive(event_log, now=dt.datetime(2025, 6, 3, 0, 59, tzinfo=dt.UTC))
    # A request that began just before midnight may still append to the file of 2 June.
    assert sorted(path.stem for path in event_log.glob("*.jsonl")) == ["2025-06-02", "2025-06-03", "notes"]
    assert archived(event_log) == [("e1", None), (None, '{"cut')]
    archive(event_log)
    assert sorted(path.stem for path in event_log.glob("*.jsonl")) == ["2025-06-03", "notes"]
    assert archived(event_log) == [("e1", None), (None, '{"cut'), ("2025-06-02", None)]
    (row, _) = pq.read_table(archive_folder(event_log) / f"{DAY}.parquet").to_pylist()
    assert (row["buyer_id"], row["quantity"], row["reason"]) == ("u1", "2", None)


def test_lines_that_come_late_join_their_day(tmp_path: Path) -> None:
    event_log = log_of(tmp_path, line("e1"), line("e2"))
    archive(event_log)
    log_of(tmp_path, line("e3"))
    archive(event_log)
    assert [event_id for event_id, _ in archived(event_log)] == ["e1", "e2", "e3"]
    assert list(event_log.glob("*.jsonl")) == []


@pytest.mark.parametrize(("days", "kept"), [(0, ["e1", "e2"]), (2, ["e1", "e2"]), (1, ["e2"])])
def test_days_that_are_no_longer_kept_are_deleted(tmp_path: Path, days: int, kept: list[str]) -> None:
    event_log = log_of(tmp_path, line("e1"))
    log_of(tmp_path, line("e2"), day="2025-06-02")
    archive(event_log, keep_days=days)
    assert [event_id for event_id, _ in archived(event_log)] == kept


# --- killed at any step -----------------------------------------------------------------------------------------------


def _archive_until_killed(event_log: Path, steps: int) -> None:
    """Archives, and dies at the step of that number: a file opened, renamed, changed or deleted."""
    left = steps

    def at_step(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.chmod") and str(event_log) in str(arguments[0]):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(at_step)
    archive(event_log)


@pytest.mark.parametrize("late", [False, True], ids=["alone", "with late lines"])
def test_killed_at_any_step_no_line_is_lost_or_doubled(tmp_path: Path, late: bool) -> None:
    killed, steps = True, 0
    while killed:
        folder = tmp_path / str(steps)
        folder.mkdir()
        event_log = log_of(folder, line("e0"))
        archive(event_log)  # the day has an archive already
        log_of(folder, line("e1"), b"torn")
        process = Background(_archive_until_killed, event_log, steps).process
        process.join()
        killed = process.exitcode == -signal.SIGKILL
        assert killed or process.exitcode == 0
        if late:
            log_of(folder, b"\n" if (event_log / f"{DAY}.jsonl").exists() else b"", line("late"))
        archive(event_log)
        archive(event_log)
        expected = [("e0", None), ("e1", None), (None, "torn"), *([("late", None)] if late else [])]
        assert archived(event_log) == expected, f"killed at step {steps}"
        assert list(event_log.glob("*.jsonl")) == []
        steps += 1
    assert steps > 5  # it was killed at all


# --- the same events as from the lines --------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        line("e1"), line("e1", timestamp="2025-05-01T11:00:00.000+00:00"), line("e2", product_id="gone"),
        line("e3", buyer_id="عميل", event_type="purchase", quantity=3), line("e4", event_type="refund"),
        line("e5", timestamp="never"), line("e6", user_agent="bot"), line("e7", extra=[1]), b'{"event_id": "e8"}\n',
        b"\xff\xfe\n", b'{"cut\n', b"5\n", b"null\n", b'"text"\n', b"\n", b"   \n", b'{"a": "\x01"}\n',
    ]
)  # fmt: skip


@settings(max_examples=8)
@given(days=st.lists(st.lists(pieces, max_size=8), min_size=1, max_size=3))
def test_ingest_reads_the_archive_as_it_reads_the_lines(
    days: list[list[bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    def ingested(names: list[str], runs: int) -> tuple[Any, ...]:
        config = shop(tmp_path_factory.mktemp("shop"), events=HEADER, products=PRODUCTS, exclude_user_agents=["bot"])
        paths = shop_paths(config)
        paths.event_log.mkdir(parents=True)
        for name, content in zip(names, days, strict=False):
            (paths.event_log / f"{name}.jsonl").write_bytes(b"".join(content))
        for _ in range(runs):
            report = ingest(config)["events"]
        counts = report.get("event_log", {})
        left_out = [(Path(r["file"]).stem, r["source_line"], r["reason"], r["value"]) for r in rows(paths.quarantine)]
        return paths.events.read_bytes(), {**counts, "files": [], "examples": []}, left_out

    # Only the files that are named after a day are archived.
    by_line = ingested(["a", "b", "c"], runs=1)
    by_archive = ingested(["2025-06-01", "2025-06-02", "2025-06-03"], runs=2)
    names = {"2025-06-01": "a", "2025-06-02": "b", "2025-06-03": "c"}
    assert by_archive[:2] == by_line[:2]
    assert [(names[name], *rest) for name, *rest in by_archive[2]] == by_line[2]


def test_an_event_counts_as_soon_as_the_catalogue_has_its_product(tmp_path: Path) -> None:
    config = shop(tmp_path, events=HEADER, products=PRODUCTS)
    event_log = shop_paths(config).event_log
    event_log.mkdir(parents=True)
    (event_log / f"{DAY}.jsonl").write_bytes(line("e1", product_id="p3"))
    for _ in range(2):
        ingest(config)
        assert quarantined(config) == [("event_log", 1, "unknown_product")]
    (tmp_path / "products.csv").write_text(f"{PRODUCTS}p3,Title three\n", encoding="utf-8")
    ingest(config)
    assert [row["event_id"] for row in kept_events(config)] == ["e1"]
    assert quarantined(config) == []
