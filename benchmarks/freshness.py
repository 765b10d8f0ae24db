"""How soon an event shows: from POST /v1/events to the first changed recommendation, beside a plain request.

    python -m benchmarks.freshness [--rounds 30] [--json]

Serves the configured shop (run `make demo` first) on a free loopback port and plays one new visitor per round, who
views one product. Figures are milliseconds.
"""

import argparse
import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np

START_SECONDS = 120
GIVE_UP_SECONDS = 5.0


@contextmanager
def served() -> Iterator[httpx.Client]:
    """A client of a server of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("tawsiya")), "serve", "--set", f"api.port={port}"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            _wait(client, server)
            yield client
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait(client: httpx.Client, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            client.get("/health").raise_for_status()
            return
        except httpx.TransportError:
            time.sleep(0.2)
    raise SystemExit("the server did not start; run `make demo` first, and `tawsiya serve` to see why")


def one_round(client: httpx.Client) -> tuple[float, float]:
    """(milliseconds of a plain request, milliseconds from sending an event to the first changed answer)."""
    path = f"/v1/buyers/guest-{uuid.uuid4().hex[:12]}/recommendations"
    start = time.perf_counter()
    before = client.get(path).json()
    plain = time.perf_counter() - start
    event = {"buyer_id": path.split("/")[3], "product_id": before["items"][-1]["product_id"], "event_type": "view"}
    start = time.perf_counter()
    client.post("/v1/events", json={"events": [event]}).raise_for_status()
    while client.get(path).json()["items"] == before["items"]:
        if time.perf_counter() - start > GIVE_UP_SECONDS:
            raise SystemExit(f"the event did not show within {GIVE_UP_SECONDS:.0f} s")
    return plain * 1000, (time.perf_counter() - start) * 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with served() as client:
        one_round(client)  # warms the server up
        figures = np.array([one_round(client) for _ in range(options.rounds)])
    plain, shown = (dict(zip(("p50", "p95"), np.percentile(column, [50, 95]), strict=True)) for column in figures.T)
    result = {"plain_request_ms": plain, "event_to_changed_answer_ms": shown, "ratio_p50": shown["p50"] / plain["p50"]}
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))  # noqa: T201


if __name__ == "__main__":
    main()
