"""How fast the online service answers, beside the least that is possible and beside the system it replaces.

    python -m benchmarks.online [--products 100000] [--buyers 3000] [--seconds 9] [--no-memory] [--json]

Serves a synthetic shop (see bench_shop; made at the first run, which takes minutes) and asks for recommendations of
buyers with full histories, from a second process over loopback:

    service             `tawsiya serve`
    floor               a bare ASGI application (see floor)
    described_system    texts encoded per request (see described_system); few requests, they take long

Service and floor take turns in short rounds, so that a machine that slows down slows both. CPU per request is that of
the server process, without Redis and the load generator.
"""

import argparse
import json
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from feast.infra.online_stores.helpers import _mmh3, _redis_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value

from benchmarks.bench_shop import BenchShop, bench_shop
from benchmarks.measured import Pool, run_load
from benchmarks.memory import memory
from benchmarks.served import Served, free_port, serving, tawsiya
from benchmarks.synthetic_shop import ShopSize
from feature_repo import columns as c
from feature_repo.common.paths import models_dir
from feature_repo.definitions import HISTORY_VIEW, RECENT_VIEW
from feature_repo.online.embedded_redis import embedded_redis
from feature_repo.store import project_name

SERVICE, FLOOR, DESCRIBED = "service", "floor", "described_system"
CONCURRENCIES = (1, 8, 32)
ROUNDS, WARM_UP_SECONDS, DESCRIBED_SECONDS = 3, "1", 8.0
K = 10
WORKERS = (1, 4)
MEMORY_LOAD_SECONDS = 5.0
# Ratio -> what it is, and its goal.
GOALS = {
    "p50_c1": ("p50 at concurrency 1, service / floor", "<= 1.6"),
    "p99_c1": ("p99 at concurrency 1, service / floor", "<= 3"),
    "rps_c32": ("requests/s at concurrency 32, service / floor", ">= 0.8"),
    "p50_c1_vs_described": ("p50 at concurrency 1, described system / service", ">= 100"),
}

Figures = dict[str, dict[str, Any]]  # by concurrency


def measure(shop: BenchShop, seconds: float, *, with_memory: bool) -> dict[str, Any]:
    """Everything that `main` prints; `seconds` per system and concurrency."""
    histories = shop.full_histories()
    if not histories:
        raise SystemExit("no buyer of this shop has a full history; ask for more events per buyer")
    with TemporaryDirectory() as folder:
        paths = write_paths(histories, Path(folder))
        figures, stages = _measure_speed(shop, histories, paths, seconds)
        return {
            "products": shop.size.products,
            "buyers": len(histories),
            "history": shop.config.model.buyer_tower.max_interaction_history,
            "k": K,
            "note": "synthetic data, untrained model",
            "machine": machine(),
            **figures,
            "stages": stages,
            "ratios": ratios(figures),
            "memory": _measure_memory(shop, paths) if with_memory else None,
        }


def write_paths(buyers: Iterable[str], folder: Path) -> Path:
    """Writes what the load generator asks for, one request path per line."""
    path = folder / "paths"
    path.write_text(
        "\n".join(f"/v1/buyers/{buyer}/recommendations?k={K}" for buyer in sorted(buyers)), encoding="utf-8"
    )
    return path


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    cpu_info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.+)", cpu_info.read_text()) if cpu_info.is_file() else None
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
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
        "p50_c1_vs_described": ratio(DESCRIBED, SERVICE, "1", "p50_ms"),
    }


def _measure_speed(
    shop: BenchShop, histories: dict[str, Any], paths: Path, seconds: float
) -> tuple[dict[str, Figures], dict[str, float] | None]:
    with ExitStack() as servers:
        # A user of the embedded server too, so that it lives as long as the floor needs it.
        redis = servers.enter_context(embedded_redis(shop.paths.redis))
        service = servers.enter_context(tawsiya(shop.overrides))
        answer = service.client.get(f"/v1/buyers/{next(iter(histories))}/recommendations?k={K}").raise_for_status()
        floor_inputs = _floor_inputs(shop, list(histories), redis.port) | {"answer": answer.json()}
        floor = servers.enter_context(_own_server(FLOOR, paths.parent, floor_inputs))
        described_inputs = _described_inputs(shop) | {"histories": histories}
        described = servers.enter_context(_own_server(DESCRIBED, paths.parent, described_inputs))
        pools = {name: {level: Pool() for level in CONCURRENCIES} for name in (SERVICE, FLOOR, DESCRIBED)}
        for number in range(ROUNDS):
            turns = [(SERVICE, service), (FLOOR, floor)]
            for level in CONCURRENCIES:
                for name, server in turns if number % 2 == 0 else reversed(turns):
                    _say(f"round {number + 1} of {ROUNDS}, concurrency {level}: {name}")
                    pools[name][level].add_round(server, paths, level, seconds / ROUNDS, "--warm-up", WARM_UP_SECONDS)
        stages = stage_means_ms(service)
        for level in CONCURRENCIES:
            _say(f"concurrency {level}: {DESCRIBED}")
            pools[DESCRIBED][level].add_round(described, paths, level, DESCRIBED_SECONDS)
    by_level = {name: {str(level): pool.figures() for level, pool in levels.items()} for name, levels in pools.items()}
    return by_level, stages


