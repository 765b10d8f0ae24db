"""The events part of ingest: from raw rows of the source and the event log to typed, distinct events of known products.

Its tables:
    raw_events: text fields of source and event log
    typed_events: parsed fields, and the reason why a row by itself cannot be kept (event_fields.py)
    checked_events: also duplicates, buyers with too many events, and returns (returns.py)
    events: those without a reason, with ids of their own
"""

import time
from collections.abc import Mapping
from typing import Any

import duckdb

from batch_jobs.ingestion.event_fields import (
    EXCLUDED_BUYER,
    EXCLUDED_USER_AGENT,
    PIECE,
    QUANTITY_ZERO,
    event_type_expression,
    register_field_functions,
    stage_forgotten_buyers,
    stage_merged_buyers,
    typed_query,
)
from batch_jobs.ingestion.quarantine import (
    empty_lines_that_mention,
    quarantine_rows,
    quarantine_unreadable_lines,
    row_counts,
)
from batch_jobs.ingestion.returns import REFUND_WITHOUT_PURCHASE, RETURNED_PURCHASE, mark_returns
from batch_jobs.ingestion.source_mapping import (
    EventsMapping,
    SourceMapping,
    field_expression,
    required_expression,
    taken_columns,
)
from feature_repo import columns as c
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.common.sql import first_row, sql_string
from feature_repo.ingest_report import FORGOTTEN_BUYER
from feature_repo.settings.data import DataConfig
from feature_repo.transforms.events import OTHER_EVENT, REFUND

EVENTS_TABLE = "events"
EVENT_LOG_TABLE = c.Origin.EVENT_LOG.value
DUPLICATE_EVENT = "duplicate_event"
TOO_MANY_EVENTS_PER_HOUR = "too_many_events_per_hour"
# Reasons of rows that are sound and do not belong to a buyer's history; a mapping has reasons of its own.
EXCLUDED_REASONS = (
    OTHER_EVENT, QUANTITY_ZERO, REFUND, RETURNED_PURCHASE, REFUND_WITHOUT_PURCHASE, EXCLUDED_BUYER, EXCLUDED_USER_AGENT,
    TOO_MANY_EVENTS_PER_HOUR, FORGOTTEN_BUYER,
)  # fmt: skip

_OPTIONAL_FIELDS = (c.EVENT_ID, c.QUANTITY, c.USER_AGENT)
_FIELDS = (*_OPTIONAL_FIELDS, c.BUYER_ID, c.PRODUCT_ID, c.EVENT_TYPE, c.TIMESTAMP)
_REPORTED_SPELLINGS = 100  # a column that is no event type may have a million
_HOUR_MS = 3_600_000


