"""Finds the buyers whose events changed since the last feature build, by a fingerprint of each buyer's events.

The table `buyers` (buyers.parquet) has a row per buyer:

events           number of the buyer's events; 0 if all are gone
fingerprint      sum of the hashes of the events, so that their order does not matter
has_purchases    whether a row of purchases was ever written
event_timestamp  the build in which the buyer last changed

A late event, a refund and a merged product (its events get another key) all change the fingerprint.
"""

import datetime as dt
from pathlib import Path
from typing import NamedTuple

import duckdb

from batch_jobs.feature_build.tables import write_query
from feature_repo import columns as c
from feature_repo.common.files import glob_literal
from feature_repo.common.sql import first_row, sql_string

# Another version of DuckDB may hash differently; then every buyer counts as changed.
HASH_FUNCTION = f"duckdb {duckdb.__version__}"
# So many events at a time are in memory: about 100 MB.
EVENTS_PER_BUCKET = 1_000_000
# A vanished buyer's empty row must reach the online store; after so long it has, and the buyer is forgotten.
KEEP_VANISHED = dt.timedelta(days=30)
NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

EVENTS, FINGERPRINT, HAS_PURCHASES, CHANGED = "events", "fingerprint", "has_purchases", "changed"


class Bucket(NamedTuple):
    """The buyers from `first` to `last`, in the order of their ids.

    Ranges of ids, because events.parquet is sorted by buyer: DuckDB then skips the row groups of other buckets. At 4
    million events in 4 buckets, reading all took 0.6 CPU seconds; splitting the file by a hash of the buyer and reading
    the pieces took 1.8, and the disk space of a second copy.
    """

    first: str
    last: str
    has_purchases: bool

    @property
    def condition(self) -> str:
        """The SQL condition of the bucket's rows."""
        return f"{c.BUYER_ID} BETWEEN {sql_string(self.first)} AND {sql_string(self.last)}"


def find_changed_buyers(
    db: duckdb.DuckDBPyConnection, events: Path, previous: Path, known_until: dt.datetime, as_of: dt.datetime
) -> None:
    """Creates the table `buyers` of all buyers, present and vanished, with the further column `changed`.

    Args:
        db: The database.
        events: Canonical events.
        previous: The file of the last build; it need not exist.
        known_until: When the last build began whose parts count. A row with a later time is of a build that was
            killed, so its buyer counts as changed. NEVER: all buyers do.
        as_of: When this build began.
    """
    db.execute(f"""
        CREATE OR REPLACE TABLE present AS
        SELECT {c.BUYER_ID}, count(*) AS {EVENTS}, bool_or({c.EVENT_TYPE} = 'purchase') AS {HAS_PURCHASES},
               -- a sum and no exclusive or, in which two equal events would cancel out
               (sum(hash({c.PRODUCT_KEY}, {c.EVENT_TYPE}, {c.EVENT_TIME})) % 18446744073709551616)::UBIGINT
                   AS {FINGERPRINT}
        FROM read_parquet({sql_string(glob_literal(events))}) GROUP BY ALL;
        CREATE OR REPLACE TABLE previous (
            {c.BUYER_ID} VARCHAR, {EVENTS} BIGINT, {FINGERPRINT} UBIGINT, {HAS_PURCHASES} BOOLEAN,
            {c.EVENT_TIMESTAMP} TIMESTAMPTZ
        );
    """)
    if previous.is_file():
        db.execute(f"INSERT INTO previous BY NAME FROM read_parquet({sql_string(glob_literal(previous))})")
    compare_buyers(db, known_until, as_of)


def compare_buyers(db: duckdb.DuckDBPyConnection, known_until: dt.datetime, as_of: dt.datetime) -> None:
    """Compares the buyers found by find_changed_buyers with the previous ones once more, by another `known_until`."""
    db.execute(
        f"""
        CREATE OR REPLACE TABLE buyers AS
        SELECT {c.BUYER_ID}, coalesce(n.{EVENTS}, 0) AS {EVENTS}, coalesce(n.{FINGERPRINT}, 0) AS {FINGERPRINT},
               coalesce(n.{HAS_PURCHASES}, false) OR coalesce(o.{HAS_PURCHASES}, false) AS {HAS_PURCHASES},
               coalesce(o.{c.EVENT_TIMESTAMP} > $known_until OR o.{EVENTS} <> coalesce(n.{EVENTS}, 0)
                        OR o.{FINGERPRINT} <> coalesce(n.{FINGERPRINT}, 0), true) AS {CHANGED},
               CASE WHEN NOT {CHANGED} THEN o.{c.EVENT_TIMESTAMP}
                    -- vanished before this build: the time since then counts, however often all is built anew
                    WHEN n.{c.BUYER_ID} IS NULL AND o.{EVENTS} = 0 THEN least(o.{c.EVENT_TIMESTAMP}, $as_of)
                    ELSE $as_of END AS {c.EVENT_TIMESTAMP}
        FROM present n FULL JOIN previous o USING ({c.BUYER_ID})
        WHERE n.{c.BUYER_ID} IS NOT NULL OR o.{EVENTS} > 0 OR o.{c.EVENT_TIMESTAMP} > $forget_before
        """,
        {"known_until": known_until, "as_of": as_of, "forget_before": as_of - KEEP_VANISHED},
    )


def changed_share(db: duckdb.DuckDBPyConnection) -> tuple[int, float]:
    """The number of changed buyers, and their share of all."""
    changed, buyers = first_row(db.execute(f"SELECT count_if({CHANGED}), count(*) FROM buyers"))
    return int(changed), changed / max(buyers, 1)


def buckets(db: duckdb.DuckDBPyConnection, *, changed_only: bool) -> list[Bucket]:
    """Cuts the buyers into ranges of about EVENTS_PER_BUCKET events; a buyer is never cut in two."""
    condition = CHANGED if changed_only else "true"
    found = db.execute(f"""
        WITH numbered AS (
            SELECT *, (sum({EVENTS}) OVER (ORDER BY {c.BUYER_ID}) - {EVENTS}) // {EVENTS_PER_BUCKET} AS bucket
            FROM buyers WHERE {condition}
        )
        SELECT min({c.BUYER_ID}), max({c.BUYER_ID}), bool_or({HAS_PURCHASES}) FROM numbered GROUP BY bucket ORDER BY 1
    """).fetchall()
    return [Bucket(*row) for row in found]


def write_buyers(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Writes buyers.parquet."""
    write_query(db, f"SELECT * EXCLUDE ({CHANGED}) FROM buyers ORDER BY {c.BUYER_ID}", path)


def count_buyers(db: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The number of present buyers, and of the newest rows per table; vanished buyers have empty rows."""
    buyers, sequences, purchases = first_row(
        db.execute(f"SELECT count_if({EVENTS} > 0), count(*), count_if({HAS_PURCHASES}) FROM buyers")
    )
    return {"buyers": int(buyers), "buyer_sequences": int(sequences), "buyer_purchases": int(purchases)}
