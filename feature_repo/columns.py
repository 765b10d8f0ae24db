"""The one vocabulary of column names.

Every table that Tawsiya writes or reads uses these names, so that a rename is one edit and a typo is an ImportError.
"""

BUYER_ID = "buyer_id"
PRODUCT_ID = "product_id"
PRODUCT_KEY = "product_key"

# Events, one row per interaction.
EVENT_ID = "event_id"
EVENT_TYPE = "event_type"
EVENT_TIME = "event_time"  # when the buyer acted, UTC, milliseconds

# Products, one row per SKU.
TITLE = "title"
DESCRIPTION = "description"
TEXT = "text"  # what the text encoder reads
BRAND = "brand"
CATEGORY = "category"
PRICE = "price"
STOCK = "stock"
PHOTO = "photo"

# Feature tables, as Feast wants them.
EVENT_TIMESTAMP = "event_timestamp"  # from when on the row is true
CREATED_TIMESTAMP = "created_timestamp"  # decides between rows of one event_timestamp
SPLIT = "split"  # part of the time split that a context falls in

# Buyer sequences: three arrays of one length, oldest first.
PRODUCT_KEYS = "product_keys"  # int64
EVENT_TYPES = "event_types"  # int32, codes of transforms.events.EVENT_TYPES
EVENT_TIMES = "event_times"  # int64, milliseconds since 1970, UTC

# Quarantine: what ingest left out, and why.
TABLE = "table"
SOURCE_LINE = "source_line"  # 1-based data row of the source file (a header does not count)
REASON = "reason"
RAW = "raw"  # the source row as JSON
