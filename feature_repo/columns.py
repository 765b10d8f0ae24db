"""Column names, each defined once.

Python code uses these constants, so that a typing error raises AttributeError and every use can be found. The SQL of
ingest and of the mappings in config/sources spells the names out, because it is hard to read otherwise. To rename a
column, edit this file and those queries.
"""

from enum import StrEnum


class Origin(StrEnum):
    """Where an event comes from; the values of ORIGIN."""

    SOURCE = "source"  # the shop's files
    EVENT_LOG = "event_log"  # the events that the API accepted


BUYER_ID = "buyer_id"
GUEST_ID = "guest_id"  # the buyer id of a visitor who has become another buyer
PRODUCT_ID = "product_id"
PRODUCT_KEY = "product_key"

# Events, one row per event.
EVENT_ID = "event_id"
EVENT_TYPE = "event_type"
EVENT_TIME = "event_time"  # when the buyer acted: UTC, to the millisecond
ORIGIN = "origin"  # see Origin
QUANTITY = "quantity"  # pieces bought or given back; only ingest reads it
USER_AGENT = "user_agent"  # only ingest reads it, to leave out bots
TIMESTAMP = "timestamp"  # the event time before ingest has parsed it: in mappings and in the event log

# Products, one row per SKU.
TITLE = "title"
DESCRIPTION = "description"
TEXT = "text"  # what the text encoder reads
TITLES = "titles"  # JSON text: the title by language tag, such as {"ar": "...", "en": "..."}
TITLE_LANGUAGE = "title_language"  # see transforms.text.language_of
DESCRIPTION_LANGUAGE = "description_language"
BRAND = "brand"
CATEGORY = "category"
PRICE = "price"
REGULAR_PRICE = "regular_price"  # the price before a reduction; empty without one
CURRENCY = "currency"  # ISO 4217 code of the price
STOCK = "stock"
PHOTO = "photo"
HIDDEN = "hidden"  # true: the product is never recommended
LISTED_AT = "listed_at"  # since when the shop offers the product, UTC; only the lists of new products read it
GROUP_ID = "group_id"  # variants of one product share it
GROUP_CODE = "group_code"  # GROUP_ID as a number within one release; see training.artifacts.product_table
DUPLICATE_OF = "duplicate_of"  # in the table of merged products: the id of the product that replaces this one
# Product columns that version 0.1.0 did not have: its tables and releases lack them, and models read none of them.
LATER_PRODUCT_COLUMNS = (TITLES, CURRENCY, GROUP_ID, REGULAR_PRICE)

# Feature tables, in the form that Feast requires.
EVENT_TIMESTAMP = "event_timestamp"  # the row holds from this time on
CREATED_TIMESTAMP = "created_timestamp"  # the newest wins among rows of one event_timestamp
SPLIT = "split"  # part of the time split that a context falls in
TRAIN, VALIDATION, TEST = "train", "validation", "test"  # values of SPLIT
EVENTS_BEFORE = "events_before"  # number of the buyer's events strictly before the context's moment

# Buyer sequences: three arrays of equal length, oldest event first.
PRODUCT_KEYS = "product_keys"  # int64
EVENT_TYPES = "event_types"  # int32, codes of transforms.events.EVENT_TYPE_CODES
EVENT_TIMES = "event_times"  # int64, milliseconds since 1970, UTC

# Every purchase of a buyer: two arrays of equal length, oldest first; a product occurs once per time.
PURCHASED_KEYS = "purchased_keys"  # int64
PURCHASED_TIMES = "purchased_times"  # int64, milliseconds since 1970, UTC

# What a feature build knows of each buyer, to find those who changed since.
N_EVENTS = "n_events"  # number of the buyer's events; 0 if all are gone
EVENTS_FINGERPRINT = "events_fingerprint"  # of the buyer's events, in any order
HAS_PURCHASES = "has_purchases"  # whether a row of purchases was ever written
CHANGED = "changed"  # whether the events differ from those of the last build

# Quarantine: the rows that ingest left out, each with its reason.
TABLE = "table"
SOURCE_LINE = "source_line"  # number of the data row in the source file, from 1; the header does not count
REASON = "reason"
