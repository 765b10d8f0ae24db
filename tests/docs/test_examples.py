"""The examples of schedulers: each parses, calls a command that exists, and treats the exit codes as documented."""

import ast
import configparser
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.deploy.commands import require_command

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
INSTALLED = "/srv/tawsiya/.venv/bin/tawsiya"
CRON_FIELDS = re.compile(r"((?:[\d*/,-]+\s+){5})(.+)")
USAGE_OR_REFUSED = [2, 3]  # exit codes that a retry does not mend


def test_cron_lines_call_the_command() -> None:
    lines = (EXAMPLES / "tawsiya.cron").read_text().splitlines()
    jobs = [line for line in lines if line and not line.startswith("#") and "=" not in line.split()[0]]
    assert len(jobs) == 2
    for line in jobs:
        found = CRON_FIELDS.fullmatch(line)
        assert found, line
        assert "%" not in found[2], "cron takes % for the end of the line"
        call = re.search(r"\.venv/bin/tawsiya (.+?) >>", found[2])
        assert call, line
        require_command(shlex.split(call[1]))


def test_systemd_units_are_valid(tmp_path: Path) -> None:
    units = {name: EXAMPLES / f"tawsiya-refresh.{name}" for name in ("service", "timer")}
    service = configparser.ConfigParser(interpolation=None, strict=False)
    service.optionxform = str  # type: ignore[assignment,method-assign]
    service.read(units["service"])
    words = shlex.split(service["Service"]["ExecStart"])
    assert words[0] == INSTALLED
    require_command(words[1:])
    assert [int(code) for code in service["Service"]["RestartPreventExitStatus"].split()] == USAGE_OR_REFUSED
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is missing")
    for path in units.values():
        # The command must exist where the units are verified.
        (tmp_path / path.name).write_text(path.read_text().replace(INSTALLED, sys.executable))
    done = subprocess.run(
        [verify, "verify", "--man=no", *(tmp_path / path.name for path in units.values())],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    about_ours = [line for line in done.stderr.splitlines() if "tawsiya" in line]
    assert (done.returncode, about_ours) == (0, []), done.stderr


@pytest.mark.parametrize("name", ["airflow_dag.py", "dagster_schedule.py"])
def test_python_examples_compile_and_call_the_command(name: str) -> None:
    tree = ast.parse((EXAMPLES / name).read_text(), name)
    compile(tree, name, "exec")
    lists = [node for node in ast.walk(tree) if isinstance(node, ast.List)]
    texts = [[str(item.value) for item in node.elts if isinstance(item, ast.Constant)] for node in lists]
    (command,) = [words for words in texts if "refresh" in words]
    require_command(command)


# ---- Dagster, where it is installed ----------------------------------------------------------------------------------


def _fake_tawsiya(folder: Path, script: str) -> None:
    path = folder / ".venv" / "bin" / "tawsiya"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, on a folder whose command the test writes."""
    pytest.importorskip("dagster")
    monkeypatch.setenv("TAWSIYA_FOLDER", str(tmp_path))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    spec = importlib.util.spec_from_file_location("dagster_schedule", EXAMPLES / "dagster_schedule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dagster_makes_the_release_an_asset(schedule: ModuleType, tmp_path: Path) -> None:
    dagster = pytest.importorskip("dagster")
    result: dict[str, Any] = {
        "run": "r1", "release": "x", "counts": {"events": 2}, "metrics": {}, "changes": None, "stages": [],
        "warnings": [],
    }  # fmt: skip
    _fake_tawsiya(tmp_path, f"echo '{json.dumps(result)}'")
    # One that is disposed of: its database connections would else be closed by the garbage collector, at any moment.
    with dagster.DagsterInstance.ephemeral() as instance:
        done = dagster.materialize([schedule.live_release], instance=instance)
    (made,) = done.asset_materializations_for_node("live_release")
    assert made.metadata["release"].value == "x"
    assert schedule.definitions.get_repository_def().has_schedule_def("nightly_refresh")


@pytest.mark.parametrize(("code", "retried"), [(1, True), (2, False), (3, False)])
def test_dagster_repeats_only_what_may_work(schedule: ModuleType, tmp_path: Path, code: int, retried: bool) -> None:
    dagster = pytest.importorskip("dagster")
    _fake_tawsiya(tmp_path, f"exit {code}")
    with dagster.build_asset_context() as context, pytest.raises(dagster.Failure) as caught:
        schedule.live_release(context)
    assert caught.value.allow_retries is retried
