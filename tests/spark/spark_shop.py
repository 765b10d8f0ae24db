"""Small shops whose features are built twice, by DuckDB and on Spark, from the same canonical data."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch_jobs.feature_build.build_contexts import build_contexts
from batch_jobs.feature_build.build_features import build_features
from batch_jobs.ingestion.ingest import ingest
from expectations.gate import GateResult, validate_canonical, validate_features
from feature_repo.columns import BUYER_ID, CREATED_TIMESTAMP, EVENT_TIMESTAMP
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.transforms.events import EVENT_TYPE_NAMES
from tests.parity.parity_shop import DAY, PRODUCT_IDS, Event, log_events, shop, write_events

LONGEST = 100
LONG_BUYER, COLD_BUYER, LATE_BUYER = "u0", "u cold", "عمر"

SPARK: dict[str, Any] = {
    "master": "local[2]",
    "conf": {
        "spark.driver.memory": "1g",
        "spark.sql.shuffle.partitions": "3",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    },
}


def on_spark(config: Config, **changes: object) -> Config:
    """The configuration with Spark as its offline store."""
    store = config.feature_store.model_dump() | {"offline": "spark"}
    return Config.model_validate(config.model_dump() | {"feature_store": store, "spark": SPARK, **changes})


def random_events(seed: int) -> dict[str, list[Event]]:
    """Six days of 24 buyers on few moments, so that many events share buyer and time; one buyer has over 100 events."""
    rng = np.random.default_rng(seed)
    moments = rng.integers(0, 6 * DAY, 60)
    events: dict[str, list[Event]] = {}
    for number in range(24):
        size = 250 if number == 0 else int(rng.integers(1, 30))
        choices = rng.integers(0, 6 * DAY, 200) if number == 0 else moments
        theirs = [
            (int(rng.choice(choices)), str(rng.choice(PRODUCT_IDS)), str(rng.choice(EVENT_TYPE_NAMES)))
            for _ in range(size)
        ]
        events[f"u{number}"] = sorted(set(theirs))
    events["u1"] += [(0, "p1", "view"), (6 * DAY - 1, "p2", "purchase")]
    events[COLD_BUYER] = [(6 * DAY - 5, "p3", "view")]
    return events


@dataclass(frozen=True)
class TwiceBuilt:
    """A shop with the features of DuckDB, and one with those of Spark."""

    duckdb: Config
    spark: Config

    def tables(self, name: str) -> tuple[pa.Table, pa.Table]:
        """A table of both, sorted; with the number of the build, from 1, in place of its time."""
        return _table(self.duckdb, name), _table(self.spark, name)

    def validations(self) -> tuple[GateResult, GateResult]:
        """The results of the gate on the features of both."""
        first, second = (_validated(config) for config in (self.duckdb, self.spark))
        return first, second


def build_twice(folder: Path, events: dict[str, list[Event]]) -> TwiceBuilt:
    """Builds the features of both from events, and again when late events of two buyers have arrived."""
    duckdb = shop(folder, LONGEST)
    spark = on_spark(duckdb, data_dir=folder / "spark")
    write_events(duckdb, events)
    late: list[dict[str, Event]] = [{}, {"u1": (DAY + 7, "p3", "purchase"), LATE_BUYER: (2 * DAY, "p1", "view")}]
    for arrivals in late:
        for buyer, event in arrivals.items():
            log_events(duckdb, buyer, event)
        report = ingest(duckdb)
        assert report["events"]["bad"] == 0
        source, target = (shop_paths(config).events.parent for config in (duckdb, spark))
        shutil.copytree(source, target, dirs_exist_ok=True)
        for config in (duckdb, spark):
            build_features(config)
    for config in (duckdb, spark):
        build_contexts(config)
    return TwiceBuilt(duckdb, spark)


def _table(config: Config, name: str) -> pa.Table:
    # Not contexts.parquet, which lies among the parts and is made by DuckDB in both.
    parts = sorted((shop_paths(config).root / "features" / name).glob("2*.parquet"))
    table = pa.concat_tables([pq.read_table(part) for part in parts])
    assert table[CREATED_TIMESTAMP].equals(table[EVENT_TIMESTAMP])
    builds = pc.rank(table[EVENT_TIMESTAMP], tiebreaker="dense")
    table = table.drop_columns([CREATED_TIMESTAMP, EVENT_TIMESTAMP]).append_column("build", builds)
    return table.sort_by([(BUYER_ID, "ascending"), ("build", "ascending")])


def _validated(config: Config) -> GateResult:
    validate_canonical(shop_paths(config), config)
    return validate_features(shop_paths(config), config)
