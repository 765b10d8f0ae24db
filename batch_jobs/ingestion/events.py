"""The events part of ingest: types, products, deduplication, and the events of the event log."""

from typing import Any

import duckdb

from batch_jobs.ingestion.csv_files import sql_string
from batch_jobs.ingestion.files.records import UNREADABLE_ROW
from batch_jobs.ingestion.quarantine import quarantine_rows, quarantine_unreadable_lines, row_counts
from batch_jobs.ingestion.source_mapping import EventsMapping, SourceMapping, field_expression, required_expression
from feature_repo import columns as c
from feature_repo.transforms.events import SPELLING_TO_TYPE

EVENTS_TABLE = "events"
EVENT_LOG_TABLE = c.Origin.EVENT_LOG.value
DUPLICATE_EVENT = "duplicate_event"


def stage_events(db: duckdb.DuckDBPyConnection, mapping: SourceMapping) -> dict[str, Any]:
    """Creates the table `events` from source and event log; reads their views, `products` and `product_aliases`.

    Returns:
        The row counts of the source and, if the event log has any event, those of the log under "event_log".
    """
    excluded = tuple(mapping.events.exclude)
    db.execute(f"CREATE TEMP TABLE raw_events AS {_source_query(db, mapping.events)}")
    read = _count(db, "raw_events")
    # One table for both, so that an event that was exported and logged is found as a duplicate.
    db.execute(f"INSERT INTO raw_events {_event_log_query()}")
    logged = _count(db, "raw_events") - read
    db.execute(_typed_query())
    db.execute(_reason_query())
    db.execute("""
        CREATE TEMP TABLE events AS
        SELECT event_id, buyer_id, product_id, product_key, event_type, event_time, origin
        FROM checked_events WHERE reason IS NULL
    """)
    rejected = "SELECT source_line, reason FROM checked_events WHERE reason IS NOT NULL AND origin = "
    quarantine_rows(db, EVENTS_TABLE, "event_source", f"{rejected}'{c.Origin.SOURCE}'")
    if logged:
        quarantine_rows(db, EVENT_LOG_TABLE, "event_log_source", f"{rejected}'{c.Origin.EVENT_LOG}'")
    read += quarantine_unreadable_lines(db, EVENTS_TABLE, "event_source")
    logged += quarantine_unreadable_lines(db, EVENT_LOG_TABLE, "event_log_source")
    report = row_counts(db, EVENTS_TABLE, read=read, excluded=excluded, duplicates=(DUPLICATE_EVENT,))
    if logged:
        report[EVENT_LOG_TABLE] = row_counts(
            db, EVENT_LOG_TABLE, read=logged, excluded=(), duplicates=(DUPLICATE_EVENT,)
        )
    return report


# ---- raw events of source and log ------------------------------------------------------------------------------------


def _source_query(db: duckdb.DuckDBPyConnection, table: EventsMapping) -> str:
    file_columns = [name for name, *_ in db.execute("DESCRIBE event_source").fetchall()]
    event_id = field_expression(table, c.EVENT_ID, file_columns) or "NULL"
    rules = "".join(f" WHEN {condition} THEN {sql_string(reason)}" for reason, condition in table.exclude.items())
    return f"""
        SELECT '{c.Origin.SOURCE}' AS origin, source_line, ({event_id})::VARCHAR AS event_id,
               ({required_expression(table, c.BUYER_ID, file_columns)})::VARCHAR AS buyer_id,
               ({required_expression(table, c.PRODUCT_ID, file_columns)})::VARCHAR AS product_id,
               ({required_expression(table, c.EVENT_TYPE, file_columns)})::VARCHAR AS event_type,
               ({required_expression(table, c.TIMESTAMP, file_columns)})::VARCHAR AS time_text,
               {f"CASE{rules} END" if rules else "NULL::VARCHAR"} AS excluded
        FROM event_source
    """


