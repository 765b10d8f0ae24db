"""Every shell block of README and of the quick start runs, as a newcomer types them: the demo, requests, a shop."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.tiny_shop import events, products, write_csv

pytestmark = [pytest.mark.e2e, pytest.mark.processes, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.DOTALL | re.MULTILINE)
SERVES = ("make demo", "tawsiya serve")  # these end with Ctrl-C
THIS_SUITE = "make test"  # README names it; it would run this test again
# What `make` and the commands read in the project's folder.
FILES = ("Makefile", "pyproject.toml", "constraints.txt", "config")
PATIENCE_S = 600
# The commands are what is tested, not the model.
BRIEFLY = {"TAWSIYA__TRAINING__NUM_EPOCHS": "1", "TAWSIYA__TRAINING__REFIT": "false"}


@dataclass
class Terminal:
    """The project's folder of a newcomer who has installed it, and the server that runs in it."""

    folder: Path
    port: int
    server: subprocess.Popen[bytes] | None = None

    def type_page(self, page: Path) -> list[Any]:
        """Runs the blocks of a page in order; returns the JSON objects that they printed."""
        (self.folder / ".env").unlink(missing_ok=True)
        printed: list[Any] = []
        for block in BLOCK.findall(page.read_text(encoding="utf-8")):
            lines = [line for line in block.splitlines() if not line.startswith(THIS_SUITE)]
            script = "\n".join(lines).replace("8000", str(self.port))
            if lines[-1].startswith(SERVES):
                self.serve(script)
            else:
                printed += json_objects(self.run(script))
        self.stop()
        return printed

    def run(self, script: str) -> str:
        done = subprocess.run(bash(script), cwd=self.folder, env=self.environment(), capture_output=True, check=False)
        assert done.returncode == 0, f"{script}\n{done.stderr.decode()}"
        return done.stdout.decode()

    def serve(self, script: str) -> None:
        """Runs a block that ends with a server, until that answers."""
        self.stop()
        log = self.folder / "server.txt"
        with log.open("wb") as output:
            self.server = subprocess.Popen(
                bash(script), cwd=self.folder, env=self.environment(), stdout=output, stderr=output
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.server.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(60)
            self.server = None

    def environment(self) -> dict[str, str]:
        ours = {"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", "TAWSIYA__API__PORT": str(self.port), **BRIEFLY}
        # A newcomer's `make` is not called by another one, whose ARGS it would take for its own.
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(("TAWSIYA", "MAKE"))}
        return {name: value for name, value in theirs.items() if name not in ("ARGS", "MFLAGS")} | ours


def bash(script: str) -> list[str]:
    # The last command takes the place of bash, so that the signal reaches it.
    first, _, last = script.rpartition("\n")
    return ["bash", "-euo", "pipefail", "-c", f"{first}\nexec {last}" if last.startswith(SERVES) else script]


def json_objects(text: str) -> list[Any]:
    """The JSON objects in the output of commands, such as answers of the API, which end without a new line."""
    objects, decoder = [], json.JSONDecoder()
    while (start := text.find("{")) >= 0:
        found, end = decoder.raw_decode(text[start:])
        objects.append(found)
        text = text[start + end :]
    return objects


@pytest.fixture(scope="module")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    folder = tmp_path_factory.mktemp("project")
    for name in FILES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    (programs / "activate").write_text(f'export PATH="{programs}:$PATH"\n')
    for name, arguments in (("tawsiya", "-m batch_jobs.cli"), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {arguments} "$@"\n')
        (programs / name).chmod(0o755)
    # Installed already: newer than what make compares it with.
    (folder / ".venv" / ".installed-demo").touch()
    (folder / "data").mkdir()
    write_csv(folder / "data" / "events.csv", events())
    write_csv(folder / "data" / "products.csv", products())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    terminal = Terminal(folder, port)
    yield terminal
    terminal.stop()


@pytest.mark.parametrize("page", ["README.md", "docs/start/quick-start.md"])
def test_every_shell_block_runs(terminal: Terminal, page: str) -> None:
    lists = [answer for answer in terminal.type_page(ROOT / page) if "source" in answer]
    assert [answer["source"] for answer in lists[-2:]] == ["popular", "personalised"]
    assert lists[-1]["buyer_id"].startswith("guest-")
