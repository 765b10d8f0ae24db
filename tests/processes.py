"""Work in processes of their own that start at once and can be killed.

Importing Feast, Great Expectations and torch takes ten seconds. A fork server imports them once; each process is a fork
of it, as real as one started from a shell: it has its own stdout, stderr, locks and exit code.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        "batch_jobs.cli",
        "batch_jobs.refresh",
        "expectations.suites",
        "online_api.service",
        "training.train",
        "feast.infra.offline_stores.duckdb",
        "feast.infra.online_stores.redis",
        "feast.infra.passthrough_provider",
        "sentence_transformers.sentence_transformer.modules",
        "transformers.models.bert.modeling_bert",
        "transformers.models.bert.tokenization_bert",
    ]
)
_POLL_S = 0.002
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int | None
    stdout: str
    stderr: str

    @property
    def answer(self) -> dict[str, Any]:
        """The one JSON object on stdout; anything else there is an error."""
        content = json.loads(self.stdout)
        assert isinstance(content, dict)
        return content


class Background:
    """A call that runs in a process of its own."""

    def __init__(self, target: Callable[..., None], *arguments: object) -> None:
        self.process = _FORKS.Process(target=target, args=arguments, daemon=True)
        self.process.start()

    def kill_when(self, condition: Callable[[], bool]) -> None:
        """SIGKILL as soon as the condition holds; a process that ends before is left at that."""
        deadline = time.monotonic() + _PATIENCE_S
        while not condition() and self.process.is_alive():
            assert time.monotonic() < deadline, "waited too long"
            time.sleep(_POLL_S)
        self.process.kill()
        self.process.join()


class Command(Background):
    """A `tawsiya` command line at work, in the folder of its output files."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._stdout, self._stderr = folder / "stdout.txt", folder / "stderr.txt"
        self._stderr.write_text("")
        super().__init__(_tawsiya, folder, arguments, self._stdout, self._stderr)

    def kill_at(self, line: str) -> None:
        """SIGKILL as soon as stderr holds `line`."""
        self.kill_when(lambda: line in self._stderr.read_text(encoding="utf-8"))

    def finish(self) -> Finished:
        """Waits for the end."""
        self.process.join(_PATIENCE_S)
        assert self.process.exitcode is not None, "waited too long"
        return Finished(
            self.process.exitcode,
            self._stdout.read_text(encoding="utf-8"),
            self._stderr.read_text(encoding="utf-8"),
        )


def tawsiya(folder: Path, *arguments: str) -> Finished:
    """Runs a command line to its end."""
    return Command(folder, *arguments).finish()


def _tawsiya(folder: Path, arguments: tuple[str, ...], stdout: Path, stderr: Path) -> None:
    """What the `tawsiya` script does, with its output in files."""
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(folder)
    sys.argv = ["tawsiya", *arguments]
    from batch_jobs.cli import main

    main()
