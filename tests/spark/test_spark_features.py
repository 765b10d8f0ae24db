"""Features, contexts and joins of Spark are those of DuckDB."""

import shutil
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from batch_jobs.feature_build import buyer_buckets
from batch_jobs.materialize import materialize
from feature_repo.columns import BUYER_ID, EVENT_TIMES, EVENT_TIMESTAMP, EVENT_TYPES, PRODUCT_KEYS
from feature_repo.common.config import Config
from feature_repo.common.files import read_json
from feature_repo.common.paths import shop_paths
from feature_repo.spark_session import run_tasks
from feature_repo.store import feature_store
from tests.parity.parity_shop import DAY, START, online
from tests.spark.spark_shop import COLD_BUYER, LATE_BUYER, LONG_BUYER, LONGEST, TwiceBuilt, build_twice, random_events

pytest.importorskip("pyspark", reason="needs the extra `spark`: run `make test-spark`")

# Starting a JVM and its Python workers takes a minute on a busy machine.
pytestmark = [pytest.mark.store, pytest.mark.spark, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", params=[1, 2])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwiceBuilt]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(buyer_buckets, "EVENTS_PER_BUCKET", 150)
        # A name with characters of patterns, which DuckDB and Spark escape in different ways.
        folder = tmp_path_factory.mktemp("twice") / "shop [1] {a,b}"
        yield build_twice(folder, random_events(request.param))


@pytest.mark.parametrize("name", ["buyer_sequences", "buyer_purchases"])
def test_the_tables_that_feast_serves_are_equal(built: TwiceBuilt, name: str) -> None:
    duckdb, spark = built.tables(name)
    assert spark.equals(duckdb)
    assert set(spark["build"].to_pylist()) == {1, 2}, "late events made no delta"
    parts = [part.name for part in (shop_paths(built.spark).root / "features" / name).glob("2*.parquet")]
    assert len(parts) > 3, "there was one bucket"


def test_a_history_longer_than_the_longest_is_cut(built: TwiceBuilt) -> None:
    _, spark = built.tables("buyer_sequences")
    longest = spark.filter(pc.equal(spark[BUYER_ID], LONG_BUYER))[PRODUCT_KEYS]
    assert pc.max(pc.list_value_length(longest)).as_py() == LONGEST


def test_the_gate_finds_the_same_in_both(built: TwiceBuilt) -> None:
    duckdb, spark = built.validations()
    assert spark.findings == duckdb.findings
    assert spark.passed


def test_the_gate_finds_the_same_fault_in_both(built: TwiceBuilt) -> None:
    for config in (built.duckdb, built.spark):
        paths = shop_paths(config)
        products = pq.read_table(paths.product_features)
        shutil.copy(paths.product_features, paths.product_features.with_suffix(".good"))
        pq.write_table(products.slice(1), paths.product_features)
    duckdb, spark = built.validations()
    for config in (built.duckdb, built.spark):
        path = shop_paths(config).product_features
        path.with_suffix(".good").replace(path)
    assert spark.findings == duckdb.findings
    assert not spark.passed


def moments() -> pd.DataFrame:
    """Buyers at random moments, some before their first event, one at an event and one a microsecond before it."""
    rng = np.random.default_rng(3)
    buyers = [*(f"u{number}" for number in range(24)), COLD_BUYER, LATE_BUYER, "nobody"]
    times = [START + pd.Timedelta(milliseconds=int(rng.integers(-DAY, 7 * DAY))) for _ in range(300)]
    event = START + pd.Timedelta(milliseconds=DAY + 7)
    rows = [(str(rng.choice(buyers)), time) for time in times]
    rows += [("u1", event), ("u1", event - pd.Timedelta(microseconds=1)), ("u1", event)]
    frame = pd.DataFrame(rows, columns=[BUYER_ID, EVENT_TIMESTAMP])
    frame[EVENT_TIMESTAMP] = frame[EVENT_TIMESTAMP].astype("datetime64[us, UTC]")
    return frame.assign(place=np.arange(len(frame)))


def joined(config: Config, spark: Config) -> Iterator[pa.Table]:
    """What Feast's two offline stores join from the same features."""
    same_files = spark.model_copy(update={"data_dir": config.data_dir})
    for settings in (config, same_files):
        with feature_store(settings) as store:
            table = store.historical_sequences(moments())
        yield table.select(["place", PRODUCT_KEYS, EVENT_TYPES, EVENT_TIMES]).sort_by("place")


def test_a_point_in_time_join_of_spark_is_that_of_duckdb(built: TwiceBuilt) -> None:
    duckdb, spark = joined(built.duckdb, built.spark)
    assert spark.schema.types == duckdb.schema.types
    assert spark.to_pylist() == duckdb.to_pylist()
    assert duckdb[PRODUCT_KEYS].null_count > 0
    assert len(duckdb) == len(moments())


def test_materialize_of_spark_writes_what_that_of_duckdb_writes(built: TwiceBuilt) -> None:
    built.validations()
    buyers = [LONG_BUYER, "u1", COLD_BUYER, LATE_BUYER]
    answers = []
    for config in (built.duckdb, built.spark):
        with feature_store(config) as store:
            # Of copies of the parts that passed the gate.
            written = materialize(config, store, full=True)
            answers.append((written, online(store, buyers)))
    assert answers[0] == answers[1]
    assert all(answers[0][1].values())


def test_training_started_on_duckdb_resumes_on_spark(built: TwiceBuilt) -> None:
    reports = [read_json(shop_paths(config).context_report, "") for config in (built.duckdb, built.spark)]
    assert reports[0]["data_version"] == reports[1]["data_version"]


def test_a_failure_in_a_task_is_one_line(built: TwiceBuilt) -> None:
    with pytest.raises(RuntimeError, match=r"^a Spark task failed: ValueError: invalid literal for int"):
        run_tasks(built.spark.spark, int, ["1", "x"])
    assert run_tasks(built.spark.spark, int, ["1", "2"]) == [1, 2]
