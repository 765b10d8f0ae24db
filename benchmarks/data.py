"""Seconds and memory of every stage from raw files to the online store, by the number of events.

    python -m benchmarks.data [--events 20000,100000] [--format parquet|csv.gz] [--work FOLDER] [--json]

Makes a shop of each size (shops.event_shop) and runs each stage as a user would, in a process of its own: ingest,
validate, build-features, materialize, then the same again after one buyer in a hundred has new events, most of them
late. Beside them, in the same run, plain pipelines do the same work by hand (tools.plain_data); where both return
rows, they must be the same, bit for bit.

A finished stage is kept in FOLDER/<shop>/state.json and not repeated, so an interrupted run goes on; remove the folder
to start anew.
Compare processor seconds and ratios, not seconds, where other programs run on the machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.shops.event_shop import FORMATS, PRODUCTS_FILE, EventShop, write_changes, write_event_shop
from benchmarks.tools.machine import machine
from benchmarks.tools.measured_process import measured
from feature_repo.common.files import write_json

STAGE_LIMIT_SECONDS = 1800.0
EVENTS = "events"  # rows of a stage that reads all events

Figures = dict[str, Any]


class Stage(NamedTuple):
    """One measured step.

    Attributes:
        name: Its name in the results.
        arguments: Of `tawsiya`, or one part of plain_data.
        rows: EVENTS, or None where the part counts them itself.
    """

    name: str
    arguments: tuple[str, ...]
    rows: str | None = None


FULL = (
    Stage("ingest", ("ingest",), EVENTS),
    Stage("validate", ("validate",), EVENTS),
    Stage("build_features", ("build-features",), EVENTS),
    Stage("validate_features", ("validate",), EVENTS),
    Stage("materialize", ("materialize", "--full")),
)
PARTS = (
    Stage("plain_build_features", ("latest_sequences",)),
    Stage("contexts", ("contexts",)),
    Stage("historical", ("historical",)),
    Stage("plain_historical_as_of", ("historical_as_of",)),
    Stage("materialize_alone", ("materialize",)),
    Stage("plain_redis", ("raw_redis",)),
)
INCREMENTAL = tuple(
    Stage(f"changed_{stage.name}", tuple(argument for argument in stage.arguments if argument != "--full"), stage.rows)
    for stage in FULL
)
# Ours and the plain one, compared in processor seconds, and whether their rows must be the same. Of the build, ours is
# the whole command with its imports; the others are the work alone.
PAIRS = (
    ("build_features", "plain_build_features", False),
    ("historical", "plain_historical_as_of", True),
    ("materialize_alone", "plain_redis", True),
)


def run_size(work: Path, shop: EventShop, suffix: str) -> Figures:
    """The figures of every stage of one shop."""
    folder = work / f"{shop.events}-{shop.seed}-{suffix}"
    state_file = folder / "state.json"
    state: Figures = json.loads(state_file.read_text()) if state_file.is_file() else {}
    config = folder / "config.yaml"
    if "shop" not in state:
        _say(f"{shop.events:,} events: making the shop")
        write_event_shop(folder, shop, suffix)
        _write_config(config, folder, suffix)
        state["shop"] = {"buyers": shop.buyers, "products": shop.products}
        write_json(state_file, state)
    for stage in (*FULL, *PARTS, *INCREMENTAL):
        if stage.name in state:
            continue
        if stage in INCREMENTAL:
            write_changes(folder, shop, suffix)
        state[stage.name] = _run(stage, config, shop)
        _say(f"{shop.events:,} events: {stage.name} {_line(state[stage.name])}")
        write_json(state_file, state)
    return state


def _write_config(config: Path, folder: Path, suffix: str) -> None:
    settings = {
        "data_dir": str(folder / "var"),
        "data": {
            "source": "csv",
            "events_path": str(folder / f"events-*.{suffix}"),
            "products_path": str(folder / PRODUCTS_FILE),
        },
    }
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")


def _run(stage: Stage, config: Path, shop: EventShop) -> Figures:
    if stage in PARTS:
        command = ["-m", "benchmarks.tools.plain_data", *stage.arguments, str(config)]
    else:
        command = ["-m", "batch_jobs.cli", *stage.arguments, "--config", str(config), "--json"]
    process = measured([sys.executable, *command], STAGE_LIMIT_SECONDS)
    figures: Figures = {
        "seconds": process.seconds,
        "cpu_seconds": process.cpu_seconds,
        "peak_mib": process.peak_mib,
    }
    if stage in PARTS:
        # The part's own seconds: without imports, contexts and digests.
        figures |= json.loads(process.output)
    elif stage.rows == EVENTS:
        figures["rows"] = shop.events
    if "rows" in figures:
        figures["rows_per_second"] = figures["rows"] / figures["seconds"]
    return figures


# ---- report ----------------------------------------------------------------------------------------------------------


def report(sizes: dict[int, Figures]) -> Figures:
    """All figures, growth factors from each size to the next, and ratios to the plain pipelines."""
    return {
        "machine": machine(),
        "sizes": sizes,
        "growth": {f"{small}->{large}": _growth(sizes[small], sizes[large]) for small, large in _adjacent(sizes)},
        "ratios": {events: _ratios(figures) for events, figures in sizes.items()},
    }


def _adjacent(sizes: dict[int, Figures]) -> list[tuple[int, int]]:
    return list(pairwise(sorted(sizes)))


def _growth(small: Figures, large: Figures) -> Figures:
    return {
        name: {key: large[name][key] / small[name][key] for key in ("seconds", "cpu_seconds", "peak_mib")}
        for name in small
        if name != "shop"
    }


def _ratios(figures: Figures) -> Figures:
    """Ours over plain in processor seconds; where the rows must be the same, whether they are.

    The changed run's share counts from ingest to materialize.
    """
    ratios: Figures = {}
    for ours, plain, same in PAIRS:
        ratio = {"cpu": figures[ours]["cpu_seconds"] / figures[plain]["cpu_seconds"]}
        if same:
            ratio["same_rows"] = figures[ours]["digest"] == figures[plain]["digest"]
        ratios[f"{ours}/{plain}"] = ratio
    for stages, name in ((FULL, "full"), (INCREMENTAL, "changed")):
        ratios[f"{name}_seconds"] = sum(figures[stage.name]["seconds"] for stage in stages)
    build_and_write = ("build_features", "materialize")
    ratios["changed/full build and materialize"] = {
        key: sum(figures[f"changed_{name}"][key] for name in build_and_write)
        / sum(figures[name][key] for name in build_and_write)
        for key in ("seconds", "cpu_seconds")
    }
    return ratios


def _line(figures: Figures) -> str:
    rate = f", {figures['rows_per_second']:,.0f} rows/s" if "rows_per_second" in figures else ""
    return f"{figures['seconds']:.1f} s, {figures['cpu_seconds']:.1f} CPU s, {figures['peak_mib']:,.0f} MiB{rate}"


def _table(result: Figures) -> str:
    lines = []
    for events, figures in result["sizes"].items():
        lines.append(
            f"{events:,} events, {figures['shop']['buyers']:,} buyers, {figures['shop']['products']:,} products"
        )
        lines += [f"  {name:<32}{_line(stage)}" for name, stage in figures.items() if name != "shop"]
    lines += [f"growth {sizes}: {json.dumps(growth)}" for sizes, growth in result["growth"].items()]
    lines += [f"ratios {events:,}: {json.dumps(ratios)}" for events, ratios in result["ratios"].items()]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark with these command-line arguments (None: sys.argv) and prints the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", default="20000,100000", help="numbers of events, separated by commas")
    parser.add_argument("--format", choices=sorted(FORMATS), default="parquet", help="of the raw files of events")
    parser.add_argument(
        "--work", type=Path, default=Path("var/benchmarks/data"), help="folder of the shops and the state"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    sizes = {events: EventShop(events) for events in sorted(int(text) for text in options.events.split(","))}
    result = report({events: run_size(work, shop, options.format) for events, shop in sizes.items()})
    print(json.dumps(result) if options.json else _table(result))  # noqa: T201
    if '"same_rows": false' in json.dumps(result):
        sys.exit("a plain pipeline returned other rows")


if __name__ == "__main__":
    main()
