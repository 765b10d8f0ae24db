"""Latency, throughput and memory of the online service, compared with a lower bound and with the system it replaces.

    python -m benchmarks.online [--products 5000] [--buyers 300] [--seconds 3] [--new-only] [--no-memory] [--soak N]
        [--json]

Serves a synthetic shop (see shops.bench_shop), which the first run makes, and requests recommendations for buyers with
full histories from a second process over loopback:

    service             `tawsiya serve`
    floor               the lower bound, a bare ASGI application (see tools.minimal_server)
    described_system    encodes texts in every request (see described.server); slow, so it gets few requests

The default is a small shop, 5,000 products and 300 buyers, and takes about two minutes. The published figures are of
`--products 100000 --buyers 3000 --seconds 9`, whose shop takes minutes to make.

Lists of any products have the terms for popularity and repeats. `--new-only` requests lists of new products instead,
which have those for popularity, co-occurrence and closeness.

Service and lower bound alternate in short rounds, so that a change of the machine's speed affects both. CPU time per
request is that of the server process, without Redis and the load generator.

`--soak N` measures something else instead: N requests at concurrency 32, in ten parts. Neither the latency nor the
memory of the service may grow from part to part.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from benchmarks.shops.bench_shop import SMALL_SHOP, BenchShop, bench_shop
from benchmarks.shops.synthetic_shop import ShopSize
from benchmarks.tools.load_rounds import LoadRounds, run_load, write_request_paths
from benchmarks.tools.machine import machine
from benchmarks.tools.resident_memory import resident_memory
from benchmarks.tools.server_process import ServerProcess, free_port, running_server, tawsiya_server
from feature_repo import columns as c
from feature_repo.common.paths import models_dir
from feature_repo.online.embedded_redis import embedded_redis
from feature_repo.online.stored_schemas import project_name, shop_prefix
from feature_repo.schema import HISTORY_VIEW, RECENT_VIEW, schema_hash

SERVICE, FLOOR, DESCRIBED = "service", "floor", "described_system"
CONCURRENCIES = (1, 8, 32)
MODULES = {FLOOR: "benchmarks.tools.minimal_server", DESCRIBED: "benchmarks.described.server"}
LABELS = {SERVICE: "service", FLOOR: "minimal server", DESCRIBED: "described system"}
ROUNDS, WARM_UP_SECONDS, DESCRIBED_SECONDS = 3, "1", 8.0
K = 10
WORKERS = (1, 4)
MEMORY_LOAD_SECONDS = 3.0
SOAK_PARTS = 10
# Ratio -> its meaning, whether it may be no more or must be no less, and its goal.
GOALS = {
    "p50_c1": ("p50 at concurrency 1, service / minimal server", "<=", 1.5),
    "p99_c1": ("p99 at concurrency 1, service / minimal server", "<=", 2.0),
    "rps_c32": ("requests/s at concurrency 32, service / minimal server", ">=", 0.85),
    "p99_c32": ("p99 at concurrency 32, service / minimal server", "<=", 1.5),
}

Figures = dict[str, dict[str, Any]]  # by concurrency


def measure(shop: BenchShop, seconds: float, *, new_only: bool, with_memory: bool) -> dict[str, Any]:
    """All figures; `seconds` is the time per system and concurrency."""
    histories = shop.full_histories()
    if not histories:
        raise SystemExit("no buyer of this shop has a full history; make a shop with more buyers")
    with TemporaryDirectory() as folder:
        paths = write_request_paths(histories, K, Path(folder), new_only=new_only)
        figures, stages = _measure_speed(shop, histories, paths, seconds)
        return {
            "products": shop.size.products,
            "buyers": len(histories),
            "history": shop.config.model.buyer_tower.max_interaction_history,
            "k": K,
            "new_only": new_only,
            "note": "synthetic data, untrained model",
            "machine": machine(),
            **figures,
            "stages": stages,
            "ratios": ratios(figures),
            "memory": _measure_memory(shop, paths) if with_memory else None,
        }


def ratios(figures: dict[str, Figures]) -> dict[str, float | None]:
    """The figures that have goals (see GOALS); None where one of the two was not measured."""

    def ratio(above: str, below: str, concurrency: str, key: str) -> float | None:
        value, base = figures[above][concurrency][key], figures[below][concurrency][key]
        return value / base if value and base else None

    return {
        "p50_c1": ratio(SERVICE, FLOOR, "1", "p50_ms"),
        "p99_c1": ratio(SERVICE, FLOOR, "1", "p99_ms"),
        "rps_c32": ratio(SERVICE, FLOOR, "32", "rps"),
        "p99_c32": ratio(SERVICE, FLOOR, "32", "p99_ms"),
    }


def _measure_speed(
    shop: BenchShop, histories: dict[str, Any], paths: Path, seconds: float
) -> tuple[dict[str, Figures], dict[str, float] | None]:
    with ExitStack() as servers:
        # Keeps the embedded server up for the minimal server, too.
        redis = servers.enter_context(embedded_redis(shop.paths.redis))
        service = servers.enter_context(tawsiya_server(shop.overrides))
        answer = service.client.get(f"/v1/buyers/{next(iter(histories))}/recommendations?k={K}").raise_for_status()
        floor_inputs = _floor_inputs(shop, list(histories), redis.port) | {"answer": answer.json()}
        floor = servers.enter_context(_own_server(FLOOR, paths.parent, floor_inputs))
        described_inputs = _described_inputs(shop) | {"histories": histories}
        described = servers.enter_context(_own_server(DESCRIBED, paths.parent, described_inputs))
        pools = {name: {level: LoadRounds() for level in CONCURRENCIES} for name in (SERVICE, FLOOR, DESCRIBED)}
        for number in range(ROUNDS):
            turns = [(SERVICE, service), (FLOOR, floor)]
            for level in CONCURRENCIES:
                for name, server in turns if number % 2 == 0 else reversed(turns):
                    _progress(f"round {number + 1} of {ROUNDS}, concurrency {level}: {LABELS[name]}")
                    pools[name][level].run_round(server, paths, level, seconds / ROUNDS, "--warm-up", WARM_UP_SECONDS)
        stages = stage_means_ms(service)
        for level in CONCURRENCIES:
            _progress(f"concurrency {level}: {LABELS[DESCRIBED]}")
            pools[DESCRIBED][level].run_round(described, paths, level, DESCRIBED_SECONDS)
    by_level = {name: {str(level): pool.figures() for level, pool in levels.items()} for name, levels in pools.items()}
    return by_level, stages


def soak(shop: BenchShop, n_requests: int, *, new_only: bool) -> list[dict[str, float | None]]:
    """Latency, CPU time and resident MB of the service over N requests, part by part."""
    level, parts = max(CONCURRENCIES), []
    with TemporaryDirectory() as folder, tawsiya_server(shop.overrides) as service:
        paths = write_request_paths(shop.full_histories(), K, Path(folder), new_only=new_only)
        for number in range(1, SOAK_PARTS + 1):
            part = LoadRounds()
            while part.responses < n_requests / SOAK_PARTS:
                part.run_round(service, paths, level, 1.0)
            megabytes = sum(process.memory_info().rss for process in service.processes()) / 1e6
            _progress(f"part {number} of {SOAK_PARTS}")
            parts.append({**part.figures(), "resident_mb": megabytes})
    return parts


def _own_server(name: str, folder: Path, inputs: dict[str, Any]) -> AbstractContextManager[ServerProcess]:
    path, port = folder / f"{name}.json", free_port()
    path.write_text(json.dumps(inputs), encoding="utf-8")
    command = [sys.executable, "-m", MODULES[name], "--port", str(port), "--inputs", str(path)]
    return running_server(command, port)


def _floor_inputs(shop: BenchShop, buyers: Sequence[str], redis_port: int) -> dict[str, Any]:
    """Redis keys and fields in Feast's layout: one hash per buyer with the features and timestamps of both views."""
    schema = schema_hash(shop.config.model.buyer_tower.max_interaction_history)
    project = project_name(shop_prefix(shop.paths.root.name), schema)
    entities = {buyer: EntityKey(join_keys=[c.BUYER_ID], entity_values=[Value(string_val=buyer)]) for buyer in buyers}
    fields = []
    for view in (HISTORY_VIEW, RECENT_VIEW):
        fields += [_mmh3(f"{view}:{feature}") for feature in (c.PRODUCT_KEYS, c.EVENT_TYPES, c.EVENT_TIMES)]
        fields.append(f"_ts:{view}".encode())
    return {
        "redis_port": redis_port,
        "release": str(shop.release),
        "keys": {buyer: _redis_key(project, entity).hex() for buyer, entity in entities.items()},
        "fields": [field.hex() for field in fields],
        "k": K,
    }


