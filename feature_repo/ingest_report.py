"""Names in the ingest report that both ingest and the data gate use."""

# Reasons of quarantine.
DUPLICATE_PRODUCT_ID = "duplicate_product_id"
UNKNOWN_PRODUCT_REASON = "unknown_product"  # the gate has a limit of its own for it

# Counts of products with a value that cannot be read.
BROKEN_METADATA = "broken_metadata"
UNREADABLE_PREFIX = "unreadable_"  # all other such counts begin with it
