"""Finds the buyers whose events changed since the last feature build, by a fingerprint of each buyer's events.

The table `buyers` (buyers.parquet) has a row per buyer:

n_events            number of the buyer's events; 0 if all are gone
events_fingerprint  sum of the hashes of the events, so that their order does not matter
has_purchases       whether a row of purchases was ever written
event_timestamp     the build in which the buyer last changed

A late event, a refund and a merged product (its events get another key) all change the fingerprint.
"""

import datetime as dt
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from batch_jobs.feature_build.tables import write_query
from feature_repo import columns as c
from feature_repo.common.files import glob_literal
from feature_repo.common.sql import first_row, sql_string

# Another version of DuckDB may hash differently; then every buyer counts as changed.
HASH_FUNCTION = f"duckdb {duckdb.__version__}"
# A vanished buyer's empty row must reach the online store; after so long it has, and the buyer is forgotten.
KEEP_VANISHED = dt.timedelta(days=30)
NEVER = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def find_changed_buyers(
    db: duckdb.DuckDBPyConnection, events: Path, previous: Path, known_until: dt.datetime, as_of: dt.datetime
) -> None:
    """Creates the table `buyers` of all buyers, present and vanished, with the further column `changed`.

    Args:
        db: The database.
        events: Canonical events.
        previous: The file of the last build; it need not exist or be readable.
        known_until: When the last build began whose parts count. A row with a later time is of a build that was
            killed, so its buyer counts as changed. NEVER: all buyers do.
        as_of: When this build began.
    """
    db.execute(f"""
        CREATE OR REPLACE TABLE present AS
        SELECT {c.BUYER_ID}, count(*) AS {c.N_EVENTS}, bool_or({c.EVENT_TYPE} = 'purchase') AS {c.HAS_PURCHASES},
               -- a sum and no exclusive or, in which two equal events would cancel out
               (sum(hash({c.PRODUCT_KEY}, {c.EVENT_TYPE}, {c.EVENT_TIME})) % 18446744073709551616)::UBIGINT
                   AS {c.EVENTS_FINGERPRINT}
        FROM read_parquet({sql_string(glob_literal(events))}) GROUP BY ALL;
        CREATE OR REPLACE TABLE previous (
            {c.BUYER_ID} VARCHAR, {c.N_EVENTS} BIGINT, {c.EVENTS_FINGERPRINT} UBIGINT, {c.HAS_PURCHASES} BOOLEAN,
            {c.EVENT_TIMESTAMP} TIMESTAMPTZ
        );
    """)
    if is_readable(previous):
        db.execute(f"INSERT INTO previous BY NAME FROM read_parquet({sql_string(glob_literal(previous))})")
    compare_buyers(db, known_until, as_of)


def is_readable(path: Path) -> bool:
    """Whether there is a Parquet file that was not damaged."""
    try:
        pq.read_schema(path)
    except (FileNotFoundError, pa.ArrowInvalid):
        return False
    return True


def compare_buyers(db: duckdb.DuckDBPyConnection, known_until: dt.datetime, as_of: dt.datetime) -> None:
    """Compares the buyers found by find_changed_buyers with the previous ones once more, by another `known_until`."""
    db.execute(
        f"""
        CREATE OR REPLACE TABLE buyers AS
        SELECT {c.BUYER_ID}, coalesce(n.{c.N_EVENTS}, 0) AS {c.N_EVENTS},
               coalesce(n.{c.EVENTS_FINGERPRINT}, 0) AS {c.EVENTS_FINGERPRINT},
               coalesce(n.{c.HAS_PURCHASES}, false) OR coalesce(o.{c.HAS_PURCHASES}, false) AS {c.HAS_PURCHASES},
               coalesce(o.{c.EVENT_TIMESTAMP} > $known_until OR o.{c.N_EVENTS} <> coalesce(n.{c.N_EVENTS}, 0)
                        OR o.{c.EVENTS_FINGERPRINT} <> coalesce(n.{c.EVENTS_FINGERPRINT}, 0), true) AS {c.CHANGED},
               CASE WHEN NOT {c.CHANGED} THEN o.{c.EVENT_TIMESTAMP}
                    -- vanished before this build: the time since then counts, however often all is built anew
                    WHEN n.{c.BUYER_ID} IS NULL AND o.{c.N_EVENTS} = 0 THEN least(o.{c.EVENT_TIMESTAMP}, $as_of)
                    ELSE $as_of END AS {c.EVENT_TIMESTAMP}
        FROM present n FULL JOIN previous o USING ({c.BUYER_ID})
        WHERE n.{c.BUYER_ID} IS NOT NULL OR o.{c.N_EVENTS} > 0 OR o.{c.EVENT_TIMESTAMP} > $forget_before
        """,
        {"known_until": known_until, "as_of": as_of, "forget_before": as_of - KEEP_VANISHED},
    )


def changed_share(db: duckdb.DuckDBPyConnection) -> tuple[int, float]:
    """The number of changed buyers, and their share of all."""
    changed, buyers = first_row(db.execute(f"SELECT count_if({c.CHANGED}), count(*) FROM buyers"))
    return int(changed), changed / max(buyers, 1)


def write_buyers(db: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Writes buyers.parquet."""
    write_query(db, f"SELECT * EXCLUDE ({c.CHANGED}) FROM buyers ORDER BY {c.BUYER_ID}", path)


def count_buyers(db: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """The number of present buyers, and of the newest rows per table; vanished buyers have empty rows."""
    buyers, sequences, purchases = first_row(
        db.execute(f"SELECT count_if({c.N_EVENTS} > 0), count(*), count_if({c.HAS_PURCHASES}) FROM buyers")
    )
    return {"buyers": int(buyers), "buyer_sequences": int(sequences), "buyer_purchases": int(purchases)}
