"""The shop of the benchmark of the data path: the same seed gives the same files, in the shape that is documented."""

from pathlib import Path

import duckdb
import pytest

from benchmarks.shops.event_shop import EventShop, write_changes, write_event_shop

pytestmark = pytest.mark.fast

SHOP = EventShop(20_000)


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_event_shop(tmp_path / folder, SHOP, "parquet")
    write_event_shop(tmp_path / "c", EventShop(20_000, seed=8), "parquet")
    a, b, c = ((tmp_path / folder / "events-1.parquet").read_bytes() for folder in "abc")
    assert a == b != c


def test_shape(tmp_path: Path) -> None:
    write_event_shop(tmp_path, SHOP, "csv.gz")
    write_changes(tmp_path, SHOP, "csv.gz")
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE events AS FROM '{tmp_path}/events-1.csv.gz'")
        shares = dict(con.sql("SELECT event_type, count(*) / 20000 FROM events GROUP BY 1").fetchall())
        assert shares == pytest.approx({"view": 0.8, "add_to_cart": 0.14, "purchase": 0.06}, abs=0.02)
        assert con.sql("SELECT count(*), count(DISTINCT year(timestamp)) FROM events").fetchall() == [(20_000, 1)]
        (most,) = con.sql("SELECT max(n) FROM (SELECT count(*) n FROM events GROUP BY buyer_id)").fetchall()[0]
        assert most > 500, "the activity has a heavy tail"
        changes = con.sql(f"SELECT count(*), count(DISTINCT buyer_id) FROM '{tmp_path}/events-2.csv.gz'").fetchall()
        assert changes == [(4, 2)]  # two events of 1% of 200 buyers
