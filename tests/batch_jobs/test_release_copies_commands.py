"""`tawsiya release pull` and `push` as a user runs them: results, exit codes, one line per error."""

import json
from pathlib import Path

import pytest
from typer.testing import Result

from tests.command import invoke
from tests.random_release import write_random_release
from training.artifacts.gate_verdict import GATE, GATE_REFUSED
from training.artifacts.release import current_release, list_releases, promote, record_gate


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of releases elsewhere, of which one is live."""
    folder = write_random_release(tmp_path / "elsewhere", 5)
    promote(folder.parent, folder.name)
    return folder.parent


def release(tmp_path: Path, *arguments: str) -> Result:
    """Runs `tawsiya release ARGUMENTS` on a shop in `tmp_path`."""
    return invoke("release", *arguments, "--set", f"data_dir={tmp_path}/var", "--set", "data.source=csv", "--json")


def here(tmp_path: Path) -> Path:
    return tmp_path / "var" / "csv" / "releases"


def test_pull_copies_and_promotes_only_when_told_to(source: Path, tmp_path: Path) -> None:
    answer = release(tmp_path, "pull", "--from", str(source))
    assert answer.exit_code == 0, answer.stderr
    assert json.loads(answer.stdout)["live"] is False
    assert current_release(here(tmp_path)) is None
    answer = release(tmp_path, "pull", "--from", str(source), "--promote")
    assert json.loads(answer.stdout)["live"] is True
    live = current_release(here(tmp_path))
    assert live is not None
    assert live.name == json.loads(answer.stdout)["release"]


def test_pulled_releases_are_kept_up_to_the_limit(source: Path, tmp_path: Path) -> None:
    keep = ("--set", "release.keep=2")
    for _ in range(4):
        assert release(tmp_path, "pull", "--from", str(source), "--promote", *keep).exit_code == 0
        folder = write_random_release(tmp_path / "elsewhere", 5)
        promote(source, folder.name)
    assert [row["name"] for row in list_releases(here(tmp_path))] == [row["name"] for row in list_releases(source)][2:4]


def test_a_refused_release_is_copied_but_not_promoted(source: Path, tmp_path: Path) -> None:
    name = list_releases(source)[0]["name"]
    record_gate(source, name, {"verdict": GATE_REFUSED, "reasons": ["worse"]})
    answer = release(tmp_path, "pull", "--from", str(source), "--promote")
    assert answer.exit_code == 3
    assert f"release {name} was refused: worse" in answer.stderr
    assert current_release(here(tmp_path)) is None
    assert list_releases(here(tmp_path))[0][GATE]["verdict"] == GATE_REFUSED


def test_push_and_pull_by_name(source: Path, tmp_path: Path) -> None:
    release(tmp_path, "pull", "--from", str(source), "--promote")
    store = tmp_path / "store"
    pushed = json.loads(release(tmp_path, "push", "--to", store.as_uri()).stdout)
    answer = release(tmp_path / "other", "pull", "--from", str(store), "--name", pushed["release"])
    assert json.loads(answer.stdout)["release"] == pushed["release"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pull", "--from", "/nowhere"], "no release is live in /nowhere"),
        (["pull", "--from", "nope://x"], "nope://x cannot be opened: Protocol not known: nope"),
        (["pull", "--from", "/nowhere", "--name", "../x"], "'../x' is not the name of a release"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    answer = release(tmp_path, *arguments)
    assert answer.exit_code == 1
    assert answer.stdout == ""
    assert answer.stderr.startswith(f"error: {message}")
    assert answer.stderr.count("\n") == 1


def test_without_a_release_there_is_nothing_to_push(tmp_path: Path) -> None:
    answer = release(tmp_path, "push", "--to", str(tmp_path / "store"))
    assert answer.exit_code == 3
    assert "no release is live" in answer.stderr


@pytest.mark.parametrize("arguments", [["pull"], ["push"]])
def test_the_address_is_needed(arguments: list[str], tmp_path: Path) -> None:
    assert release(tmp_path, *arguments).exit_code == 2
