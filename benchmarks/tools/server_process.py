"""Servers that a benchmark starts on a free loopback port and stops at the end."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import httpx
import psutil

START_SECONDS, STOP_SECONDS = 180, 60
LOG_TAIL = 4_000  # bytes of the log in the error message
HOST = "127.0.0.1"


@dataclass(frozen=True)
class ServerProcess:
    """A running server.

    Attributes:
        port: Its port on loopback.
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
def tawsiya_server(overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> Iterator[ServerProcess]:
    """`tawsiya serve` with these `--set` values and further environment variables."""
    command = [sys.executable, "-m", "batch_jobs.cli", "serve"]  # this repository's code, whatever is installed
    for override in overrides:
        command += ["--set", override]
    port = free_port()
    with running_server([*command, "--set", f"api.port={port}"], port, environ) as server:
        yield server


@contextmanager
def running_server(
    command: Sequence[str], port: int, environ: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    """Starts a server with `command` and waits until /health answers 200; stops it after the block.

    Raises:
        SystemExit: It ended, or did not answer within START_SECONDS; the message has the end of its log.
    """
    with ExitStack() as stack:
        # A file: a pipe that nobody reads would fill up and block the server.
        log = stack.enter_context(tempfile.TemporaryFile())
        variables = os.environ | dict(environ or {})
        process = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=log, env=variables))
        stack.callback(_stop, process)
        client = stack.enter_context(httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60))
        if not _answers(client, process):
            log.seek(max(0, log.tell() - LOG_TAIL))
            tail = log.read().decode(errors="replace")
            raise SystemExit(f"no answer within {START_SECONDS} s from: {' '.join(command)}\n{tail}")
        yield ServerProcess(port, psutil.Process(process.pid), client)


def free_port() -> int:
    """A loopback port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(client: httpx.Client, process: "subprocess.Popen[bytes]") -> bool:
    """Waits for the server; False if it ended, or was not ready within START_SECONDS."""
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
