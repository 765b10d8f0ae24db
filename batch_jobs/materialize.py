"""Materialize: copies the newest features to the online store, if the data gate has passed them."""

import contextlib
import io
from typing import Any

from expectations.gate import passed_copies
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore


def materialize(config: Config, store: FeatureStore, *, full: bool) -> dict[str, Any]:
    """Copies features from Parquet to Redis through Feast.

    Args:
        config: The configuration.
        store: The shop's feature store.
        full: Copy all features, not only those built since the last time; for an online store that lost its data.

    Raises:
        GateRefusedError: The files have not passed the data gate; nothing was written.
    """
    # Feast prints its progress, but stdout must contain only the result of the command.
    with passed_copies(shop_paths(config)) as copies, contextlib.redirect_stdout(io.StringIO()):
        store.materialize(full=full, copies=copies)
    return {"full": full, "schema_hash": store.schema_hash}
