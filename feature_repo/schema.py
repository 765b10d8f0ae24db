"""The schema hash: a model or release works only with code and configuration that build the same features.

The hash describes what this program builds and reads, not what the online store holds; `tawsiya refresh` updates that.
"""

import hashlib
import json

from feature_repo import columns as c
from feature_repo.definitions import Definitions
from feature_repo.transforms.events import EVENT_TYPE_NAMES

# Raise this when the meaning of stored features changes but not their names and types: order, units, duplicates.
SEQUENCE_VERSION = 1


def schema_hash(objects: Definitions, max_length: int) -> str:
    """Hashes what a model relies on: views, fields, types, event codes, longest sequence and version; 16 hex digits."""
    views = (objects.product_view, objects.history_view, objects.recent_view, objects.purchases_view)
    # A model reads none of LATER_PRODUCT_COLUMNS. In the hash, they would end the use of every older model and release.
    fields = {
        view.name: sorted(
            (field.name, str(field.dtype)) for field in view.schema if field.name not in c.LATER_PRODUCT_COLUMNS
        )
        for view in views
    }
    content = {
        "views": fields,
        # Their order is the codes.
        "event_types": EVENT_TYPE_NAMES,
        "max_length": max_length,
        "sequence_version": SEQUENCE_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
