"""The search log: what is kept of a query, what survives, and what is bounded."""

import datetime as dt
import json
import multiprocessing
from pathlib import Path

import pytest

from feature_repo.common import search_log
from feature_repo.common.search_log import SearchOutcome, append_searches, logged_query, read_searches
from online_api.search import search_recorder
from online_api.search.search_recorder import SearchRecorder

DAY = dt.datetime(2026, 3, 20, 23, 59, tzinfo=dt.UTC)


class Clock:
    def __init__(self) -> None:
        self.now = DAY

    def __call__(self) -> dt.datetime:
        return self.now


def read(folder: Path) -> dict[str, dict[tuple[str | None, SearchOutcome], int]]:
    return {day: dict(searches) for day, searches in read_searches([folder])}


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("  فُسْتَان   سهرة!", "فستان سهره"),
        ("Red DRESS", "red dress"),
        ("٠١٠٠ ١٢٣ ٤٥٦٧", "#### ### ####"),  # a telephone number
        ("iphone 128GB 15", "iphone 128 gb 15"),
        ("mona@example.com dress", "dress"),
        ("mona@example.com", ""),
        ("x" * 500, "x"),
        ("word " * 100, ("word " * 100)[:80].strip()),
    ],
)
def test_what_is_kept_of_a_query(query: str, kept: str) -> None:
    assert logged_query(query) == kept


def test_counts_are_written_by_day(tmp_path: Path) -> None:
    clock = Clock()
    recorder = SearchRecorder(tmp_path, 30, clock)
    for query in ("Lamp", "lamp!", "مصباح"):
        recorder.record(query, "no_match")
    recorder.record("shoes", "searched")
    recorder.record("mona@example.com", "no_match")
    recorder.write()
    clock.now += dt.timedelta(minutes=1)
    recorder.record("lamp", "weak")
    recorder.write()
    recorder.write()  # nothing more
    assert read(tmp_path) == {
        "2026-03-20": {(None, "searched"): 5, ("lamp", "no_match"): 2, ("مصباح", "no_match"): 1},
        "2026-03-21": {(None, "searched"): 1, ("lamp", "weak"): 1},
    }


def test_old_days_are_deleted(tmp_path: Path) -> None:
    clock = Clock()
    recorder = SearchRecorder(tmp_path, 2, clock)
    for _ in range(3):
        recorder.record("lamp", "no_match")
        recorder.write()
        clock.now += dt.timedelta(days=1)
    assert sorted(read(tmp_path)) == ["2026-03-21", "2026-03-22"]


def test_zero_days_record_nothing_and_delete_what_there_is(tmp_path: Path) -> None:
    append_searches(tmp_path, {("lamp", "no_match"): 1}, dt.date(2026, 3, 1))
    recorder = SearchRecorder(tmp_path, 0, Clock())
    recorder.record("lamp", "no_match")
    recorder.write()
    assert read(tmp_path) == {}


def test_memory_and_disk_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_recorder, "MOST_QUERIES_AT_ONCE", 3)
    monkeypatch.setattr(search_log, "MAX_DAY_BYTES", 100)
    recorder = SearchRecorder(tmp_path, 30, Clock())
    for word in ("ab", "cd", "ef", "gh", "ab"):
        recorder.record(word, "no_match")
    recorder.write()
    [searches] = read(tmp_path).values()
    assert searches == {(None, "searched"): 5, ("ab", "no_match"): 2, ("cd", "no_match"): 1}
    [path] = tmp_path.glob("*.jsonl")
    size = path.stat().st_size
    assert size > 100
    recorder.record("ij", "no_match")
    recorder.write()
    assert path.stat().st_size == size


def test_a_torn_or_strange_line_is_skipped_and_ends_before_the_next(tmp_path: Path) -> None:
    path = tmp_path / "2026-03-20.jsonl"
    good = json.dumps({"query": "lamp", "outcome": "no_match", "count": 2})
    path.write_text(f'{good}\n[1]\n{{"query": "x", "outcome": "?", "count": 1}}\n{{"query": "la', encoding="utf-8")
    recorder = SearchRecorder(tmp_path, 30, Clock())
    recorder.record("lamp", "no_match")
    recorder.write()
    assert read(tmp_path) == {"2026-03-20": {(None, "searched"): 1, ("lamp", "no_match"): 3}}


def test_a_folder_that_cannot_be_written_fails_no_request(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    recorder = SearchRecorder(blocked / "log", 30, Clock())
    recorder.record("lamp", "no_match")
    recorder.write()
    assert "1 searches were not recorded" in caplog.text


def _work(folder: Path) -> None:
    recorder = SearchRecorder(folder, 30, Clock())
    for _ in range(20):
        recorder.record("lamp", "no_match")
        recorder.write()


def test_several_processes_write_one_log(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_work, args=(tmp_path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert read(tmp_path)["2026-03-20"] == {(None, "searched"): 60, ("lamp", "no_match"): 60}