def _described_inputs(shop: BenchShop) -> dict[str, Any]:
    return {
        "release": str(shop.release),
        "products": str(shop.paths.product_features),
        "text_encoder": shop.config.model.item_tower.text_encoder,
        "models": str(models_dir(shop.config)),
    }


def stage_means_ms(server: ServerProcess) -> dict[str, float] | None:
    """Mean milliseconds per stage since the start, from tawsiya_stage_seconds of GET /metrics; None without any."""
    text = server.client.get("/metrics").text
    pattern = r'^tawsiya_stage_seconds_{}{{stage="(\w+)"}} (\S+)'
    sums, counts = (dict(re.findall(pattern.format(part), text, re.MULTILINE)) for part in ("sum", "count"))
    means = {stage: 1000 * float(sums[stage]) / float(count) for stage, count in counts.items() if float(count)}
    return means or None


def _measure_memory(shop: BenchShop, paths: Path) -> dict[str, Any]:
    """Memory by number of workers, after some load, so that all pages in use are resident."""
    result = {}
    for workers in WORKERS:
        _progress(f"memory with {workers} workers")
        with tawsiya_server((*shop.overrides, f"api.workers={workers}")) as service:
            run_load(service.port, paths, max(CONCURRENCIES), MEMORY_LOAD_SECONDS)
            result[str(workers)] = resident_memory(service.processes(), shop.paths.releases)
    return result