def _event_log_query() -> str:
    def field(name: str) -> str:
        return f"CASE WHEN json_valid(line) THEN json_extract_string(line, '$.{name}') END AS {name}"

    return f"""
        SELECT '{c.Origin.EVENT_LOG}', source_line, {field(c.EVENT_ID)}, {field(c.BUYER_ID)}, {field(c.PRODUCT_ID)},
               {field(c.EVENT_TYPE)}, {field(c.TIMESTAMP)},
               CASE WHEN NOT json_valid(line) THEN '{UNREADABLE_ROW}' END
        FROM event_log_source
    """


# ---- typed and checked events ----------------------------------------------------------------------------------------


def _typed_query() -> str:
    """Parses each field; null if it cannot be parsed."""
    spellings = ", ".join(f"'{spelling}': '{name}'" for spelling, name in SPELLING_TO_TYPE.items())
    return f"""
        CREATE TEMP TABLE typed_events AS
        SELECT origin, source_line, excluded,
               nullif(trim(event_id), '') AS source_event_id,
               nullif(trim(r.buyer_id), '') AS buyer_id,
               coalesce(alias.duplicate_of, trim(r.product_id)) AS product_id,
               product.product_key,
               MAP {{{spellings}}}[regexp_replace(lower(event_type), '[^a-z]', '', 'g')] AS event_type,
               -- 9 to 10 digits are seconds and 12 to 13 milliseconds: both ranges span 1973 to 2286.
               -- Sequences store milliseconds, so a finer time must not decide the order of events.
               date_trunc('millisecond', CASE
                   WHEN regexp_full_match(time_text, '[0-9]{{9,10}}(\\.[0-9]+)?') THEN to_timestamp(time_text::DOUBLE)
                   WHEN regexp_full_match(time_text, '[0-9]{{12,13}}') THEN make_timestamptz(time_text::BIGINT * 1000)
                   ELSE try_cast(time_text AS TIMESTAMPTZ) END) AS event_time
        FROM raw_events r
        LEFT JOIN product_aliases alias ON alias.product_id = trim(r.product_id)
        LEFT JOIN products product ON product.product_id = coalesce(alias.duplicate_of, trim(r.product_id))
    """


def _reason_query() -> str:
    """Adds event_id and the reason why an event is left out (null: it is kept). The source wins over the event log.

    Duplicate ids are found before duplicate content: an event that is left out because of its id must not make
    another event of the same content a duplicate.
    """
    first_of = f"ORDER BY origin = '{c.Origin.SOURCE}' DESC, source_line"
    return f"""
        CREATE TEMP TABLE checked_events AS
        WITH reasoned AS (
            SELECT *, CASE
                WHEN excluded IS NOT NULL THEN excluded
                WHEN buyer_id IS NULL THEN 'missing_buyer_id'
                WHEN nullif(product_id, '') IS NULL THEN 'missing_product_id'
                WHEN event_type IS NULL THEN 'unknown_event_type'
                WHEN event_time IS NULL THEN 'unreadable_timestamp'
                WHEN event_time < TIMESTAMPTZ 'epoch' THEN 'timestamp_before_1970'
                WHEN event_time > now() THEN 'timestamp_in_future'
                WHEN product_key IS NULL THEN 'unknown_product' END AS reason
            FROM typed_events),
        identified AS (
            -- An id made from the content is the same in every ingest, so retries and repeated exports count once.
            SELECT *, coalesce(
                source_event_id,
                md5(concat_ws('|', buyer_id, product_id, event_type, epoch_ms(event_time)))) AS event_id
            FROM reasoned),
        by_id AS (
            -- Partitioned by `reason IS NULL` too: a bad row must not make a good one its duplicate.
            SELECT * EXCLUDE (reason), coalesce(
                reason,
                CASE WHEN row_number() OVER (PARTITION BY reason IS NULL, event_id {first_of}) > 1
                     THEN '{DUPLICATE_EVENT}' END) AS reason
            FROM identified)
        SELECT * EXCLUDE (reason), coalesce(
            reason,
            CASE WHEN row_number() OVER (
                     PARTITION BY reason IS NULL, buyer_id, product_id, event_type, event_time {first_of}) > 1
                 THEN '{DUPLICATE_EVENT}' END) AS reason
        FROM by_id
    """


def _count(db: duckdb.DuckDBPyConnection, table: str) -> int:
    row = db.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])