def stage_events(
    db: duckdb.DuckDBPyConnection,
    mapping: SourceMapping,
    data: DataConfig,
    forgotten: ForgottenBuyers,
    accounts: Mapping[str, str],
) -> dict[str, Any]:
    """Creates the table `events` from source and event log; reads their views, `products` and `product_aliases`.

    The events of `forgotten` buyers are left out, and nothing but their number and place is kept. Those of a guest in
    `accounts` are the buyer's whom the guest has become.

    Returns:
        The row counts of the source, `unreadable_quantity`, `columns`, `event_types` and `warnings`, and, if the event
        log has any event, its row counts under "event_log".

    Raises:
        ValueError: A required column is missing.
    """
    _read_raw_events(db, mapping.events)
    read, logged = (_count(db, f"raw_events WHERE origin = '{origin}'") for origin in c.Origin)
    register_field_functions(db, data)
    stage_merged_buyers(db, accounts)
    stage_forgotten_buyers(db, forgotten)
    event_types = _event_types(db)
    db.execute(typed_query(data.timezone, round(time.time() * 1000)))
    db.execute("DROP TABLE raw_events")
    db.execute(_checked_query(with_log=bool(logged)))
    db.execute("DROP TABLE typed_events")
    if data.max_events_per_hour:
        _mark_busy_buyers(db, data.max_events_per_hour)
    mark_returns(db, PIECE)
    db.execute(_EVENTS_QUERY)
    rejected = "SELECT source_line, reason, value FROM checked_events WHERE reason IS NOT NULL AND origin = "
    quarantine_rows(db, EVENTS_TABLE, "event_source", f"{rejected}'{c.Origin.SOURCE}'")
    if logged:
        quarantine_rows(db, EVENT_LOG_TABLE, "event_log_source", f"{rejected}'{c.Origin.EVENT_LOG}'")
    read += quarantine_unreadable_lines(db, EVENTS_TABLE, "event_source")
    logged += quarantine_unreadable_lines(db, EVENT_LOG_TABLE, "event_log_source")
    if not forgotten.is_empty():
        empty_lines_that_mention(db, forgotten)
    excluded = (*mapping.events.exclude, *EXCLUDED_REASONS)
    report = row_counts(db, EVENTS_TABLE, read=read, excluded=excluded, duplicates=(DUPLICATE_EVENT,))
    report["unreadable_quantity"] = _count(db, "checked_events WHERE unreadable_quantity AND reason IS NULL")
    report["columns"] = taken_columns(mapping.events, _FIELDS, _source_columns(db))
    report["event_types"] = event_types
    if logged:
        report[EVENT_LOG_TABLE] = row_counts(
            db, EVENT_LOG_TABLE, read=logged, excluded=excluded, duplicates=(DUPLICATE_EVENT,)
        )
    report["warnings"] = _warnings(db, report, data)
    # As large as the events, which are sorted when they are written.
    db.execute("DROP TABLE checked_events")
    return report


# ---- raw events of source and log ------------------------------------------------------------------------------------


def _read_raw_events(db: duckdb.DuckDBPyConnection, table: EventsMapping) -> None:
    """Creates `raw_events`, one table for both, so that an event that was exported and logged is found twice."""
    db.execute(f"CREATE TEMP TABLE raw_events AS {_source_query(table, _source_columns(db))}")
    db.execute(f"INSERT INTO raw_events {_event_log_query()}")


def _source_columns(db: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for name, *_ in db.execute("DESCRIBE event_source").fetchall()]


def _source_query(table: EventsMapping, file_columns: list[str]) -> str:
    def field(name: str) -> str:
        find = field_expression if name in _OPTIONAL_FIELDS else required_expression
        return f"({find(table, name, file_columns) or 'NULL'})::VARCHAR AS {name}"

    rules = "".join(f" WHEN {condition} THEN {sql_string(reason)}" for reason, condition in table.exclude.items())
    return f"""
        SELECT '{c.Origin.SOURCE}' AS origin, source_line, {", ".join(map(field, _FIELDS))},
               {f"CASE{rules} END" if rules else "NULL::VARCHAR"} AS excluded
        FROM event_source
    """


def _event_log_query() -> str:
    return f"SELECT '{c.Origin.EVENT_LOG}', source_line, {', '.join(_FIELDS)}, NULL FROM event_log_source"


def _event_types(db: duckdb.DuckDBPyConnection) -> dict[str, dict[str, Any]]:
    """The most frequent names of event types in the source: {name: {"read_as": ..., "rows": n}}."""
    rows = db.execute(f"""
        SELECT coalesce(event_type, ''), any_value({event_type_expression(c.EVENT_TYPE)}), count(*)
        FROM raw_events WHERE origin = '{c.Origin.SOURCE}'
        GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {_REPORTED_SPELLINGS}
    """).fetchall()
    read_as = {OTHER_EVENT: "excluded"}
    return {name: {"read_as": read_as.get(meaning, meaning), "rows": count} for name, meaning, count in rows}


# ---- duplicates, buyers with too many events, ids --------------------------------------------------------------------

# The source wins over the event log, and the first row over later ones.
_FIRST = f"ORDER BY origin = '{c.Origin.SOURCE}' DESC, source_line"


