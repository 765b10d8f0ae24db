"""The fields of events in SQL: ids, event types, quantities; and why a row by itself cannot be kept.

The rules are Python functions that the API has too. A fast path in SQL reads the plain forms, which the rules leave as
they are (a property test compares the two); everything else goes through the rules.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

import duckdb
import pyarrow as pa

from batch_jobs.ingestion.event_times import REMEMBERED_TEXTS, register_time_functions, time_ms_expression
from feature_repo import columns as c
from feature_repo.common.forgotten import ForgottenBuyers
from feature_repo.ingest_report import FORGOTTEN_BUYER, MISSING_BUYER_ID, UNKNOWN_PRODUCT_REASON
from feature_repo.settings.data import DataConfig
from feature_repo.transforms.events import EVENT_TYPE_NAMES, OTHER_EVENT, REFUND, read_event_type
from feature_repo.transforms.values.amounts import read_amount
from feature_repo.transforms.values.ids import clean_buyer_id, clean_id, id_problem
from feature_repo.transforms.values.times import CLOCK_SKEW_MS, OLDEST_TIME, TIME_BEFORE_2000, TIME_IN_FUTURE

# Reasons.
INVALID_BUYER_ID, INVALID_PRODUCT_ID = "invalid_buyer_id", "invalid_product_id"
UNKNOWN_EVENT_TYPE = "unknown_event_type"
UNREADABLE_TIMESTAMP, AMBIGUOUS_DATE = "unreadable_timestamp", "ambiguous_date"
QUANTITY_ZERO = "quantity_zero"
EXCLUDED_BUYER, EXCLUDED_USER_AGENT = "excluded_buyer", "excluded_user_agent"

# An id of these characters with a digit from 1 to 9 does not stand for nobody, as NULL and 0 do, and needs no cleaning.
_PLAIN_ID = "([A-Za-z0-9][A-Za-z0-9_-]*)?[1-9][A-Za-z0-9_-]*"
_LONGEST_PLAIN_ID = 64
UNKNOWN_TYPE = "unknown"
PIECE = 1000  # quantities are counted in thousandths of a piece, so that 0.5 kg is exact
_LARGEST_QUANTITY = 10**12
_MERGED_SCHEMA = pa.schema([(c.GUEST_ID, pa.string()), ("account", pa.string())])


def register_field_functions(db: duckdb.DuckDBPyConnection, data: DataConfig) -> None:
    """Registers the functions of `typed_query`."""
    register_time_functions(db, data)
    user_agents = [re.compile(pattern) for pattern in data.exclude_user_agents]

    def is_excluded_user_agent(text: str | None) -> bool:
        return text is not None and any(pattern.search(text) for pattern in user_agents)

    for function, result in (
        (clean_id, "VARCHAR"), (clean_buyer_id, "VARCHAR"), (event_type_of, "VARCHAR"), (quantity_of, "BIGINT"),
        (has_id_problem, "BOOLEAN"), (is_excluded_user_agent, "BOOLEAN"),
    ):  # fmt: skip
        remembered = lru_cache(REMEMBERED_TEXTS)(function)
        db.create_function(function.__name__, remembered, ["VARCHAR"], result, null_handling="special")
    buyers = [buyer for buyer in map(clean_buyer_id, data.exclude_buyers) if buyer]
    db.execute("CREATE TEMP TABLE excluded_buyers AS SELECT unnest(?::VARCHAR[]) AS buyer_id", [buyers])


def stage_merged_buyers(db: duckdb.DuckDBPyConnection, accounts: Mapping[str, str]) -> None:
    """Creates `merged_buyers`: the guests who have become buyers, with the id of the buyer."""
    guests = pa.table({c.GUEST_ID: list(accounts), "account": list(accounts.values())}, _MERGED_SCHEMA)
    db.register("merged_guests", guests)
    db.execute("CREATE TEMP TABLE merged_buyers AS FROM merged_guests")
    db.unregister("merged_guests")


def stage_forgotten_buyers(db: duckdb.DuckDBPyConnection, forgotten: ForgottenBuyers) -> None:
    """Creates `forgotten_buyers`: ids in `raw_events` and `merged_buyers` of those whom `tawsiya forget` has erased."""
    db.execute("CREATE TEMP TABLE forgotten_buyers (buyer_id VARCHAR)")
    if not forgotten.is_empty():
        # Once per buyer and not per row: a keyed hash takes microseconds.
        db.create_function("is_forgotten", forgotten.holds, ["VARCHAR"], "BOOLEAN")
        db.execute(f"""
            INSERT INTO forgotten_buyers SELECT buyer_id
            FROM (SELECT {id_expression(c.BUYER_ID, "clean_buyer_id")} AS buyer_id FROM raw_events
                  UNION SELECT account FROM merged_buyers)
            WHERE buyer_id IS NOT NULL AND is_forgotten(buyer_id)
        """)


def event_type_of(text: str | None) -> str:
    """What a name means, as read_event_type says, or UNKNOWN_TYPE."""
    return (read_event_type(text) if text else None) or UNKNOWN_TYPE


def quantity_of(text: str | None) -> int | None:
    """A number of pieces in thousandths of a piece; None if there is none or it cannot be read."""
    amount = read_amount(text) if text else None
    if amount is None or abs(amount.value) > _LARGEST_QUANTITY:
        return None
    return round(amount.value * PIECE)


def has_id_problem(identifier: str | None) -> bool:
    """Whether a cleaned id is refused."""
    return identifier is not None and id_problem(identifier) is not None


def id_expression(text: str, rule: str) -> str:
    """The DuckDB expression of an id as `rule` (clean_id or clean_buyer_id) reads it."""
    return f"CASE WHEN {_is_plain(text)} THEN {text} ELSE {rule}({text}) END"


def _is_plain(text: str) -> str:
    return f"(regexp_full_match({text}, '{_PLAIN_ID}') AND strlen({text}) <= {_LONGEST_PLAIN_ID})"


def event_type_expression(text: str) -> str:
    """The DuckDB expression of `event_type_of`."""
    names = ", ".join(f"'{name}'" for name in EVENT_TYPE_NAMES)
    return f"CASE WHEN {text} IN ({names}) THEN {text} ELSE event_type_of({text}) END"


def typed_query(zone: str, now_ms: int) -> str:
    """Creates `typed_events`: each field parsed, and the reason why the row by itself cannot be kept, with the value.

    Args:
        zone: The zone of times without one, an IANA name.
        now_ms: The present, in milliseconds since 1970.
    """
    oldest_ms = int(OLDEST_TIME.timestamp() * 1000)
    names = ", ".join(f"'{name}'" for name in EVENT_TYPE_NAMES)
    return f"""
        CREATE TEMP TABLE typed_events AS
        WITH read AS (
            SELECT origin, source_line, excluded, user_agent, quantity AS quantity_text,
                   buyer_id AS buyer_text, product_id AS product_text, event_type AS type_text, timestamp AS time_text,
                   {id_expression(c.EVENT_ID, "clean_id")} AS source_event_id,
                   {id_expression(c.BUYER_ID, "clean_buyer_id")} AS buyer_id,
                   {id_expression(c.PRODUCT_ID, "clean_id")} AS product_id,
                   {event_type_expression(c.EVENT_TYPE)} AS named_type,
                   {time_ms_expression(c.TIMESTAMP, zone)} AS time_ms,
                   CASE WHEN regexp_full_match(quantity, '-?[0-9]{{1,9}}') THEN quantity::BIGINT * {PIECE}
                        WHEN quantity IS NOT NULL THEN quantity_of(quantity) END AS quantity
            FROM raw_events),
        matched AS (
            SELECT r.* EXCLUDE (product_id, buyer_id), coalesce(alias.duplicate_of, r.product_id) AS product_id,
                   coalesce(merged.account, r.buyer_id) AS buyer_id,
                   product.product_key,
                   -- A purchase of less than nothing is a return, and a cart event of less than nothing a removal.
                   CASE WHEN quantity < 0 AND named_type = 'purchase' THEN '{REFUND}'
                        WHEN quantity < 0 AND named_type = 'add_to_cart' THEN '{OTHER_EVENT}'
                        ELSE named_type END AS event_type
            FROM read r
            LEFT JOIN merged_buyers merged ON merged.guest_id = r.buyer_id
            LEFT JOIN product_aliases alias ON alias.product_id = r.product_id
            LEFT JOIN products product ON product.product_id = coalesce(alias.duplicate_of, r.product_id)),
        reasoned AS (
            SELECT *, CASE
                -- First: no other reason may bring the row, and with it the buyer, into the quarantine.
                WHEN buyer_id IN (FROM forgotten_buyers) THEN '{FORGOTTEN_BUYER}'
                WHEN excluded IS NOT NULL THEN excluded
                WHEN buyer_id IN (FROM excluded_buyers) THEN '{EXCLUDED_BUYER}'
                WHEN user_agent IS NOT NULL AND is_excluded_user_agent(user_agent) THEN '{EXCLUDED_USER_AGENT}'
                WHEN event_type = '{OTHER_EVENT}' THEN '{OTHER_EVENT}'
                WHEN buyer_id IS NULL THEN '{MISSING_BUYER_ID}'
                WHEN NOT {_is_plain(c.BUYER_ID)} AND has_id_problem(buyer_id) THEN '{INVALID_BUYER_ID}'
                WHEN product_id IS NULL THEN 'missing_product_id'
                WHEN product_key IS NULL AND has_id_problem(product_id) THEN '{INVALID_PRODUCT_ID}'
                WHEN event_type NOT IN ({names}, '{REFUND}') THEN '{UNKNOWN_EVENT_TYPE}'
                WHEN time_ms IS NULL AND is_ambiguous_date(time_text) THEN '{AMBIGUOUS_DATE}'
                WHEN time_ms IS NULL THEN '{UNREADABLE_TIMESTAMP}'
                WHEN time_ms < {oldest_ms} THEN '{TIME_BEFORE_2000}'
                WHEN time_ms > {now_ms + CLOCK_SKEW_MS} THEN '{TIME_IN_FUTURE}'
                WHEN quantity = 0 AND event_type <> 'view' THEN '{QUANTITY_ZERO}'
                WHEN product_key IS NULL THEN '{UNKNOWN_PRODUCT_REASON}' END AS reason
            FROM matched)
        SELECT origin, source_line, source_event_id, buyer_id, product_id, product_key, event_type, time_ms,
               abs(quantity) AS quantity,
               quantity_text IS NOT NULL AND trim(quantity_text) <> '' AND quantity IS NULL AS unreadable_quantity,
               reason, {_value_expression()} AS value
        FROM reasoned
    """


def _value_expression() -> str:
    """The value for which a row is left out; null for the rules of a mapping, which may look at several columns."""
    values = {
        "buyer_text": (MISSING_BUYER_ID, INVALID_BUYER_ID, EXCLUDED_BUYER),
        "product_text": ("missing_product_id", INVALID_PRODUCT_ID, UNKNOWN_PRODUCT_REASON),
        "type_text": (UNKNOWN_EVENT_TYPE, OTHER_EVENT),
        "time_text": (AMBIGUOUS_DATE, UNREADABLE_TIMESTAMP, TIME_BEFORE_2000, TIME_IN_FUTURE),
        "quantity_text": (QUANTITY_ZERO,),
        c.USER_AGENT: (EXCLUDED_USER_AGENT,),
    }
    whens = " ".join(f"WHEN '{reason}' THEN {text}" for text, reasons in values.items() for reason in reasons)
    return f"CASE reason {whens} END"
