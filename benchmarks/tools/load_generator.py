"""A closed-loop load generator for HTTP/1.1: each connection sends its next request when the response is complete.

    python -m benchmarks.tools.load_generator --port PORT --paths FILE --concurrency 8 --seconds 3 [--warm-up 1]
                                              [--seed 7] [--inspect]

FILE has one request path per line; paths are drawn at random. Prints one JSON object (see Load.report). SIGTERM ends
the run early and the report is still printed. To use little CPU it reads only status and length of a response;
`--inspect` also parses the JSON for the release and `degraded`.
"""

import argparse
import asyncio
import gc
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import uvloop

HOST = "127.0.0.1"
HEADER_END = b"\r\n\r\n"
CONTENT_LENGTH = b"content-length:"
NO_RESPONSE, BROKEN = 0, -1  # instead of a status
PAUSE_SECONDS = 0.01  # before the next connection after one that failed
PATIENCE_SECONDS = 60.0


@dataclass
class Load:
    """One run of the load: its requests and its results.

    Attributes:
        requests: Complete HTTP requests, drawn at random.
        port: The server's port on loopback.
        patience: Seconds to wait at the end for requests in flight.
        inspect: Parse the bodies of the responses.
        until_ns: No request starts after this time (time.monotonic_ns).
        statuses: Responses by status; NO_RESPONSE for a lost connection, BROKEN for a body that is no JSON object.
        unfinished: Requests without a response when the patience ended.
        latencies_us: Latencies of the responses with status 200, in microseconds.
        last_ns: Time of the last response (time.monotonic_ns).
        answers: With `inspect`: (start in ns, latency in us, status, release, degraded) of every request.
    """

    requests: Sequence[bytes]
    port: int
    seed: int
    patience: float = PATIENCE_SECONDS
    inspect: bool = False
    until_ns: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    unfinished: int = 0
    latencies_us: list[int] = field(default_factory=list)
    last_ns: int = 0
    answers: list[tuple[int, int, int, str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Seeds the random choice of requests."""
        self._random = random.Random(self.seed)

    def stop(self) -> None:
        """No further request starts."""
        self.until_ns = min(self.until_ns, time.monotonic_ns())

    def next_request(self) -> bytes | None:
        """The next request to send; None when the time is up."""
        return self._random.choice(self.requests) if time.monotonic_ns() < self.until_ns else None

    def record(self, start_ns: int, status: int, body: bytes) -> None:
        """Records a response, or that there was none."""
        self.last_ns = time.monotonic_ns()
        latency_us = (self.last_ns - start_ns) // 1000
        release, degraded = "", False
        if status == 200:
            if not (body.startswith(b"{") and body.endswith(b"}")):
                status = BROKEN
            elif self.inspect:
                content = json.loads(body)
                release, degraded = content.get("release", ""), bool(content.get("degraded"))
        self.statuses[status] += 1
        if status == 200:
            self.latencies_us.append(latency_us)
        if self.inspect:
            self.answers.append((start_ns, latency_us, status, release, degraded))

    async def run(self, concurrency: int, seconds: float) -> None:
        """Keeps `concurrency` requests in flight for `seconds`, then waits for the last responses."""
        self.until_ns = time.monotonic_ns() + int(seconds * 1e9)
        await asyncio.gather(*(self._keep_connected() for _ in range(concurrency)))

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        while time.monotonic_ns() < self.until_ns:
            try:
                _, connection = await loop.create_connection(lambda: Connection(self), HOST, self.port)
            except OSError:
                self.record(time.monotonic_ns(), NO_RESPONSE, b"")
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            remaining = (self.until_ns - time.monotonic_ns()) / 1e9 + self.patience
            try:
                await asyncio.wait_for(connection.closed.wait(), remaining)
            except TimeoutError:
                self.unfinished += 1
                connection.abandon()

    def report(self, start_ns: int) -> dict[str, Any]:
        """The result of the run; `seconds` end with the last response."""
        return {
            "seconds": max(0, self.last_ns - start_ns) / 1e9,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "unfinished": self.unfinished,
            "latencies_us": self.latencies_us,
            "answers": self.answers,
        }


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request in flight."""

    def __init__(self, load: Load) -> None:
        """A connection that takes its requests from `load`."""
        self._load = load
        self._received = b""
        self._start_ns = 0  # of the request in flight; 0 for none
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        # uvloop's transports do not inherit from asyncio.Transport.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Collects a response; one without a Content-Length ends the connection."""
        self._received += data
        head, separator, body = self._received.partition(HEADER_END)
        if not separator:
            return
        length = _content_length(head)
        if length is None:
            self._finish(BROKEN, b"")
            self.close()
        elif len(body) >= length:
            self._finish(int(head[9:12]), body)
            if b"connection: close" in head.lower():
                self.close()
            else:
                self._send()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Records a request in flight as lost."""
        if self._start_ns:
            self._finish(NO_RESPONSE, b"")
        self.closed.set()

    def close(self) -> None:
        """Ends the connection."""
        self._transport.close()

    def abandon(self) -> None:
        """Ends the connection; its request counts as unfinished, not as failed."""
        self._start_ns = 0
        self._transport.abort()

    def _send(self) -> None:
        request = self._load.next_request()
        if request is None:
            self.close()
            return
        self._start_ns = time.monotonic_ns()
        self._transport.write(request)

    def _finish(self, status: int, body: bytes) -> None:
        self._received = b""
        start_ns, self._start_ns = self._start_ns, 0
        self._load.record(start_ns, status, body)


def _content_length(head: bytes) -> int | None:
    lower = head.lower()
    place = lower.find(CONTENT_LENGTH)
    if place < 0:
        return None
    return int(lower[place + len(CONTENT_LENGTH) :].partition(b"\r\n")[0])


def get_request(path: str) -> bytes:
    """A GET request for a keep-alive connection."""
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept: application/json\r\n\r\n".encode()


def measure(load: Load, concurrency: int, seconds: float) -> dict[str, Any]:
    """Runs the load and returns its report; garbage collection, which would add to the latencies, is off."""

    async def run() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, load.stop)
        await load.run(concurrency, seconds)

    gc.disable()
    start_ns = time.monotonic_ns()
    uvloop.run(run())
    gc.enable()
    return load.report(start_ns)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the load that the command line describes and prints its report as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--paths", type=Path, required=True)
    parser.add_argument("--concurrency", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--warm-up", type=float, default=0, help="seconds of load before the measurement")
    parser.add_argument("--patience", type=float, default=PATIENCE_SECONDS, help="seconds for last responses")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--inspect", action="store_true")
    options = parser.parse_args(arguments)
    requests = [get_request(path) for path in options.paths.read_text(encoding="utf-8").splitlines()]
    warm_up = Load(requests, options.port, options.seed)
    measure(warm_up, options.concurrency, options.warm_up)
    load = Load(requests, options.port, options.seed + 1, options.patience, inspect=options.inspect)
    report = measure(load, options.concurrency, options.seconds)
    json.dump(report | {"warm_up_requests": sum(warm_up.statuses.values())}, sys.stdout)


if __name__ == "__main__":
    main()
