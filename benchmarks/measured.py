"""Rounds of load against a server, pooled into figures."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import Served

OK = "200"
PERCENTILES = (50, 95, 99)


@dataclass
class Pool:
    """What was measured of one server at one concurrency, over all rounds."""

    latencies_us: list[int] = field(default_factory=list)
    answers: int = 0
    seconds: float = 0
    cpu_seconds: float = 0
    cpu_requests: int = 0

    def add_round(self, server: Served, paths: Path, concurrency: int, seconds: float, *options: str) -> None:
        """Loads the server for `seconds`.

        Args:
            server: The server.
            paths: File of request paths.
            concurrency: Requests under way at a time.
            seconds: How long.
            options: Further options of benchmarks.load. What a warm-up asks for counts for the CPU time alone.
        """
        before = server.cpu_seconds()
        # Another seed per round, or all would ask for the same buyers in the same order.
        report = run_load(server.port, paths, concurrency, seconds, *options, "--seed", str(self.answers))
        answers = sum(report["statuses"].values())
        self.cpu_seconds += server.cpu_seconds() - before
        self.cpu_requests += answers + report["unfinished"] + report["warm_up_requests"]
        self.latencies_us += report["latencies_us"]
        self.answers += answers
        self.seconds += report["seconds"]

    def figures(self) -> dict[str, float | None]:
        """Percentiles of the good answers, good answers per second, and how many were not."""
        return {
            **percentiles_ms(self.latencies_us),
            "rps": len(self.latencies_us) / self.seconds if self.seconds else 0.0,
            "errors": self.answers - len(self.latencies_us),
            "n": len(self.latencies_us),
            "cpu_ms_per_request": 1000 * self.cpu_seconds / max(1, self.cpu_requests),
        }


def percentiles_ms(latencies_us: list[int]) -> dict[str, float | None]:
    """p50_ms, p95_ms and p99_ms; None where there is nothing."""
    values = np.percentile(latencies_us, PERCENTILES) / 1000 if latencies_us else [None] * len(PERCENTILES)
    return {f"p{percent}_ms": value and float(value) for percent, value in zip(PERCENTILES, values, strict=True)}


def run_load(port: int, paths: Path, concurrency: int, seconds: float, *options: str) -> dict[str, Any]:
    """One run of the load generator, in a process of its own; returns what it prints."""
    done = subprocess.run(load_command(port, paths, concurrency, seconds, *options), stdout=subprocess.PIPE, check=True)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def load_command(port: int, paths: Path, concurrency: int, seconds: float, *options: str) -> list[str]:
    """The command of benchmarks.load."""
    numbers = {"--port": port, "--paths": paths, "--concurrency": concurrency, "--seconds": seconds}
    arguments = [part for name, value in numbers.items() for part in (name, str(value))]
    return [sys.executable, "-m", "benchmarks.load", *arguments, *options]
