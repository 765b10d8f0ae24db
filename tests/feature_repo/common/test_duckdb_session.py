"""Sessions of DuckDB: limits, what is left of a killed one, and what is said when memory or disk run out."""

import errno
import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import ibis
import pytest

from feature_repo.common.config import Config
from feature_repo.common.duckdb_session import OutOfResourcesError, duckdb_session
from feature_repo.common.paths import shop_paths
from feature_repo.settings.storage import ResourcesConfig

# 30 million random numbers: 240 MB, which a list must hold in memory at once.
TOO_MUCH = "SELECT list(random()) FROM range(30_000_000)"
SPILLING = "CREATE TABLE rows AS SELECT i, md5(i::VARCHAR) AS text FROM range(1_000_000) r(i) ORDER BY text"


def settings(folder: Path, limit: str = "40MB", spill: Path | None = None) -> Config:
    return Config(data_dir=folder, resources=ResourcesConfig(memory_limit=limit, spill_folder=spill))


def message(config: Config, query: str) -> str:
    with pytest.raises(OutOfResourcesError) as failed, duckdb_session(config, "ingest") as db:
        db.execute(query)
    return str(failed.value)


def test_what_exceeds_the_memory_is_spilled_and_deleted_afterwards(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with duckdb_session(config, "ingest") as db:
        db.execute(SPILLING)
        assert any(path.stat().st_size > 0 for path in shop_paths(config).spill.glob("*/*"))
    assert list(shop_paths(config).spill.iterdir()) == []


@pytest.mark.parametrize(("limit", "threads"), [("40MB", 1), ("1GB", 8), ("1000MiB", 8), ("64GB", 64)])
def test_each_thread_has_memory_to_work_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, threads: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    with duckdb_session(settings(tmp_path, limit), "ingest") as db:
        assert db.execute("SELECT current_setting('threads')").fetchone() == (threads,)


def test_ibis_takes_the_connection_and_times_are_utc(tmp_path: Path) -> None:
    with duckdb_session(settings(tmp_path), "build-features") as db:
        con = ibis.duckdb.from_connection(db)
        assert con.raw_sql("SELECT '2026-01-01'::TIMESTAMPTZ::VARCHAR").fetchone() == ("2026-01-01 00:00:00+00",)
        assert con.raw_sql("SELECT current_setting('memory_limit')").fetchone() == ("38.1 MiB",)


def test_too_little_memory_names_the_step_and_the_setting(tmp_path: Path) -> None:
    config = settings(tmp_path)
    assert message(config, TOO_MUCH) == (
        "ingest needs more memory than resources.memory_limit (40MB); raise the setting"
    )
    assert list(shop_paths(config).spill.iterdir()) == []


def test_a_full_disk_names_the_folder_and_the_setting(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    text = message(settings(tmp_path, spill=spill), f"SET max_temp_directory_size = '1MB'; {SPILLING}")
    assert text == (
        f"ingest needs more disk space than there is in {spill}; free space there, or set resources.spill_folder to a "
        "folder on a larger disk"
    )
    assert list(spill.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_that_does_not_fit_names_its_own_folder(tmp_path: Path) -> None:
    text = message(settings(tmp_path), "COPY (SELECT range FROM range(1_000_000)) TO '/dev/full' (FORMAT parquet)")
    assert text == "ingest cannot write to /dev: the disk is full; free space there"


def test_a_full_disk_of_pythons_own_files_is_said_too(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/copies/events.csv")
    said = pytest.raises(OutOfResourcesError, match="cannot write to /copies: the disk is full")
    with said, duckdb_session(settings(tmp_path), "ingest"):
        raise full


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(duckdb.CatalogException), duckdb_session(settings(tmp_path), "ingest") as db:
        db.execute("SELECT * FROM nothing")
    with pytest.raises(FileNotFoundError), duckdb_session(settings(tmp_path), "ingest"):
        (tmp_path / "missing").read_bytes()


def test_the_next_session_deletes_what_a_killed_one_left_but_not_what_one_uses(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    config = settings(tmp_path, spill=spill)
    (spill / "of someone else").mkdir(parents=True)
    # Spawned: a forked process would inherit the locks of this one.
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    killed = processes.Process(target=_hold_session, args=(config, theirs))
    killed.start()
    assert ours.recv() == "open"
    (used,) = spill.glob("tawsiya-*")
    with duckdb_session(config, "ingest"):
        assert used.is_dir()
    killed.kill()
    killed.join()
    assert used.is_dir()
    with duckdb_session(config, "ingest"):
        assert not used.exists()
    assert [path.name for path in spill.iterdir()] == ["of someone else"]


def _hold_session(config: Config, parent: Connection) -> None:
    with duckdb_session(config, "ingest"):
        parent.send("open")
        parent.recv()


def test_a_spill_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    spill = tmp_path / "file"
    spill.write_text("")
    said = pytest.raises(RuntimeError, match=f"spill folder {spill} cannot be used: .*; set resources.spill_folder")
    with said, duckdb_session(settings(tmp_path, spill=spill), "ingest"):
        pass
