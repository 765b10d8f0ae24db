"""Materialize: the newest features go into the online store, but only those that the gate has passed."""

import contextlib
import io
from typing import Any

from expectations.gate import require_passed
from feature_repo.common.config import Config
from feature_repo.common.paths import shop_paths
from feature_repo.store import FeatureStore


def materialize(config: Config, store: FeatureStore, *, full: bool) -> dict[str, Any]:
    """Copies features from Parquet to Redis through Feast.

    Args:
        config: The configuration.
        store: The shop's feature store.
        full: All features instead of those built since the last time; for an online store that lost its content.

    Raises:
        GateRefusedError: The data on disk have not passed the gate; nothing was written.
    """
    require_passed(shop_paths(config))
    # Feast prints what it does; stdout belongs to the command's own answer.
    with contextlib.redirect_stdout(io.StringIO()):
        store.materialize(full=full)
    return {"full": full, "schema_hash": store.schema_hash}
