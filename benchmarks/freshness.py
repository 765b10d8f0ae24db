"""Time from POST /v1/events to the first changed recommendation, and reads that miss the event just pushed.

    python -m benchmarks.freshness [--rounds 30] [--pushes 500] [--workers 1] [--configured] [--json]

Each of the rounds has a new visitor, who views one product; its figures are in milliseconds, beside those of a plain
request. Each of the pushes is one event of one of a few visitors, followed at once by a read of the same visitor. The
read misses if its list is made from a history whose last event is an earlier one. Visitors come at the same time, each
with connections of its own, so that with several workers push and read often meet different ones.

The default serves the small synthetic shop of benchmarks.online and takes half a minute; `--configured` serves the
configured shop (run `make demo` first). The published figure is of `--pushes 10000 --workers 2`.
"""

import argparse
import json
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np

from benchmarks.shops.bench_shop import SMALL_SHOP, bench_shop
from benchmarks.tools.server_process import tawsiya_server
from benchmarks.tools.skip import SkippedError
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from training.artifacts.release import current_release

GIVE_UP_SECONDS = 5.0
VISITORS = 8  # at the same time


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
            raise SystemExit(f"no recommendation changed within {GIVE_UP_SECONDS:.0f} s")
    return plain * 1000, (time.perf_counter() - start) * 1000


def missed_reads(base_url: str, product_ids: Sequence[str], pushes: int) -> int:
    """The number of reads that miss the event pushed just before, of VISITORS at the same time."""
    shares = [pushes // VISITORS + (place < pushes % VISITORS) for place in range(VISITORS)]
    with ThreadPoolExecutor(VISITORS) as pool:
        return sum(pool.map(lambda share: _missed_by_visitor(base_url, product_ids, share), shares))


def _missed_by_visitor(base_url: str, product_ids: Sequence[str], pushes: int) -> int:
    buyer, missed = f"guest-{uuid.uuid4().hex[:12]}", 0
    # A new connection for each request: the kernel gives it to any worker.
    with httpx.Client(base_url=base_url, timeout=60, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        for number in range(pushes):
            product_id, timestamp = product_ids[number % len(product_ids)], time.time_ns() // 1_000_000
            event = {"buyer_id": buyer, "product_id": product_id, "event_type": "view", "timestamp": timestamp}
            client.post("/v1/events", json={"events": [event]}).raise_for_status()
            answer = client.get(f"/v1/buyers/{buyer}/recommendations").raise_for_status().json()
            missed += answer["features"] is None or answer["features"]["last_event"] < timestamp
    return missed


def _overrides(*, configured: bool) -> tuple[str, ...]:
    """`--set` values of the shop to serve; SkippedError where the configured shop has no release."""
    if not configured:
        return bench_shop(SMALL_SHOP).overrides
    if current_release(shop_paths(load_config()).releases) is None:
        raise SkippedError("the configured shop has no release; run `make demo` first")
    return ()


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--pushes", type=int, default=500)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--configured", action="store_true", help="serve the configured shop, not the synthetic one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    overrides = (*_overrides(configured=options.configured), f"api.workers={options.workers}")
    with tawsiya_server(overrides) as service:
        one_round(service.client)  # warm-up
        figures = np.array([one_round(service.client) for _ in range(options.rounds)])
        popular = service.client.get("/v1/trending?k=100").raise_for_status().json()["items"]
        product_ids = [product["product_id"] for product in popular]
        missed = missed_reads(str(service.client.base_url), product_ids, options.pushes)
    plain, shown = (
        dict(zip(("p50", "p95"), np.percentile(column, [50, 95]).tolist(), strict=True)) for column in figures.T
    )
    result = {
        "plain_request_ms": plain,
        "event_to_changed_answer_ms": shown,
        "ratio_p50": shown["p50"] / plain["p50"],
        "pushes_read_at_once": options.pushes,
        "reads_that_missed": missed,
    }
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))  # noqa: T201


if __name__ == "__main__":
    main()