def _progress(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def table(result: dict[str, Any]) -> str:
    """The result as text."""
    columns = ("p50_ms", "p95_ms", "p99_ms", "rps", "errors", "n", "cpu_ms_per_request")
    kind = "new products" if result["new_only"] else "any products"
    lines = [
        f"{result['products']:,} products, {result['buyers']:,} buyers with {result['history']} events, "
        f"k={result['k']}, {kind}; {result['note']}; "
        f"{result['machine']['cores']} cores of {result['machine']['cpu']}",
        "",
        f"{'':<18}{'concurrency':>12}" + "".join(f"{column.removesuffix('_per_request'):>10}" for column in columns),
    ]
    for name in (SERVICE, FLOOR, DESCRIBED):
        for level, figures in result[name].items():
            values = (figures[column] for column in columns)
            lines.append(f"{LABELS[name]:<18}{level:>12}" + "".join(f"{_number(value):>10}" for value in values))
    lines += ["", f"{'ratio':<58}{'value':>8}{'goal':>10}"]
    for key, (meaning, sign, goal) in GOALS.items():
        value = result["ratios"][key]
        verdict = "" if value is None or _reached(value, sign, goal) else "  missed"
        lines.append(f"{meaning:<58}{_number(value):>8}{f'{sign} {goal:g}':>10}{verdict}")
    described, service = (result[name]["1"]["p50_ms"] for name in (DESCRIBED, SERVICE))
    if described and service:
        lines.append(f"p50 at concurrency 1: {described / service:,.0f} times as fast as the described system")
    lines += [
        "",
        *(f"stage {name}: {_number(value)} ms on average" for name, value in (result["stages"] or {}).items()),
    ]
    for workers, figures in (result["memory"] or {}).items():
        lines.append(f"memory with {workers} workers: {', '.join(f'{k} {v:,.0f}' for k, v in figures.items())}")
    return "\n".join(lines)


def _reached(value: float, sign: str, goal: float) -> bool:
    return value <= goal if sign == "<=" else value >= goal


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,d}" if isinstance(value, int) else f"{value:,.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=SMALL_SHOP.products)
    parser.add_argument("--buyers", type=int, default=SMALL_SHOP.buyers)
    parser.add_argument("--seconds", type=float, default=3, help="per system and concurrency, all rounds")
    parser.add_argument("--new-only", action="store_true", help="request lists of new products, which have more terms")
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory of 1 and 4 workers")
    parser.add_argument("--soak", type=int, metavar="N", help="only N requests to the service, part by part")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of tawsiya")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    shop = bench_shop(ShopSize(options.products, options.buyers), settings=tuple(options.set))
    if options.soak is not None:
        for part in soak(shop, options.soak, new_only=options.new_only):
            print(json.dumps(part))  # noqa: T201
        return
    result = measure(shop, options.seconds, new_only=options.new_only, with_memory=not options.no_memory)
    print(json.dumps(result) if options.json else table(result))  # noqa: T201


if __name__ == "__main__":
    main()
