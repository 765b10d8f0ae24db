"""Features, contexts and joins of Spark are those of DuckDB."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from feature_repo.columns import BUYER_ID, EVENT_TIMES, EVENT_TIMESTAMP, EVENT_TYPES, PRODUCT_KEYS
from feature_repo.common.config import Config
from feature_repo.common.files import read_json, sha256
from feature_repo.common.paths import shop_paths
from feature_repo.store import feature_store
from tests.parity.parity_shop import DAY, START, online
from tests.spark.spark_shop import COLD_BUYER, LATE_BUYER, LONG_BUYER, LONGEST, TwiceBuilt, build_twice, random_events

pytest.importorskip("pyspark", reason="needs the extra `spark`: run `make test-spark`")

pytestmark = [pytest.mark.store, pytest.mark.spark]


@pytest.fixture(scope="module", params=[1, 2])
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TwiceBuilt:
    # A name with characters of patterns, which DuckDB and Spark escape in different ways.
    return build_twice(tmp_path_factory.mktemp("twice") / "shop [1] {a,b}", random_events(request.param))


def without_build_time(table: pa.Table, built_at: str) -> pa.Table:
    """The table with a null in place of the build's time."""
    stamp = pa.scalar(pd.Timestamp(built_at).to_pydatetime(), pa.timestamp("us", "UTC"))
    times = table[EVENT_TIMESTAMP]
    shown = pc.if_else(pc.equal(times, stamp), pa.scalar(None, times.type), times)
    return table.set_column(table.schema.get_field_index(EVENT_TIMESTAMP), EVENT_TIMESTAMP, shown)


@pytest.mark.parametrize("name", ["buyer_sequences", "buyer_purchases"])
def test_the_tables_that_feast_serves_are_equal(built: TwiceBuilt, name: str) -> None:
    duckdb, spark = (
        without_build_time(table, read_json(shop_paths(config).feature_report, "")["as_of"])
        for table, config in zip(built.tables(name), (built.duckdb, built.spark), strict=True)
    )
    assert spark.equals(duckdb)
    assert len(duckdb) >= 20
    assert len(list((shop_paths(built.spark).root / "features" / name).glob("2*.parquet"))) > 1, "one bucket"


def test_a_history_longer_than_the_longest_is_cut(built: TwiceBuilt) -> None:
    _, spark = built.tables("buyer_sequences")
    longest = spark.filter(pc.equal(spark[BUYER_ID], LONG_BUYER))[PRODUCT_KEYS]
    assert pc.max(pc.list_value_length(longest)).as_py() == LONGEST


def test_the_files_of_contexts_are_equal(built: TwiceBuilt) -> None:
    duckdb, spark = built.tables("contexts")
    assert spark.equals(duckdb)
    assert {COLD_BUYER, LATE_BUYER} <= set(spark[BUYER_ID].to_pylist())
    reports = [read_json(shop_paths(config).context_report, "") for config in (built.duckdb, built.spark)]
    # Training resumes on the other's build: the version is a hash of the file's bytes.
    assert reports[0] == reports[1]
    assert sha256(shop_paths(built.duckdb).contexts) == sha256(shop_paths(built.spark).contexts)


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
    buyers = ["u0", "u1", COLD_BUYER, LATE_BUYER]
    answers = []
    for config in (built.duckdb, built.spark):
        with feature_store(config) as store:
            store.materialize(full=True)
            answers.append((online(store, buyers), store.schema_hash))
    assert answers[0] == answers[1]
    assert all(answers[0][0].values())
