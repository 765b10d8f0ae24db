"""Ten thousand calls through one client: whether the last ones are slower than the first, and what they leave behind.

    python -m client.bench_calls [--calls 10000] [--json]

Serves the small synthetic shop of benchmarks.online. Each call is followed by a plain request of the same list. The
figures are ratios of the two medians, in the first and the last tenth of the calls, because machines are noisy.
"""

import argparse
import json
import time
from collections.abc import Sequence

import httpx
import numpy as np
import psutil

from benchmarks.shops.bench_shop import SMALL_SHOP, bench_shop
from benchmarks.tools.server_process import tawsiya_server
from tawsiya_client import Client

WARM_UP = 100


def measure(client: Client, plain: httpx.Client, buyers: Sequence[str], calls: int) -> dict[str, float]:
    """How often a call takes as long as a plain request, first and last, and how much memory this process gained."""
    for buyer in buyers[:WARM_UP]:
        client.recommendations(buyer)
    before = psutil.Process().memory_info().rss
    seconds = np.empty((calls, 2))
    for number in range(calls):
        buyer = buyers[number % len(buyers)]
        start = time.perf_counter()
        client.recommendations(buyer)
        called = time.perf_counter()
        plain.get(f"/v1/buyers/{buyer}/recommendations").raise_for_status()
        seconds[number] = called - start, time.perf_counter() - called
    tenth = max(calls // 10, 1)
    (first, first_plain), (last, last_plain) = (np.median(part, axis=0) for part in (seconds[:tenth], seconds[-tenth:]))
    gained_mb = (psutil.Process().memory_info().rss - before) / 1e6
    return {"calls": calls, "first": first / first_plain, "last": last / last_plain, "gained_mb": gained_mb}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    shop = bench_shop(SMALL_SHOP)
    with tawsiya_server(shop.overrides) as service, Client(str(service.client.base_url)) as client:
        result = measure(client, service.client, list(shop.full_histories()), options.calls)
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))  # noqa: T201


if __name__ == "__main__":
    main()
