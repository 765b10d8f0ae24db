"""Names in the ingest report and the quarantine that both ingest and the data gate use."""

# Kinds of reasons of quarantine: left out by a rule, a repetition, or a fault. Only the last one counts as bad.
EXCLUDED, DUPLICATE, BAD = "excluded", "duplicate", "bad"

# Reasons of quarantine.
FORGOTTEN_BUYER = "forgotten_buyer"  # its rows are counted, and nothing of them is kept
DUPLICATE_PRODUCT_ID = "duplicate_product_id"
UNKNOWN_PRODUCT_REASON = "unknown_product"  # the gate has limits of their own for this and the next one
MISSING_BUYER_ID = "missing_buyer_id"

EXAMPLE_LENGTH = 200  # characters of an example's value

# Counts of products with a value that cannot be read.
BROKEN_METADATA = "broken_metadata"
UNREADABLE_PREFIX = "unreadable_"  # all other such counts begin with it
