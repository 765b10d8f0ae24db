"""Event times in SQL: a fast path for strict forms, and the Python rule for all others.

A text with the name of a zone is never cast in DuckDB: one such row would change how the next ones are read.
"""

import datetime as dt
from functools import lru_cache

import duckdb

from feature_repo.settings.data import DataConfig
from feature_repo.transforms.values.times import (
    AmbiguousDateError,
    DateOrder,
    TimeReader,
    UnreadableTimeError,
    proven_date_order,
)

# Texts that are read in Python are remembered, since exports repeat them; the number bounds the memory.
REMEMBERED_TEXTS = 100_000

# Other forms and years go to the Python rule, which reads these ones alike (a property test compares the two).
_DATE = "20[0-9]{2}-[01][0-9]-[0-3][0-9]"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_ISO = f"{_DATE}([T ]{_CLOCK}(Z|[+]00|[+-](0[0-9]|1[0-3]):[0-5][0-9])?)?"
_SECONDS, _MILLISECONDS = "1[0-9]{9}", "1[0-9]{12}"
_QUARTER_HOUR_MS = 900_000
_EPOCH, _MILLISECOND = dt.datetime(1970, 1, 1), dt.timedelta(milliseconds=1)


def register_time_functions(db: duckdb.DuckDBPyConnection, data: DataConfig) -> None:
    """Registers the functions of `time_ms_expression`; reads the date order from `raw_events` if none is declared."""
    reader = TimeReader(data.timezone, data.date_order or _proven_order(db))

    @lru_cache(REMEMBERED_TEXTS)
    def read_time_ms(text: str | None) -> int | None:
        try:
            return None if text is None else reader.milliseconds(text)
        except UnreadableTimeError:
            return None

    def is_ambiguous_date(text: str | None) -> bool:
        try:
            reader.milliseconds(text or "")
        except UnreadableTimeError as error:
            return isinstance(error, AmbiguousDateError)
        return False

    @lru_cache(REMEMBERED_TEXTS)
    def zone_offset_ms(local_quarter: int) -> int:
        return _offset_ms(reader, local_quarter * _QUARTER_HOUR_MS)

    db.create_function("read_time_ms", read_time_ms, ["VARCHAR"], "BIGINT", null_handling="special")
    db.create_function("is_ambiguous_date", is_ambiguous_date, ["VARCHAR"], "BOOLEAN", null_handling="special")
    db.create_function("zone_offset_ms", zone_offset_ms, ["BIGINT"], "BIGINT")


def time_ms_expression(text: str, zone: str) -> str:
    """The DuckDB expression of the milliseconds since 1970, UTC, of a time as text; null if it cannot be read.

    Args:
        text: The expression of the text.
        zone: The zone of times without one, an IANA name.
    """
    # The zone is cut off before the cast: what DuckDB does with one depends on its version and its other rows.
    local = f"epoch_ms(try_cast(regexp_extract({text}, '^[0-9]+-[0-9]+-[0-9]+([T ][0-9:.]+)?') AS TIMESTAMP))"
    minutes = f"({text}[-5:-4]::INT * 60 + {text}[-2:]::INT)"
    local_offset = "0" if zone == "UTC" else f"zone_offset_ms({local} // {_QUARTER_HOUR_MS})"
    return f"""CASE
        WHEN regexp_full_match({text}, '{_ISO}') THEN {local} - CASE
            WHEN {text}[-1:] = 'Z' OR {text}[-3:] = '+00' THEN 0
            WHEN length({text}) > 15 AND {text}[-6:-6] = '+' THEN {minutes} * 60000
            WHEN length({text}) > 15 AND {text}[-6:-6] = '-' THEN {minutes} * -60000
            ELSE {local_offset} END
        WHEN regexp_full_match({text}, '{_SECONDS}') THEN {text}::BIGINT * 1000
        WHEN regexp_full_match({text}, '{_MILLISECONDS}') THEN {text}::BIGINT
        ELSE read_time_ms({text}) END"""


def _proven_order(db: duckdb.DuckDBPyConnection) -> DateOrder | None:
    """The order that the dates of the source prove."""
    texts = db.execute(
        "SELECT DISTINCT timestamp FROM raw_events WHERE origin = 'source' AND NOT regexp_full_match(timestamp, ?)",
        [f"{_ISO}|{_SECONDS}|{_MILLISECONDS}"],
    )
    return proven_date_order(text for batch in iter(lambda: texts.fetchmany(10_000), []) for (text,) in batch)


def _offset_ms(reader: TimeReader, local_ms: int) -> int:
    """What to subtract from a local time to get UTC; zones change their offset at quarters of an hour only."""
    local = _EPOCH + local_ms * _MILLISECOND
    return local_ms - reader.milliseconds(local.isoformat())
