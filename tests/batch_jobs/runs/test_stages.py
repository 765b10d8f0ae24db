"""When a stage runs: by the data, settings and code of its last result, and by its files."""

import importlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch_jobs.runs.checksums import MISSING, Checksums
from batch_jobs.runs.run_records import REFRESH, started_run
from batch_jobs.runs.stage_runner import StageRunner
from batch_jobs.runs.stages import RefreshStage, Work, differences, hashed_settings, read_stage_record
from feature_repo.common.config import Config
from feature_repo.settings.release import IndexConfig

IN, OUT = "in.txt", "out.txt"


def copy(work: Work) -> None:
    (work.paths.root / OUT).write_bytes((work.paths.root / IN).read_bytes())


STAGE = RefreshStage(
    name="copy",
    job=copy,
    inputs=lambda work: [work.paths.root / IN],
    outputs=lambda work: [work.paths.root / OUT],
    settings=("index", "data.test_days"),
    code=("batch_jobs/runs/stages.py",),
    facts=lambda work: {"weather": (work.paths.root / "weather").read_text()},
)


def new_work(folder: Path, **settings: object) -> Work:
    work = Work(Config.model_validate({"data_dir": folder, **settings}))
    work.paths.root.mkdir(parents=True, exist_ok=True)
    return work


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data_dir of a shop whose stage has run."""
    work = new_work(tmp_path)
    (work.paths.root / IN).write_text("tea")
    (work.paths.root / "weather").write_text("rain")
    assert advance(work)
    return tmp_path


def advance(work: Work, stage: RefreshStage = STAGE) -> bool:
    with started_run(work.paths, REFRESH, 10) as run:
        StageRunner(work, run).advance(stage)
    (entry,) = run.content["stages"]
    return bool(entry["state"] == "done")


def reasons(work: Work, stage: RefreshStage = STAGE) -> list[str]:
    return [str(found) for found in differences(read_stage_record(work.paths, stage.name), stage.key(work), work)]


def test_without_changes_it_is_skipped(folder: Path) -> None:
    assert reasons(new_work(folder, api={"port": 1}, index={"min_recall": IndexConfig().min_recall})) == []
    assert not advance(new_work(folder))


CHANGES: dict[str, Callable[[Path], object]] = {
    "new data: in.txt": lambda root: (root / IN).write_text("tee"),
    "new data: weather": lambda root: (root / "weather").write_text("sun"),
    "results changed or gone: out.txt": lambda root: (root / OUT).write_text("te"),
}


@pytest.mark.parametrize("reason", CHANGES)
def test_what_changed_is_named_and_done_again(folder: Path, reason: str) -> None:
    work = new_work(folder)
    CHANGES[reason](work.paths.root)
    assert reasons(work) == [reason]
    assert advance(work)
    assert reasons(new_work(folder)) == []
    assert (work.paths.root / OUT).read_text() == (work.paths.root / IN).read_text()


def test_a_lost_result_is_made_again(folder: Path) -> None:
    work = new_work(folder)
    (work.paths.root / OUT).unlink()
    assert reasons(work) == ["results changed or gone: out.txt"]


def test_settings_and_code_count_if_the_stage_reads_them(folder: Path) -> None:
    changed = new_work(
        folder, index={"type": "flat", "min_recall": 0.5}, data={"test_days": 2, "timezone": "Asia/Riyadh"}
    )
    assert reasons(changed) == ["new settings: data.test_days, index.min_recall, index.type"]
    assert reasons(new_work(folder), replace(STAGE, code=("batch_jobs/cli.py",))) == ["new code"]


def test_another_version_of_a_library_counts_if_it_makes_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(site)
    stage = replace(STAGE, libraries=("brewing", "kettle"))

    def install(name: str, version: str) -> None:
        metadata = site / f"{name}-1.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True, exist_ok=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        importlib.invalidate_caches()

    install("brewing", "1.0")
    work = new_work(tmp_path / "shop")
    (work.paths.root / IN).write_text("tea")
    (work.paths.root / "weather").write_text("rain")
    assert advance(work, stage)
    assert reasons(work, stage) == []
    install("brewing", "1.1")
    assert reasons(work, stage) == ["other versions of libraries: brewing"]
    install("kettle", "1.0")  # of an extra that was not installed before
    assert reasons(work, stage) == ["other versions of libraries: brewing, kettle"]
    assert advance(work, stage)
    assert reasons(work, stage) == []


def test_a_stage_that_failed_has_no_record(folder: Path) -> None:
    def fail(_: Work) -> None:
        raise ValueError("no tea")

    work = new_work(folder)
    (work.paths.root / IN).write_text("coffee")
    with pytest.raises(ValueError, match="no tea"):
        advance(work, replace(STAGE, job=fail))
    # Although the old result and the old data are back.
    (work.paths.root / IN).write_text("tea")
    assert reasons(new_work(folder)) == ["no finished run of it"]


def test_what_changes_while_a_stage_reads_is_new_to_the_next_run(folder: Path) -> None:
    def copy_and_change(work: Work) -> None:
        copy(work)
        (work.paths.root / IN).write_text("later")

    (new_work(folder).paths.root / IN).write_text("now")
    advance(new_work(folder), replace(STAGE, job=copy_and_change))
    assert reasons(new_work(folder)) == ["new data: in.txt"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": {}}', '{"outputs": [], "key": []}'])
def test_a_damaged_record_counts_as_none(folder: Path, content: str) -> None:
    work = new_work(folder)
    (work.paths.refreshes / "stages" / "copy.json").write_text(content)
    assert reasons(work) == ["no finished run of it"]


def test_records_hold_no_value_of_a_setting() -> None:
    config = Config.model_validate({"data": {"exclude_buyers": ["amal@example.com"]}})
    hashed = hashed_settings(config, ("data",))
    assert "amal" not in json.dumps(hashed)
    assert hashed["data.exclude_buyers"] != hashed_settings(Config(), ("data",))["data.exclude_buyers"]


def test_settings_of_no_result_are_left_out() -> None:
    assert "training.mlflow_uri" not in hashed_settings(Config(), ("training",))


# ---- checksums -------------------------------------------------------------------------------------------------------


@given(contents=st.lists(st.binary(max_size=4), min_size=2, max_size=5))
def test_a_sum_is_that_of_the_content_whenever_it_is_asked(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("sums")
    path, sums = folder / "file", {}
    for content in contents:
        path.write_bytes(content)
        checksums = Checksums(folder / "kept.json", folder)
        sums[content] = checksums.sum(path)
        checksums.save()
        assert Checksums(folder / "kept.json", folder).sum(path) == sums[content]
    assert len(set(sums.values())) == len(sums)


def test_a_sum_is_kept_while_the_file_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("tea")
    # As if the file were older.
    monkeypatch.setattr("batch_jobs.runs.checksums.SETTLED_S", -1.0)
    checksums = Checksums(tmp_path / "kept.json", tmp_path)
    first = checksums.sum(path)
    checksums.save()
    monkeypatch.setattr("batch_jobs.runs.checksums.sha256", lambda _: "computed again")
    assert Checksums(tmp_path / "kept.json", tmp_path).of([path]) == {"file": first}
    path.write_text("tee")
    assert Checksums(tmp_path / "kept.json", tmp_path).of_names(["file", "gone"]) == {
        "file": "computed again",
        "gone": MISSING,
    }
