"""How soon an event shows: from POST /v1/events to the first changed recommendation, beside a plain request.

    python -m benchmarks.freshness [--rounds 30] [--json]

Serves the configured shop (run `make demo` first) on a free loopback port and plays one new visitor per round, who
views one product. Figures are milliseconds.
"""

import argparse
import json
import time
import uuid
from collections.abc import Sequence

import httpx
import numpy as np

from benchmarks.served import tawsiya

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
            raise SystemExit(f"the event did not show within {GIVE_UP_SECONDS:.0f} s")
    return plain * 1000, (time.perf_counter() - start) * 1000


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tawsiya() as service:
        one_round(service.client)  # warms the server up
        figures = np.array([one_round(service.client) for _ in range(options.rounds)])
    plain, shown = (dict(zip(("p50", "p95"), np.percentile(column, [50, 95]), strict=True)) for column in figures.T)
    result = {"plain_request_ms": plain, "event_to_changed_answer_ms": shown, "ratio_p50": shown["p50"] / plain["p50"]}
    print(json.dumps(result) if options.json else "\n".join(f"{key}: {value}" for key, value in result.items()))  # noqa: T201


if __name__ == "__main__":
    main()
