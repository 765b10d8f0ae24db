"""The one vocabulary of column names.

Python code names a column through its constant, so that a typo is an AttributeError and every use can be found. SQL
text that reads well only with plain names (ingest, the mappings in config/sources) spells columns out: who renames one
edits this file and those queries.
"""

from enum import StrEnum


class Origin(StrEnum):
    """Where an event comes from: values of ORIGIN."""

    SOURCE = "source"  # the shop's export
    EVENT_LOG = "event_log"  # the API


BUYER_ID = "buyer_id"
PRODUCT_ID = "product_id"
PRODUCT_KEY = "product_key"

# Events, one row per interaction.
EVENT_ID = "event_id"
EVENT_TYPE = "event_type"
EVENT_TIME = "event_time"  # when the buyer acted, UTC, milliseconds
ORIGIN = "origin"  # see Origin
TIMESTAMP = "timestamp"  # the event time before ingest: in mappings, and in the event log

# Products, one row per SKU.
TITLE = "title"
DESCRIPTION = "description"
TEXT = "text"  # what the text encoder reads
TITLE_LANGUAGE = "title_language"  # transforms.text.language_of
DESCRIPTION_LANGUAGE = "description_language"
BRAND = "brand"
CATEGORY = "category"
PRICE = "price"
STOCK = "stock"
PHOTO = "photo"
HIDDEN = "hidden"  # true: never recommended
DUPLICATE_OF = "duplicate_of"  # in the table of merged products: the id of the product that stands for this one

# Feature tables, as Feast wants them.
EVENT_TIMESTAMP = "event_timestamp"  # from when on the row is true
CREATED_TIMESTAMP = "created_timestamp"  # decides between rows of one event_timestamp
SPLIT = "split"  # part of the time split that a context falls in
TRAIN, VALIDATION, TEST = "train", "validation", "test"  # values of SPLIT
EVENTS_BEFORE = "events_before"  # of the buyer, strictly before a context's moment

# Buyer sequences: three arrays of one length, oldest first.
PRODUCT_KEYS = "product_keys"  # int64
EVENT_TYPES = "event_types"  # int32, codes of transforms.events.EVENT_TYPES
EVENT_TIMES = "event_times"  # int64, milliseconds since 1970, UTC

# All that a buyer ever bought: two arrays of one length, oldest first, each product of a moment once.
PURCHASED_KEYS = "purchased_keys"  # int64
PURCHASED_TIMES = "purchased_times"  # int64, milliseconds since 1970, UTC

# Quarantine: what ingest left out, and why.
TABLE = "table"
SOURCE_LINE = "source_line"  # 1-based data row of the source file (a header does not count)
REASON = "reason"
DUPLICATE_PRODUCT_ID = "duplicate_product_id"  # a value of REASON