def _own_server(module: str, folder: Path, inputs: dict[str, Any]) -> AbstractContextManager[Served]:
    path, port = folder / f"{module}.json", free_port()
    path.write_text(json.dumps(inputs), encoding="utf-8")
    command = [sys.executable, "-m", f"benchmarks.{module}", "--port", str(port), "--inputs", str(path)]
    return serving(command, port)


def _floor_inputs(shop: BenchShop, buyers: Sequence[str], redis_port: int) -> dict[str, Any]:
    """Keys and fields as Feast lays them out: one hash per buyer, in it the features of both views and their stamps."""
    project = project_name(shop.paths)
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


def stage_means_ms(server: Served) -> dict[str, float] | None:
    """Mean milliseconds per stage so far, from tawsiya_stage_seconds of GET /metrics; None where there is none."""
    text = server.client.get("/metrics").text
    pattern = r'^tawsiya_stage_seconds_{}{{stage="(\w+)"}} (\S+)'
    sums, counts = (dict(re.findall(pattern.format(part), text, re.MULTILINE)) for part in ("sum", "count"))
    means = {stage: 1000 * float(sums[stage]) / float(count) for stage, count in counts.items() if float(count)}
    return means or None


def _measure_memory(shop: BenchShop, paths: Path) -> dict[str, Any]:
    """Memory by number of workers, each after some load, so that all have touched what they use."""
    result = {}
    for workers in WORKERS:
        _say(f"memory with {workers} workers")
        with tawsiya((*shop.overrides, f"api.workers={workers}")) as service:
            run_load(service.port, paths, max(CONCURRENCIES), MEMORY_LOAD_SECONDS)
            result[str(workers)] = memory(service.processes(), shop.paths.releases)
    return result


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    columns = ("p50_ms", "p95_ms", "p99_ms", "rps", "errors", "n", "cpu_ms_per_request")
    lines = [
        f"{result['products']:,} products, {result['buyers']:,} buyers with {result['history']} events, "
        f"k={result['k']}; {result['note']}; {result['machine']['cores']} cores of {result['machine']['cpu']}",
        "",
        f"{'':<18}{'concurrency':>12}" + "".join(f"{column.removesuffix('_per_request'):>10}" for column in columns),
    ]
    for name in (SERVICE, FLOOR, DESCRIBED):
        for level, figures in result[name].items():
            values = (figures[column] for column in columns)
            lines.append(f"{name:<18}{level:>12}" + "".join(f"{_number(value):>10}" for value in values))
    lines += [
        "",
        *(f"{GOALS[key][0]}: {_number(value)} (goal {GOALS[key][1]})" for key, value in result["ratios"].items()),
    ]
    lines += [
        "",
        *(f"stage {name}: {_number(value)} ms on average" for name, value in (result["stages"] or {}).items()),
    ]
    for workers, figures in (result["memory"] or {}).items():
        lines.append(f"memory with {workers} workers: {', '.join(f'{k} {v:,.0f}' for k, v in figures.items())}")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,d}" if isinstance(value, int) else f"{value:,.2f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--buyers", type=int, default=3_000)
    parser.add_argument("--seconds", type=float, default=9, help="per system and concurrency, over all rounds")
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory of 1 and 4 workers")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as tawsiya's own --set")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    shop = bench_shop(ShopSize(options.products, options.buyers), settings=tuple(options.set))
    result = measure(shop, options.seconds, with_memory=not options.no_memory)
    print(json.dumps(result) if options.json else table(result))  # noqa: T201


if __name__ == "__main__":
    main()