def _checked_query(*, with_log: bool) -> str:
    """Creates `checked_events`: typed events with the reason of duplicates as well.

    Rows of one content (buyer, product, type and time) are one event. An id alone proves less: an export may hold the
    id of the order on each of its lines, so its rows of one id and different content are different events. The API
    promises that an id counts once, and sets the time of events that come without one; so a logged event is also a
    duplicate of an event of its id, buyer, product and type at another time.
    """
    # Partitioned by `reason IS NULL` too: a bad row must not make a good one its duplicate.
    content = "reason IS NULL, buyer_id, product_key, event_type"
    repeated = f"row_number() OVER (PARTITION BY {content}, time_ms {_FIRST}) > 1"
    if with_log:
        repeated += f"""
            OR (origin = '{c.Origin.EVENT_LOG}' AND source_event_id IS NOT NULL
                AND row_number() OVER (PARTITION BY {content}, source_event_id {_FIRST}) > 1)"""
    return f"""
        CREATE TEMP TABLE checked_events AS
        SELECT * REPLACE (coalesce(reason, CASE WHEN {repeated} THEN '{DUPLICATE_EVENT}' END) AS reason)
        FROM typed_events
    """


def _mark_busy_buyers(db: duckdb.DuckDBPyConnection, most: int) -> None:
    """Sets the reason of all events of buyers who have more than `most` events within a clock hour."""
    db.execute(f"""
        UPDATE checked_events SET reason = '{TOO_MANY_EVENTS_PER_HOUR}', value = buyer_id
        WHERE reason IS NULL AND buyer_id IN (
            SELECT buyer_id FROM checked_events WHERE reason IS NULL
            GROUP BY buyer_id, time_ms // {_HOUR_MS} HAVING count(*) > {most})
    """)


# An id made from the content is the same in every ingest. It replaces a missing id, and ends one that several events
# share. No id contains the control character, so different events have different ids.
_CONTENT_HASH = "md5(concat_ws(chr(31), buyer_id, product_id, event_type, time_ms))"
_EVENTS_QUERY = f"""
    CREATE TEMP TABLE shared_event_ids AS
    SELECT source_event_id AS shared_id, count(*) AS row_count FROM checked_events
    WHERE reason IS NULL AND source_event_id IS NOT NULL GROUP BY source_event_id HAVING count(*) > 1;

    CREATE TEMP TABLE events AS
    SELECT CASE WHEN source_event_id IS NULL THEN {_CONTENT_HASH}
                WHEN shared_id IS NOT NULL THEN source_event_id || '-' || {_CONTENT_HASH}
                ELSE source_event_id END AS event_id,
           buyer_id, product_id, product_key, event_type, make_timestamptz(time_ms * 1000) AS event_time, origin
    FROM checked_events LEFT JOIN shared_event_ids ON source_event_id = shared_id
    WHERE reason IS NULL
"""


# ---- warnings --------------------------------------------------------------------------------------------------------


def _warnings(db: duckdb.DuckDBPyConnection, report: dict[str, Any], data: DataConfig) -> list[str]:
    """What to know of the events besides the rows left out, one line each."""
    warnings = []
    shared = _number(db, "SELECT coalesce(sum(row_count), 0) FROM shared_event_ids")
    if shared:
        warnings.append(
            f"events: event_id is shared by different events in {shared:,} rows (an order id?); they are kept as "
            "events of their own"
        )
    if unreadable := report["unreadable_quantity"]:
        rows = "1 row is no number; it counts" if unreadable == 1 else f"{unreadable:,} rows is no number; they count"
        warnings.append(f"events: the quantity of {rows} as one piece")
    if data.exclude_user_agents and c.USER_AGENT not in report["columns"]:
        warnings.append(
            "events: data.exclude_user_agents has no effect on the events file, which lacks the column user_agent"
        )
    kept = report["kept"] + report.get(EVENT_LOG_TABLE, {}).get("kept", 0)
    if not kept and not report["read"]:
        warnings.append("events: the files have no rows; export them again")
    elif not kept:
        warnings.append(f"events: no event is left of {report['read']:,} rows read; `reasons` in the report says why")
    return warnings


def _count(db: duckdb.DuckDBPyConnection, rows: str) -> int:
    return _number(db, f"SELECT count(*) FROM {rows}")


def _number(db: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(first_row(db.execute(query))[0])
