"""Time from POST /v1/events to the first changed recommendation, compared with the time of a plain request.

    python -m benchmarks.freshness [--rounds 30] [--configured] [--json]

Each round has a new visitor, who views one product. Figures are in milliseconds. The default serves the small synthetic
shop of benchmarks.online and takes half a minute; `--configured` serves the configured shop (run `make demo` first).
"""

import argparse
import json
import time
import uuid
from collections.abc import Sequence

import httpx
import numpy as np

from benchmarks.shops.bench_shop import SMALL_SHOP, bench_shop
from benchmarks.tools.server_process import tawsiya_server
from benchmarks.tools.skip import SkippedError
from feature_repo.common.config_loading import load_config
from feature_repo.common.paths import shop_paths
from training.artifacts.release import current_release

GIVE_UP_SECONDS = 5.0


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
    parser.add_argument("--configured", action="store_true", help="serve the configured shop, not the synthetic one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tawsiya_server(_overrides(configured=options.configured)) as service:
        one_round(service.client)  # warm-up
        figures = np.array([one_round(service.client) for _ in range(options.rounds)])
    plain, shown = (
        dict(zip(("p50", "p95"), np.percentile(column, [50, 95]).tolist(), strict=True)) for column in figures.T
    )
    result = {"plain_request_ms": plain, "event_to_changed_answer_ms": shown, "ratio_p50": shown["p50"] / plain["p50"]}
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))  # noqa: T201


if __name__ == "__main__":
    main()
