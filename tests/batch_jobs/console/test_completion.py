"""What a shell offers when a word of the command line is completed."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.access.api_keys import create_key
from feature_repo.access.scope import Scope

SCRIPT = Path(sys.executable).with_name("tawsiya")

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with two sources, a release, a copy in the making and a run."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("salla", "shopify"):
        (folder / "config" / "sources").mkdir(parents=True, exist_ok=True)
        (folder / "config" / "sources" / f"{name}.yaml").touch()
    (folder / "config" / "default.yaml").write_text("data: {source: salla}\n")
    for name in (
        "20260101T000000.000Z-1a2b3c4d",
        "20260102T000000.000Z-5e6f7a8b",
        ".pull-20260103T000000.000Z-1a2b3c4d",
    ):
        (folder / "var" / "salla" / "releases" / name).mkdir(parents=True)
    (folder / "var" / "salla" / "releases" / "current").symlink_to("20260102T000000.000Z-5e6f7a8b")
    (folder / "var" / "salla" / "refreshes").mkdir()
    for name in ("20260102T000000.000Z.json", "checksums.json"):
        (folder / "var" / "salla" / "refreshes" / name).write_text("{}")
    return folder


def offered(folder: Path, line: str) -> list[str]:
    """What bash offers for the last word of the line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1), "_TAWSIYA_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [SCRIPT], env={**os.environ, **words}, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tawsiya rel", ["release"]),
        ("tawsiya release rol", ["rollback"]),
        ("tawsiya release promote ", ["20260102T000000.000Z-5e6f7a8b", "20260101T000000.000Z-1a2b3c4d"]),
        ("tawsiya release promote 20260101", ["20260101T000000.000Z-1a2b3c4d"]),
        ("tawsiya release promote /", []),
        ("tawsiya release promote --set data.source=shopify ", []),
        ("tawsiya runs show ", ["last", "20260102T000000.000Z"]),
        ("tawsiya ingest --source s", ["salla", "shopify"]),
        ("tawsiya demo --dataset sh", ["shopify"]),
        ("tawsiya refresh --set training.seed", ["training.seed="]),
        ("tawsiya refresh --set model.buyer_tower.agg", ["model.buyer_tower.aggregation_method="]),
        (
            "tawsiya refresh --set feature_store.online=",
            ["feature_store.online=embedded", "feature_store.online=redis"],
        ),
        ("tawsiya refresh --set data.use_subset=t", ["data.use_subset=true"]),
        ("tawsiya refresh --set training.seed=", []),
        ("tawsiya refresh --set no.such=", []),
        ("tawsiya keys revoke ", []),
    ],
)
def test_names_and_settings_are_offered(project: Path, line: str, words: list[str]) -> None:
    assert offered(project, line) == words


def test_keys_are_offered_by_name(project: Path) -> None:
    created = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    create_key(project / "var" / "api_keys.json", "shop", [Scope.READ], None, created, "salla")
    assert offered(project, "tawsiya keys revoke s") == ["shop"]


def test_where_no_configuration_can_be_read_nothing_is_offered(tmp_path: Path) -> None:
    assert offered(tmp_path, "tawsiya release promote ") == []
    assert offered(tmp_path, "tawsiya refresh --set training.see") == ["training.seed="]
