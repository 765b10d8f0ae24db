"""Servers of a benchmark's own: started on a free loopback port, stopped at the end."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

START_SECONDS, STOP_SECONDS = 180, 60
LAST_WORDS = 4_000  # bytes of a log
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Served:
    """A server that answers.

    Attributes:
        port: Where, on loopback.
        process: The process that was started; workers are its children.
        client: For single requests.
    """

    port: int
    process: psutil.Process
    client: httpx.Client

    def processes(self) -> list[psutil.Process]:
        """The server with its workers."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """CPU time that the server and its workers have used."""
        times = [process.cpu_times() for process in self.processes()]
        return float(sum(time.user + time.system for time in times))


@contextmanager
def tawsiya(overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Iterator[Served]:
    """`tawsiya serve` with these `--set` values and further environment variables."""
    command = [str(Path(sys.executable).with_name("tawsiya")), "serve"]
    for override in overrides:
        command += ["--set", override]
    port = free_port()
    with serving([*command, "--set", f"api.port={port}"], port, environ) as served:
        yield served


@contextmanager
def serving(command: Sequence[str], port: int, environ: Mapping[str, str] | None = None) -> Iterator[Served]:
    """A server that `command` starts; /health must answer 200 once it is ready.

    Raises:
        SystemExit: It ended, or did not answer within START_SECONDS; the message has its last words.
    """
    with ExitStack() as stack:
        # A file, because nobody reads a pipe while the benchmark runs.
        log = stack.enter_context(tempfile.TemporaryFile())
        variables = os.environ | dict(environ or {})
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log, env=variables))
        stack.callback(_stop, process)
        client = stack.enter_context(httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60))
        if not _answers(client, process):
            log.seek(max(0, log.tell() - LAST_WORDS))
            words = log.read().decode(errors="replace")
            raise SystemExit(f"no answer within {START_SECONDS} s from: {' '.join(command)}\n{words}")
        yield Served(port, psutil.Process(process.pid), client)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(client: httpx.Client, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the server is ready before it ends, or START_SECONDS do."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError):
            if client.get("/health").is_success:
                return True
        time.sleep(0.1)
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
