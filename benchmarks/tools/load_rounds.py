"""Rounds of load on a server, and the figures pooled over the rounds."""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tools.server_process import ServerProcess

OK = "200"
PERCENTILES = (50, 95, 99)


@dataclass
class LoadRounds:
    """Measurements of one server at one concurrency, over all rounds."""

    latencies_us: list[int] = field(default_factory=list)
    responses: int = 0
    seconds: float = 0
    cpu_seconds: float = 0
    cpu_requests: int = 0

    def run_round(self, server: ServerProcess, paths: Path, concurrency: int, seconds: float, *options: str) -> None:
        """Puts the server under load for `seconds`.

        Args:
            server: The server.
            paths: File of request paths, one per line.
            concurrency: Number of connections, each with one request in flight.
            seconds: Duration of the load.
            options: Further options of the load generator. Requests of a warm-up count only for the CPU time.
        """
        before = server.cpu_seconds()
        # Another seed per round, else all rounds would request the same buyers in the same order.
        report = run_load(server.port, paths, concurrency, seconds, *options, "--seed", str(self.responses))
        responses = sum(report["statuses"].values())
        self.cpu_seconds += server.cpu_seconds() - before
        self.cpu_requests += responses + report["unfinished"] + report["warm_up_requests"]
        self.latencies_us += report["latencies_us"]
        self.responses += responses
        self.seconds += report["seconds"]

    def figures(self) -> dict[str, float | None]:
        """Latency percentiles and rate of responses with status 200, number of errors, CPU time per request."""
        return {
            **percentiles_ms(self.latencies_us),
            "rps": len(self.latencies_us) / self.seconds if self.seconds else 0.0,
            "errors": self.responses - len(self.latencies_us),
            "n": len(self.latencies_us),
            "cpu_ms_per_request": 1000 * self.cpu_seconds / max(1, self.cpu_requests),
        }


def write_request_paths(buyers: Iterable[str], k: int, folder: Path, *, new_only: bool = False) -> Path:
    """Writes the requests of the load generator, one path per line: K recommendations for each buyer."""
    path = folder / "paths"
    query = f"k={k}&new_only=true" if new_only else f"k={k}"
    lines = [f"/v1/buyers/{buyer}/recommendations?{query}" for buyer in sorted(buyers)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def percentiles_ms(latencies_us: list[int]) -> dict[str, float | None]:
    """p50_ms, p95_ms and p99_ms; None where there are no latencies."""
    values = np.percentile(latencies_us, PERCENTILES) / 1000 if latencies_us else [None] * len(PERCENTILES)
    return {f"p{percent}_ms": value and float(value) for percent, value in zip(PERCENTILES, values, strict=True)}


def run_load(port: int, paths: Path, concurrency: int, seconds: float, *options: str) -> dict[str, Any]:
    """Runs the load generator in a process of its own; returns its report."""
    done = subprocess.run(load_command(port, paths, concurrency, seconds, *options), stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def load_command(port: int, paths: Path, concurrency: int, seconds: float, *options: str) -> list[str]:
    """The command that starts the load generator."""
    numbers = {"--port": port, "--paths": paths, "--concurrency": concurrency, "--seconds": seconds}
    arguments = [part for name, value in numbers.items() for part in (name, str(value))]
    return [sys.executable, "-m", "benchmarks.tools.load_generator", *arguments, *options]
