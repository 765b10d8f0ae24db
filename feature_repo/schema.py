"""The schema of the features: views, their fields and types, and the hash of what a model relies on.

A model or release works only with code and configuration that build the same features. The hash describes what this
program builds and reads, not what the online store holds; `tawsiya refresh` updates that.

Plain data, because Feast takes seconds to import: a job that only needs the hash starts without it. definitions.py
makes Feast's objects of them.
"""

import hashlib
import json
from collections.abc import Mapping

from feature_repo import columns as c
from feature_repo.transforms.events import EVENT_TYPE_NAMES

# Raise this when the meaning of stored features changes but not their names and types: order, units, duplicates.
SEQUENCE_VERSION = 1

# In the hash: renaming a view ends the use of all models and releases.
HISTORY_VIEW = "buyer_history"
RECENT_VIEW = "buyer_recent"
PURCHASES_VIEW = "buyer_purchases"
PRODUCT_VIEW = "product"

_BUYER = {c.BUYER_ID: "String"}
_SEQUENCE = {c.PRODUCT_KEYS: "Array(Int64)", c.EVENT_TYPES: "Array(Int32)", c.EVENT_TIMES: "Array(Int64)"}
_PURCHASES = {c.PURCHASED_KEYS: "Array(Int64)", c.PURCHASED_TIMES: "Array(Int64)"}
# In no hash: see FIELDS.
LATER_PRODUCT_FIELDS: Mapping[str, str] = dict.fromkeys(c.LATER_PRODUCT_COLUMNS, "String") | {
    c.REGULAR_PRICE: "Float64"
}
# By view: the fields and their types, by Feast's names. The product view also has those of LATER_PRODUCT_COLUMNS that
# its file has. A model reads none of them; in the hash, they would end the use of every older model and release.
FIELDS: Mapping[str, Mapping[str, str]] = {
    PRODUCT_VIEW: {
        c.PRODUCT_ID: "String",
        c.PRODUCT_KEY: "Int64",
        c.TITLE: "String",
        c.DESCRIPTION: "String",
        c.TEXT: "String",
        c.TITLE_LANGUAGE: "String",
        c.DESCRIPTION_LANGUAGE: "String",
        c.BRAND: "String",
        c.CATEGORY: "String",
        c.PRICE: "Float64",
        c.STOCK: "Int64",
        c.PHOTO: "String",
        c.HIDDEN: "Bool",
    },
    HISTORY_VIEW: _BUYER | _SEQUENCE,
    # Purchases too: one that falls out of the recent events must not be forgotten until the next build.
    RECENT_VIEW: _BUYER | _SEQUENCE | _PURCHASES,
    PURCHASES_VIEW: _BUYER | _PURCHASES,
}
# What each field means, for Feast's registry and docs/reference/features.md; in no hash.
MEANINGS: Mapping[str, str] = {
    c.BUYER_ID: "Id of the buyer, as the shop's files and events have it",
    c.PRODUCT_ID: "Id of the product, as the shop's files have it",
    c.PRODUCT_KEY: "63-bit hash of the product id, which sequences store",
    c.TITLE: "Main title",
    c.DESCRIPTION: "Description of the product",
    c.TEXT: "What the text encoder reads",
    c.TITLE_LANGUAGE: "Language tag of the main title, such as ar; empty if the shop does not say",
    c.DESCRIPTION_LANGUAGE: "Language tag of the description; empty if the shop does not say",
    c.TITLES: "The titles by language tag, a JSON object",
    c.BRAND: "Brand",
    c.CATEGORY: "Category: the last level of its path",
    c.PRICE: "Price in force, in `currency`",
    c.REGULAR_PRICE: "Price before a reduction; empty without one",
    c.CURRENCY: "ISO 4217 code of the price",
    c.STOCK: "Pieces in stock; empty if unknown",
    c.PHOTO: "Link of a photo",
    c.GROUP_ID: "Variants of one product share it",
    c.HIDDEN: "True: the product is never recommended",
    c.PRODUCT_KEYS: "Products of the buyer's events, oldest first",
    c.EVENT_TYPES: "Types of these events, as codes: " + ", ".join(f"{i} {n}" for i, n in enumerate(EVENT_TYPE_NAMES)),
    c.EVENT_TIMES: "Times of these events, milliseconds since 1970, UTC",
    c.PURCHASED_KEYS: "Products of every purchase of the buyer, oldest first; one product once per time",
    c.PURCHASED_TIMES: "Times of these purchases, milliseconds since 1970, UTC",
}
# How old the rows of a view may be when they are read; likewise.
FRESHNESS: Mapping[str, str] = {
    PRODUCT_VIEW: "as of the last materialize; prices, stock and visibility also of `tawsiya refresh --only prices`",
    HISTORY_VIEW: "as of the last materialize",
    RECENT_VIEW: "pushed before the API answers the request that brought the event",
    PURCHASES_VIEW: "as of the last materialize; newer purchases are in `buyer_recent`",
}


def schema_hash(max_length: int) -> str:
    """Hashes what a model relies on: views, fields, types, event codes, longest sequence and version; 16 hex digits."""
    content = {
        "views": {view: sorted(fields.items()) for view, fields in FIELDS.items()},
        # Their order is the codes.
        "event_types": EVENT_TYPE_NAMES,
        "max_length": max_length,
        "sequence_version": SEQUENCE_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
