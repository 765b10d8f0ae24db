"""Runs a command and measures it: seconds, processor seconds and the peak memory of its processes."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil

from benchmarks.tools.resident_memory import MIB

SAMPLE_SECONDS = 0.1


class Measured(NamedTuple):
    """What a command took.

    Attributes:
        seconds: Wall-clock seconds, the start of the interpreter included.
        cpu_seconds: Processor seconds of the process and the children that it waited for; a server that outlives the
            command does not count.
        peak_mib: Greatest sum of the resident memory of the process and all its children, sampled.
        output: What it wrote to stdout.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def measured(command: Sequence[str], limit_seconds: float) -> Measured:
    """Runs a command to its end; stderr is passed on.

    Raises:
        SystemExit: It failed, or ran past `limit_seconds`; the message names it.
    """
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    memory = _PeakMemory(process.pid)
    killer = threading.Timer(limit_seconds, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        killer.cancel()
        memory.stop()
    seconds = time.monotonic() - start
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with code {process.returncode} after {seconds:.0f} s")
    return Measured(seconds, usage.ru_utime + usage.ru_stime, memory.peak / MIB, output)


class _PeakMemory:
    """Samples the resident memory of a process and its descendants in a thread until `stop`."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            try:
                family = [self._root, *self._root.children(recursive=True)]
                self.peak = max(self.peak, sum(process.memory_info().rss for process in family))
            except psutil.NoSuchProcess:
                continue  # one ended between listing and reading

    def stop(self) -> None:
        """Ends the sampling."""
        self._ended.set()
        self._thread.join()
