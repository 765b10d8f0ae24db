"""The feature-schema hash: a model or release works only with code and configuration that make the same features.

It says what this program makes and expects, not what an online store holds; `tawsiya refresh` brings that up to date.
"""

import hashlib
import json

from feature_repo.definitions import Definitions
from feature_repo.transforms.events import EVENT_TYPES

# Raise when the meaning of stored features changes although their names and types do not (order, units, repeats).
SEQUENCE_VERSION = 1


def schema_hash(objects: Definitions, max_length: int) -> str:
    """A short hash of all that a model relies on: views, fields and types, event codes, sequence length and version."""
    views = (objects.product_view, objects.history_view, objects.recent_view, objects.purchases_view)
    content = {
        "views": {view.name: sorted((field.name, str(field.dtype)) for field in view.schema) for view in views},
        "event_types": EVENT_TYPES,
        "max_length": max_length,
        "sequence_version": SEQUENCE_VERSION,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
